"""The metrics of classification as an `evaluate` module: `evaluate.load("benchmarks/metrics/classification", "f1_macro")`.

It needs no hub. `evaluate` copies this file elsewhere when it loads it; the formulas stay where they are.
"""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

from benchmarks.metrics.classes import METRICS, check_metric, evaluated
from benchmarks.metrics.outcome import Outcome

_DESCRIPTION = """
Accuracy, F1 (macro, micro, weighted), balanced accuracy, MCC, ROC AUC, average precision, log loss, Brier score,
expected calibration error, exact match; for ordered classes mean absolute error and quadratic kappa. They agree with
scikit-learn where it has them. Macro means are over the classes that are gold or predicted.
"""

_INPUTS = """
Args:
    predictions: One per example: the number of the predicted class; or the probabilities of all classes (they sum to 1; the
        likeliest is predicted); or, with several labels per example, the probability of each label (from 0.5 on it is
        predicted; 0 and 1 do too).
    references: One per example: the number of the class; or, with several labels, 0 or 1 for each.
    metrics: Names such as ["f1_macro", "ece"]; by default the one that the module was loaded with ("f1_macro").

Returns:
    Each metric by its name.

Examples:
    >>> Classification("f1_micro").compute(predictions=[0, 1, 1, 1], references=[0, 1, 1, 0])
    {'f1_micro': 0.75}
    >>> Classification("brier").compute(predictions=[[0.5, 0.5], [0.0, 1.0]], references=[0, 1])
    {'brier': 0.125}
    >>> Classification("exact_match").compute(predictions=[[1, 0], [1, 1]], references=[[1, 0], [0, 1]])
    {'exact_match': 0.5}
"""

_CITATION = """
@article{scikit-learn, title = {Scikit-learn: Machine Learning in Python}, author = {Pedregosa, F. and others},
  journal = {Journal of Machine Learning Research}, volume = {12}, pages = {2825--2830}, year = {2011}}
"""


class Classification(evaluate.Metric):  # type: ignore[misc]
    """The metric that `config_name` names, or those that `compute(metrics=...)` names."""

    config_name: str

    def _metric(self) -> str:
        return "f1_macro" if self.config_name == "default" else self.config_name

    def _info(self) -> evaluate.MetricInfo:
        check_metric(self._metric())
        number, probabilities = datasets.Value("int64"), datasets.Sequence(datasets.Value("float64"))
        several = datasets.Sequence(datasets.Value("int64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=[
                datasets.Features({"predictions": number, "references": number}),
                datasets.Features({"predictions": probabilities, "references": number}),
                datasets.Features({"predictions": probabilities, "references": several}),
            ],
        )

    def _compute(
        self, predictions: Sequence[Any], references: Sequence[Any], metrics: Sequence[str] | None = None
    ) -> dict[str, float]:
        outcome = _outcome(np.asarray(predictions), np.asarray(references))
        names = list(metrics or [self._metric()])
        for name in names:
            check_metric(name)
            if outcome.multi or METRICS[name].kinds == ("multi",):
                check_metric(name, "multi" if outcome.multi else "single")
        return evaluated(outcome, names)


def _outcome(predictions: np.ndarray[Any, Any], references: np.ndarray[Any, Any]) -> Outcome:
    """Return what the formulas take; what was given is told by its shape."""
    if references.ndim == 2:
        if predictions.shape != references.shape:
            raise ValueError(f"predictions must have a value per label, {references.shape}; got {predictions.shape}")
        return Outcome(
            gold=references.astype(bool),
            predicted=predictions >= 0.5,
            probabilities=predictions,
            classes=references.shape[1],
        )
    if predictions.ndim == 1:
        classes = int(max(predictions.max(initial=0), references.max(initial=0))) + 1
        return Outcome(gold=references, predicted=predictions, probabilities=None, classes=classes)
    return Outcome(
        gold=references, predicted=predictions.argmax(axis=1), probabilities=predictions, classes=predictions.shape[1]
    )
