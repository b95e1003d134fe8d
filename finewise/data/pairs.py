"""Training pairs as memory-mapped Arrow: what a file becomes, whatever its size."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from finewise.console import progress
from finewise.data.columns import kind_of
from finewise.data.keys import ColumnDigest, Keys, combine, text_keys
from finewise.data.store import entry
from finewise.data.table import TYPES, Batch
from finewise.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset

VERSION = 3
"""Raise it when reading or the content keys change: old cache entries are then not found."""

EXAMPLES = 10
ROWS = "rows.arrow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What reading found and did, for the audit.

    Attributes:
        read: Rows in the file.
        empty: role -> rows dropped because this text is empty or only white space.
        empty_at: Line or row numbers of the first of them.
        unused: Columns of the file that play no role.
        remarks: Other things to tell.
    """

    read: int
    empty: Mapping[str, int]
    empty_at: tuple[int, ...]
    unused: tuple[str, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Rows of text pairs.

    Attributes:
        rows: Memory-mapped; columns anchor, positive, then, if there: negative or negative_1.., score, group.
        revision: sha256 of the content.
        reference: What the user named.
        unit: "line", "row" or "item": what `numbers` count.
        numbers: (N,) where each row starts in the file, from 1.
        anchor_keys: (N,) content keys of the anchors, see finewise.data.keys.
        positive_keys: (N,) the same of the positives.
        notes: What reading found.
        whole: All rows of the file, of which `rows` are those at `index`.
        index: (N,) ascending, or None for all.
    """

    rows: "Dataset"
    revision: str
    reference: str
    unit: str
    numbers: NDArray[np.int64]
    anchor_keys: Keys
    positive_keys: Keys
    notes: Notes
    whole: "Dataset"
    index: NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def columns(self) -> list[str]:
        """The columns of `rows`."""
        return list(self.rows.column_names)

    @property
    def negatives(self) -> list[str]:
        """The columns of hard negatives."""
        return [column for column in self.columns if column.startswith("negative")]

    def where(self, row: int) -> str:
        """Return where a row stands in the user's file, such as "pairs.csv line 731"."""
        return f"{self.reference} {self.unit} {self.numbers[row]}"

    def texts(self, column: str, rows: NDArray[np.int64] | list[int]) -> list[Any]:
        """Return some values of a column."""
        found: list[Any] = list(self.rows[np.asarray(rows, dtype=np.int64)][column]) if len(rows) else []
        return found

    def keys(self, column: str) -> Keys:
        """Return the content keys of a column of texts, (N,), 0 where a row has none (None)."""
        parts = [np.zeros(0, dtype=np.uint64)]
        for _, table in self.batches([column]):
            values = table.column(column).to_pylist()
            keys = text_keys("" if value is None else value for value in values)
            keys[[value is None for value in values]] = 0
            parts.append(keys)
        return np.concatenate(parts)

    def scores(self) -> NDArray[np.float64]:
        """Return the whole score column."""
        parts = [np.asarray(batch.column("score")) for _, batch in self.batches(["score"])]
        return np.concatenate(parts) if parts else np.zeros(0)

    def batches(self, columns: list[str]) -> Iterator[tuple[int, pa.Table]]:
        """Yield (position of the first row, table) in order, fast even for a selection."""
        base = self.whole.select_columns(columns).with_format("arrow")
        done = start = 0
        for table in base.iter(10_000):
            if self.index is not None:
                low, high = np.searchsorted(self.index, [start, start + table.num_rows])
                kept = table.take(pa.array(self.index[low:high] - start)) if high - low < table.num_rows else table
            else:
                kept = table
            start += table.num_rows
            if kept.num_rows:
                yield done, kept
            done += kept.num_rows

    def select(self, rows: NDArray[np.int64]) -> "Pairs":
        """Return these rows, in the order of the file."""
        rows = np.sort(np.asarray(rows, dtype=np.int64))
        index = rows if self.index is None else self.index[rows]
        return replace(
            self,
            rows=self.whole.select(index),
            revision=combine(self.revision, index.astype("<i8").tobytes().hex() if len(rows) < 1000 else _sha(index)),
            numbers=self.numbers[rows],
            anchor_keys=self.anchor_keys[rows],
            positive_keys=self.positive_keys[rows],
            index=index,
        )

    def places_in(self, other: "Pairs") -> NDArray[np.int64]:
        """Return (N,) where these rows stand in `other`, a selection of the same file that holds them all."""
        own = np.arange(len(self)) if self.index is None else self.index
        return own if other.index is None else np.searchsorted(other.index, own).astype(np.int64)


def _sha(index: NDArray[np.int64]) -> str:
    digest = ColumnDigest()
    digest.update(pa.array(index.astype(np.float64)))
    return digest.hexdigest()


def store_pairs(
    content: str, mapped: Mapping[str, str], reference: str, unit: str, total: int | None, read: "Reader"
) -> Pairs:
    """Convert pairs into the cache, if they are not there yet, and open them.

    Args:
        content: sha256 of what is read.
        mapped: role -> column.
        reference: What messages call the data.
        unit: "line", "row" or "item".
        total: Number of rows, if known, for the progress bar.
        read: Yields batches with roles as columns; see `Reader`.

    Raises:
        InputError: What is read is wrong, or too little of it is usable.
    """
    key = combine("pairs", VERSION, content, json.dumps(mapped), unit)
    folder, about = entry(key, lambda part: _convert(part, list(mapped), reference, unit, total, read))
    notes = Notes(
        read=about["read"],
        empty=about["empty"],
        empty_at=tuple(about["empty_at"]),
        unused=tuple(about["unused"]),
        remarks=tuple(about["remarks"]),
    )
    from datasets import Dataset

    rows = Dataset.from_file(str(folder / ROWS))
    return Pairs(
        rows=rows,
        revision=about["digest"],
        reference=reference,
        unit=unit,
        numbers=np.fromfile(folder / "numbers.i8", dtype=np.int64),
        anchor_keys=np.fromfile(folder / "anchor.u8", dtype=np.uint64),
        positive_keys=np.fromfile(folder / "positive.u8", dtype=np.uint64),
        notes=notes,
        whole=rows,
        index=None,
    )


class Reader:
    """A source of batches with roles as columns, and what it has to tell once it is exhausted."""

    def batches(self) -> Iterable[Batch]:
        """Yield the batches."""
        raise NotImplementedError

    def unused(self) -> list[str]:
        """Return the columns that played no role. Called at the end; may raise what only then is known."""
        return []

    def remarks(self) -> list[str]:
        """Return other things to tell."""
        return []


def _convert(
    folder: Path, names: list[str], reference: str, unit: str, total: int | None, reader: Reader
) -> dict[str, Any]:
    schema = pa.schema([(role, TYPES[kind_of(role)]) for role in names])
    texts = [role for role in names if kind_of(role) == "text"]
    digests = {role: ColumnDigest() for role in names}
    empty = dict.fromkeys(texts, 0)
    empty_at: list[int] = []
    seen = kept = 0
    with (
        pa.OSFile(str(folder / ROWS), "wb") as sink,
        pa.ipc.new_stream(sink, schema) as writer,
        (folder / "numbers.i8").open("wb") as numbers_file,
        (folder / "anchor.u8").open("wb") as anchor_file,
        (folder / "positive.u8").open("wb") as positive_file,
        progress(f"read {reference}", total) as advance,
    ):
        for columns, numbers in reader.batches():
            advance(len(numbers))
            seen += len(numbers)
            keep = np.ones(len(numbers), dtype=bool)
            for role in texts:
                lengths = pc.fill_null(pc.utf8_length(pc.utf8_trim_whitespace(columns[role])), 0)
                blank = np.asarray(pc.equal(lengths, 0)) & keep
                empty[role] += int(blank.sum())
                keep &= ~blank
            batch = pa.record_batch([columns[role] for role in names], schema=schema)
            if not keep.all():
                empty_at += numbers[~keep][: EXAMPLES - len(empty_at)].tolist()
                batch, numbers = batch.filter(pa.array(keep)), numbers[keep]
            kept += len(numbers)
            writer.write_batch(batch)
            for role, digest in digests.items():
                digest.update(batch.column(role))
            numbers.tofile(numbers_file)
            text_keys(batch.column("anchor").to_pylist()).tofile(anchor_file)
            text_keys(batch.column("positive").to_pylist()).tofile(positive_file)
    _check_usable(folder, reference, unit, seen, kept, empty, empty_at)
    return {
        "read": seen,
        "empty": {role: count for role, count in empty.items() if count},
        "empty_at": empty_at,
        "unused": reader.unused(),
        "remarks": reader.remarks(),
        "digest": combine(*(f"{role}={digest.hexdigest()}" for role, digest in digests.items())),
    }


def _check_usable(
    folder: Path, reference: str, unit: str, seen: int, kept: int, empty: Mapping[str, int], empty_at: list[int]
) -> None:
    if seen == 0:
        raise InputError(f"{reference} has no rows")
    if seen - kept > kept:
        worst = max(empty, key=lambda role: empty[role])
        raise InputError(
            f"{reference}: {seen - kept} of {seen} rows have an empty text, most in '{worst}' (first: {unit} "
            f"{empty_at[0]}); "
            "is this the right column? Name it with data.columns, or remove these rows"
        )
    if kept < 2:
        raise InputError(f"{reference} has one row only; at least 2 are needed")
    anchors = np.fromfile(folder / "anchor.u8", dtype=np.uint64)
    positives = np.fromfile(folder / "positive.u8", dtype=np.uint64)
    if (anchors == anchors[0]).all() and (positives == positives[0]).all():
        raise InputError(f"{reference}: all {kept} rows are the same pair; there is nothing to learn from")


def graded(scores: NDArray[np.floating], threshold: float, what: str) -> str:
    """Return how many rows have each whole score of a scale, and which of them count as positive."""
    values, counts = np.unique(scores, return_counts=True)
    parts = [f"{value:g} ({count})" for value, count in zip(values, counts, strict=True)]
    shown = ", ".join(parts if len(parts) <= 12 else [*parts[:6], "...", *parts[-5:]])
    return (
        f"the scores {what} are a scale, score (rows): {shown}; from data.relevant_score={threshold:g} on "
        f"({int((scores >= threshold).sum())} of {len(scores)} rows) they count as positive: set it where yours begin"
    )
