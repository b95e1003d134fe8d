"""Arrow formats: columns of texts on the disk, parquet files, and the base of hub data sets."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from finewise.data.table import BATCH_ROWS, TYPES, Batch, Kind, as_json, short, shown
from finewise.errors import InputError


class TextColumn(Sequence[str]):
    """A column of texts that stays on the disk: memory-mapped, and made into Python's texts some thousand at a time."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self.column = column
        self._starts = np.cumsum([0, *(len(chunk) for chunk in column.chunks)])

    @classmethod
    def of(cls, path: Path, name: str) -> Self:
        """Map a column of a file in Arrow's streaming format."""
        return cls(pa.ipc.open_stream(pa.memory_map(str(path))).read_all().column(name))

    def __len__(self) -> int:
        return len(self.column)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            if step != 1:
                return [self[row] for row in range(start, stop, step)]
            texts: list[str] = self.column.slice(start, max(0, stop - start)).to_pylist()
            return texts
        return str(self.column[int(place)].as_py())

    def __iter__(self) -> Iterator[str]:
        for chunk in self.column.chunks:
            for start in range(0, len(chunk), BATCH_ROWS):
                yield from chunk.slice(start, BATCH_ROWS).to_pylist()

    def take(self, rows: NDArray[np.int64]) -> pa.Array:
        """Return some texts. Arrow's own `take` would first put all chunks together, whatever their size."""
        if not len(rows):
            return pa.array([], pa.string())
        order = np.argsort(rows, kind="stable")
        bounds = np.searchsorted(rows[order], self._starts)
        parts = [
            chunk.take(pa.array(rows[order[low:high]] - start))
            for chunk, start, low, high in zip(
                self.column.chunks, self._starts[:-1], bounds[:-1], bounds[1:], strict=True
            )
            if high > low
        ]
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return pa.concat_arrays(parts).take(pa.array(back))


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
        """Return the names of all columns."""
        return list(self.schema.names)

    def tables(self, columns: Sequence[str]) -> Iterable[pa.Table | pa.RecordBatch]:
        """Yield the columns in pieces."""
        raise NotImplementedError

    def class_names(self, column: str) -> list[str] | None:
        """Return the names behind a column of class numbers, or of lists of them, as `datasets` writes them into the schema.

        Raises:
            InputError: The schema's metadata is damaged.
        """
        raw = (self.schema.metadata or {}).get(b"huggingface")
        if raw is None:
            return None
        try:
            feature = json.loads(raw)["info"]["features"].get(column)
            while (
                feature is not None and "names" not in feature
            ):  # a list of classes: [feature] or {"feature": feature}
                feature = feature[0] if isinstance(feature, list) else feature.get("feature")
            return None if feature is None else [str(name) for name in feature["names"]]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise InputError(
                f"{self.name}: what its schema says of the column '{column}' (metadata 'huggingface') cannot be read; "
                "write the file again"
            ) from None

    def is_plain(self, column: str) -> bool:
        """Return whether a column holds single values, not lists, objects or bytes."""
        found = self.schema.field(column).type
        return not (pa.types.is_nested(found) or pa.types.is_binary(found) or pa.types.is_large_binary(found))

    def batches(self, wanted: Mapping[str, Kind]) -> Iterator[Batch]:
        """Yield the wanted columns, batch by batch."""
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
            kind == "cell"
            or pa.types.is_null(plain)
            or (kind in ("text", "optional") and is_text)
            or (kind == "number" and (is_number or pa.types.is_boolean(plain)))
        ):
            return
        if kind == "label" and (is_text or pa.types.is_integer(plain) or pa.types.is_boolean(plain)):
            return
        wanted = {"text": "texts", "optional": "texts", "number": "numbers", "label": "names or whole numbers"}[kind]
        hint = ""
        if kind == "text" and (pa.types.is_list(plain) or pa.types.is_large_list(plain)):
            hint = f"; write one row per text of the list (pandas: frame.explode('{column}'))"
        raise InputError(f"{self.name}: column '{column}' must hold {wanted}; it holds {found}{hint}")

    def _array(self, column: Any, numbers: NDArray[np.int64], name: str, kind: Kind) -> pa.Array:
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
        try:
            if kind == "cell":
                return pa.array(map(as_json, array.to_pylist()), TYPES[kind], size=len(array))
            array = array.cast(TYPES[kind])
            if kind != "number":
                array.validate(full=True)
        except pa.ArrowInvalid as error:
            raise InputError(
                f"{self.name}: column '{name}' is damaged between rows {numbers[0]} and {numbers[-1]} "
                f"({short(str(error))})"
            ) from None
        if kind == "number":
            wrong = np.flatnonzero(~np.isfinite(array.to_numpy(zero_copy_only=False)))
            if len(wrong):
                cell = array[int(wrong[0])].as_py()
                raise InputError(
                    f"{self.name}: row {numbers[wrong[0]]}: '{name}' must be a finite number; got {shown(cell)}"
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
                f"{name} is no whole parquet file ({short(str(error))}); it is cut or damaged: copy or write it again"
            ) from None

    def tables(self, columns: Sequence[str]) -> Iterable[pa.RecordBatch]:
        """Yield the columns in pieces."""
        try:
            # pre_buffer would hold the whole file in memory at once
            with pq.ParquetFile(self._path, pre_buffer=False, buffer_size=1 << 20) as file:
                yield from file.iter_batches(BATCH_ROWS, columns=list(columns))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
            raise InputError(f"{self.name} is damaged ({short(str(error))}); copy or write it again") from None
