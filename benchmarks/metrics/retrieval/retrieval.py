"""The metrics of ranked retrieval as an `evaluate` module: `evaluate.load("benchmarks/metrics/retrieval", "ndcg@10")`.

It needs no hub. `evaluate` copies this file elsewhere when it loads it; the formulas stay where they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

from benchmarks.metrics.ranking import parse_metric

_DESCRIPTION = """
nDCG@K, MRR@K, recall@K, precision@K, MAP and MAP@K as trec_eval defines them. Each prediction holds the documents
found for one query with their scores, in any order; ties are broken as trec_eval breaks them (document id, highest
string first). Each reference holds the judged documents of that query with their grades: 0 and below is not relevant,
and a document without a grade counts as not relevant.
"""

_INPUTS = """
Args:
    predictions: One {"documents": [id, ...], "scores": [float, ...]} per query.
    references: One {"documents": [id, ...], "grades": [int, ...]} per query, in the same order.
    metrics: Names such as ["ndcg@10", "map"]; by default the one that the module was loaded with ("ndcg@10").
    per_query: Also return "NAME_per_query", the list of the values of each query.

Returns:
    The mean over queries of each metric, by its name.

Examples:
    >>> metric = Retrieval("mrr@10")
    >>> metric.compute(
    ...     predictions=[{"documents": ["a", "b"], "scores": [0.2, 0.9]}],
    ...     references=[{"documents": ["a"], "grades": [1]}],
    ... )
    {'mrr@10': 0.5}
"""

_CITATION = """
@misc{trec_eval, title = {trec_eval}, author = {{NIST}}, howpublished = {https://github.com/usnistgov/trec_eval}}
"""


class Retrieval(evaluate.Metric):  # type: ignore[misc]
    """The metric that `config_name` names, or those that `compute(metrics=...)` names."""

    config_name: str

    def _metric(self) -> str:
        return "ndcg@10" if self.config_name == "default" else self.config_name

    def _info(self) -> evaluate.MetricInfo:
        parse_metric(self._metric())
        strings = datasets.Sequence(datasets.Value("string"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "predictions": {"documents": strings, "scores": datasets.Sequence(datasets.Value("float32"))},
                    "references": {"documents": strings, "grades": datasets.Sequence(datasets.Value("int32"))},
                }
            ),
        )

    def _compute(
        self,
        predictions: Sequence[Mapping[str, Any]],
        references: Sequence[Mapping[str, Any]],
        metrics: Sequence[str] | None = None,
        per_query: bool = False,
    ) -> dict[str, Any]:
        grades, ideal = _padded(predictions, references)
        result: dict[str, Any] = {}
        for name in metrics or [self._metric()]:
            values = parse_metric(name)(grades, ideal)
            result[name] = float(values.mean())
            if per_query:
                result[f"{name}_per_query"] = values.tolist()
        return result


def _padded(
    predictions: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]]
) -> tuple[np.ndarray[Any, np.dtype[np.int32]], np.ndarray[Any, np.dtype[np.int32]]]:
    """Return the grades of the ranked documents (Q, D) and the positive grades (Q, J) that the formulas take."""
    ranked: list[list[int]] = []
    best: list[list[int]] = []
    for row, (found, judged) in enumerate(zip(predictions, references, strict=True)):
        for given, other in ((found, "scores"), (judged, "grades")):
            if len(given["documents"]) != len(given[other]):
                raise ValueError(
                    f"query {row}: documents and {other} must be equally many; got {len(given['documents'])} and "
                    f"{len(given[other])}"
                )
            if len(set(given["documents"])) != len(given["documents"]):
                raise ValueError(f"query {row}: a document stands there more than once")
        grade = dict(zip(judged["documents"], judged["grades"], strict=True))
        by_id = sorted(zip(found["scores"], found["documents"], strict=True), key=lambda pair: pair[1], reverse=True)
        order = sorted(by_id, key=lambda pair: -pair[0])  # a stable sort: ties keep the order of the ids
        ranked.append([grade.get(document, 0) for _, document in order])
        best.append(sorted((value for value in grade.values() if value > 0), reverse=True))
    return _array(ranked), _array(best)


def _array(rows: Sequence[Sequence[int]]) -> np.ndarray[Any, np.dtype[np.int32]]:
    array = np.zeros((len(rows), max((len(row) for row in rows), default=0)), np.int32)
    for row, values in enumerate(rows):
        array[row, : len(values)] = values
    return array
