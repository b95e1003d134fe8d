"""What the audit finds in documents: equal ones, and training documents that are held out as well, exactly or nearly.

A leak, which refuses by default, is a training document that equals one of dev or test, up to case and white space. Near
duplicates are estimates: a warning, and audit.leakage=drop removes them too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from finewise.config import AuditConfig
from finewise.console import progress
from finewise.data.documents import Documents
from finewise.data.keys import Keys, combine, text_keys
from finewise.data.near import matches, sketch
from finewise.data.report import AuditReport, Example, Finding, Severity, gravest_first, sampled, shorten

Rows = NDArray[np.int64]

FATES: dict[str, tuple[Severity, str]] = {
    "refuse": ("refuse", "audit.leakage=drop removes them, =allow keeps them"),
    "drop": ("warn", "removed (audit.leakage=drop)"),
    "allow": ("warn", "kept (audit.leakage=allow): scores are too good"),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Some of the documents of a file.

    Attributes:
        documents: The file.
        split: "train", "dev" or "test".
        chosen: (n,) which; ascending.
    """

    documents: Documents
    split: str
    chosen: Rows

    @classmethod
    def of(cls, documents: Documents, split: str, chosen: Rows | None = None) -> Self:
        """Return some documents of a file, or all."""
        return cls(documents=documents, split=split, chosen=np.arange(len(documents)) if chosen is None else chosen)

    def __len__(self) -> int:
        return len(self.chosen)

    def select(self, rows: Rows) -> "Part":
        """Return some of them."""
        return Part(documents=self.documents, split=self.split, chosen=self.chosen[rows])

    def without(self, rows: Rows) -> "Part":
        """Return the others."""
        return self.select(np.setdiff1d(np.arange(len(self)), rows))

    def as_documents(self) -> Documents:
        """Return them as documents of their own."""
        all_of, rows = self.documents, self.chosen.tolist()
        return replace(
            all_of,
            numbers=all_of.numbers[self.chosen],
            texts=[all_of.texts[row] for row in rows],
            names=[all_of.names[row] for row in rows],
        )

    def texts(self) -> Iterator[str]:
        """Give the texts, in order."""
        for row in self.chosen.tolist():
            yield self.documents.texts[row]

    @cached_property
    def keys(self) -> Keys:
        """What equal texts share, up to case and white space, (n,)."""
        return text_keys(self.texts())

    @property
    def revision(self) -> str:
        """The sha256 of the texts."""
        return combine(self.documents.revision, self.chosen.tobytes().hex())

    def example(self, row: int) -> Example:
        """Return where a document stands, and how it begins."""
        place = int(self.chosen[row])
        return Example(where=self.documents.where(place), text=shorten(self.documents.texts[place][:200], 60))


def audit_documents(train: Part, held: Sequence[Part], config: AuditConfig, seed: int) -> AuditReport:
    """Look for repeated and leaked documents.

    Args:
        train: The training documents.
        held: Dev and test.
        config: What a leak leads to, and whether near duplicates are looked for.
        seed: Draws the documents that are compared for near duplicates where there are very many.
    """
    findings: list[Finding] = []
    leaked = np.zeros(len(train), dtype=np.bool_)
    severity, fate = FATES[config.leakage]
    for part in (train, *held):
        _, first, code = np.unique(part.keys, return_index=True, return_inverse=True)
        again = np.flatnonzero(first[code] != np.arange(len(part)))
        if len(again):
            findings.append(
                _finding("duplicate_documents", "warn", part, again, "documents repeat an earlier one", config)
            )
    for part in held:
        rows = np.flatnonzero(np.isin(train.keys, part.keys))
        if len(rows):
            leaked[rows] = True
            message = f"documents are in {part.split}: {fate}"
            findings.append(_finding("leaked_document", severity, train, rows, message, config))
    if len(held) == 2 and len(rows := np.flatnonzero(np.isin(held[0].keys, held[1].keys))):
        message = "dev documents are test documents too: the checkpoint is chosen on the test; give them different ones"
        findings.append(_finding("dev_is_test", "warn", held[0], rows, message, config))
    if config.near_duplicates:
        findings += _near(train, held, config, seed, leaked)
    return AuditReport(
        rows={part.split: len(part) for part in (train, *held)},
        findings=gravest_first(findings),
        leakage=config.leakage,
        leaked=np.flatnonzero(leaked),
        unit="documents",
    )


def _near(
    train: Part, held: Sequence[Part], config: AuditConfig, seed: int, leaked: NDArray[np.bool_]
) -> Iterator[Finding]:
    """Compare by MinHash; marks in `leaked` what audit.leakage=drop removes."""
    rows = sampled(np.arange(len(train)), config.max_rows, seed)
    looked = f" (looked at {len(rows):,} of {len(train):,})" if len(rows) < len(train) else ""
    with progress("near duplicates", len(rows)) as advance:
        mine = sketch(train.select(rows).texts(), advance)
    for part in held:
        theirs = part.select(sampled(np.arange(len(part)), config.max_rows, seed))
        close = matches(mine, sketch(theirs.texts()), config.near_duplicate_threshold) >= 0
        close &= ~np.isin(train.keys[rows], part.keys)  # equal ones are told elsewhere
        if close.any():
            fate = "audit.leakage=drop removes them"
            if config.leakage == "drop":
                leaked[rows[close]] = True
                fate = "removed (audit.leakage=drop)"
            message = f"documents nearly equal one of {part.split}: {fate}{looked}"
            yield _finding("near_document", "warn", train, rows[close], message, config)


def _finding(kind: str, severity: Severity, part: Part, rows: Rows, message: str, config: AuditConfig) -> Finding:
    return Finding(
        kind=kind,
        severity=severity,
        split=part.split,
        count=len(rows),
        of=len(part),
        message=message,
        examples=tuple(part.example(int(row)) for row in rows[: config.examples]),
    )
