"""The files of a built-in set: tables as parquet, judgements as tsv, and their checksums. Same values, same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_ZSTD_LEVEL = 19

Qrels = Mapping[str, Sequence[str]]  # query id -> relevant document ids


def write_parquet(
    path: Path, columns: Mapping[str, Sequence[Sequence[str]]], *, dictionary: Sequence[str] = ()
) -> None:
    """Strings, or lists of strings, as parquet, as small as zstd makes it.

    Args:
        path: The file.
        columns: Name -> a string per row, or a list of strings per row.
        dictionary: Names of the columns that have few values (of one with lists: "NAME.list.element").
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            name: pa.array(values, pa.string() if isinstance(values[0], str) else pa.list_(pa.string()))
            for name, values in columns.items()
        }
    )
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=_ZSTD_LEVEL,
        use_dictionary=list(dictionary) or False,
        data_page_size=1 << 26,  # one page per column: the compressor then sees all of it
        row_group_size=table.num_rows,
        write_statistics=False,
    )


def write_qrels(path: Path, qrels: Qrels) -> None:
    """Judgements as BEIR writes them: a header, then one relevant pair per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{query}\t{document}\t1\n" for query, documents in qrels.items() for document in documents]
    path.write_text("query-id\tcorpus-id\tscore\n" + "".join(lines), encoding="utf-8", newline="\n")


def write_sums(folder: Path) -> dict[str, str]:
    """SHA256SUMS of the data files in the folder, in sha256sum's format, and the same as path -> sum."""
    files = sorted(path for pattern in ("**/*.parquet", "**/*.tsv") for path in folder.glob(pattern))
    sums = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    text = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    (folder / "SHA256SUMS").write_text(text, encoding="utf-8", newline="\n")
    return sums
