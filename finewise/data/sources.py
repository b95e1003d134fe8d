"""Data references: what the user names becomes pairs or a retrieval set.

A reference is a file (see finewise.data.formats), a folder in BEIR layout, `hub:NAME[:CONFIG][@REVISION]`,
`package:MODULE/PATH`, or the name of a data set that ships with the suite.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from finewise.config import ColumnsConfig
from finewise.data import beir
from finewise.data.columns import kind_of, late, roles
from finewise.data.formats import EXTENSIONS, extension, open_source
from finewise.data.hub import HubSource, is_hub, parse
from finewise.data.pairs import Notes, Pairs, Reader, store_pairs
from finewise.data.records import RecordSource
from finewise.data.retrieval import RetrievalSet
from finewise.data.table import Batch, Source
from finewise.errors import InputError
from finewise.names import nearest
from finewise.references import PACKAGE, content_of, file_sha256, package_path

__all__ = ["Notes", "Pairs", "builtin", "exists", "is_retrieval", "read_pairs", "read_retrieval", "resolve"]


def builtin() -> dict[str, Path]:
    """Return the data sets that ship with the suite: name -> folder. Imports no code."""
    spec = importlib.util.find_spec("benchmarks")
    places = [Path(place) / "datasets" for place in (spec.submodule_search_locations if spec else None) or []]
    return {
        folder.name: folder
        for place in places
        if place.is_dir()
        for folder in sorted(place.iterdir())
        if folder.is_dir() and beir.splits(folder)
    }


def resolve(reference: str) -> Path:
    """Return the file or folder that a reference (not a hub one) names.

    Raises:
        InputError: There is no such thing.
    """
    if reference.startswith(PACKAGE):
        return package_path(reference)
    path = Path(reference).expanduser()
    if path.exists():
        return path
    known = builtin()
    if reference in known:
        return known[reference]
    if not path.parent.is_dir():
        raise InputError(f"{reference}: no such file, and no folder {path.parent}")
    guess = nearest(path.name, [entry.name for entry in path.parent.iterdir()])
    if guess is not None:
        raise InputError(f"{reference}: no such file; did you mean '{path.parent / guess}'?")
    if path.name == reference and not path.suffix:
        guess = nearest(reference, known)
        hint = f"; did you mean '{guess}'?" if guess else ""
        raise InputError(
            f"{reference}: no such file or data set{hint} Data sets that ship: {', '.join(known) or 'none'}"
        )
    raise InputError(f"{reference}: no such file in {path.parent.resolve()}")


def exists(reference: str) -> None:
    """Check, in milliseconds and without the network, that a reference can be read.

    Raises:
        InputError: It names nothing, or nothing that is readable by its name.
    """
    if is_hub(reference):
        parse(reference)
        return
    path = resolve(reference)
    if path.is_dir():
        beir.check_beir(path, reference)
    elif extension(path) is None:
        raise InputError(
            f"{reference}: unknown kind of file '{path.suffix or path.name}'; known: {', '.join(EXTENSIONS)}"
        )
    elif path.stat().st_size == 0:
        raise InputError(f"{reference} is empty (0 bytes); give a file with rows")


def revision(reference: str) -> str:
    """Return what pins the content of a reference: a sha256 of the files, or a hub name as it is."""
    return content_of(reference if is_hub(reference) else resolve(reference))


def is_retrieval(reference: str) -> bool:
    """Return whether the reference is a folder in BEIR layout."""
    return not is_hub(reference) and beir.is_beir(resolve(reference))


def splits(reference: str) -> list[str]:
    """Return the splits that a BEIR folder has judgements for; none for anything else."""
    return beir.splits(resolve(reference)) if is_retrieval(reference) else []


def read_pairs(reference: str, columns: ColumnsConfig, *, split: str = "train") -> Pairs:
    """Read pairs.

    A BEIR folder gives its file SPLIT.parquet (or .jsonl, ...) if it has one, else what qrels/SPLIT.tsv names.

    Args:
        reference: See this module.
        columns: Which columns hold what; a BEIR folder's judgements have no choice.
        split: Which split of a BEIR folder or hub data set.

    Raises:
        InputError: Whatever is wrong with the data, in one line.
    """
    if is_hub(reference):
        source = HubSource(reference, split)
        return _read(source, source.content(), reference, columns)
    path = resolve(reference)
    if path.is_dir():
        beir.check_beir(path, reference)
        own = beir.table_file(path, split)
        if own is None:
            return beir.read_beir_pairs(path, split, reference)
        path, reference = own, f"{reference}/{own.name}"
    return _read(open_source(path, reference), file_sha256(path), reference, columns)


def _read(source: Source, content: str, reference: str, columns: ColumnsConfig) -> Pairs:
    mapped = roles(source.columns(), columns, reference)
    return store_pairs(content, mapped, reference, source.unit, source.rows, _Table(source, mapped, columns))


class _Table(Reader):
    """One file with the mapped columns under the names of their roles."""

    def __init__(self, source: Source, mapped: dict[str, str], columns: ColumnsConfig) -> None:
        self._source, self._mapped, self._columns = source, mapped, columns

    def batches(self) -> Iterator[Batch]:
        wanted = {column: kind_of(role) for role, column in self._mapped.items()}
        for batch, numbers in self._source.batches(wanted):
            yield {role: batch[column] for role, column in self._mapped.items()}, numbers

    def unused(self) -> list[str]:
        if isinstance(self._source, RecordSource) and (
            found := late(self._source.first_seen, self._mapped, self._columns)
        ):
            column, line = found
            raise InputError(
                f"{self._source.name}: '{column}' is in {self._source.unit} {line} but not in the first row; give "
                "it to every row, "
                "or rename it if it should not be used"
            )
        return [column for column in self._source.columns() if column not in self._mapped.values()]


def read_retrieval(reference: str, *, split: str, name: str, corpus: str | None = None) -> RetrievalSet:
    """Read one split of a BEIR folder.

    Args:
        reference: The folder, `package:MODULE/PATH`, or a built-in name.
        split: Whose judgements: qrels/SPLIT.tsv.
        name: What records and tables call the set.
        corpus: File or folder (or reference to one) that holds the corpus, if it is not in the folder.

    Raises:
        InputError: Whatever is wrong with the data, in one line.
    """
    if is_hub(reference):
        raise InputError(
            f"{reference}: a benchmark must be a local folder in BEIR layout; download it first (hf download)"
        )
    folder = resolve(reference)
    if not folder.is_dir():
        raise InputError(
            f"{reference} is a file; a benchmark must be a folder in BEIR layout (queries, corpus, qrels/SPLIT.tsv)"
        )
    beir.check_beir(folder, reference)
    return beir.read_beir(folder, split, name, reference, resolve(corpus) if corpus is not None else None)
