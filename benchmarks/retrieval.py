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
from benchmarks.topk import Ranking
from finewise.data.retrieval import RetrievalSet
from finewise.errors import InputError

__all__ = [
    "EncoderSearcher",
    "Ranking",
    "Result",
    "Searcher",
    "evaluate_dims",
    "evaluate_retrieval",
    "grade",
    "grade_ranks",
    "judged",
    "load_per_query",
    "save_per_query",
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
    """

    system: str
    benchmark: str
    split: str
    data_revision: str
    query_ids: tuple[str, ...]
    per_query: Mapping[str, NDArray[np.float64]]
    unjudged: int
    depth: int

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
    )


def judged(task: RetrievalSet) -> RetrievalSet:
    """Return the set with only those queries that have at least one judgement."""
    rows = [row for row, query in enumerate(task.query_ids) if task.qrels.get(query)]
    if len(rows) == len(task.query_ids):
        return task
    return replace(task, query_ids=[task.query_ids[row] for row in rows], queries=[task.queries[row] for row in rows])


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
    return plain, {"query_ids": np.array(result.query_ids, dtype=np.str_), **result.per_query}


def load_per_query(path: Path) -> list[Result]:
    """Read what `save_per_query` wrote.

    Raises:
        InputError: The file is missing or is something else.
    """

    def make(plain: dict[str, Any], arrays: dict[str, Any]) -> Result:
        per_query = {metric: arrays[metric] for metric in plain.pop("metrics")}
        return Result(query_ids=tuple(arrays["query_ids"].tolist()), per_query=per_query, **plain)

    return load_arrays(path, "per-query results", make)
