"""What a result says, what is refused, and that results survive being written."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.retrieval import Ranking, evaluate_retrieval, grade, judged, load_per_query, save_per_query
from benchmarks.topk import TopK
from finewise.data.retrieval import RetrievalSet
from finewise.errors import InputError

TASK = RetrievalSet(
    name="pets", split="test", query_ids=["q1", "q2", "q3"], queries=["cat", "dog", "fish"],
    corpus_ids=["d1", "d2", "d3"], corpus=["a cat", "a dog", "a bird"],
    qrels={"q1": {"d1": 2, "d3": 1}, "q3": {"d2": 1}}, revision="r1",
)  # fmt: skip


class Alphabetic:
    """Finds d1, d2, d3 in this order, whatever is asked."""

    name = "alphabetic"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def search(self, task, depth):
        self.asked = list(task.queries)
        top = TopK(task, depth)
        ranking = top.empty()
        for query in range(len(task.query_ids)):
            top.add_row(ranking, query, np.arange(3), np.array([3, 2, 1], np.float32))
        return ranking


def test_values_stand_query_by_query_and_their_mean_counts_judged_queries():
    searcher = Alphabetic()
    result = evaluate_retrieval(TASK, searcher, ["mrr@3", "recall@2"], depth=3)
    assert result.query_ids == ("q1", "q3")
    assert result.per_query["mrr@3"].tolist() == [1, 0.5]
    assert result.per_query["recall@2"].tolist() == [0.5, 1]
    assert result.mean("mrr@3") == 0.75
    assert (result.system, result.benchmark, result.split, result.data_revision) == ("alphabetic", "pets", "test", "r1")


def test_queries_without_judgement_are_counted_and_not_searched():
    searcher = Alphabetic()
    result = evaluate_retrieval(TASK, searcher, ["map"], depth=3)
    assert result.unjudged == 1
    assert searcher.asked == ["cat", "fish"]
    assert judged(TASK).query_ids == ["q1", "q3"]


def test_a_query_judged_to_have_nothing_relevant_counts_as_zero():
    task = replace(TASK, qrels={**TASK.qrels, "q2": {"d1": 0}})
    result = evaluate_retrieval(task, Alphabetic(), ["mrr@3"], depth=3)
    assert result.unjudged == 0
    assert result.per_query["mrr@3"].tolist() == [1, 0, 0.5]


def test_grade_excludes_unjudged_rows_of_a_ranking_of_all_queries():
    ranking = Ranking(np.array([[0, 1], [0, 1], [1, -1]]), np.zeros((3, 2), np.float32))
    result = grade(ranking, TASK, ["mrr@2"], system="s")
    assert (result.query_ids, result.unjudged, result.depth) == (("q1", "q3"), 1, 2)
    assert result.per_query["mrr@2"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qrels": {}}, r"pets \(test\): no query has a judgement"),
        ({"qrels": {"q1": {}}}, r"no query has a judgement"),
        (
            {"qrels": {"q1": {f"x{number}": 1 for number in range(5)}}},
            r"the qrels name 5 documents \(x0, x1, x2, ...\) that the corpus does not have",
        ),
        ({"qrels": {"q1": {"d1": 1}, "q9": {"d1": 1}}}, r"the qrels name 1 query \(q9\) that the queries do not have"),
        ({"query_ids": ["q1", "q1", "q3"]}, r"1 query \(q1\) more than once; ids must be unique"),
        ({"corpus_ids": ["d1", "d1", "d1"]}, r"2 documents \(d1, d1\) more than once"),
    ],
)
def test_a_set_that_contradicts_itself_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        evaluate_retrieval(replace(TASK, **change), Alphabetic(), ["map"], depth=3)


def test_a_cutoff_beyond_the_depth_is_refused():
    with pytest.raises(ValueError, match=r"depth must be at least 10 for ndcg@10; got 3"):
        evaluate_retrieval(TASK, Alphabetic(), ["ndcg@10"], depth=3)


def test_results_survive_being_written(tmp_path):
    result = evaluate_retrieval(TASK, Alphabetic(), ["mrr@3", "map"], depth=3)
    other = replace(result, system="a|b", query_ids=("é", "x" * 40))
    save_per_query(tmp_path / "per_query.npz", [result, other])
    for written, read in zip([result, other], load_per_query(tmp_path / "per_query.npz"), strict=True):
        assert {metric: values.tolist() for metric, values in read.per_query.items()} == {
            metric: values.tolist() for metric, values in written.per_query.items()
        }
        for name in ("system", "benchmark", "split", "data_revision", "query_ids", "unjudged", "depth"):
            assert getattr(read, name) == getattr(written, name)
    assert [path.name for path in tmp_path.iterdir()] == ["per_query.npz"]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 cut short"])
def test_a_broken_file_of_results_is_named(tmp_path, content):
    (tmp_path / "per_query.npz").write_bytes(content)
    with pytest.raises(InputError, match="not a file of per-query results"):
        load_per_query(tmp_path / "per_query.npz")
    with pytest.raises(InputError, match="no such file"):
        load_per_query(tmp_path / "nothing.npz")
