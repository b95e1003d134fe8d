"""Rankings have one settled order, whatever the chunks, and never hold the query itself."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from benchmarks.topk import TopK, queries_in_corpus
from finewise.data.retrieval import RetrievalSet


def task_of(query_ids, corpus_ids):
    return RetrievalSet(
        name="t", split="test", query_ids=query_ids, queries=query_ids, corpus_ids=corpus_ids, corpus=corpus_ids,
        qrels={}, revision="r",
    )  # fmt: skip


def by_hand(task, query, scores, depth):
    """Sort by score, then by id, both descending, without the query itself."""
    found = [(score, task.corpus_ids[index], index) for index, score in enumerate(scores)]
    found = sorted((item for item in found if item[1] != task.query_ids[query]), reverse=True)[:depth]
    return [index for _, _, index in found] + [-1] * (depth - len(found))


@given(st.data())
@settings(deadline=None, max_examples=100)
def test_order_ties_and_cut_are_those_of_sorting_everything(data):
    ids = data.draw(st.lists(st.text("ab1", min_size=1, max_size=3), min_size=1, max_size=20, unique=True))
    depth = data.draw(st.integers(1, 8))
    task = task_of([data.draw(st.sampled_from(ids)), "no document"], ids)
    some = st.sampled_from([-2.0, -0.5, -0.0, 0.0, 1e-30, 0.5, 1.0])
    rows = st.lists(some, min_size=len(ids), max_size=len(ids))
    scores = np.array(data.draw(st.lists(rows, min_size=2, max_size=2)), np.float32)
    chunk = data.draw(st.integers(1, len(ids)))
    top = TopK(task, depth)
    block, row_wise = top.empty(), top.empty()
    for start in range(0, len(ids), chunk):
        indices = np.arange(start, min(start + chunk, len(ids)))
        top.add(block, np.tile(indices, (2, 1)), scores[:, indices])
        for query in range(2):
            top.add_row(row_wise, query, indices, scores[query, indices])
    for query in range(2):
        expected = by_hand(task, query, scores[query].tolist(), depth)
        assert block.indices[query].tolist() == expected
        assert row_wise.indices[query].tolist() == expected
        assert np.isneginf(block.scores[query, np.array(expected) < 0]).all()


def test_a_document_that_is_the_query_is_left_out():
    top = TopK(task_of(["b"], ["a", "b", "c"]), depth=2)
    ranking = top.empty()
    top.add(ranking, np.array([[0, 1, 2]]), np.array([[0.1, 0.9, 0.2]], np.float32))
    assert ranking.indices.tolist() == [[2, 0]]


@pytest.mark.parametrize(
    ("text", "grades", "itself"),
    [
        ("how do cats purr?", {}, True),
        ("Do dogs know how do cats purr", {}, False),
        ("  How do CATS purr? ", {}, True),
        ("Cats How do cats purr?", {}, True),  # a title before the text
        ("something that is merely numbered alike", {}, False),
        ("how do cats purr?", {"1": 1}, False),  # judged relevant: an answer
        ("how do cats purr?", {"1": 0}, True),
    ],
)
def test_equal_ids_alone_do_not_make_a_document_the_query(text, grades, itself):
    task = RetrievalSet(
        name="t", split="test", query_ids=["1"], queries=["how do cats purr?"], corpus_ids=["0", "1"],
        corpus=["a dog", text], qrels={"1": grades}, revision="r",
    )  # fmt: skip
    assert queries_in_corpus(task).tolist() == [1 if itself else -1]
