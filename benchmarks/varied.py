"""How certain the metrics of classification are: intervals of one system, paired tests of two."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.classified import Classified
from benchmarks.metrics.classes import METRICS, evaluated, measure
from benchmarks.metrics.ranked import areas
from benchmarks.metrics.summed import ratio
from benchmarks.stats.design import Design
from benchmarks.stats.inference import Interval, PairedTest
from benchmarks.stats.inference import intervals as of_jackknife
from benchmarks.stats.inference import paired_tests as of_differences
from benchmarks.stats.jackknife import FEWEST, MOST, Jackknife, Values, jackknife

BUDGET = 400_000_000
"""ROC AUC and average precision pass over all rows once per class and deletion: N x K x deletions stays below this."""


def intervals(result: Classified, metrics: Sequence[str]) -> dict[str, Interval]:
    """Return each metric with its interval; one without intervals has its value alone."""
    design = Design.of(len(result), clusters=result.groups)
    alone = evaluated(result.outcome, metrics)
    found = {name: Interval(alone[name], None, None) for name in metrics}
    for names in _passes(metrics):
        alike = _alike([result]) if not METRICS[names[0]].probabilities else None
        varied = _jackknife([result], names, design, alike)
        found.update(zip(names, of_jackknife(varied, [METRICS[name].bounds for name in names]), strict=True))
    return found


def paired_tests(a: Classified, b: Classified, metrics: Sequence[str]) -> dict[str, PairedTest]:
    """Return a minus b for each metric that has intervals; both are of the same rows."""
    design = Design.of(len(a), clusters=b.groups if a.groups is None else a.groups)
    found: dict[str, PairedTest] = {}
    for names in _passes(metrics):
        alike = _alike([a, b]) if not METRICS[names[0]].probabilities else None
        varied = _jackknife([a, b], names, design, alike)
        found.update(zip(names, of_differences(varied, [METRICS[name].bounds for name in names]), strict=True))
    return {name: found[name] for name in metrics if name in found}


def _passes(metrics: Sequence[str]) -> list[list[str]]:
    """Return the metrics with intervals in parts that share their deletions: decisions or probabilities, areas, means."""
    parts: dict[tuple[bool, bool, bool], list[str]] = {}
    for name in metrics:
        metric = METRICS[name]
        if metric.interval:
            parts.setdefault((metric.probabilities, metric.statistics is areas, _is_mean(name)), []).append(name)
    return list(parts.values())


def _jackknife(
    results: list[Classified], names: list[str], design: Design, alike: NDArray[np.intp] | None
) -> Jackknife:
    """Return the jackknife of the metrics of one system, or of the first minus the second."""
    computed = [measure(result.outcome, names) for result in results]
    most = MOST
    if METRICS[names[0]].statistics is areas:
        most = max(FEWEST, min(MOST, BUDGET // (len(results[0]) * results[0].outcome.classes * len(results))))

    def compute(weights: Values) -> Values:
        first = computed[0](weights)
        return first - computed[1](weights) if len(computed) == 2 else first

    return jackknife(compute, design, alike=alike, biased=not _is_mean(names[0]), most=most)


def _is_mean(name: str) -> bool:
    return METRICS[name].value is ratio


def _alike(results: list[Classified]) -> NDArray[np.intp]:
    """Return (N,) equal numbers for rows with the same gold label and the same predictions."""
    columns = [np.asarray(results[0].gold), *(np.asarray(result.predicted) for result in results)]
    if columns[0].ndim == 2:
        packed = np.concatenate([np.packbits(column.astype(bool), axis=1) for column in columns], axis=1)
        rows = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1]))).ravel()
        return np.unique(rows, return_inverse=True)[1].reshape(-1)
    return np.unique(np.stack(columns), axis=1, return_inverse=True)[1].reshape(-1)
