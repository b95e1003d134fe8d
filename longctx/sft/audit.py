"""What the audit finds in chats: repeated rows, and training rows whose prompt is held out as well.

A leak, which refuses by default, is a training row whose prompt (all that is said before the last answer) is a prompt of dev or
test, up to case and white space. Near duplicates are estimates: a warning, and audit.leakage=drop removes them too.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from finewise.config import AuditConfig
from finewise.console import progress
from finewise.data.near import matches, sketch
from finewise.data.report import AuditReport, Example, Finding, Severity, gravest_first, sampled, shorten
from longctx.sft.rows import ChatRows

Rows = NDArray[np.int64]
FATES: dict[str, tuple[Severity, str]] = {
    "refuse": ("refuse", "audit.leakage=drop removes these rows, =allow keeps them"),
    "drop": ("warn", "removed (audit.leakage=drop)"),
    "allow": ("warn", "kept (audit.leakage=allow): scores are too good"),
}


def audit_chats(
    train: ChatRows, held: Sequence[ChatRows], config: AuditConfig, seed: int, remarks: Sequence[str]
) -> AuditReport:
    """Look for repeated and leaked rows.

    Args:
        train: The training rows.
        held: Dev and test.
        config: What a leak leads to, and whether near duplicates are looked for.
        seed: Draws the rows that are compared for near duplicates where there are very many.
        remarks: More to tell.
    """
    findings: list[Finding] = []
    leaked = np.zeros(len(train), bool)
    for rows in (train, *held):
        findings += _repeats(rows, config)
    for one in held:
        findings += _leaks(train, one, config, leaked)
    if len(held) == 2:
        findings += _between(held[0], held[1], config)
    if config.near_duplicates:
        findings += _near(train, held, config, seed, leaked)
    return AuditReport(
        rows={rows.split: len(rows) for rows in (train, *held)},
        findings=gravest_first(findings),
        remarks=tuple(remarks),
        leakage=config.leakage,
        leaked=np.flatnonzero(leaked),
        unit="rows",
    )


def _finding(
    kind: str,
    severity: Severity,
    data: ChatRows,
    rows: Rows,
    message: str,
    config: AuditConfig,
    others: Sequence[str],
    of: int | None = None,
) -> Finding:
    examples = tuple(
        Example(where=data.where(int(row)), text=shorten(data.prompt(int(row)), 60) + other)
        for row, other in zip(rows[: config.examples], others, strict=False)
    )
    return Finding(
        kind=kind,
        severity=severity,
        split=data.split,
        count=len(rows),
        of=len(data) if of is None else of,
        message=message,
        examples=examples,
    )


def _repeats(data: ChatRows, config: AuditConfig) -> Iterator[Finding]:
    _, first, code = np.unique(data.keys, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[code] != np.arange(len(data)))
    if len(again):
        others = [f" = {data.where(int(first[code[row]]))}" for row in again[: config.examples]]
        yield _finding("duplicate_rows", "warn", data, again, "rows repeat an earlier one; remove them", config, others)


def _leaks(train: ChatRows, held: ChatRows, config: AuditConfig, leaked: NDArray[np.bool_]) -> Iterator[Finding]:
    severity, fate = FATES[config.leakage]
    rows = np.flatnonzero(np.isin(train.prompts, held.prompts))
    if len(rows):
        leaked[rows] = True
        others = [
            f" = {held.where(int(np.argmax(held.prompts == train.prompts[row])))}" for row in rows[: config.examples]
        ]
        message = f"prompts are in {held.split}: {fate}"
        yield _finding("leaked_prompt", severity, train, rows, message, config, others)


def _between(dev: ChatRows, test: ChatRows, config: AuditConfig) -> Iterator[Finding]:
    rows = np.flatnonzero(np.isin(dev.prompts, test.prompts))
    if len(rows):
        message = "dev prompts are test prompts too: the checkpoint is chosen on the test; give them different ones"
        yield _finding("dev_is_test", "warn", dev, rows, message, config, [""] * config.examples)


def _near(
    train: ChatRows, held: Sequence[ChatRows], config: AuditConfig, seed: int, leaked: NDArray[np.bool_]
) -> Iterator[Finding]:
    unique = np.sort(np.unique(train.prompts, return_index=True)[1])
    rows = sampled(unique, config.max_rows, seed)
    looked = f" (looked at {len(rows):,} of {len(unique):,} different prompts)" if len(rows) < len(unique) else ""
    with progress("near duplicates", len(rows)) as advance:
        mine = sketch((train.prompt(int(row)) for row in rows), advance)
    twin = matches(mine, None, config.near_duplicate_threshold)
    found = np.flatnonzero(twin >= 0)
    if len(found):
        others = [f" ≈ {train.where(int(rows[twin[place]]))}" for place in found[: config.examples]]
        message = f"prompts nearly equal an earlier prompt{looked}"
        yield _finding("near_duplicate_prompts", "note", train, rows[found], message, config, others, len(rows))
    for one in held:
        theirs = sampled(np.arange(len(one)), config.max_rows, seed)
        close = matches(mine, sketch(one.prompt(int(row)) for row in theirs), config.near_duplicate_threshold)
        close[np.isin(train.prompts[rows], one.prompts)] = -1  # equal prompts are told elsewhere
        found = np.flatnonzero(close >= 0)
        if not len(found):
            continue
        affected = np.flatnonzero(np.isin(train.prompts, train.prompts[rows[found]]))
        fate = "audit.leakage=drop removes them"
        if config.leakage == "drop":
            leaked[affected] = True
            fate = "removed (audit.leakage=drop)"
        others = [f" ≈ {one.where(int(theirs[close[place]]))}" for place in found[: config.examples]]
        message = f"prompts nearly equal a {one.split} prompt: {fate}{looked}"
        yield _finding("near_prompt", "warn", train, affected, message, config, others)
