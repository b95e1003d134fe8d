"""Retrieval by the length of the relevant document, and passages whose sentence was taken out."""

from collections import Counter

import numpy as np
import pytest

from benchmarks.long_retrieval import by_bucket, document_lengths, inverse_cloze
from benchmarks.retrieval import Result
from finewise.data.retrieval import RetrievalSet


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
def books():
    return [
        " ".join(f"This is sentence number {n} of the book {book} and it ends." for n in range(200))
        for book in range(3)
    ]


def test_a_passage_is_as_long_as_asked_and_lacks_the_sentence_that_asks_for_it(books):
    cuts = inverse_cloze(books, Words(), [50, 200], 0)
    for cut in cuts:
        size = len(cut.passage.split()) + 1
        assert cut.length - 12 <= size <= cut.length
        assert cut.query not in cut.passage
        book = next(text for text in books if cut.query in text)
        place = book.index(cut.query)
        around = book[max(0, place - 12) : place].strip() or book[place + len(cut.query) :][:12].strip()
        assert around in cut.passage  # where the sentence stood, or right behind it
    said = [sentence for cut in cuts for sentence in cut.passage.split(".") if sentence.strip()]
    assert len(said) == len(set(map(str.strip, said)))  # passages do not overlap
    assert inverse_cloze(books, Words(), [50, 200], 0) == cuts
    assert inverse_cloze(books, Words(), [50, 200], 1) != cuts


def test_lengths_come_equally_often_as_far_as_texts_reach(books):
    counts = Counter(cut.length for cut in inverse_cloze(books, Words(), [50, 200, 5000], 0))
    assert set(counts) == {50, 200}
    assert abs(counts[50] - counts[200]) <= 3 * len(books)  # what is left of a text
    assert counts.total() > 20
    assert inverse_cloze(["Too short to be cut."], Words(), [50], 0) == []
    assert len(inverse_cloze(books, Words(), [50, 200], 0, most=5)) == 5


def test_what_is_read_before_a_passage_counts(books):
    plain, prompted = (inverse_cloze(books, Words(), [50], 0, prompt=prompt) for prompt in ("", "a passage of a book "))
    assert max(len(cut.passage.split()) for cut in plain) > 50 - 1 - 5
    assert max(len(cut.passage.split()) for cut in prompted) <= 50 - 1 - 5
