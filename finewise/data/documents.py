"""Files of documents: one column of texts, whole, memory-mapped. What language models train on and are read with."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from finewise.console import progress
from finewise.data.arrow import ArrowSource, TextColumn
from finewise.data.formats import EXTENSIONS
from finewise.data.hub import is_hub
from finewise.data.keys import ColumnDigest, combine
from finewise.data.opening import open_reference
from finewise.data.sources import exists, is_labelled, labelled_file, resolve
from finewise.data.store import entry
from finewise.data.table import Kind, Source
from finewise.errors import InputError
from finewise.names import nearest

VERSION = 1
"""Raise it when reading changes: old cache entries are then not found."""

ROWS = "rows.arrow"
TEXT = " text"  # no other column of ours is called so
NAMES = ("id", "_id", "title", "name")
"""Columns that name a document, the best first; the first that is there and names each document differently is taken."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Documents:
    """Documents as the user gave them, in the order of the file.

    Attributes:
        reference: What messages call the file.
        unit: "line", "row" or "item": what `numbers` count.
        numbers: (N,) where each document starts in the file, from 1.
        texts: (N,) the documents; none is empty.
        names: (N,) a different one for each: the file's own (see NAMES), else its place, such as "line 7".
        revision: sha256 of the texts.
    """

    reference: str
    unit: str
    numbers: NDArray[np.int64]
    texts: Sequence[str]
    names: Sequence[str]
    revision: str

    def __len__(self) -> int:
        return len(self.numbers)

    def where(self, row: int) -> str:
        """Return where a document stands in the user's file, such as "novels.jsonl line 7"."""
        return f"{self.reference} {self.unit} {self.numbers[row]}"


def check_documents(reference: str, split: str = "train") -> None:
    """Check, in milliseconds and without the network, that a file of documents is there.

    Args:
        reference: See `read_documents`.
        split: See `read_documents`.

    Raises:
        InputError: It is not, is empty or of an unknown kind, or the folder has no file for this split.
    """
    if is_hub(reference) or not resolve(reference).is_dir():
        exists(reference)
        return
    if not is_labelled(reference):
        raise InputError(
            f"{reference} is a folder without train, dev or test file ({', '.join(EXTENSIONS)}); name the file that holds "
            "the documents"
        )
    labelled_file(reference, split)


def read_documents(reference: str, column: str, split: str = "train") -> Documents:
    """Read a file of documents into the cache, if it is not there yet, and map it into memory.

    Args:
        reference: A file of any format of finewise.data.formats, a folder or built-in set with a file for each of train, dev
            and test, `package:MODULE/PATH` or `hub:NAME`.
        column: The column with the texts.
        split: Which file of a folder, or split of a hub data set; a file has no choice.

    Raises:
        InputError: No such file or column, or a document that is empty or no text, in one line that names its place.
    """
    if not is_hub(reference):
        check_documents(reference, split)
    source, content = open_reference(reference, split)
    _check_column(source, column)
    key = combine("documents", VERSION, content, column, source.unit)
    folder, about = entry(key, lambda part: _convert(part, source, column))
    numbers: NDArray[np.int64] = np.fromfile(folder / "numbers.i8", dtype=np.int64)
    names: Sequence[str] = (
        [f"{source.unit} {number}" for number in numbers]
        if about["name"] is None
        else TextColumn.of(folder / ROWS, about["name"])
    )
    return Documents(
        reference=source.name,
        unit=source.unit,
        numbers=numbers,
        texts=TextColumn.of(folder / ROWS, TEXT),
        names=names,
        revision=about["digest"],
    )


def _check_column(source: Source, column: str) -> None:
    have = source.columns()
    if column not in have:
        guess = nearest(column, have)
        raise InputError(
            f"{source.name} has no column '{column}'{f'; did you mean {guess!r}?' if guess else ';'} it has: "
            f"{', '.join(have)}"
        )


def _convert(folder: Path, source: Source, column: str) -> dict[str, Any]:
    have = [name for name in NAMES if name in source.columns() and name != column]
    if isinstance(source, ArrowSource):
        have = [name for name in have if source.is_plain(name)]
    wanted: dict[str, Kind] = {column: "text"}
    for name in have:
        wanted[name] = "cell"
    fields = [TEXT, *have]
    digest = ColumnDigest()
    seen: dict[str, set[str]] = {name: set() for name in have}
    count = 0
    with (
        pa.OSFile(str(folder / ROWS), "wb") as sink,
        pa.ipc.new_stream(sink, pa.schema([(field, pa.string()) for field in fields])) as writer,
        (folder / "numbers.i8").open("wb") as numbers_file,
        progress(f"read {source.name}", source.rows) as advance,
    ):
        for columns, numbers in source.batches(wanted):
            advance(len(numbers))
            count += len(numbers)
            _check_filled(source, column, columns[column], numbers)
            cells = {name: [_name(cell) for cell in columns[name].to_pylist()] for name in have}
            for name, found in cells.items():
                seen[name].update(filter(None, found))
            arrays = [columns[column], *(pa.array(found, pa.string()) for found in cells.values())]
            writer.write_batch(pa.record_batch(arrays, names=fields))
            digest.update(columns[column])
            numbers.tofile(numbers_file)
    if count == 0:
        raise InputError(f"{source.name} has no rows")
    return {"name": next((name for name in have if len(seen[name]) == count), None), "digest": digest.hexdigest()}


def _check_filled(source: Source, column: str, texts: pa.Array, numbers: NDArray[np.int64]) -> None:
    lengths = pc.fill_null(pc.utf8_length(pc.utf8_trim_whitespace(texts)), 0)
    blank = np.flatnonzero(np.asarray(lengths) == 0)
    if len(blank):
        raise InputError(
            f"{source.name}: {source.unit} {numbers[blank[0]]}: '{column}' is empty; remove the row, or name the column with "
            "the documents"
        )


def _name(cell: str) -> str:
    """Return a cell, given as JSON, as a name; "" where it says nothing."""
    value = json.loads(cell)
    return "" if value is None else value if isinstance(value, str) else cell
