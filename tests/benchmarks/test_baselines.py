"""BM25 finds what shares words, in a settled order, and nothing else."""

import math

import numpy as np
import pytest

from benchmarks.baselines import BM25
from benchmarks.retrieval import evaluate_retrieval
from finewise.data.retrieval import RetrievalSet


def task_of(queries, corpus, query_ids=None):
    query_ids = query_ids or [f"q{index}" for index in range(len(queries))]
    corpus_ids = [f"d{index}" for index in range(len(corpus))]
    return RetrievalSet(
        name="t", split="test", query_ids=query_ids, queries=queries, corpus_ids=corpus_ids, corpus=corpus,
        qrels={query: {"d0": 1} for query in query_ids}, revision="r",
    )  # fmt: skip


def test_scores_are_those_of_the_formula():
    corpus = ["red fish", "blue fish swim swim", "green tree"]
    ranking = BM25(k1=1.2, b=0.75, stem=False).search(task_of(["fish swim"], corpus), 3)

    def weight(term, text):
        words, count = text.split(), sum(term in other.split() for other in corpus)
        idf = math.log(1 + (3 - count + 0.5) / (count + 0.5))
        often, mean = words.count(term), sum(len(other.split()) for other in corpus) / 3
        return idf * often / (often + 1.2 * (1 - 0.75 + 0.75 * len(words) / mean))

    assert ranking.indices.tolist() == [[1, 0, -1]]
    expected = [weight("fish", corpus[1]) + weight("swim", corpus[1]), weight("fish", corpus[0])]
    assert ranking.scores[0, :2] == pytest.approx(expected, rel=1e-5)


def test_stemming_finds_other_forms_of_a_word():
    task = task_of(["parsing libraries"], ["a library that parses", "a game"])
    assert BM25().search(task, 1).indices.tolist() == [[0]]
    assert BM25(stem=False).search(task, 1).indices.tolist() == [[-1]]


@pytest.mark.parametrize("query", ["", "the of and", "zebra", "?!", "x"])
def test_a_query_without_a_known_word_finds_nothing(query):
    ranking = BM25().search(task_of([query, "fish"], ["a fish", "a tree"]), 2)
    assert ranking.indices.tolist() == [[-1, -1], [0, -1]]


@pytest.mark.parametrize("corpus", [["", ""], ["the", "of a"], ["?!"]])
def test_a_corpus_without_words_is_searched_in_vain(corpus):
    assert (BM25().search(task_of(["fish"], corpus), 3).indices == -1).all()


def test_ties_are_broken_by_the_document_id_and_the_query_itself_is_left_out():
    task = task_of(["fish"], ["fish"] * 20 + ["tree"], query_ids=["d9"])
    ranking = BM25().search(task, 3)
    assert [task.corpus_ids[index] for index in ranking.indices[0]] == ["d8", "d7", "d6"]


def test_it_is_scored_like_any_searcher():
    task = task_of(["cat", "dog"], ["a cat", "a dog"])
    result = evaluate_retrieval(task, BM25(), ["mrr@2"], 2)
    assert result.system == "bm25"
    assert np.array_equal(result.per_query["mrr@2"], [1, 0])
