"""The metrics agree with trec_eval, know their names, and are fast enough for a benchmark of realistic size."""

import time

import hypothesis.strategies as st
import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from ir_measures import AP, RR, P, R, nDCG

from benchmarks.metrics.ranking import METRICS, check_depth, check_metric, parse_metric
from benchmarks.retrieval import Ranking, evaluate_retrieval
from benchmarks.topk import TopK
from finewise.data.retrieval import RetrievalSet

REFERENCE = {
    "ndcg@1": nDCG @ 1,
    "ndcg@3": nDCG @ 3,
    "ndcg@10": nDCG @ 10,
    "recall@2": R @ 2,
    "recall@10": R @ 10,
    "precision@3": P @ 3,
    "precision@20": P @ 20,
    "map": AP,
    "map@3": AP @ 3,
}


class Fixed:
    """A searcher with given scores; what has none is not found."""

    name = "fixed"

    def __init__(self, run: dict[str, dict[str, float]]) -> None:
        self.run = run

    def search(self, task: RetrievalSet, depth: int) -> Ranking:
        top = TopK(task, depth)
        ranking = top.empty()
        position = {document: index for index, document in enumerate(task.corpus_ids)}
        for row, query in enumerate(task.query_ids):
            found = self.run.get(query, {})
            indices = np.array([position[document] for document in found], np.int64)
            top.add_row(ranking, row, indices, np.array(list(found.values()), np.float32))
        return ranking


@st.composite
def runs_and_qrels(draw):
    documents = draw(st.lists(st.text("abAB01é-", min_size=1, max_size=4), min_size=1, max_size=25, unique=True))
    queries = [f"query {number}" for number in range(draw(st.integers(1, 4)))]
    scores = st.sampled_from([-1.5, 0.0, 0.1, 0.1 + 1e-9, 0.3, 1.0, 7.0]) | st.floats(-5, 5, width=32)  # many ties
    some = st.sampled_from(documents)
    run = {query: draw(st.dictionaries(some, scores, max_size=25)) for query in queries}
    qrels = {query: draw(st.dictionaries(some, st.integers(0, 4), max_size=12)) for query in queries}
    qrels[queries[0]] = qrels[queries[0]] or {documents[0]: 1}
    return documents, queries, run, qrels


@given(runs_and_qrels())
@settings(deadline=None, max_examples=150)
def test_every_metric_agrees_with_trec_eval(case):
    documents, queries, run, qrels = case
    task = RetrievalSet(
        name="t", split="test", query_ids=queries, queries=queries, corpus_ids=documents, corpus=documents,
        qrels=qrels, revision="r",
    )  # fmt: skip
    names = [*REFERENCE, "mrr@1", "mrr@3", "mrr@30"]
    result = evaluate_retrieval(task, Fixed(run), names, depth=30)
    judged = {query: row for query, row in qrels.items() if row}
    assert result.query_ids == tuple(judged)
    assert result.unjudged == len(queries) - len(judged)

    expected = {(item.query_id, item.measure): item.value for item in ir_measures.pytrec_eval.iter_calc(
        [*REFERENCE.values(), RR], judged, run
    )}  # fmt: skip
    for row, query in enumerate(result.query_ids):
        for name, measure in REFERENCE.items():
            assert result.per_query[name][row] == pytest.approx(expected[query, measure], abs=1e-9), name
        first = expected[query, RR]
        for cutoff in (1, 3, 30):
            within = first if first and round(1 / first) <= cutoff else 0.0
            assert result.per_query[f"mrr@{cutoff}"][row] == pytest.approx(within, abs=1e-9)


def test_ndcg_by_hand():
    # Grades 3 and 1 are judged; the ranking has the 1 first, then something else, then the 3.
    grades, ideal = np.array([[1, 0, 3]]), np.array([[3, 1]])
    expected = (1 / np.log2(2) + 3 / np.log2(4)) / (3 / np.log2(2) + 1 / np.log2(3))
    assert parse_metric("ndcg@10")(grades, ideal)[0] == pytest.approx(expected, abs=1e-15)


def test_a_negative_grade_is_not_relevant_and_costs_nothing():
    grades, ideal = np.array([[-2, 1, -1]]), np.array([[1]])
    without = np.array([[0, 1, 0]])
    for name in ("ndcg@3", "mrr@3", "recall@3", "precision@3", "map"):
        assert parse_metric(name)(grades, ideal) == parse_metric(name)(without, ideal)


@pytest.mark.parametrize("family", METRICS)
def test_nothing_found_and_nothing_relevant_score_zero(family):
    metric = parse_metric(f"{family}@10")
    assert metric(np.zeros((2, 5), int), np.array([[1], [0]])).tolist() == [0, 0]
    assert metric(np.zeros((1, 0), int), np.zeros((1, 0), int)).tolist() == [0]
    assert metric(np.zeros((0, 5), int), np.zeros((0, 0), int)).shape == (0,)


def test_a_perfect_ranking_scores_one():
    grades = np.array([[3, 2, 2, 1, 0, 0]])
    ideal = np.array([[3, 2, 2, 1]])
    for name in ("ndcg@1", "ndcg@6", "mrr@10", "recall@4", "precision@4", "map"):
        assert parse_metric(name)(grades, ideal)[0] == pytest.approx(1), name


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("ndgc@10", "did you mean 'ndcg@10'?"),
        ("NDCG@5", "did you mean 'ndcg@5'?"),
        ("ndcg", "did you mean 'ndcg@10'?"),
        ("recal@100", "did you mean 'recall@100'?"),
        ("mrr@0", "did you mean 'mrr@10'?"),
        ("mapp", "did you mean 'map'?"),
        ("bleu", "Known: map, map@K, mrr@K"),
        ("ndcg@-1", "did you mean"),
        ("ndcg@1.5", "did you mean"),
        ("", "Known:"),
    ],
)
def test_a_name_that_is_no_metric_is_refused_with_the_nearest(written, hint):
    with pytest.raises(ValueError, match="unknown metric") as error:
        check_metric(written)
    assert hint in str(error.value)


@pytest.mark.parametrize("name", ["ndcg@1", "ndcg@1000", "mrr@7", "recall@100", "precision@3", "map", "map@100"])
def test_a_metric_keeps_its_name(name):
    check_metric(name)
    assert parse_metric(name).name == name


def test_a_cutoff_beyond_the_depth_is_refused():
    check_depth(["map", "recall@100"], 100)
    with pytest.raises(ValueError, match=r"scoring.depth must be at least 100 for recall@100; got 50"):
        check_depth(["ndcg@10", "recall@100"], 50)


def test_ten_thousand_queries_take_less_than_a_second():
    rng = np.random.default_rng(0)
    grades = (rng.random((10_000, 1000)) < 0.01).astype(np.int32)
    ideal = np.ones((10_000, 20), np.int32)
    start = time.process_time()
    for name in ("ndcg@10", "ndcg@1000", "mrr@10", "recall@100", "precision@10", "map"):
        parse_metric(name)(grades, ideal)
    assert time.process_time() - start < 1
