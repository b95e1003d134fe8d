"""What the audit finds between training rows: rows left out, repeated, shared or contradicting texts."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from finewise.config import AuditConfig
from finewise.data.keys import text_keys
from finewise.data.pairs import Pairs
from finewise.data.report import Example, Finding, Severity, rows_shown


def reading(train: Pairs, config: AuditConfig) -> Iterator[Finding]:
    """Yield what reading left out."""
    notes = train.notes
    if notes.empty:
        count = sum(notes.empty.values())
        columns = ", ".join(f"{number} in '{role}'" for role, number in notes.empty.items())
        places = tuple(
            Example(where=f"{train.reference} {train.unit} {number}", text="(empty)")
            for number in notes.empty_at[: config.examples]
        )
        yield Finding(
            kind="empty_rows",
            severity="warn",
            split="train",
            count=count,
            of=notes.read,
            message=f"rows with an empty text were left out: {columns}",
            examples=places,
        )
    if notes.unused:
        yield Finding(
            kind="unused_columns",
            severity="note",
            split="train",
            count=len(notes.unused),
            of=len(notes.unused) + len(train.columns),
            message=f"columns of the file that are not used: {', '.join(notes.unused)}",
        )


def duplicates(train: Pairs, config: AuditConfig) -> Iterator[Finding]:
    """Yield rows that repeat or contradict others, up to case and white space."""

    def finding(
        kind: str, severity: Severity, rows: NDArray[np.int64], message: str, columns: Sequence[str]
    ) -> Finding:
        return Finding(
            kind=kind,
            severity=severity,
            split="train",
            count=len(rows),
            of=len(train),
            message=message,
            examples=rows_shown(train, rows[: config.examples], columns),
        )

    anchors, positives = train.anchor_keys, train.positive_keys
    both = anchors ^ (positives * np.uint64(0x9E3779B97F4A7C15))
    _, first = np.unique(both, return_index=True)
    again = np.setdiff1d(np.arange(len(train)), first, assume_unique=True)
    if len(again):
        yield finding(
            "duplicate_pairs", "warn", again, "rows repeat an earlier pair; remove them", ["anchor", "positive"]
        )
    distinct_anchors, distinct_positives = anchors[first], positives[first]
    for kind, mine, column, other in (
        ("shared_anchors", distinct_anchors, "anchor", "positives"),
        ("shared_positives", distinct_positives, "positive", "anchors"),
    ):
        values, counts = np.unique(mine, return_counts=True)
        shared = values[counts > 1]
        if len(shared):
            keys = anchors if column == "anchor" else positives
            rows = np.flatnonzero(np.isin(keys, shared))
            rows = rows[np.argsort(keys[rows], kind="stable")]
            yield finding(
                kind,
                "note",
                rows,
                f"rows share their {column} with other rows: {len(shared)} {column}s have several {other}; in one "
                "batch they "
                "are false negatives of each other unless the sampler or the loss keeps them apart",
                ["anchor", "positive"],
            )
        if len(values) < len(train) / 100 and len(train) >= 100:
            yield finding(
                f"few_{column}s",
                "warn",
                np.arange(min(len(train), config.examples)),
                f"only {len(values)} different {column}s in {len(train)} rows: are they labels? In-batch "
                "negatives would be wrong",
                [column],
            )
    same = np.flatnonzero(anchors == positives)
    if len(same):
        yield finding(
            "anchor_is_positive", "warn", same, "rows have equal anchor and positive: nothing to learn", ["anchor"]
        )
    for negative in train.negatives:
        keys = np.concatenate([text_keys(table.column(negative).to_pylist()) for _, table in train.batches([negative])])
        wrong = np.flatnonzero((keys == positives) | (keys == anchors))
        if len(wrong):
            message = f"rows have a {negative} equal to their positive or anchor: they teach the opposite; remove them"
            yield finding("negative_is_positive", "warn", wrong, message, ["anchor", negative])
    if "score" in train.columns and len(again):
        scores = train.scores()
        order = np.argsort(both, kind="stable")
        clash = (both[order][1:] == both[order][:-1]) & (scores[order][1:] != scores[order][:-1])
        rows = order[1:][clash]
        if len(rows):
            message = "rows repeat a pair with another score; keep one"
            yield finding("contradicting_scores", "warn", rows, message, ["anchor", "positive"])
