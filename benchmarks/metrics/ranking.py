"""The metrics of ranked retrieval as trec_eval defines them. Pure NumPy; imports nothing heavy.

Shapes: Q queries, D ranks (the depth of the ranking), J relevant documents of the query that has most.

    grades (Q, D) int    grade of the document at each rank; 0 where it is not judged or where the ranking has ended
    ideal  (Q, J) int    positive grades of all documents judged for the query, highest first, padded with 0

Grades of 0 and below are not relevant and gain nothing. A query without any relevant document scores 0.
Every metric returns one value per query, (Q,) float64, in [0, 1].

Source: trec_eval 9 (m_ndcg_cut.c, m_recip_rank.c, m_map.c, m_P.c, m_recall.c), https://github.com/usnistgov/trec_eval
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finewise.names import nearest

Grades = NDArray[np.signedinteger[Any]]
Values = NDArray[np.float64]

_NAME = re.compile(r"([a-z]+)(?:@([1-9][0-9]*))?")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric by its parts: "ndcg@10" is family "ndcg", cutoff 10; "map" has no cutoff and counts all ranks."""

    family: str
    cutoff: int | None

    @property
    def name(self) -> str:
        """The name as written in settings and records."""
        return self.family if self.cutoff is None else f"{self.family}@{self.cutoff}"

    def __call__(self, grades: Grades, ideal: Grades) -> Values:
        """Return the metric of each query, (Q,)."""
        return METRICS[self.family](grades, ideal, self.cutoff or max(grades.shape[1], 1))


def _hits(grades: Grades, cutoff: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Return query, rank (from 1) and gain of every relevant document up to the cutoff, by query, then by rank."""
    top = grades[:, :cutoff]
    query, column = np.nonzero(top > 0)
    return query, column + 1, top[query, column].astype(np.float64)


def _sum(query: NDArray[np.intp], values: Values, queries: int) -> Values:
    """Return the sum of the values of each query, (Q,)."""
    result: Values = np.bincount(query, weights=values, minlength=queries).astype(np.float64, copy=False)
    return result


def _share(part: Values, whole: Values) -> Values:
    """Return part / whole, and 0 where whole is 0."""
    result: Values = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return result


def ndcg(grades: Grades, ideal: Grades, cutoff: int) -> Values:
    """Normalised discounted cumulative gain: gain = grade, discount = log2(rank + 1) (Järvelin & Kekäläinen 2002)."""

    def dcg(ranked: Grades) -> Values:
        query, rank, gain = _hits(ranked, cutoff)
        return _sum(query, gain / np.log2(rank + 1), len(ranked))

    return _share(dcg(grades), dcg(ideal))


def mrr(grades: Grades, ideal: Grades, cutoff: int) -> Values:
    """1 / rank of the first relevant document; 0 when none is within the cutoff."""
    relevant = grades[:, :cutoff] > 0
    if not relevant.shape[1]:
        return np.zeros(len(grades))
    return np.asarray(relevant.any(axis=1) / (relevant.argmax(axis=1) + 1.0), dtype=np.float64)


def recall(grades: Grades, ideal: Grades, cutoff: int) -> Values:
    """Relevant documents within the cutoff / all relevant documents."""
    found = (grades[:, :cutoff] > 0).sum(axis=1, dtype=np.float64)
    return _share(found, (ideal > 0).sum(axis=1, dtype=np.float64))


def precision(grades: Grades, ideal: Grades, cutoff: int) -> Values:
    """Relevant documents within the cutoff / cutoff, also when fewer documents were retrieved."""
    return np.asarray((grades[:, :cutoff] > 0).sum(axis=1) / float(cutoff), dtype=np.float64)


def average_precision(grades: Grades, ideal: Grades, cutoff: int) -> Values:
    """Sum of the precision at the rank of each relevant document found / all relevant documents."""
    query, rank, _ = _hits(grades, cutoff)
    first = np.searchsorted(query, np.arange(len(grades)))  # where each query's hits begin
    nth = np.arange(len(query)) - first[query] + 1  # this is the query's nth relevant document
    return _share(_sum(query, nth / rank, len(grades)), (ideal > 0).sum(axis=1, dtype=np.float64))


METRICS: dict[str, Callable[[Grades, Grades, int], Values]] = {
    "ndcg": ndcg,
    "mrr": mrr,
    "recall": recall,
    "precision": precision,
    "map": average_precision,
}
"""Metric families. All take a cutoff, `ndcg@10`; only map also goes without, and then counts the whole ranking."""

FORMS = sorted([*(f"{family}@K" for family in METRICS), "map"])
"""How a metric can be written, K being any whole number from 1."""


def parse_metric(name: str) -> Metric:
    """Return the metric that a name such as "ndcg@10" stands for.

    Raises:
        ValueError: No metric is written so.

    >>> parse_metric("recall@100")
    Metric(family='recall', cutoff=100)
    """
    match = _NAME.fullmatch(str(name))
    if match and match[1] in METRICS and (match[2] or match[1] == "map"):
        return Metric(match[1], int(match[2]) if match[2] else None)
    word, _, cutoff = str(name).partition("@")
    guess = nearest(word, METRICS)
    digits = cutoff if re.fullmatch("[1-9][0-9]*", cutoff) else "10"
    written = "map" if guess == "map" and not cutoff else f"{guess}@{digits}"
    hint = f"; did you mean '{written}'?" if guess else "."
    raise ValueError(f"unknown metric '{name}'{hint} Known: {', '.join(FORMS)} (K: any whole number from 1)")


def check_metric(name: str) -> None:
    """Raise unless the name is a metric's.

    Raises:
        ValueError: With the nearest name and all forms.

    >>> check_metric("ndgc@10")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: unknown metric 'ndgc@10'; did you mean 'ndcg@10'? Known: map, map@K, mrr@K, ndcg@K, ...
    """
    parse_metric(name)


def check_depth(metrics: Sequence[str], depth: int) -> None:
    """Raise unless the ranking is deep enough for every cutoff.

    Raises:
        ValueError: A metric looks deeper than `depth` documents; it would count what was never retrieved as missed.
    """
    deepest = max(metrics, key=lambda name: parse_metric(name).cutoff or 1)
    if (parse_metric(deepest).cutoff or 1) > depth:
        raise ValueError(f"scoring.depth must be at least {parse_metric(deepest).cutoff} for {deepest}; got {depth}")
