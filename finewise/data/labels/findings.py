"""How findings about labelled rows are made and shown."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from finewise.data.labels.rows import Labelled
from finewise.data.report import Example, Finding, Severity, shorten

NAMED = 8
"""Classes that a message names."""


def finding(
    kind: str,
    severity: Severity,
    data: Labelled,
    rows: NDArray[np.int64],
    message: str,
    examples: int,
    partners: Sequence[str] = (),
) -> Finding:
    """Return a finding about rows.

    Args:
        kind: Its name.
        severity: How grave it is.
        data: The rows.
        rows: Those that it is about, of which the first are shown.
        message: What it is and what to do.
        examples: How many are shown.
        partners: What to show behind each of them.
    """
    shown = rows[:examples]
    ends = [*partners[: len(shown)], *[""] * (len(shown) - len(partners))]
    return Finding(
        kind=kind,
        severity=severity,
        split=data.split,
        count=len(rows),
        of=len(data),
        message=message,
        examples=tuple(
            Example(where=data.where(int(row)), text=f"[{shorten(data.shown(int(row)), 40)}] {shorten(text, 60)}{end}")
            for row, text, end in zip(shown, data.texts.at(shown), ends, strict=True)
        ),
    )


def named(names: Sequence[str], most: int = NAMED) -> str:
    """Return some of the names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def partner(data: Labelled, row: int, sign: str) -> str:
    """Return how another row is shown behind an example."""
    return f" {sign} {data.where(row)} [{shorten(data.shown(row), 40)}]"
