"""File formats: each reader names its columns and yields Arrow batches with the line or row that every record came from.

A reader never holds more than one batch. What it cannot read it refuses with one line that says where.
"""

import csv
import gzip
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from finewise.errors import InputError

Kind = Literal["text", "number", "label"]
"""What a column must hold: texts, finite numbers, or names to group by."""

Batch = tuple[dict[str, pa.Array], NDArray[np.int64]]
"""Columns of equal length, and the number (from 1) of the line or row that each record starts at."""

EXTENSIONS = (".jsonl", ".jsonl.gz", ".ndjson", ".json", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
BATCH_ROWS = 10_000
BATCH_CHARACTERS = 32_000_000
JSON_ARRAY_BYTES = 1_000_000_000
TYPES = {"text": pa.string(), "number": pa.float64(), "label": pa.string()}


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


def extension(path: Path) -> str | None:
    """Return the known extension of a file name, such as ".jsonl.gz", or None."""
    lower = path.name.lower()
    return max((known for known in EXTENSIONS if lower.endswith(known)), key=len, default=None)


def open_source(path: Path, name: str) -> Source:
    """Open a file by its extension.

    Args:
        path: The file.
        name: What messages call it.

    Raises:
        InputError: The file is empty, of an unknown extension, or not what its extension says.
    """
    kind = extension(path)
    if kind is None:
        raise InputError(f"{name}: unknown kind of file '{path.suffix or path.name}'; known: {', '.join(EXTENSIONS)}")
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{name} is empty (0 bytes); give a file with rows")
        if kind == ".parquet":
            return ParquetSource(path, name)
        if kind.startswith((".csv", ".tsv")):
            return DelimitedSource(path, name, "," if kind.startswith(".csv") else "\t")
        if kind == ".json" and _first_byte(path) == b"[":
            return JsonArraySource(path, name)
        return JsonLinesSource(path, name)
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error})") from None


def _first_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]


def decoded_lines(path: Path, name: str) -> Iterator[str]:
    """Yield the lines of a UTF-8 file (gzip-compressed if it ends in .gz), with their line ends, without a byte order mark."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    number = 0
    try:
        with opener(path, "rb") as file:
            for number, raw in enumerate(file, 1):
                if number == 1:
                    raw = _checked_start(raw, name)
                try:
                    line = raw.decode("utf-8")
                except UnicodeDecodeError as error:
                    byte = raw[error.start]
                    raise InputError(
                        f"{name}: line {number} is not UTF-8 (byte 0x{byte:02x} at position {error.start + 1}); if the file is "
                        f"Latin-1, convert it: iconv -f latin1 -t utf-8 {path.name} > utf8_{path.name}"
                    ) from None
                if "\0" in line:
                    raise InputError(
                        f"{name}: line {number} holds a NUL byte; the file is binary or damaged: remove it (tr -d '\\000')"
                    )
                yield line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{name}: the gzip data is damaged after line {number} ({error}); copy the file again"
        ) from None


def _checked_start(raw: bytes, name: str) -> bytes:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or (len(raw) > 3 and raw[1:4:2] == b"\0\0"):
        raise InputError(f"{name} is UTF-16, not UTF-8; convert it: iconv -f utf-16 -t utf-8")
    if raw.startswith(b"PAR1"):
        raise InputError(f"{name} is a parquet file; give it the extension .parquet")
    if raw.startswith((b"\x1f\x8b", b"PK\x03\x04")):
        raise InputError(f"{name} is a compressed file; unpack it, or give a .gz file the extension .gz")
    return raw.removeprefix(b"\xef\xbb\xbf")


class _RecordSource:
    """What the text formats share: records of Python values become typed Arrow batches."""

    unit = "line"

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.rows: int | None = None
        self.first_seen: dict[str, int] = {}

    def columns(self) -> list[str]:
        return list(self.first_seen)

    def records(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield the number of the line and the record; keep `first_seen` complete."""
        raise NotImplementedError

    def batches(self, wanted: Mapping[str, Kind]) -> Iterator[Batch]:
        values: dict[str, list[Any]] = {column: [] for column in wanted}
        numbers: list[int] = []
        characters = 0
        for number, record in self.records():
            for column, cells in values.items():
                try:
                    cell = record[column]
                except KeyError:
                    raise InputError(
                        f"{self.name}: {self.unit} {number} has no '{column}' (it has: {', '.join(record) or 'nothing'}); "
                        "every row must have it"
                    ) from None
                if isinstance(cell, str):
                    characters += len(cell)
                cells.append(cell)
            numbers.append(number)
            if len(numbers) >= BATCH_ROWS or characters >= BATCH_CHARACTERS:
                yield self._batch(values, numbers, wanted)
                values = {column: [] for column in wanted}
                numbers, characters = [], 0
        if numbers:
            yield self._batch(values, numbers, wanted)

    def _batch(self, values: dict[str, list[Any]], numbers: list[int], wanted: Mapping[str, Kind]) -> Batch:
        arrays = {column: self._array(cells, numbers, column, wanted[column]) for column, cells in values.items()}
        return arrays, np.array(numbers, dtype=np.int64)

    def _array(self, cells: list[Any], numbers: list[int], column: str, kind: Kind) -> pa.Array:
        convert = {"text": _text, "number": self.number, "label": _label}[kind]
        try:
            return pa.array(cells if kind == "text" else [convert(cell) for cell in cells], TYPES[kind])
        except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError):
            # Slow, but only once: find the row that the message must name.
            for number, cell in zip(numbers, cells, strict=True):
                try:
                    pa.array([convert(cell)], TYPES[kind])
                except UnicodeEncodeError:
                    raise InputError(
                        f"{self.name}: {self.unit} {number}: '{column}' holds half of a surrogate pair (\\ud800-\\udfff), "
                        "which is no character; repair the text"
                    ) from None
                except ValueError as error:
                    raise InputError(f"{self.name}: {self.unit} {number}: '{column}' {error}") from None
            raise

    @staticmethod
    def number(cell: Any) -> float:
        """Return a finite number, or raise ValueError with what is wrong."""
        if isinstance(cell, bool | int | float):
            return _finite(float(cell))
        raise ValueError(f"must be a number; got {_shown(cell)}")


class JsonLinesSource(_RecordSource):
    """One JSON object a line."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path, name)
        first = next(self.records(), None)
        if first is None:
            raise InputError(f"{name} has no rows")
        self.first_seen = dict.fromkeys(first[1], first[0])

    def records(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        usual = self.first_seen.keys()
        for number, line in enumerate(decoded_lines(self.path, self.name), 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                hint = "; a JSON array of objects must be in a file named .json" if line.strip() == "[" else ""
                raise InputError(
                    f"{self.name}: line {number} is not valid JSON ({error.msg}, column {error.colno}){hint}"
                ) from None
            except RecursionError:
                raise InputError(f"{self.name}: line {number} is nested too deeply") from None
            if not isinstance(record, dict):
                raise InputError(
                    f'{self.name}: line {number} must be an object with keys, such as {{"anchor": ..., "positive": ...}}; '
                    f"got {_shown(record)}"
                )
            if record.keys() != usual:
                for column in record:
                    self.first_seen.setdefault(column, number)
            yield number, record


class JsonArraySource(_RecordSource):
    """A file that is one JSON array of objects. It is read as a whole, so it must be of moderate size."""

    unit = "item"

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path, name)
        if path.stat().st_size > JSON_ARRAY_BYTES:
            raise InputError(
                f"{name} is a JSON array over 1 GB, which must be read as a whole; convert it to .jsonl: jq -c '.[]'"
            )
        try:
            self._items = json.loads("".join(decoded_lines(path, name)))
        except json.JSONDecodeError as error:
            raise InputError(
                f"{name}: line {error.lineno} is not valid JSON ({error.msg}, column {error.colno})"
            ) from None
        if not self._items:
            raise InputError(f"{name} has no rows")
        for number, item in enumerate(self._items, 1):
            if not isinstance(item, dict):
                raise InputError(f"{name}: item {number} must be an object with keys; got {_shown(item)}")
            for column in item:
                self.first_seen.setdefault(column, number)
        self.rows = len(self._items)

    def records(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        return enumerate(self._items, 1)


class DelimitedSource(_RecordSource):
    """CSV or TSV with a header; a field in double quotes may hold separators and line breaks."""

    def __init__(self, path: Path, name: str, separator: str, *, quoting: bool = True) -> None:
        super().__init__(path, name)
        self.separator = separator
        self.quoting = quoting
        number, header = next(self._fields(), (0, []))
        header = [column.strip() for column in header]
        if not header:
            raise InputError(f"{name} is empty; it must have a header and rows")
        if len(header) == 1:
            other = max("\t;|,", key=header[0].count)
            if other != separator and other in header[0]:
                kind = (
                    "give it the extension .tsv"
                    if other == "\t"
                    else "save it with commas"
                    if separator == ","
                    else "save it with tabs"
                )
                raise InputError(
                    f"{name}: the header '{_short(header[0])}' is separated by {other!r}, not by {separator!r}; {kind}"
                )
        twice = [column for column in header if header.count(column) > 1]
        if twice:
            raise InputError(f"{name}: the header names the column '{twice[0]}' twice; rename one")
        self.first_seen = dict.fromkeys(header, number)
        self.header = header

    def _fields(self) -> Iterator[tuple[int, list[str]]]:
        csv.field_size_limit(2**31 - 1)  # the default of 128 KiB refuses long documents
        reader = csv.reader(
            decoded_lines(self.path, self.name),
            delimiter=self.separator,
            strict=True,
            quoting=csv.QUOTE_MINIMAL if self.quoting else csv.QUOTE_NONE,
        )
        while True:
            start = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                what = "a double quote is opened and never closed" if "end of data" in str(error) else str(error)
                raise InputError(
                    f'{self.name}: the row at line {start} is broken: {what}; write a quote inside a text as ""'
                ) from None
            if fields:
                yield start, fields

    def records(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        rows = self._fields()
        next(rows)
        empty = True
        for number, fields in rows:
            empty = False
            if len(fields) != len(self.header):
                raise InputError(
                    f"{self.name}: line {number} has {len(fields)} fields, the header has {len(self.header)} "
                    f"({_short(self.separator.join(fields))!r}); put texts that hold the separator in double quotes"
                )
            yield number, dict(zip(self.header, fields, strict=True))
        if empty:
            raise InputError(f"{self.name} has a header and no rows")

    @staticmethod
    def number(cell: Any) -> float:
        """Return the finite number that a field spells, or raise ValueError with what is wrong."""
        try:
            value = float(cell.strip().replace("_", "?"))
        except ValueError:
            raise ValueError(f"must be a number; got {_shown(cell)}") from None
        return _finite(value)


class ArrowSource:
    """Record batches with a schema: parquet files and hub data sets."""

    unit = "row"

    def __init__(self, name: str, schema: pa.Schema, rows: int | None) -> None:
        self.name = name
        self.schema = schema
        self.rows = rows
        if rows == 0:
            raise InputError(f"{name} has no rows")

    def columns(self) -> list[str]:
        return list(self.schema.names)

    def tables(self, columns: Sequence[str]) -> Iterable[pa.Table | pa.RecordBatch]:
        """Yield the columns in pieces."""
        raise NotImplementedError

    def batches(self, wanted: Mapping[str, Kind]) -> Iterator[Batch]:
        for column, kind in wanted.items():
            self._check_type(column, kind)
        start = 1
        for table in self.tables(list(wanted)):
            numbers = np.arange(start, start + table.num_rows, dtype=np.int64)
            start += table.num_rows
            yield (
                {column: self._array(table.column(column), numbers, column, kind) for column, kind in wanted.items()},
                numbers,
            )

    def _check_type(self, column: str, kind: Kind) -> None:
        found = self.schema.field(column).type
        plain = found.value_type if pa.types.is_dictionary(found) else found
        is_text = pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain)
        is_number = pa.types.is_integer(plain) or pa.types.is_floating(plain) or pa.types.is_decimal(plain)
        if (
            pa.types.is_null(plain)
            or (kind == "text" and is_text)
            or (kind == "number" and (is_number or pa.types.is_boolean(plain)))
        ):
            return
        if kind == "label" and (is_text or pa.types.is_integer(plain) or pa.types.is_boolean(plain)):
            return
        wanted = {"text": "texts", "number": "numbers", "label": "names or whole numbers"}[kind]
        hint = ""
        if kind == "text" and (pa.types.is_list(plain) or pa.types.is_large_list(plain)):
            hint = f"; write one row per text of the list (pandas: frame.explode('{column}'))"
        raise InputError(f"{self.name}: column '{column}' must hold {wanted}; it holds {found}{hint}")

    def _array(self, column: Any, numbers: NDArray[np.int64], name: str, kind: Kind) -> pa.Array:
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
        try:
            array = array.cast(TYPES[kind])
            if kind != "number":
                array.validate(full=True)
        except pa.ArrowInvalid as error:
            raise InputError(
                f"{self.name}: column '{name}' is damaged between rows {numbers[0]} and {numbers[-1]} ({_short(str(error))})"
            ) from None
        if kind == "number":
            wrong = np.flatnonzero(~np.isfinite(array.to_numpy(zero_copy_only=False)))
            if len(wrong):
                cell = array[int(wrong[0])].as_py()
                raise InputError(
                    f"{self.name}: row {numbers[wrong[0]]}: '{name}' must be a finite number; got {_shown(cell)}"
                )
        return array


class ParquetSource(ArrowSource):
    """A parquet file, read row group by row group."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        try:
            with pq.ParquetFile(path) as file:
                super().__init__(name, file.schema_arrow, file.metadata.num_rows)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
            raise InputError(
                f"{name} is no whole parquet file ({_short(str(error))}); it is cut or damaged: copy or write it again"
            ) from None

    def tables(self, columns: Sequence[str]) -> Iterable[pa.RecordBatch]:
        try:
            # pre_buffer would hold the whole file in memory at once
            with pq.ParquetFile(self._path, pre_buffer=False, buffer_size=1 << 20) as file:
                yield from file.iter_batches(BATCH_ROWS, columns=list(columns))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
            raise InputError(f"{self.name} is damaged ({_short(str(error))}); copy or write it again") from None


def _text(cell: Any) -> Any:
    if cell is None or isinstance(cell, str):
        return cell
    hint = "; write one row per text of the list" if isinstance(cell, list) else ""
    raise ValueError(f"must be a text; got {_shown(cell)}{hint}")


def _label(cell: Any) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bool | int):
        return str(cell)
    raise ValueError(f"must be a name or a whole number; got {_shown(cell)}")


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"must be a finite number; got {value}")
    return value


def _short(text: str, width: int = 80) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _shown(cell: Any) -> str:
    names = {dict: "an object", list: "a list", str: "the text", bool: "the truth value", type(None): "null"}
    kind = names.get(type(cell), "the number" if isinstance(cell, int | float) else type(cell).__name__)
    return kind if cell is None else f"{kind} {_short(json.dumps(cell, ensure_ascii=False, default=str), 40)}"
