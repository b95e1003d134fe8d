"""Counting gives the ranks that sorting all exact scores gives, whatever the product's precision, the chunks and the blocks."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from benchmarks.exact import RankCounter
from benchmarks.relevant import Relevant
from finewise.data.retrieval import RetrievalSet


def task_of(query_ids, corpus_ids, qrels):
    return RetrievalSet(
        name="t", split="test", query_ids=query_ids, queries=query_ids, corpus_ids=corpus_ids, corpus=corpus_ids,
        qrels=qrels, revision="r",
    )  # fmt: skip


def counted(task, queries, documents, depth, *, bf16, block=2048, chunk=10**6):
    relevant = Relevant.of(task)
    counter = RankCounter(task, relevant, depth, queries, documents[relevant.documents], bf16=bf16, block=block)
    for start in range(0, len(documents), chunk):
        counter.count(np.arange(len(documents))[start : start + chunk], documents[start : start + chunk])
    return relevant, counter.ranks()


def by_sorting(task, relevant, scores, depth):
    """Sort by score, then by id, both descending, without the query itself; 0: not within the depth."""

    def itself(query, name):
        return name == task.query_ids[query] and not task.qrels.get(name, {}).get(name)

    ranks = []
    for query, document in zip(relevant.query, relevant.document, strict=True):
        found = sorted(
            (index for index, name in enumerate(task.corpus_ids) if not itself(query, name)),
            key=lambda index: (scores[query, index], task.corpus_ids[index]),
            reverse=True,
        )
        ranks.append(found.index(document) + 1 if document in found[:depth] else 0)
    return ranks


@st.composite
def tied(draw):
    """Vectors of four halves among zeros: norms, products and sums are exact in every precision, and ties abound."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    queries, documents = draw(st.integers(1, 4)), draw(st.integers(1, 25))

    def vectors(count):
        made = np.zeros((count, 6), np.float32)
        for row in made:
            row[rng.permutation(6)[:4]] = rng.choice([-0.5, 0.5], 4, p=[0.2, 0.8])
        return made

    corpus_ids = [f"{number:02}" for number in rng.permutation(99)[:documents]]
    query_ids = [f"{number:02}" for number in rng.permutation(99)[:queries]]  # some are a document's too
    qrels = {
        query: {corpus_ids[row]: int(rng.integers(0, 3)) for row in rng.integers(0, documents, rng.integers(0, 6))}
        for query in query_ids
    }
    return task_of(query_ids, corpus_ids, qrels), vectors(queries), vectors(documents)


@given(tied(), st.integers(1, 12), st.integers(1, 7), st.integers(1, 30), st.booleans())
@settings(deadline=None, max_examples=200)
def test_ties_and_cut_are_those_of_sorting_everything(case, depth, block, chunk, bf16):
    task, queries, documents = case
    relevant, ranks = counted(task, queries, documents, depth, bf16=bf16, block=block, chunk=chunk)
    assert ranks.tolist() == by_sorting(task, relevant, queries @ documents.T, depth)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("spread", [1e-1, 1e-3, 1e-5])
@pytest.mark.parametrize("scale", [1, 1e-8, 1e8])
def test_scores_closer_than_the_product_can_tell_are_told_apart(bf16, spread, scale):
    rng = np.random.default_rng(3)
    centre = rng.standard_normal(64)
    documents = (centre + spread * rng.standard_normal((300, 64))).astype(np.float32) * np.float32(scale)
    queries = rng.standard_normal((20, 64)).astype(np.float32)
    names = [f"d{row:03}" for row in range(300)]
    asked = [f"q{row}" for row in range(20)]
    task = task_of(asked, names, {query: {names[row]: 1 for row in rng.integers(0, 300, 8)} for query in asked})
    relevant, ranks = counted(task, queries, documents, 300, bf16=bf16, block=64)
    exact = documents.astype(float) @ queries.T.astype(float)
    exact /= np.linalg.norm(documents.astype(float), axis=1)[:, None] * np.linalg.norm(queries.astype(float), axis=1)
    for query, document, rank in zip(relevant.query, relevant.document, ranks, strict=True):
        others = np.delete(exact[:, query], document) - exact[document, query]
        fp32 = 3e-7  # what an fp32 score is off at most
        assert (others > fp32).sum() + 1 <= rank <= (others > -fp32).sum() + 1


@pytest.mark.parametrize("bf16", [False, True])
def test_when_all_embeddings_are_equal_only_the_ids_decide(bf16):
    names = [f"d{row:03}" for row in range(100)]
    task = task_of(["q"], names, {"q": {"d099": 1, "d090": 1, "d000": 1}})
    same = np.full((100, 5), 0.3, np.float32)
    relevant, ranks = counted(task, same[:1], same, 50, bf16=bf16, block=16)
    assert {names[row]: rank for row, rank in zip(relevant.document, ranks.tolist(), strict=True)} == {
        "d099": 1, "d090": 10, "d000": 0,
    }  # fmt: skip


def test_equal_vectors_score_equally_wherever_they_stand():
    rng = np.random.default_rng(5)
    documents = np.tile(rng.standard_normal((37, 384)).astype(np.float32), (12, 1))
    names = [f"d{row:03}" for row in range(len(documents))]
    task = task_of(["q"], names, {"q": dict.fromkeys(names, 1)})
    relevant, ranks = counted(task, documents[:1] + 1, documents, len(names), bf16=True, block=50, chunk=111)
    place = np.empty(len(names), int)
    place[relevant.document] = ranks
    groups = np.sort(place.reshape(12, 37), axis=0)
    assert sorted(ranks.tolist()) == list(range(1, len(names) + 1))
    assert (groups[-1] - groups[0] == 11).all()  # the twelve copies of a vector stand side by side


def test_a_vector_of_zeros_scores_zero():
    documents = np.array([[0, 0], [1, 0], [-1, 0]], np.float32)
    task = task_of(["q"], ["a", "b", "c"], {"q": {"a": 1, "b": 1, "c": 1}})
    for bf16 in (False, True):
        assert counted(task, documents[1:2], documents, 3, bf16=bf16)[1].tolist() == [2, 1, 3]
