"""Text formats: JSON lines, JSON arrays, CSV and TSV, read record by record so that every message can name its line."""

import csv
import gzip
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from finewise.data.table import BATCH_ROWS, TYPES, Batch, Kind, as_json, short, shown
from finewise.errors import InputError

BATCH_CHARACTERS = 32_000_000
JSON_ARRAY_BYTES = 1_000_000_000


def decoded_lines(path: Path, name: str) -> Iterator[str]:
    """Yield the lines of a UTF-8 file (a .gz file is unpacked), with their line ends, without a byte order mark."""
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
                        f"{name}: line {number} is not UTF-8 (byte 0x{byte:02x} at position {error.start + 1}); "
                        "if the file is "
                        f"Latin-1, convert it: iconv -f latin1 -t utf-8 {path.name} > utf8_{path.name}"
                    ) from None
                if "\0" in line:
                    raise InputError(
                        f"{name}: line {number} holds a NUL byte; the file is binary or damaged: remove it (tr -d "
                        "'\\000')"
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


class RecordSource:
    """What the text formats share: records of Python values become typed Arrow batches."""

    unit = "line"
    ragged = False
    """Whether later rows may have columns that the first ones lack."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.rows: int | None = None
        self.first_seen: dict[str, int] = {}

    def columns(self) -> list[str]:
        """Return the names of all columns seen so far."""
        return list(self.first_seen)

    def records(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield the number of the line and the record; keep `first_seen` complete."""
        raise NotImplementedError

    def batches(self, wanted: Mapping[str, Kind]) -> Iterator[Batch]:
        """Yield the wanted columns, batch by batch."""
        values: dict[str, list[Any]] = {column: [] for column in wanted}
        numbers: list[int] = []
        characters = 0
        for number, record in self.records():
            for column, cells in values.items():
                try:
                    cell = record.get(column) if wanted[column] in ("cell", "optional") else record[column]
                except KeyError:
                    raise InputError(
                        f"{self.name}: {self.unit} {number} has no '{column}' (it has: "
                        f"{', '.join(record) or 'nothing'}); "
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
        convert = {"text": _text, "optional": _text, "number": self.number, "label": _label, "cell": as_json}[kind]
        try:
            return pa.array(cells if kind == "text" else [convert(cell) for cell in cells], TYPES[kind])
        except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError):
            # Slow, but only once: find the row that the message must name.
            for number, cell in zip(numbers, cells, strict=True):
                try:
                    pa.array([convert(cell)], TYPES[kind])
                except UnicodeEncodeError:
                    raise InputError(
                        f"{self.name}: {self.unit} {number}: '{column}' holds half of a surrogate pair "
                        "(\\ud800-\\udfff), "
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
        raise ValueError(f"must be a number; got {shown(cell)}")


class JsonLinesSource(RecordSource):
    """One JSON object a line."""

    ragged = True

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path, name)
        first = next(self.records(), None)
        if first is None:
            raise InputError(f"{name} has no rows")
        self.first_seen = dict.fromkeys(first[1], first[0])

    def records(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield the number of the line (or item) and the record."""
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
                    f"{self.name}: line {number} must be an object with keys, such as "
                    f'{{"anchor": ..., "positive": ...}}; '
                    f"got {shown(record)}"
                )
            if record.keys() != usual:
                for column in record:
                    self.first_seen.setdefault(column, number)
            yield number, record


class JsonArraySource(RecordSource):
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
                raise InputError(f"{name}: item {number} must be an object with keys; got {shown(item)}")
            for column in item:
                self.first_seen.setdefault(column, number)
        self.rows = len(self._items)

    def records(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield the number of the line (or item) and the record."""
        return enumerate(self._items, 1)


class DelimitedSource(RecordSource):
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
                    f"{name}: the header '{short(header[0])}' is separated by {other!r}, not by {separator!r}; {kind}"
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
        """Yield the number of the line (or item) and the record."""
        rows = self._fields()
        next(rows)
        empty = True
        for number, fields in rows:
            empty = False
            if len(fields) != len(self.header):
                raise InputError(
                    f"{self.name}: line {number} has {len(fields)} fields, the header has {len(self.header)} "
                    f"({short(self.separator.join(fields))!r}); put texts that hold the separator in double quotes"
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
            raise ValueError(f"must be a number; got {shown(cell)}") from None
        return _finite(value)


def _text(cell: Any) -> Any:
    if cell is None or isinstance(cell, str):
        return cell
    hint = "; write one row per text of the list" if isinstance(cell, list) else ""
    raise ValueError(f"must be a text; got {shown(cell)}{hint}")


def _label(cell: Any) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bool | int):
        return str(cell)
    raise ValueError(f"must be a name or a whole number; got {shown(cell)}")


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"must be a finite number; got {value}")
    return value
