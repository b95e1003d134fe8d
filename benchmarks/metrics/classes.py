"""The metrics of classification by name. NumPy only; imports nothing heavy, so that settings can check a name.

What each is, and over which classes a mean is taken, stands in the module that defines it: `counted` (F1, balanced
accuracy, MCC), `ranked` (ROC AUC, average precision), `summed` (accuracy, log loss, Brier, ordinal, hierarchical) and
`calibration` (ECE). Shapes as in `benchmarks.metrics.outcome`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.metrics import counted, ranked, summed
from benchmarks.metrics.calibration import ece, gaps
from benchmarks.metrics.outcome import Outcome, Statistics, Values
from finewise.names import unknown

ONE_LABEL = ("single", "ordinal", "hierarchical")
ANY = (*ONE_LABEL, "multi")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of classification.

    Attributes:
        label: As papers write it.
        statistics: What is prepared from an outcome; metrics that share it are computed in one pass.
        value: statistics (..., B) -> the metric (B,).
        kinds: Kinds of labels that it is for.
        higher: Whether higher is better.
        probabilities: Whether it reads probabilities; otherwise decisions alone.
        bounds: What it lies between; None: no bound.
        interval: Whether it has one. Expected calibration error is biased by more than it varies, so it is shown alone.
    """

    label: str
    statistics: Callable[[Outcome], Statistics]
    value: Callable[[Values], Values]
    kinds: tuple[str, ...]
    higher: bool = True
    probabilities: bool = False
    bounds: tuple[float | None, float | None] = (0.0, 1.0)
    interval: bool = True


_CORRECT = summed.mean(summed.correct)

METRICS: dict[str, Metric] = {
    "accuracy": Metric("accuracy", _CORRECT, summed.ratio, ONE_LABEL),
    "exact_match": Metric("exact match", _CORRECT, summed.ratio, ("multi",)),
    "balanced_accuracy": Metric("balanced accuracy", counted.counts, counted.balanced_accuracy, ONE_LABEL),
    "f1_macro": Metric("macro-F1", counted.counts, counted.f1_macro, ANY),
    "f1_micro": Metric("micro-F1", counted.counts, counted.f1_micro, ANY),
    "f1_weighted": Metric("weighted F1", counted.counts, counted.f1_weighted, ANY),
    "mcc": Metric("MCC", counted.counts, counted.mcc, ONE_LABEL, bounds=(-1.0, 1.0)),
    "roc_auc": Metric("ROC AUC", ranked.areas, ranked.roc_auc, ANY, probabilities=True),
    "average_precision": Metric("AP", ranked.areas, ranked.average_precision, ANY, probabilities=True),
    "log_loss": Metric(
        "log loss",
        summed.mean(summed.log_loss),
        summed.ratio,
        ANY,
        higher=False,
        probabilities=True,
        bounds=(0.0, None),
    ),
    "brier": Metric(
        "Brier", summed.mean(summed.brier), summed.ratio, ANY, higher=False, probabilities=True, bounds=(0.0, None)
    ),
    "ece": Metric("ECE", gaps, ece, ANY, higher=False, probabilities=True, interval=False),
    "f1_hierarchical": Metric(
        "hierarchical F1", summed.sums(summed.overlap), summed.f1_hierarchical, ("hierarchical",)
    ),
    "mean_absolute_error": Metric(
        "MAE", summed.mean(summed.distance), summed.ratio, ("ordinal",), higher=False, bounds=(0.0, None)
    ),
    "quadratic_kappa": Metric(
        "QWK", summed.sums(summed.agreement), summed.quadratic_kappa, ("ordinal",), bounds=(-1.0, 1.0)
    ),
}
"""Names follow scikit-learn's scorers where it has one."""


def check_metric(name: str, kind: str | None = None) -> None:
    """Raise unless the name is a metric's, and one for this kind of labels.

    Args:
        name: As in settings and records.
        kind: "single", "multi", "ordinal" or "hierarchical"; None or "auto" where it is not known yet.

    Raises:
        ValueError: With the nearest name and those that there are.

    >>> check_metric("f1_marco")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: unknown metric 'f1_marco'; did you mean 'f1_macro'? Known: accuracy, average_precision, ...
    >>> check_metric("mcc", "multi")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: metric 'mcc' is for single, ordinal, hierarchical labels; the data is multi. For it: average_precision, ...
    """
    if name not in METRICS:
        raise ValueError(unknown("metric", name, METRICS))
    if kind in (None, "auto") or kind in METRICS[name].kinds:
        return
    there = ", ".join(sorted(other for other, metric in METRICS.items() if kind in metric.kinds)) or "none"
    raise ValueError(
        f"metric '{name}' is for {', '.join(METRICS[name].kinds)} labels; the data is {kind}. For it: {there}"
    )


def measure(outcome: Outcome, names: Sequence[str]) -> Statistics:
    """Return what computes the metrics: weights (N, B) -> (M, B), NaN where one is not defined."""
    prepared = {METRICS[name].statistics: METRICS[name].statistics(outcome) for name in names}

    def values(weights: Values) -> Values:
        found = {statistics: compute(weights) for statistics, compute in prepared.items()}
        return np.stack([METRICS[name].value(found[METRICS[name].statistics]) for name in names])

    return values


def evaluated(outcome: Outcome, names: Sequence[str]) -> dict[str, float]:
    """Return the metrics of the sample itself."""
    found = measure(outcome, names)(np.ones((len(outcome.gold), 1)))[:, 0]
    return dict(zip(names, map(float, found), strict=True))
