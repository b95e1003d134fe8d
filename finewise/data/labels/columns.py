"""Columns of labelled rows: which plays which role, and rows of a column that stays on the disk."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from finewise.config import LabelColumnsConfig
from finewise.data.arrow import TextColumn
from finewise.data.columns import headerless
from finewise.data.table import BATCH_ROWS, short
from finewise.errors import InputError
from finewise.names import nearest

T = TypeVar("T")

USUAL_TEXTS = (
    "sentence",
    "review",
    "content",
    "body",
    "message",
    "document",
    "question",
    "query",
    "description",
    "tweet",
)
USUAL_LABELS = ("class", "category", "target", "tags", "tag", "topic", "sentiment", "intent", "rating", "section", "y")


def label_roles(columns: Sequence[str], config: LabelColumnsConfig, name: str) -> tuple[str, list[str]]:
    """Return the column of texts and the column (or the one per label) of labels.

    Args:
        columns: The columns that the file has.
        config: The columns that the user named.
        name: What messages call the file.

    Raises:
        InputError: A column is not there, or is both.
    """
    if config.text not in columns:
        raise InputError(_missing(name, "text", [config.text], columns, USUAL_TEXTS))
    if config.labels:
        absent = [label for label in config.labels if label not in columns]
        if absent:
            guess = nearest(absent[0], columns)
            raise InputError(
                f"{name} has no column '{absent[0]}' that data.columns.labels names"
                f"{f'; did you mean {guess!r}?' if guess else ';'} it has: {', '.join(columns)}"
            )
        labels = list(config.labels)
    else:
        wanted = [config.label] if config.label is not None else ["label", "labels"]
        found = [label for label in wanted if label in columns]
        if not found:
            others = [column for column in columns if column != config.text]
            raise InputError(_missing(name, "label", wanted, others, USUAL_LABELS))
        labels = found[:1]
    for role, column in [("label", label) for label in labels] + [("group", config.group)]:
        if column == config.text and column is not None:
            raise InputError(
                f"{name}: column '{column}' is both text and {role}; name another (data.columns.{role}=...)"
            )
    if config.group is not None and config.group not in columns:
        raise InputError(_missing(name, "group", [config.group], columns, ("source", "user", "author", "id")))
    return config.text, labels


def _missing(name: str, role: str, wanted: Sequence[str], columns: Sequence[str], usual: Sequence[str]) -> str:
    lower = {column.lower(): column for column in columns}
    guess = nearest(wanted[0], columns) or next((lower[word] for word in usual if word in lower), None)
    named = "NAME" if guess is None else guess if re.fullmatch(r"[\w.\-]+", guess) else f"\"'{guess}'\""
    return (
        f"{name} has no column {' or '.join(repr(one) for one in wanted)}; it has: {', '.join(map(short, columns))}. "
        f"{headerless(columns)}Name yours: data.columns.{role}={named}"
    )


class Rows(Sequence[T], Generic[T]):
    """Some rows of a column on the disk, in any order, each made into a Python value when it is asked for."""

    def __init__(self, column: TextColumn, rows: NDArray[np.int64] | None, value: Callable[[str], T]) -> None:
        """Take rows of a column.

        Args:
            column: The column.
            rows: Which of its rows, in this order; None for all.
            value: Makes the text on the disk a value.
        """
        self._column, self._rows, self._value = column, rows, value

    def __len__(self) -> int:
        return len(self._column) if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, place: int) -> T: ...

    @overload
    def __getitem__(self, place: slice) -> list[T]: ...

    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            return self.at(np.arange(*place.indices(len(self))))
        number = range(len(self))[place]
        return self._value(self._column[number if self._rows is None else int(self._rows[number])])

    def __iter__(self) -> Iterator[T]:
        for batch in self.batches():
            yield from map(self._value, batch.to_pylist())

    def at(self, rows: NDArray[np.int64]) -> list[T]:
        """Return the values of some rows."""
        places = rows if self._rows is None else self._rows[rows]
        return [self._value(text) for text in self._column.take(places.astype(np.int64)).to_pylist()]

    def batches(self) -> Iterator[pa.Array]:
        """Yield what is on the disk, batch by batch."""
        for start in range(0, len(self), BATCH_ROWS):
            places = np.arange(start, min(start + BATCH_ROWS, len(self)))
            yield self._column.take(places if self._rows is None else self._rows[places])

    def select(self, rows: NDArray[np.int64]) -> "Rows[T]":
        """Return these rows, in this order."""
        return Rows(self._column, rows if self._rows is None else self._rows[rows], self._value)


def as_is(text: Any) -> Any:
    """Return a text itself."""
    return text
