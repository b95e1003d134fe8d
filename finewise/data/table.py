"""What every file format gives: named columns in typed Arrow batches, with the line or row of each record."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Kind = Literal["text", "number", "label", "cell", "optional"]
"""What a column must hold: texts, finite numbers, names to group by, or anything, given as JSON (null where a row lacks it);
"optional": texts, null where a row lacks the column."""

Batch = tuple[dict[str, pa.Array], NDArray[np.int64]]
"""Columns of equal length, and the number (from 1) of the line or row that each record starts at."""

BATCH_ROWS = 10_000
TYPES = {
    "text": pa.string(),
    "number": pa.float64(),
    "label": pa.string(),
    "cell": pa.string(),
    "optional": pa.string(),
}


class Source(Protocol):
    """A table on its way in."""

    name: str
    unit: str
    rows: int | None

    def columns(self) -> list[str]:
        """Return the names of all columns seen so far; complete once `batches` is exhausted."""
        ...

    def batches(self, wanted: Mapping[str, Kind]) -> Iterator[Batch]:
        """Yield the wanted columns, batch by batch."""
        ...


def as_json(value: Any) -> str:
    """Return a value as JSON; what JSON does not know (dates, bytes), as its text."""
    return json.dumps(value, ensure_ascii=False, default=str)


def short(text: str, width: int = 80) -> str:
    """Return a text on one line, cut to `width` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def shown(cell: Any) -> str:
    """Return what a message says of a value, such as "the number 5"."""
    names = {dict: "an object", list: "a list", str: "the text", bool: "the truth value", type(None): "null"}
    kind = names.get(type(cell), "the number" if isinstance(cell, int | float) else type(cell).__name__)
    return kind if cell is None else f"{kind} {short(json.dumps(cell, ensure_ascii=False, default=str), 40)}"
