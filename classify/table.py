"""The rows of a file with all their columns, read and written a few thousand at a time."""

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from finewise.data.arrow import ParquetSource
from finewise.data.formats import extension, open_source
from finewise.data.hub import is_hub
from finewise.data.records import RecordSource
from finewise.data.sources import resolve
from finewise.data.table import shown
from finewise.errors import InputError
from finewise.names import nearest
from finewise.references import expanded

CHUNK_ROWS = 4096
CHUNK_CHARACTERS = 16_000_000
HALF = re.compile("[\ud800-\udfff]")
OUTPUTS = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some rows.

    Attributes:
        numbers: The line or row of each, from 1.
        texts: The text of each.
        records: All columns of each.
        batch: The same as Arrow has it, if the file is a parquet file.
    """

    numbers: list[int]
    texts: list[str]
    records: list[dict[str, Any]]
    batch: pa.RecordBatch | None = None


class Texts:
    """A file of texts.

    Args:
        reference: The file.
        column: Which column holds the text.

    Raises:
        InputError: There is no such file or column.
    """

    def __init__(self, reference: str, column: str) -> None:
        if is_hub(reference):
            raise InputError(f"data={reference}: must be a file; download the data set first (hf download)")
        path = resolve(reference)
        if path.is_dir():
            raise InputError(f"data={reference} is a folder; give the file in it")
        source = open_source(path, reference)
        assert isinstance(source, RecordSource | ParquetSource)
        self.path, self.name, self.column, self._source = path, reference, column, source
        self.unit = source.unit
        self.require(column, "text")

    @property
    def schema(self) -> pa.Schema | None:
        """The types of the columns, if the file says them."""
        return self._source.schema if isinstance(self._source, ParquetSource) else None

    def columns(self) -> list[str]:
        """Return the names of all columns; complete once the chunks are exhausted."""
        return self._source.columns()

    def require(self, column: str, key: str) -> None:
        """Refuse a column that the file does not have.

        Args:
            column: Its name.
            key: The setting that names it.

        Raises:
            InputError: With the nearest name.
        """
        known = self.columns()
        if column not in known:
            guess = nearest(column, known)
            hint = f"set {key}={guess}" if guess else f"name yours: {key}=NAME"
            raise InputError(f"{self.name} has no column '{column}'; it has: {', '.join(known)}; {hint}")

    def chunks(self) -> Iterator[Chunk]:
        """Yield all rows. A text that is missing is empty, as it is in a CSV file.

        Raises:
            InputError: A text is a number, a list or another thing.
        """
        if isinstance(self._source, ParquetSource):
            yield from self._batches(self._source)
            return
        numbers: list[int] = []
        texts: list[str] = []
        records: list[dict[str, Any]] = []
        characters = 0
        for number, record in self._source.records():
            if self.column not in record:
                raise InputError(f"{self.name}: {self.unit} {number} has no '{self.column}'; every row must have it")
            text = self._text(record[self.column], number)
            numbers.append(number)
            texts.append(text)
            records.append(dict(record))
            characters += len(text)
            if len(records) >= CHUNK_ROWS or characters >= CHUNK_CHARACTERS:
                yield Chunk(numbers=numbers, texts=texts, records=records)
                numbers, texts, records, characters = [], [], [], 0
        if records:
            yield Chunk(numbers=numbers, texts=texts, records=records)

    def _batches(self, source: ParquetSource) -> Iterator[Chunk]:
        start = 1
        for table in source.tables(source.columns()):
            for low in range(0, table.num_rows, CHUNK_ROWS):
                batch = table.slice(low, CHUNK_ROWS)
                numbers = list(range(start, start + batch.num_rows))
                start += batch.num_rows
                records = batch.to_pylist()
                texts = [self._text(row[self.column], number) for row, number in zip(records, numbers, strict=True)]
                yield Chunk(numbers=numbers, texts=texts, records=records, batch=batch)

    def _text(self, cell: Any, number: int) -> str:
        if cell is None or isinstance(cell, str):
            return cell or ""
        raise InputError(f"{self.name}: {self.unit} {number}: '{self.column}' must be a text; got {shown(cell)}")

    def check_writable(self, chunk: Chunk, path: Path) -> None:
        """Refuse characters that the file to be written cannot hold, or that could not be read back from it.

        Raises:
            InputError: A text holds half of a surrogate pair, or, for a CSV file, a NUL byte.
        """
        nul = "\0" if extension(path) in (".csv", ".tsv") else None
        for number, record in zip(chunk.numbers, chunk.records, strict=True):
            for column, cell in record.items():
                if not isinstance(cell, str):
                    continue
                if nul is not None and nul in cell:
                    found, fix = "a NUL byte", "repair the text, or write a .jsonl file"
                elif not cell.isascii() and HALF.search(cell):
                    found, fix = "half of a surrogate pair", "repair the text"
                else:
                    continue
                raise InputError(
                    f"{self.name}: {self.unit} {number}: '{column}' holds {found}, which {path.name} cannot; {fix}"
                )


Writer = Callable[[Chunk, Mapping[str, Sequence[Any]]], None]
"""Takes rows and their new columns."""


def check_output(output: str, data: Path) -> Path:
    """Return where to write.

    Raises:
        InputError: The extension is unknown, the folder is not there, or it is the file that is read.
    """
    path = expanded(output)
    if extension(path) not in OUTPUTS:
        raise InputError(f"output={output}: unknown kind of file; known: {', '.join(OUTPUTS)}")
    if not path.parent.is_dir():
        raise InputError(f"output={output}: there is no folder {path.parent}")
    if path.exists() and path.samefile(data):
        raise InputError(f"output={output} is the file that is read; name another")
    return path


def check_delimiter(path: Path, delimiter: str, names: Sequence[str]) -> None:
    """Refuse a delimiter that would cut a name in two when lists of names are read back from a CSV file.

    Raises:
        InputError: A name holds it.
    """
    torn = [name for name in names if delimiter in name]
    if torn and extension(path) in (".csv", ".tsv"):
        raise InputError(
            f"delimiter={delimiter}: the label '{torn[0]}' holds it, so a list of labels in {path.name} could not be "
            "read back; set another delimiter, or write a .jsonl file"
        )


@contextmanager
def written(
    path: Path, columns: Sequence[str], new: Mapping[str, pa.DataType], source: Texts, delimiter: str
) -> Iterator[Writer]:
    """Open a file for rows. It appears under its name when it is whole, and not at all when something fails.

    Args:
        path: Where; the extension says how.
        columns: Columns of the rows as they were read.
        new: New columns and their types, behind the others.
        source: Where the rows come from.
        delimiter: Between the items of a list in one cell of a CSV file.
    """
    part = path.with_name(path.name + ".part")
    kind = extension(path)
    opened = _parquet if kind == ".parquet" else _json_lines if kind in (".jsonl", ".ndjson") else _delimited
    try:
        with opened(part, columns, new, source, delimiter) as writer:
            yield writer
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _json_lines(
    part: Path, columns: Sequence[str], new: Mapping[str, pa.DataType], source: Texts, delimiter: str
) -> Iterator[Writer]:
    with part.open("w", encoding="utf-8") as file:

        def write(chunk: Chunk, added: Mapping[str, Sequence[Any]]) -> None:
            for place, record in enumerate(chunk.records):
                row = record | {name: values[place] for name, values in added.items()}
                file.write(json.dumps(_finite(row), ensure_ascii=False, default=str) + "\n")

        yield write


@contextmanager
def _delimited(
    part: Path, columns: Sequence[str], new: Mapping[str, pa.DataType], source: Texts, delimiter: str
) -> Iterator[Writer]:
    separator = "\t" if ".tsv" in part.name else ","
    with part.open("w", encoding="utf-8", newline="") as file:
        plain = csv.writer(file, delimiter=separator, lineterminator="\n")
        quoted = csv.writer(file, delimiter=separator, lineterminator="\n", quoting=csv.QUOTE_ALL)

        def write_row(cells: list[Any]) -> None:
            # The writer leaves a lone carriage return unquoted, and readers end the row there.
            has_return = any(isinstance(cell, str) and "\r" in cell for cell in cells)
            (quoted if has_return else plain).writerow(cells)

        write_row([*columns, *new])

        def write(chunk: Chunk, added: Mapping[str, Sequence[Any]]) -> None:
            for place, record in enumerate(chunk.records):
                cells = [_cell(record.get(column)) for column in columns]
                values = [added[name][place] for name in new]
                cells += [
                    delimiter.join(map(str, value)) if isinstance(value, list) else _cell(value) for value in values
                ]
                write_row(cells)

        yield write


@contextmanager
def _parquet(
    part: Path, columns: Sequence[str], new: Mapping[str, pa.DataType], source: Texts, delimiter: str
) -> Iterator[Writer]:
    writer: pq.ParquetWriter | None = None
    schema = source.schema

    def write(chunk: Chunk, added: Mapping[str, Sequence[Any]]) -> None:
        nonlocal writer, schema
        try:
            if chunk.batch is not None:
                table = pa.Table.from_batches([chunk.batch])
            elif schema is None:
                table = pa.table({name: [row.get(name) for row in chunk.records] for name in columns})
                # A column that is empty so far is taken for one of texts.
                schema = pa.schema(
                    [field.with_type(pa.string()) if pa.types.is_null(field.type) else field for field in table.schema]
                )
                table = table.cast(schema)
            else:
                table = pa.table({name: [row.get(name) for row in chunk.records] for name in columns}, schema=schema)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InputError(
                f"{source.name}: {source.unit}s {chunk.numbers[0]} to {chunk.numbers[-1]}: a column holds values of another "
                f"type than before, which a parquet file cannot ({error}); write a .jsonl file"
            ) from None
        for name, kind in new.items():
            table = table.append_column(name, pa.array(added[name], kind))
        if writer is None:
            writer = pq.ParquetWriter(part, table.schema, compression="zstd")
        writer.write_table(table)

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()


def _finite(value: Any) -> Any:
    """Return a value in which numbers that JSON does not have are null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list) else value


def _cell(value: Any) -> Any:
    """Return what a CSV cell holds: texts and numbers as they are, truth values and structures as JSON."""
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return "" if value is None else value
