"""What a run leaves for others to check it by: which rows were train, dev and test, and on request what was scored."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from finewise.data.retrieval import RetrievalSet

SPLITS = "splits"
SCORED = "scored"


def write_split(folder: Path, name: str, columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> None:
    """Write splits/NAME.parquet below a run's folder, atomically.

    Args:
        folder: The run's.
        name: "train", "dev", "test", or "test-corpus" for the documents that were searched.
        columns: What names the rows: file and line or row number, or ids.
    """
    place = folder / SPLITS
    place.mkdir(exist_ok=True)
    part = place / f"{name}.parquet.part"
    pq.write_table(pa.table(dict(columns)), part)
    part.replace(place / f"{name}.parquet")


def write_retrieval_split(folder: Path, task: RetrievalSet, name: str) -> None:
    """Write the ids of a retrieval set's queries and documents."""
    write_split(folder, name, {"query_id": list(task.query_ids)})
    write_split(folder, f"{name}-corpus", {"document_id": list(task.corpus_ids)})


def write_beir(folder: Path, task: RetrievalSet) -> Path:
    """Write a retrieval set as a BEIR folder, scored/NAME-SPLIT below a run's folder, and return it.

    corpus.jsonl and queries.jsonl hold _id and text, qrels/SPLIT.tsv the judgements, as MTEB and finewise itself read them.
    """
    final = folder / SCORED / f"{task.name}-{task.split}"
    part = final.with_name(final.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "qrels").mkdir(parents=True)
    _write_lines(part / "corpus.jsonl", zip(task.corpus_ids, task.corpus, strict=True))
    _write_lines(part / "queries.jsonl", zip(task.query_ids, task.queries, strict=True))
    with (part / "qrels" / f"{task.split}.tsv").open("w", encoding="utf-8") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        for query, grades in task.qrels.items():
            file.writelines(f"{query}\t{document}\t{grade}\n" for document, grade in grades.items())
    shutil.rmtree(final, ignore_errors=True)
    part.rename(final)
    return final


def write_rows(folder: Path, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write scored/NAME.jsonl below a run's folder, atomically, and return it."""
    place = folder / SCORED
    place.mkdir(exist_ok=True)
    part = place / f"{name}.jsonl.part"
    with part.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return part.replace(place / f"{name}.jsonl")


def _write_lines(file: Path, rows: Iterable[tuple[str, str]]) -> None:
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"_id": key, "text": text}, ensure_ascii=False) + "\n" for key, text in rows)
