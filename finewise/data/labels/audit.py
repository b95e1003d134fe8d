"""The audit of labelled rows: what is wrong with them before any time is spent on training with them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from finewise.config import LabelAuditConfig
from finewise.console import progress
from finewise.data.content import Column, content, cuts_of
from finewise.data.labels.classes import classes
from finewise.data.labels.findings import finding
from finewise.data.labels.repeats import between, leaks, near, repeats
from finewise.data.labels.rows import Labelled
from finewise.data.labels.suspects import Suspects, advice
from finewise.data.labels.telling import telling
from finewise.data.report import AuditReport, Finding, gravest_first
from finewise.data.tokens import TokenLimit

COMMAND = "classify.audit"


def audit_labels(
    train: Labelled,
    dev: Labelled,
    test: Labelled,
    config: LabelAuditConfig,
    *,
    limit: TokenLimit | str | None = None,
    seed: int = 0,
    read: Sequence[str] = (),
    suspects: Callable[[], Suspects] | None = None,
) -> AuditReport:
    """Look for what makes labelled rows useless, misleading or unfair.

    Args:
        train: The rows to train on.
        dev: The rows that choose the checkpoint.
        test: The rows that prove the result.
        config: What is looked for, and what a leak leads to.
        limit: How tokens are counted; a line that says why they cannot be; or None to leave the ledger out.
        seed: Draws the rows that the costly checks look at when there are more than `config.max_rows`.
        read: What reading left out.
        suspects: Looks for likely label errors.
    """
    told = list(read)
    if isinstance(limit, str):
        told.append(limit)
    held = [dev, test]
    with progress("audit", None) as advance, ThreadPoolExecutor(1) as beside:
        columns = [column_of(one) for one in (train, dev, test)]
        # Tokenizers work outside Python's lock, on the cores that the rest leaves idle.
        cuts = beside.submit(cuts_of, columns, limit, config, seed) if isinstance(limit, TokenLimit) else None
        findings = [*classes(train, held, config)]
        for one, column in zip((train, dev, test), columns, strict=True):
            findings += [*repeats(one, config), *content(column, config)]
            advance(column.size)
        leaked = np.zeros(len(train), dtype=bool)
        for one in held:
            findings += leaks(train, one, config, leaked)
        findings += between(dev, test, config)
        if config.near_duplicates:
            findings += near(train, held, config, seed, leaked, advance)
        findings += telling(train, config, seed)
        if suspects is not None:
            found = suspects()
            told += found.remarks
            findings += _likely_errors(train, found, config)
        truncation = tuple(cuts.result()) if cuts is not None else ()
    return AuditReport(
        rows={one.split: len(one) for one in (train, dev, test)},
        findings=gravest_first(findings),
        truncation=truncation,
        remarks=tuple(told),
        leakage=config.leakage,
        leaked=np.flatnonzero(leaked),
        unit="rows",
        command=COMMAND,
    )


def column_of(data: Labelled) -> Column:
    """Return the texts as a column to look at."""

    def batches() -> Iterator[pa.Array]:
        return data.texts.batches()

    return Column(data.split, "text", len(data), batches, data.where)


def _likely_errors(train: Labelled, found: Suspects, config: LabelAuditConfig) -> Iterator[Finding]:
    likely = found.rows[: found.likely]
    if len(likely):
        partners = [
            f" → {advice(train, int(row), suggested)}? ({probability:.0%} against {given:.0%})"
            for row, suggested, probability, given in zip(
                likely, found.suggested, found.probability, found.given, strict=False
            )
        ][: config.examples]
        message = (
            f"rows have a label that the others speak against (cleanlab, by a quick model that agrees with "
            f"{found.agreement:.0%} of the labels): look at them, the likeliest errors first"
        )
        yield finding("label_errors", "warn", train, likely, message, config.examples, partners)
