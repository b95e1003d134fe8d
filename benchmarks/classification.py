"""The classification benchmark: a classifier gives each text probabilities, and they are graded by the labels."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.classified import PER_EXAMPLE_FILE, Classified, load_per_example, save_per_example
from benchmarks.confusion import confusion_svg
from benchmarks.metrics.classes import check_metric, evaluated
from benchmarks.metrics.ranked import left_out
from benchmarks.mistakes import mistakes, per_class
from benchmarks.rows import check_same_data, comparison_rows, score_rows
from benchmarks.slices import slices
from benchmarks.stats.design import Design
from benchmarks.varied import intervals, paired_tests
from finewise.data.labels.rows import Labelled
from finewise.errors import InputError
from finewise.record import Comparison, Score

__all__ = [
    "PER_EXAMPLE_FILE",
    "Classified",
    "Classifier",
    "compare",
    "confusion_svg",
    "evaluate",
    "left_out",
    "load_per_example",
    "mistakes",
    "per_class",
    "save_per_example",
    "scores",
    "slices",
    "value",
]

_TOLERANCE = 1e-3  # how far from 1 the probabilities of an example may sum: half precision rounds


class Classifier(Protocol):
    """What can be scored: a tuned encoder, a baseline, anything that gives texts probabilities."""

    name: str

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return (N, K) in the order of the label space: rows sum to 1, or each label alone where kind is "multi"."""
        ...


def evaluate(
    data: Labelled, system: str, probabilities: NDArray[Any], predicted: NDArray[Any] | None = None
) -> Classified:
    """Put what a system said beside the labels.

    Args:
        data: N labelled texts, K classes.
        system: "tuned", "untuned" or a baseline's name.
        probabilities: (N, K) in the order of `data.space.names`.
        predicted: What it decided, as `data.labels`; None: the likeliest class, or every label from .5 on.

    Raises:
        InputError: There is nothing to score, or the probabilities are none (a diverged training gives NaN).
    """
    where, multi = f"{data.name} ({data.split})", data.space.kind == "multi"
    if not len(data):
        raise InputError(f"{where}: there is no row to score")
    expected = (len(data), len(data.space.names))
    if probabilities.shape != expected:
        raise ValueError(f"{system} on {where}: probabilities must be {expected}; got {probabilities.shape}")
    known = np.asarray(probabilities, np.float32)
    strange = ~((known >= 0) & (known <= 1)).all(axis=1)  # NaN compares as false
    if not multi:
        strange |= np.abs(known.sum(axis=1, dtype=np.float64) - 1) > _TOLERANCE
    if strange.any():
        row = int(strange.argmax())
        rule = "lie between 0 and 1" if multi else "lie between 0 and 1 and sum to 1"
        raise InputError(
            f"{system} on {data.where(row)}: probabilities must {rule}; got {np.array2string(known[row], threshold=6)} "
            f"({int(strange.sum())} of {len(data)} rows); a model that gives NaN has diverged: lower optim.learning_rate"
        )
    if predicted is None:
        predicted = known >= 0.5 if multi else known.argmax(axis=1)
    return Classified(
        system=system,
        benchmark=data.name,
        split=data.split,
        data_revision=data.revision,
        ids=tuple(map(str, data.numbers.tolist())),
        kind=data.space.kind,
        names=data.space.names,
        gold=data.labels,
        probabilities=known,
        predicted=predicted,
        groups=data.groups,
        ancestors=data.space.ancestors if data.space.kind == "hierarchical" else None,
    )


def value(result: Classified, metric: str) -> float:
    """Return one metric without an interval: what chooses a checkpoint.

    Raises:
        InputError: The metric is not for this kind of labels, or not defined on these rows.
    """
    _check(result, [metric])
    return evaluated(result.outcome, [metric])[metric]


def scores(result: Classified, metrics: Sequence[str]) -> list[Score]:
    """Return each metric of a result with its interval, over examples or the clusters of `groups`.

    Raises:
        InputError: As `value`.
    """
    _check(result, metrics)
    found = intervals(result, metrics)
    clusters = Design.of(len(result), clusters=result.groups).clusters
    return score_rows(result, len(result), found, clusters)


def compare(a: Classified, b: Classified, metrics: Sequence[str]) -> list[Comparison]:
    """Return a minus b for each metric that has intervals. Where lower is better a negative difference speaks for a.

    Raises:
        InputError: As `value`; or the results are not of the same rows of the same data.
    """
    check_same_data(a, b)
    if a.ids != b.ids:
        raise InputError(
            f"cannot compare {a.system} with {b.system} on {a.benchmark}: they were scored on different rows "
            f"({len(a)} and {len(b)}); score both on the same data"
        )
    _check(a, metrics)
    return comparison_rows(a, b, paired_tests(a, b, metrics))


def _check(result: Classified, metrics: Sequence[str]) -> None:
    """Raise unless the metrics are defined on the result.

    Raises:
        InputError: One is for another kind of labels, or has nothing to be computed from.
    """
    where = f"{result.benchmark} ({result.split})"
    try:
        for metric in metrics:
            check_metric(metric, result.kind)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    ranking = [metric for metric in metrics if metric in ("roc_auc", "average_precision")]
    if ranking and left_out(result.outcome) == len(result.names):
        raise InputError(
            f"{where}: {ranking[0]} needs a class that some rows have and others do not; the {len(result)} rows have none; "
            "remove it from the metrics or give other rows"
        )
    empty = result.kind == "multi" and not (result.gold.any() or result.predicted.any())
    if empty and "f1_macro" in metrics:
        raise InputError(
            f"{where}: f1_macro needs a row with a label, or a predicted one; the {len(result)} rows have none"
        )
