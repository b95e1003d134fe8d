"""Retrieval by the length of the relevant document, and passages whose sentence was taken out."""

import json

import numpy as np
import pytest

from benchmarks.long_retrieval import by_bucket, document_lengths, inverse_cloze
from benchmarks.retrieval import Result, check
from finewise.data.documents import read_documents
from finewise.data.retrieval import RetrievalSet
from finewise.errors import InputError


class Words:
    """A token per word, and one special token."""

    def __call__(self, texts, **kwargs):
        if isinstance(texts, str):
            return {"input_ids": [0, *range(len(texts.split()))]}
        extra = [] if kwargs.get("add_special_tokens") is False else [0]
        return {"input_ids": [[*extra, *range(len(text.split()))] for text in texts]}


def test_a_querys_value_counts_where_its_longest_relevant_document_is():
    task = RetrievalSet(
        name="set", split="test", query_ids=["a", "b", "c", "d"], queries=["q"] * 4, corpus_ids=["1", "2", "3"],
        corpus=["x " * 99, "x " * 100, "x " * 500],
        qrels={"a": {"1": 1}, "b": {"1": 1, "2": 1, "3": 0}, "c": {"1": 2, "3": 1}, "d": {"1": 0}}, revision="r",
    )  # fmt: skip
    lengths = document_lengths(task, Words())
    assert lengths.tolist() == [100, 101, 501]
    result = Result(
        system="s", benchmark="set", split="test", data_revision="r", query_ids=("a", "b", "c", "d"),
        per_query={"ndcg@10": np.array([1.0, 0.5, 0.25, 0.0])}, unjudged=0, depth=10,
    )  # fmt: skip
    found = by_bucket(result, task, lengths, [50, 100], group=4)
    assert (found.ids, found.lengths.tolist()) == (("a", "b", "c"), [100, 200, 800])  # beyond the last: its doublings
    assert [found.mean(length) for length in (100, 200, 800)] == [1.0, 0.5, 0.25]
    assert found.metric == "ndcg@10"
    assert set(found.groups.tolist()) == {4}
    assert by_bucket(result, task, lengths).lengths.tolist() == [512, 512, 512]


@pytest.fixture
def documents(tmp_path):
    rows = [
        {"text": " ".join(f"This is sentence number {n} of the book {book} and it ends." for n in range(200))}
        for book in range(3)
    ]
    file = tmp_path / "books.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return read_documents(str(file), "text")


def test_a_passage_is_as_long_as_asked_and_lacks_the_sentence_that_asks_for_it(documents):
    task = inverse_cloze(documents, Words(), [50, 200], 10, 0)
    check(task)
    assert len(task.query_ids) == 20
    lengths = document_lengths(task, Words())
    nominal = [int(one.rpartition(" ")[2]) for one in task.corpus_ids]
    assert not set(task.query_ids) & set(task.corpus_ids)
    for query, passage, size, length in zip(task.queries, task.corpus, lengths.tolist(), nominal, strict=True):
        assert length - 12 <= size <= length
        assert query not in passage
        book = next(text for text in documents.texts if query in text)
        place = book.index(query)
        around = book[max(0, place - 5) : place].strip() or book[place + len(query) :][:12].strip()
        assert around  # the sentence is of a book, and its passage of the same one
        assert query.partition("book ")[2][0] == passage.partition("book ")[2][0]
    said = [sentence for passage in task.corpus for sentence in passage.split(".") if sentence.strip()]
    assert len(said) == len(set(map(str.strip, said)))  # passages do not overlap
    assert inverse_cloze(documents, Words(), [50, 200], 10, 0).revision == task.revision
    assert inverse_cloze(documents, Words(), [50, 200], 10, 1).revision != task.revision


def test_documents_that_give_too_few_passages_are_told(documents):
    with pytest.raises(
        InputError, match=r"books.jsonl: the documents give \d+ of 20 passages of 1,000 to 1,000 tokens"
    ):
        inverse_cloze(documents, Words(), [1000], 20, 0)
