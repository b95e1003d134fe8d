"""Labelled rows: texts with their classes as numbers."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finewise.data.keys import Keys, combine
from finewise.data.labels.columns import Rows
from finewise.data.labels.space import LabelSpace


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labelled:
    """N texts with labels of K classes.

    Attributes:
        name: What tables call the data.
        split: "train", "dev" or "test".
        reference: What the user named.
        unit: "line", "row" or "item": what `numbers` count.
        numbers: (N,) where each row starts in the file, from 1.
        texts: The texts, on the disk.
        labels: (N,) int64 class numbers; for multi-label data (N, K) bool.
        space: The classes.
        groups: (N,) int64, equal for rows that must stay in one split; None without a group column.
        columns: The other columns of the file, on the disk.
        keys: (N,) content keys of the texts, see finewise.data.keys.
        revision: sha256 of texts, labels and classes.
    """

    name: str
    split: str
    reference: str
    unit: str
    numbers: NDArray[np.int64]
    texts: Rows[str]
    labels: NDArray[Any]
    space: LabelSpace
    groups: NDArray[np.int64] | None
    columns: Mapping[str, Sequence[Any]]
    keys: Keys
    revision: str

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(K,) how many rows each class has."""
        if self.labels.ndim == 2:
            return np.asarray(self.labels.sum(axis=0), dtype=np.int64)
        return np.bincount(self.labels, minlength=len(self.space)).astype(np.int64)

    def where(self, row: int) -> str:
        """Return where a row stands in the user's file, such as "reviews.csv line 731"."""
        return f"{self.reference} {self.unit} {self.numbers[row]}"

    def shown(self, row: int) -> str:
        """Return a row's labels as people read them."""
        if self.labels.ndim == 2:
            return ", ".join(self.space.names[k] for k in np.flatnonzero(self.labels[row])) or "(none)"
        name: str = self.space.names[self.labels[row]]
        return name

    def label_keys(self) -> Keys:
        """Return (N,) a number per row that is equal for equal labels."""
        if self.labels.ndim == 1:
            return self.labels.astype(np.uint64)
        weights = np.random.default_rng(0).integers(2**63, size=(self.labels.shape[1],)).astype(np.uint64)
        keys = np.zeros(len(self), dtype=np.uint64)
        for place, weight in enumerate(weights):  # a sum of random 64-bit weights is a hash of the set
            keys[self.labels[:, place]] += weight
        return keys

    def select(self, rows: NDArray[np.int64]) -> "Labelled":
        """Return these rows, in this order."""
        rows = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            numbers=self.numbers[rows],
            texts=self.texts.select(rows),
            labels=self.labels[rows],
            groups=None if self.groups is None else self.groups[rows],
            columns={name: _taken(column, rows) for name, column in self.columns.items()},
            keys=self.keys[rows],
            revision=combine(self.revision, hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()),
        )


def _taken(column: Sequence[Any], rows: NDArray[np.int64]) -> Sequence[Any]:
    return column.select(rows) if isinstance(column, Rows) else [column[int(row)] for row in rows]
