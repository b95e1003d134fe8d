"""Relevant documents keep their grades wherever they were found, and those that were not found still count."""

import numpy as np

from benchmarks.relevant import Relevant
from benchmarks.topk import Ranking
from finewise.data.retrieval import RetrievalSet

TASK = RetrievalSet(
    name="t", split="test", query_ids=["q1", "q2", "q3"], queries=["", "", ""],
    corpus_ids=["a", "b", "c"], corpus=["", "", ""],
    qrels={"q1": {"c": 1, "a": 3, "b": 0}, "q3": {"b": 2, "c": -1}}, revision="r",
)  # fmt: skip


def test_only_positive_grades_are_relevant():
    relevant = Relevant.of(TASK)
    assert list(zip(relevant.query, relevant.document, relevant.grade, strict=True)) == [
        (0, 2, 1),
        (0, 0, 3),
        (2, 1, 2),
    ]
    assert relevant.documents.tolist() == [0, 1, 2]


def test_ranks_in_a_ranking_and_the_grades_there():
    relevant = Relevant.of(TASK)
    ranking = Ranking(np.array([[1, 2], [0, 1], [1, -1]]), np.zeros((3, 2), np.float32))
    ranks = relevant.ranks(ranking)
    assert ranks.tolist() == [2, 0, 1]
    grades, ideal = relevant.graded(ranks)
    assert grades.tolist() == [[0, 1], [0, 0], [2, 0]]
    assert ideal.tolist() == [[3, 1], [0, 0], [2, 0]]


def test_nothing_relevant_and_nothing_found():
    relevant = Relevant.of(RetrievalSet(**{**{name: getattr(TASK, name) for name in TASK.__slots__}, "qrels": {}}))
    grades, ideal = relevant.graded(np.empty(0, np.int64))
    assert grades.shape == ideal.shape == (3, 0)
