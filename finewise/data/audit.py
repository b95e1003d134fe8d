"""The audit: what is wrong with the rows before any time is spent on training with them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from finewise.config import AuditConfig
from finewise.console import progress
from finewise.data.content import columns_of, content, cuts_of
from finewise.data.duplicates import duplicates, reading
from finewise.data.held import Held
from finewise.data.leaks import between, leaks, near, searched_for_itself
from finewise.data.pairs import Pairs
from finewise.data.report import AuditReport, gravest_first
from finewise.data.retrieval import RetrievalSet
from finewise.data.tokens import TokenLimit

COMMAND = "finewise.audit"


def audit(
    train: Pairs,
    dev: RetrievalSet | None,
    test: RetrievalSet | None,
    config: AuditConfig,
    *,
    limit: TokenLimit | str | None = None,
    seed: int = 0,
    remarks: Sequence[str] = (),
    more: Sequence[RetrievalSet] = (),
) -> AuditReport:
    """Look for what makes training rows useless, misleading or unfair.

    Args:
        train: The rows to train on.
        dev: The set that chooses the checkpoint.
        test: The set that proves the result.
        config: What is looked for, and what a leak leads to.
        limit: How tokens are counted; a line that says why they cannot be; or None to leave the ledger out.
        seed: Draws the rows that the costly checks look at when there are more than `config.max_rows`.
        remarks: More to tell in the report.
        more: Other sets that will be scored; training rows must not be in them either.
    """
    told = [*train.notes.remarks, *remarks]
    if isinstance(limit, str):
        told.append(limit)
    with progress("audit", None) as advance, ThreadPoolExecutor(1) as beside:
        held = [Held.of(task.split, task) for task in (dev, test) if task is not None]
        held += [Held.of(f"{task.name} {task.split}", task) for task in more]
        columns = list(columns_of(train, held))
        # Tokenizers work outside Python's lock, on the cores that the rest leaves idle.
        cuts = beside.submit(cuts_of, columns, limit, config, seed) if isinstance(limit, TokenLimit) else None
        findings = [*reading(train, config), *duplicates(train, config)]
        for column in columns:
            findings += content(column, config)
            advance(column.size)
        leaked = np.zeros(len(train), dtype=bool)
        for one in held:
            findings += [*leaks(train, one, config, leaked), *searched_for_itself(one, config)]
        if dev is not None and test is not None:
            findings += between(held[0], held[1], config)
        if config.near_duplicates:
            findings += near(train, held, config, seed, leaked, advance)
        truncation = tuple(cuts.result()) if cuts is not None else ()
    return AuditReport(
        rows={"train": len(train)} | {one.label: len(one.task.query_ids) for one in held},
        findings=gravest_first(findings),
        truncation=truncation,
        remarks=tuple(told),
        leakage=config.leakage,
        leaked=np.flatnonzero(leaked),
        command=COMMAND,
    )
