"""Labelled files in the cache: texts and other columns memory-mapped, the label cells as numbers of the different ones."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from finewise.config import LabelColumnsConfig
from finewise.console import progress
from finewise.data.arrow import ArrowSource, TextColumn
from finewise.data.keys import ColumnDigest, Keys, combine, text_keys
from finewise.data.labels.columns import label_roles
from finewise.data.opening import open_reference
from finewise.data.records import RecordSource
from finewise.data.sources import builtin
from finewise.data.store import entry
from finewise.data.table import Kind, Source
from finewise.errors import InputError

VERSION = 3
"""Raise it when reading or the content keys change: old cache entries are then not found."""

EXAMPLES = 10
ROWS = "rows.arrow"
NUMBER = r"^\s*[-+]?\d+([.,]\d+)?\s*$"
ON, OFF = (
    ("1", "1.0", "true", '"1"', '"1.0"', '"true"', '"True"'),
    ("0", "0.0", "false", '"0"', '"0.0"', '"false"', '"False"'),
)
"""What a column per label may hold, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stored:
    """A labelled file.

    Attributes:
        reference: What messages call it.
        unit: "line", "row" or "item": what `numbers` count.
        label: The label column; of a column per label, their names.
        numbers: (N,) where each row starts in the file, from 1.
        texts: The texts.
        keys: (N,) their content keys, see finewise.data.keys.
        cells: The different label cells, as JSON.
        codes: (N,) the number of each row's cell.
        names: The names behind class numbers, if the source knows them.
        others: The other columns, as JSON.
        group: Which of them says what must stay in one split.
        read: Rows in the file.
        empty_at: Line or row numbers of the first rows that were left out because their text is empty.
        unused: Columns that were left out because they hold lists, objects or bytes.
        spare: Columns that are kept with the rows and play no role.
        remarks: What reading found that may be a mistake.
        digest: sha256 of texts and cells.
    """

    reference: str
    unit: str
    label: str
    numbers: NDArray[np.int64]
    texts: TextColumn
    keys: Keys
    cells: tuple[str, ...]
    codes: NDArray[np.int32]
    names: list[str] | None
    others: Mapping[str, TextColumn]
    group: str | None
    read: int
    empty_at: tuple[int, ...]
    unused: tuple[str, ...]
    spare: tuple[str, ...]
    remarks: tuple[str, ...]
    digest: str

    def where(self, row: int) -> str:
        """Return where a row stands in the user's file, such as "reviews.csv line 731"."""
        return f"{self.reference} {self.unit} {self.numbers[row]}"

    def first(self, code: int) -> str:
        """Return where the first row with a cell stands."""
        return self.where(int(np.argmax(self.codes == code)))


def read_stored(reference: str, columns: LabelColumnsConfig, *, split: str = "train") -> Stored:
    """Read a labelled file into the cache, if it is not there yet, and open it.

    Args:
        reference: See finewise.data.sources; of a folder with train, dev and test files, `split` says which.
        columns: Which columns hold what.
        split: See above; also of a hub data set.

    Raises:
        InputError: Whatever is wrong with the data, in one line.
    """
    source, content = open_reference(reference, split)
    text, labels = label_roles(source.columns(), columns, source.name)
    group = columns.group
    if group is None and reference in builtin(labelled=True) and "source" in source.columns():
        group = "source"
    others = [column for column in source.columns() if column not in (text, *labels)]
    plain = [column for column in others if not isinstance(source, ArrowSource) or source.is_plain(column)]
    if group is not None and group not in plain:
        raise InputError(f"{source.name}: column '{group}' (data.columns.group) must hold single values")
    names = source.class_names(labels[0]) if isinstance(source, ArrowSource) and not columns.labels else None
    roles = {"text": text, "labels": labels, "each": bool(columns.labels), "others": plain}
    key = combine("labels", VERSION, content, json.dumps(roles), source.unit)
    folder, about = entry(key, lambda part: _convert(part, source, text, labels, bool(columns.labels), plain))
    return Stored(
        reference=source.name,
        unit=source.unit,
        label=", ".join(labels),
        numbers=np.fromfile(folder / "numbers.i8", dtype=np.int64),
        texts=TextColumn.of(folder / ROWS, "text"),
        keys=np.fromfile(folder / "keys.u8", dtype=np.uint64),
        cells=tuple(json.loads((folder / "cells.json").read_text(encoding="utf-8"))),
        codes=np.fromfile(folder / "codes.i4", dtype=np.int32),
        names=names,
        others={column: TextColumn.of(folder / ROWS, str(number)) for number, column in enumerate(plain)},
        group=group,
        read=about["read"],
        empty_at=tuple(about["empty_at"]),
        unused=tuple(column for column in others if column not in plain),
        spare=tuple(column for column in plain if column != group),
        remarks=tuple(about["remarks"]),
        digest=combine(about["digest"], json.dumps(names)),
    )


def _convert(
    folder: Path, source: Source, text: str, labels: list[str], each: bool, others: list[str]
) -> dict[str, Any]:
    schema = pa.schema([("text", pa.string()), *((str(number), pa.string()) for number in range(len(others)))])
    wanted: dict[str, Kind] = {text: "text"}
    for column in (*labels, *others):
        wanted[column] = "cell"
    known: dict[str, int] = {}
    digests = ColumnDigest(), ColumnDigest()
    empty_at: list[int] = []
    seen = kept = numeric = 0
    with (
        pa.OSFile(str(folder / ROWS), "wb") as sink,
        pa.ipc.new_stream(sink, schema) as writer,
        (folder / "numbers.i8").open("wb") as numbers_file,
        (folder / "keys.u8").open("wb") as keys_file,
        (folder / "codes.i4").open("wb") as codes_file,
        progress(f"read {source.name}", source.rows) as advance,
    ):
        for columns, numbers in source.batches(wanted):
            advance(len(numbers))
            seen += len(numbers)
            lengths = pc.fill_null(pc.utf8_length(pc.utf8_trim_whitespace(columns[text])), 0)
            keep = np.asarray(pc.greater(lengths, 0))
            if not keep.all():
                empty_at += numbers[~keep][: EXAMPLES - len(empty_at)].tolist()
                columns = {name: column.filter(pa.array(keep)) for name, column in columns.items()}
                numbers = numbers[keep]
            kept += len(numbers)
            numeric += pc.sum(pc.match_substring_regex(columns[text], NUMBER)).as_py() or 0
            cells = _joined(columns, labels, numbers, source) if each else columns[labels[0]]
            _coded(cells, known).tofile(codes_file)
            writer.write_batch(pa.record_batch([columns[name] for name in (text, *others)], schema=schema))
            digests[0].update(columns[text])
            digests[1].update(cells)
            numbers.tofile(numbers_file)
            text_keys(columns[text].to_pylist()).tofile(keys_file)
    if seen == 0:
        raise InputError(f"{source.name} has no rows")
    if seen - kept > kept:
        raise InputError(
            f"{source.name}: {seen - kept} of {seen} rows have an empty text (first: {source.unit} {empty_at[0]}); is "
            f"'{text}' the right column? Name it with data.columns.text, or remove these rows"
        )
    if numeric == kept:
        raise InputError(
            f"{source.name}: all {kept} texts are numbers, so '{text}' is no column of texts; name it with data.columns.text"
        )
    (folder / "cells.json").write_text(json.dumps(list(known), ensure_ascii=False), encoding="utf-8")
    return {
        "read": seen,
        "empty_at": empty_at,
        "remarks": [
            *(source.remarks() if isinstance(source, RecordSource) else []),
            *_late(source, [text, *labels, *others]),
        ],
        "digest": combine(*(digest.hexdigest() for digest in digests)),
    }


def _late(source: Source, known: list[str]) -> list[str]:
    found = [column for column in source.columns() if column not in known] if isinstance(source, RecordSource) else []
    return [f"{source.name}: columns that only later rows have are not kept: {', '.join(found)}"] if found else []


def _joined(columns: Mapping[str, pa.Array], labels: list[str], numbers: NDArray[np.int64], source: Source) -> pa.Array:
    """Return a column per label as one column of lists of names, in JSON."""
    table = np.zeros((len(numbers), len(labels)), dtype=bool)
    for place, label in enumerate(labels):
        table[:, place] = pc.is_in(columns[label], pa.array(ON))
        wrong = ~table[:, place] & ~np.asarray(pc.is_in(columns[label], pa.array(OFF)))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(
                f"{source.name}: {source.unit} {numbers[row]}: '{label}' must be 0 or 1, because data.columns.labels "
                f"names it; got {columns[label][row].as_py()}"
            )
    different, code = np.unique(table, axis=0, return_inverse=True)
    lists = [json.dumps([labels[place] for place in np.flatnonzero(row)], ensure_ascii=False) for row in different]
    return pa.array(lists, pa.string()).take(pa.array(code.reshape(-1)))


def _coded(cells: pa.Array, known: dict[str, int]) -> NDArray[np.int32]:
    """Return the number of each cell; new ones get the next."""
    coded = cells.dictionary_encode()
    numbers = [known.setdefault(cell, len(known)) for cell in coded.dictionary.to_pylist()]
    codes: NDArray[np.int32] = np.array(numbers, dtype=np.int32)[np.asarray(coded.indices)]
    return codes
