"""BEIR folders become retrieval sets and training pairs."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finewise.config import ColumnsConfig
from finewise.data.sources import is_retrieval, read_pairs, read_retrieval
from finewise.errors import InputError

QUERIES = [("q1", "first"), ("q2", "second"), ("q3", "third"), ("q4", "nobody judged me")]
CORPUS = [("d1", "", "one"), ("d2", "Title", "two"), ("d3", "", "three")]


@pytest.fixture
def folder(own_folder: Path) -> Path:
    folder = own_folder / "set"
    (folder / "qrels").mkdir(parents=True)
    lines(folder / "queries.jsonl", [{"_id": key, "text": text} for key, text in QUERIES])
    lines(folder / "corpus.jsonl", [{"_id": key, "title": title, "text": text} for key, title, text in CORPUS])
    qrels(folder, "train", "q1\td1\t1\nq1\td2\t0\nq2\td2\t2\n")
    qrels(folder, "test", "q3\td3\t2\nq3\td1\t0\n")
    return folder


def lines(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def qrels(folder: Path, split: str, rows: str, header: str = "query-id\tcorpus-id\tscore\n") -> None:
    (folder / "qrels" / f"{split}.tsv").write_text(header + rows, encoding="utf-8")


def refused(folder: Path, *essence: str, split: str = "test") -> None:
    with pytest.raises(InputError) as caught:
        read_retrieval(str(folder), split=split, name="x")
    for piece in essence:
        assert piece in str(caught.value), str(caught.value)


def test_a_split_has_its_queries_and_the_unjudged_ones(folder: Path) -> None:
    assert is_retrieval(str(folder))
    found = read_retrieval(str(folder), split="test", name="mine")
    assert (found.name, found.split) == ("mine", "test")
    assert list(found.query_ids) == ["q3", "q4"]
    assert list(found.queries) == ["third", "nobody judged me"]
    assert list(found.corpus_ids) == ["d1", "d2", "d3"]
    assert list(found.corpus) == ["one", "Title two", "three"]
    assert found.corpus[1] == "Title two"
    assert found.qrels == {"q3": {"d3": 2, "d1": 0}}


def test_the_training_judgements_are_joined_into_pairs(folder: Path) -> None:
    found = read_pairs(str(folder), ColumnsConfig())
    assert found.rows.to_list() == [
        {"anchor": "first", "positive": "one"},
        {"anchor": "second", "positive": "Title two"},
    ]
    assert found.where(1).endswith("qrels/train.tsv line 4")
    assert "1 judgements of grade 0" in found.notes.remarks[0]


def test_a_folder_with_a_file_of_training_pairs_gives_these(folder: Path) -> None:
    pq.write_table(pa.table({"anchor": ["a", "b"], "positive": ["c", "d"]}), folder / "train.parquet")
    assert read_pairs(str(folder), ColumnsConfig()).rows[0] == {"anchor": "a", "positive": "c"}


def test_the_corpus_can_be_elsewhere(folder: Path, own_folder: Path) -> None:
    before = read_retrieval(str(folder), split="test", name="x")
    (own_folder / "other").mkdir()
    (folder / "corpus.jsonl").rename(own_folder / "other" / "corpus.jsonl")
    refused(folder, "no corpus file")
    assert read_retrieval(str(folder), split="test", name="x", corpus="other").revision == before.revision
    assert read_retrieval(str(folder), split="test", name="x", corpus="other/corpus.jsonl").revision == before.revision


def test_the_revision_follows_the_content_not_the_format(folder: Path) -> None:
    before = read_retrieval(str(folder), split="test", name="x").revision
    (folder / "corpus.jsonl").unlink()
    texts = [f"{title} {text}".strip() for _, title, text in CORPUS]
    pq.write_table(pa.table({"_id": [key for key, _, _ in CORPUS], "text": texts}), folder / "corpus.parquet")
    assert read_retrieval(str(folder), split="test", name="y").revision == before
    qrels(folder, "test", "q3\td3\t1\nq3\td1\t0\n")
    assert read_retrieval(str(folder), split="test", name="x").revision != before


def test_ids_may_be_numbers(own_folder: Path) -> None:
    (own_folder / "n" / "qrels").mkdir(parents=True)
    pq.write_table(pa.table({"_id": [1, 2], "text": ["a", "b"]}), own_folder / "n" / "queries.parquet")
    pq.write_table(pa.table({"_id": [7, 8], "text": ["c", "d"]}), own_folder / "n" / "corpus.parquet")
    qrels(own_folder / "n", "test", "2\t8\t1\n")
    found = read_retrieval("n", split="test", name="x")
    assert found.qrels == {"2": {"8": 1}}
    assert list(found.query_ids) == ["1", "2"]


def test_the_data_sets_that_ship_can_be_read() -> None:
    found = read_retrieval("debian", split="dev", name="debian")
    assert len(found.queries) == len(found.qrels) == 2000
    assert len(read_pairs("debian", ColumnsConfig())) == 24_000


def test_what_is_wrong_with_a_folder(folder: Path) -> None:
    refused(folder, "unknown split 'tset'", "did you mean 'test'?", split="tset")
    qrels(folder, "test", "q3\td9\t1\n")
    refused(folder, "qrels/test.tsv: line 2", "the document 'd9'", "not there")
    qrels(folder, "test", "q9\td1\t1\n")
    refused(folder, "line 2", "the query 'q9'")
    qrels(folder, "test", "q3\td1\t0.5\n")
    refused(folder, "line 2", "whole number; got 0.5")
    qrels(folder, "test", "q3\td1\t1\nq3\td1\t2\n")
    refused(folder, "line 3", "contradicts")
    qrels(folder, "test", "q3\td1\t1\n", header="qid\tdid\trel\n")
    refused(folder, "no column 'query-id'", "first line must be")
    qrels(folder, "test", "q3\td1\t1\n")
    lines(folder / "corpus.jsonl", [{"_id": "d1", "text": "a"}, {"_id": "d2", "text": "b"}, {"_id": "d1", "text": "c"}])
    refused(folder, "corpus.jsonl", "'d1' is there twice", "lines 1 and 3")
    lines(folder / "queries.jsonl", [{"_id": "q3", "text": " "}])
    refused(folder, "queries.jsonl", "line 1 has an empty text")
    lines(folder / "queries.jsonl", [{"_id": "q3", "texts": "x"}])
    refused(folder, "no column 'text'", "_id, texts")


def test_a_file_is_no_benchmark(own_folder: Path) -> None:
    Path("x.jsonl").write_text("{}")
    with pytest.raises(InputError, match="must be a folder in BEIR layout"):
        read_retrieval("x.jsonl", split="test", name="x")


def test_titles_are_read_whichever_line_has_the_first_one(folder: Path) -> None:
    lines(
        folder / "corpus.jsonl",
        [{"_id": "d1", "text": "one"}, {"_id": "d2", "title": "Title", "text": "two"}, {"_id": "d3", "text": "three"}],
    )
    found = read_retrieval(str(folder), split="test", name="x")
    assert list(found.corpus) == ["one", "Title two", "three"]
