"""Text formats: JSON lines, JSON arrays, CSV and TSV, read record by record so that every message can name its line."""

import csv
import gzip
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from finewise.data.table import BATCH_ROWS, TYPES, Batch, Kind, as_json, short, shown
from finewise.errors import InputError

BATCH_CHARACTERS = 32_000_000
JSON_ARRAY_BYTES = 1_000_000_000
LOOK_AHEAD, LOOK_AHEAD_CHARACTERS = 1_000, 2_000_000
"""Lines (fewer, if they are long) whose keys are the columns of a JSON lines file: the first alone may lack some."""


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
                        f"{name}: line {number} is not UTF-8 (byte 0x{byte:02x} at position {error.start + 1}); convert "
                        "it from its own encoding (Western European text saved by Excel is cp1252): iconv -f cp1252 -t "
                        f"utf-8 {path.name} > utf8_{path.name}"
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

    def first_columns(self) -> list[str]:
        """Return the names of the first row's columns."""
        first = min(self.first_seen.values())
        return [column for column, line in self.first_seen.items() if line == first]

    def remarks(self) -> list[str]:
        """Return what reading found that may be a mistake; complete once `batches` is exhausted."""
        return []

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
            try:
                return _finite(float(cell))
            except OverflowError:
                raise ValueError("must be a finite number; got one of more than 300 digits") from None
        raise ValueError(f"must be a number; got {shown(cell)}")


class _TwiceError(ValueError):
    """An object names a key twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; Python's own parser would keep the last of equal keys silently."""
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _TwiceError(next(key for key in keys if keys.count(key) > 1))
    return record


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _unreadable(error: ValueError | RecursionError) -> str:
    if isinstance(error, _TwiceError):
        return f"has the key '{error}' twice in one object; remove or rename one"
    if isinstance(error, RecursionError):
        return "is nested too deeply; write flat objects with a key per column"
    return "holds a whole number of more than 4,300 digits; write it as a text, in double quotes"


class JsonLinesSource(RecordSource):
    """One JSON object a line."""

    ragged = True

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path, name)
        characters = 0
        for number, record in islice(self.records(), LOOK_AHEAD):
            for column, cell in record.items():
                self.first_seen.setdefault(column, number)
                characters += len(cell) if isinstance(cell, str) else 0
            if characters > LOOK_AHEAD_CHARACTERS:
                break
        if not self.first_seen:
            raise InputError(f"{name} has no rows")

    def records(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield the number of the line (or item) and the record."""
        usual = self.first_seen.keys()
        for number, line in enumerate(decoded_lines(self.path, self.name), 1):
            if not line.strip():
                continue
            try:
                record = _DECODER.decode(line)
            except json.JSONDecodeError as error:
                hint = "; a JSON array of objects must be in a file named .json" if line.strip() == "[" else ""
                raise InputError(
                    f"{self.name}: line {number} is not valid JSON ({error.msg}, column {error.colno}){hint}"
                ) from None
            except (ValueError, RecursionError) as error:
                raise InputError(f"{self.name}: line {number} {_unreadable(error)}") from None
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
            self._items = _DECODER.decode("".join(decoded_lines(path, name)))
        except json.JSONDecodeError as error:
            raise InputError(
                f"{name}: line {error.lineno} is not valid JSON ({error.msg}, column {error.colno})"
            ) from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{name}: an item {_unreadable(error)}") from None
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
        self.header: list[str] = []
        self._spanning, self._first_spanning = 0, 0
        """Rows that go on over further lines, and the line of the first."""
        self._check_first_line()
        number, header = next(self._fields(), (0, []))
        header = [column.strip() for column in header]
        if not header:
            raise InputError(f"{name} is empty; it must have a header and rows")
        twice = [column for column in header if header.count(column) > 1]
        if twice:
            raise InputError(f"{name}: the header names the column '{twice[0]}' twice; rename one")
        self.first_seen = dict.fromkeys(header, number)
        self.header = header

    def _check_first_line(self) -> None:
        """Refuse what the header shows of the separator and the line ends, before the parser stumbles over it."""
        line = next(decoded_lines(self.path, self.name), "").rstrip("\r\n")
        header, *after = line.split("\r", 1)
        if after and header.count('"') % 2 == 0:
            raise InputError(
                f"{self.name}: its lines end with a carriage return alone (old Macintosh); convert it: tr '\\r' '\\n' "
                f"< {self.path.name} > lines_{self.path.name}"
            )
        if re.fullmatch(r'"?sep=[;,|\t ]?"?', line):
            raise InputError(
                f"{self.name}: line 1 is {short(line)!r}, which Excel writes before the header; remove it: sed 1d "
                f"{self.path.name} > plain_{self.path.name}"
            )
        bare = re.sub('"[^"]*"', "", line) if self.quoting else line
        other = max("\t;|,", key=bare.count)
        if self.separator not in bare and other in bare:
            fix = "give it the extension .tsv" if other == "\t" else "save it with commas"
            fix = (
                fix if self.separator == "," else "give it the extension .csv" if other == "," else "save it with tabs"
            )
            raise InputError(
                f"{self.name}: the header '{short(line)}' is separated by {other!r}, not by {self.separator!r}; {fix}"
            )

    def remarks(self) -> list[str]:
        """Return what reading found that may be a mistake; complete once `batches` is exhausted."""
        if not self._spanning:
            return []
        return [
            f"{self.name}: rows that go on over several lines, inside double quotes: {self._spanning} (first: line "
            f"{self._first_spanning}); if each row should be one line, a text begins with a stray double quote: write "
            'that quote as "" and put the text in double quotes'
        ]

    def _check_spanning(self, start: int, fields: list[str]) -> None:
        """Count a row that goes on over further lines; in TSV, where each of them would be a row itself, it is refused."""
        lines = self.separator.join(fields).split("\n")
        whole = len(self.header) > 1 and all(line.count("\t") == len(self.header) - 1 for line in lines)
        if self.separator == "\t" and whole:
            raise InputError(
                f"{self.name}: the row at line {start} goes on over further lines, because a text begins with a double "
                'quote; write that quote as "" and put the text in double quotes'
            )
        self._spanning += 1
        self._first_spanning = self._first_spanning or start

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
            if reader.line_num > start:
                self._check_spanning(start, fields)
            if fields:
                yield start, fields

    def records(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield the number of the line (or item) and the record."""
        self._spanning, self._first_spanning = 0, 0
        rows = self._fields()
        next(rows)
        empty = True
        for number, fields in rows:
            empty = False
            if len(fields) != len(self.header):
                decimal = self.separator == "," and any(map(_decimal_comma, fields, fields[1:]))
                raise InputError(
                    f"{self.name}: line {number} has {len(fields)} fields, the header has {len(self.header)} "
                    f"({short(self.separator.join(fields))!r}); put texts that hold the separator in double quotes"
                    f"{', and write numbers with a decimal point' if decimal else ''}"
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
            hint = "; write it with a decimal point" if re.fullmatch(r"\s*[-+]?\d+,\d+\s*", cell) else ""
            raise ValueError(f"must be a number; got {shown(cell)}{hint}") from None
        return _finite(value)


def _decimal_comma(before: str, after: str) -> bool:
    """Return whether two neighbouring fields look like one number, such as 0,75, that was split at its comma."""
    return bool(re.fullmatch(r"\s*[-+]?\d{1,3}", before) and re.fullmatch(r"\d+\s*", after))


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
