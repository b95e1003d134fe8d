"""The retrieval benchmark: a searcher ranks the corpus for each query, and the ranking is graded by the judgements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.arrays import load_arrays, save_arrays
from benchmarks.dense import EncoderSearcher
from benchmarks.metrics.ranking import check_depth, parse_metric
from benchmarks.relevant import Ranks, Relevant
from benchmarks.rows import check_same_data, comparison_rows, score_rows
from benchmarks.stats.design import Design
from benchmarks.stats.inference import UNIT, intervals, paired_tests
from benchmarks.stats.jackknife import Compute, Values, jackknife
from benchmarks.topk import Ranking
from finewise.data.retrieval import RetrievalSet
from finewise.errors import InputError
from finewise.record import Comparison, Score

__all__ = [
    "EncoderSearcher",
    "Ranking",
    "Result",
    "Searcher",
    "check_comparable",
    "clusters_of",
    "compare",
    "evaluate_dims",
    "evaluate_retrieval",
    "grade",
    "grade_ranks",
    "judged",
    "load_per_query",
    "save_per_query",
    "scores",
]

PER_QUERY_FILE = "per_query.npz"
_INDEXED = ("system", "benchmark", "split", "data_revision", "unjudged", "depth")


class Searcher(Protocol):
    """What can be scored: an embedding model, BM25, anything that ranks a corpus."""

    name: str

    def search(self, task: RetrievalSet, depth: int) -> Ranking:
        """Return the best `depth` documents of every query, ordered as `benchmarks.topk` says."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """The metrics of one system on one benchmark, query by query.

    Attributes:
        system: "tuned", "untuned" or a baseline's name.
        benchmark: Name of the retrieval set.
        split: "dev" or "test".
        data_revision: Revision of the retrieval set.
        query_ids: The queries that have judgements, in the set's order.
        per_query: metric -> (Q,) one value per query of `query_ids`.
        unjudged: How many queries have no judgement; they are in no mean.
        depth: How many documents were retrieved per query.
        clusters: (Q,) equal for queries that vary together, such as those of one customer; None: each is alone.
    """

    system: str
    benchmark: str
    split: str
    data_revision: str
    query_ids: tuple[str, ...]
    per_query: Mapping[str, NDArray[np.float64]]
    unjudged: int
    depth: int
    clusters: NDArray[np.integer[Any]] | None = None

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over the judged queries."""
        return float(self.per_query[metric].mean())


def evaluate_retrieval(task: RetrievalSet, searcher: Searcher, metrics: Sequence[str], depth: int) -> Result:
    """Search and grade. Queries without judgements are not searched; the result says how many there were.

    Raises:
        InputError: The retrieval set contradicts itself, or has no judged query.
    """
    if isinstance(searcher, EncoderSearcher):
        return evaluate_dims(task, searcher, metrics, depth, [searcher.truncate_dim])[0]
    check_depth(metrics, depth)
    check(task)
    part = judged(task)
    result = grade(searcher.search(part, depth), part, metrics, system=searcher.name)
    return replace(result, unjudged=len(task.query_ids) - len(part.query_ids))


def evaluate_dims(
    task: RetrievalSet, searcher: EncoderSearcher, metrics: Sequence[str], depth: int, dims: Sequence[int | None]
) -> list[Result]:
    """Do the same for several numbers of leading dimensions, encoding every text once.

    Args:
        task: The benchmark.
        searcher: The model.
        metrics: What is computed.
        depth: Documents retrieved per query.
        dims: The first is the full dimension and keeps the system's name; the others are called NAME@DIM.

    Raises:
        InputError: As evaluate_retrieval.
    """
    check_depth(metrics, depth)
    check(task)
    part = judged(task)
    unjudged = len(task.query_ids) - len(part.query_ids)
    names = [searcher.name, *(f"{searcher.name}@{dim}" for dim in dims[1:])]
    relevant = Relevant.of(part)
    return [
        replace(grade_ranks(ranks, relevant, part, metrics, depth, system=name), unjudged=unjudged)
        for ranks, name in zip(searcher.ranks(part, relevant, depth, dims), names, strict=True)
    ]


def grade(ranking: Ranking, task: RetrievalSet, metrics: Sequence[str], *, system: str) -> Result:
    """Compute the metrics of a ranking of all queries of `task`. Pure.

    Args:
        ranking: (Q, depth), one row per query of the task.
        task: The queries, the corpus and the judgements.
        metrics: Such as ["ndcg@10", "map"].
        system: Whose ranking it is.
    """
    relevant = Relevant.of(task)
    return grade_ranks(relevant.ranks(ranking), relevant, task, metrics, ranking.depth, system=system)


def grade_ranks(
    ranks: Ranks, relevant: Relevant, task: RetrievalSet, metrics: Sequence[str], depth: int, *, system: str
) -> Result:
    """Compute the metrics from the ranks of the relevant documents alone. Pure.

    Args:
        ranks: (P,) from 1; 0: not within the depth.
        relevant: Of the task.
        task: The queries, the corpus and the judgements.
        metrics: Such as ["ndcg@10", "map"].
        depth: How deep the search looked.
        system: Whose ranks they are.
    """
    check_depth(metrics, depth)
    grades, ideal = relevant.graded(ranks)
    rows = np.array([bool(task.qrels.get(query)) for query in task.query_ids], dtype=bool)
    grades, ideal = grades[rows], ideal[rows]
    return Result(
        system=system,
        benchmark=task.name,
        split=task.split,
        data_revision=task.revision,
        query_ids=tuple(query for query, known in zip(task.query_ids, rows, strict=True) if known),
        per_query={metric: parse_metric(metric)(grades, ideal) for metric in metrics},
        unjudged=int((~rows).sum()),
        depth=depth,
        clusters=clusters_of(task),
    )


def scores(result: Result) -> list[Score]:
    """Return the mean of each metric of a result with its interval."""
    metrics = list(result.per_query)
    design = Design.of(len(result.query_ids), clusters=result.clusters)
    varied = jackknife(_means(_matrix(result, metrics)), design, biased=False)
    found = intervals(varied, [UNIT] * len(metrics))
    return score_rows(result, design.size, dict(zip(metrics, found, strict=True)), design.clusters)


def compare(a: Result, b: Result) -> list[Comparison]:
    """Return a minus b for each metric that both have.

    Raises:
        InputError: The results are not of the same queries on the same data.
    """
    check_comparable(a, b)
    metrics = [metric for metric in a.per_query if metric in b.per_query]
    design = Design.of(len(a.query_ids), clusters=b.clusters if a.clusters is None else a.clusters)
    varied = jackknife(_means(_matrix(a, metrics) - _matrix(b, metrics)), design, biased=False)
    found = paired_tests(varied, [UNIT] * len(metrics))
    return comparison_rows(a, b, dict(zip(metrics, found, strict=True)))


def check_comparable(a: Result, b: Result) -> None:
    """Refuse two results whose per-query values do not belong together.

    Raises:
        InputError: They differ in benchmark, split, revision of the data, or queries.
    """
    check_same_data(a, b)
    if a.query_ids != b.query_ids:
        raise InputError(
            f"cannot compare {a.system} with {b.system} on {a.benchmark}: they were scored on different queries "
            f"({len(a.query_ids)} and {len(b.query_ids)}); score both on the same benchmark"
        )


def _matrix(result: Result, metrics: Sequence[str]) -> Values:
    """Return the per-query values of the metrics, (M, Q)."""
    return np.stack([result.per_query[metric] for metric in metrics])


def _means(values: Values) -> Compute:
    """Return what gives the mean of each row of `values` (M, Q) for weights (Q, B)."""
    return lambda weights: values @ weights / weights.sum(axis=0)


def clusters_of(task: RetrievalSet) -> NDArray[np.integer[Any]] | None:
    """Return the cluster of each judged query, (Q,); None where each is alone.

    Queries of one group of the data vary together. Without groups, so do those with the same relevant documents: several
    questions about one page are not several independent queries.
    """
    part = judged(task)
    if part.clusters is not None:
        return np.asarray(part.clusters)
    number: dict[frozenset[str], int] = {}
    clusters = []
    for query in part.query_ids:
        relevant = frozenset(document for document, grade in part.qrels[query].items() if grade > 0)
        # A query without a relevant document is alone.
        clusters.append(number.setdefault(relevant or frozenset([f"\0{query}"]), len(number)))
    return np.array(clusters) if len(number) < len(clusters) else None


def judged(task: RetrievalSet) -> RetrievalSet:
    """Return the set with only those queries that have at least one judgement."""
    rows = [row for row, query in enumerate(task.query_ids) if task.qrels.get(query)]
    if len(rows) == len(task.query_ids):
        return task
    return replace(
        task,
        query_ids=[task.query_ids[row] for row in rows],
        queries=[task.queries[row] for row in rows],
        clusters=None if task.clusters is None else [task.clusters[row] for row in rows],
    )


def check(task: RetrievalSet) -> None:
    """Refuse a retrieval set whose scores would mean something else than they seem to.

    Raises:
        InputError: Ids occur twice, judgements name what is not there, or nothing is judged.
    """
    where = f"{task.name} ({task.split})"
    for kind, ids in (("query", task.query_ids), ("document", task.corpus_ids)):
        if len(set(ids)) != len(ids):
            seen: set[str] = set()
            twice = [identifier for identifier in ids if identifier in seen or seen.add(identifier)]  # type: ignore[func-returns-value]
            raise InputError(f"{where}: {_some(twice, kind)} more than once; ids must be unique")
    queries, documents = set(task.query_ids), set(task.corpus_ids)
    strange = [query for query in task.qrels if query not in queries]
    if strange:
        raise InputError(f"{where}: the qrels name {_some(strange, 'query')} that the queries do not have")
    missing = sorted({document for row in task.qrels.values() for document in row} - documents)
    if missing:
        raise InputError(f"{where}: the qrels name {_some(missing, 'document')} that the corpus does not have")
    if not any(task.qrels.values()):
        raise InputError(f"{where}: no query has a judgement (qrels); there is nothing to score")


def _some(ids: Sequence[str], kind: str) -> str:
    """Return "3 documents (a, b, c, ...)": the number and the first three."""
    plural = {"query": "queries", "document": "documents"}[kind] if len(ids) > 1 else kind
    return f"{len(ids)} {plural} ({', '.join(map(str, ids[:3]))}{', ...' if len(ids) > 3 else ''})"


def save_per_query(path: Path, results: Sequence[Result]) -> None:
    """Write results, query by query, to one .npz file, whole or not at all."""
    save_arrays(path, map(_parts, results))


def _parts(result: Result) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    plain = {**{key: getattr(result, key) for key in _INDEXED}, "metrics": list(result.per_query)}
    clusters = {} if result.clusters is None else {"clusters": result.clusters}
    return plain, {"query_ids": np.array(result.query_ids, dtype=np.str_), **clusters, **result.per_query}


def load_per_query(path: Path) -> list[Result]:
    """Read what `save_per_query` wrote.

    Raises:
        InputError: The file is missing or is something else.
    """

    def make(plain: dict[str, Any], arrays: dict[str, Any]) -> Result:
        per_query = {metric: arrays[metric] for metric in plain.pop("metrics")}
        ids, clusters = tuple(arrays["query_ids"].tolist()), arrays.get("clusters")
        return Result(query_ids=ids, per_query=per_query, clusters=clusters, **plain)

    return load_arrays(path, "per-query results", make)
