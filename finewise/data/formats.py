"""File formats by extension. What a reader cannot read it refuses with one line that says where."""

from pathlib import Path

from finewise.data.arrow import ParquetSource
from finewise.data.records import DelimitedSource, JsonArraySource, JsonLinesSource
from finewise.data.table import Source
from finewise.errors import InputError

EXTENSIONS = (".jsonl", ".jsonl.gz", ".ndjson", ".json", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")


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
