"""Calibration: probabilities that are right as often as they say.

Shapes: N rows, K labels. Logits (N, K); gold (N,) class numbers where one label is right, (N, K) bool where any number is
(multi-label; each label is then calibrated by itself).

Sources: temperature and vector scaling, Guo et al. 2017 (https://arxiv.org/abs/1706.04599); per label, Platt 1999; isotonic
regression, Zadrozny & Elkan 2002.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import KFold

from classify.decisions.thresholds import macro_f1

Values = NDArray[np.float64]
Gold = NDArray[Any]

METHODS = ("none", "temperature", "vector", "isotonic")
FOLDS = 5
STEEPEST, FLATTEST = 0.02, 50.0
"""Bounds of the temperature. Data that the model separates without an error would drive it to 0."""

VECTOR_ROWS = 10
"""`auto` tries vector scaling only with this many dev rows per class on average: it fits two numbers for each."""

ISOTONIC_ROWS = 1000
"""`auto` tries isotonic regression only from here on; with less it overfits (Niculescu-Mizil & Caruana 2005)."""

Knots = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A fitted calibration.

    Attributes:
        method: One of METHODS.
        scale: Logits are multiplied by this: one number (1 / temperature), or one per label.
        bias: Then this is added: empty, or one per label.
        knots: isotonic: per label, the probabilities before and after at the corners of its step function.
        rows: isotonic: rows that it was fitted on.
    """

    method: str = "none"
    scale: tuple[float, ...] = ()
    bias: tuple[float, ...] = ()
    knots: tuple[Knots, ...] = ()
    rows: int = 0

    def apply(self, logits: Values, multi: bool) -> Values:
        """Return probabilities (N, K); rows add up to 1 unless `multi`."""
        if self.scale:
            logits = logits * np.asarray(self.scale)
        if self.bias:
            logits = logits + np.asarray(self.bias)
        plain: Values = expit(logits) if multi else softmax(logits, axis=1)
        if self.method != "isotonic":
            return plain
        fitted = np.stack([np.interp(plain[:, label], *knots) for label, knots in enumerate(self.knots)], axis=1)
        # A step function says 0 and 1, and equal probabilities for unequal ones: a rest of the plain ones mends both.
        rest = 1 / (self.rows + 2)
        mixed = (1 - rest) * fitted + rest * plain
        return mixed if multi else mixed / mixed.sum(axis=1, keepdims=True)


def fit(method: str, logits: Values, gold: Gold) -> Calibration:
    """Fit one method.

    Args:
        method: One of METHODS.
        logits: (N, K).
        gold: (N,) or (N, K) bool.
    """
    if method == "none":
        return Calibration()
    if gold.ndim == 2:
        return _fit_multi(method, logits, gold)
    temperature = _temperature(logits, gold)
    if method == "temperature":
        return Calibration(method=method, scale=(1 / temperature,))
    if method == "vector":
        scale, bias = _vector(logits, gold, 1 / temperature)
        return Calibration(method=method, scale=_floats(scale), bias=_floats(bias))
    labels = np.arange(logits.shape[1])
    return _isotonic(softmax(logits, axis=1), gold[:, None] == labels)


def choose(logits: Values, gold: Gold, seed: int) -> str:
    """Return the method that `auto` means: temperature, unless another is better by cross-validation.

    Another method must have a log loss that is lower by more than one standard error of the difference. Where one label is
    right it must not lower the macro-F1 of the most probable labels either, which temperature leaves as they are: a shift
    that fits the frequent classes better can take the rare ones from the decisions.
    """
    rows, labels = logits.shape
    if rows < 2 * FOLDS:  # nothing could be held out of the fit
        return "none"
    given = macro_f1(logits.argmax(axis=1), gold, labels) if gold.ndim == 1 else None
    methods = ["none"]
    if rows >= VECTOR_ROWS * labels:
        methods.append("vector")
    if rows >= max(ISOTONIC_ROWS, VECTOR_ROWS * labels):
        methods.append("isotonic")
    best = "temperature"
    losses = row_loss(cross_fitted(best, logits, gold, seed), gold)
    for method in methods:
        held = cross_fitted(method, logits, gold, seed)
        if given is not None and macro_f1(held.argmax(axis=1), gold, labels) < given:
            continue
        other = row_loss(held, gold)
        difference = losses - other
        if difference.mean() > difference.std() / np.sqrt(rows):
            best, losses = method, other
    return best


def cross_fitted(method: str, logits: Values, gold: Gold, seed: int) -> Values:
    """Return probabilities (N, K), those of each row calibrated without it. Fewer rows than two folds stay as they are."""
    multi = gold.ndim == 2
    if method == "none" or len(logits) < 2 * FOLDS:
        return Calibration().apply(logits, multi)
    result = np.empty(logits.shape)
    for train, held in _folds(len(logits), seed):
        result[held] = fit(method, logits[train], gold[train]).apply(logits[held], multi)
    return result


def row_loss(probabilities: Values, gold: Gold) -> Values:
    """Return the log loss of each row, (N,); in multi-label the mean over the labels."""
    if gold.ndim == 2:
        right = np.where(gold, probabilities, 1 - probabilities)
    else:
        right = probabilities[np.arange(len(gold)), gold][:, None]
    return np.asarray(-np.log(np.maximum(right, np.finfo(np.float64).tiny)).mean(axis=1))


def _folds(rows: int, seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    yield from KFold(FOLDS, shuffle=True, random_state=seed).split(np.empty(rows))


def _temperature(logits: Values, gold: Gold) -> float:
    """Return the temperature of least log loss; in its inverse the loss is convex."""
    at = np.arange(len(gold))

    def loss(log_scale: float) -> float:
        return float(-log_softmax(np.exp(log_scale) * logits, axis=1)[at, gold].mean())

    found = minimize_scalar(
        loss, bounds=(-np.log(FLATTEST), -np.log(STEEPEST)), method="bounded", options={"xatol": 1e-6}
    )
    return float(np.exp(-found.x))


def _vector(logits: Values, gold: Gold, start: float) -> tuple[Values, Values]:
    """Return scale (K,) and bias (K,) of least log loss; no scale is negative, so that each class keeps the order of its texts.

    A normal prior of unit variance around the temperature and bias 0 keeps the numbers of classes without dev rows in place.
    """
    rows, labels = logits.shape
    at = np.arange(rows)

    def loss(flat: Values) -> tuple[float, Values]:
        scale, bias = flat[:labels], flat[labels:]
        logs = log_softmax(logits * scale + bias, axis=1)
        delta = np.exp(logs)
        delta[at, gold] -= 1
        value = -logs[at, gold].sum() + 0.5 * ((scale - start) ** 2).sum() + 0.5 * (bias**2).sum()
        slope = np.concatenate([(delta * logits).sum(axis=0) + scale - start, delta.sum(axis=0) + bias])
        return float(value / rows), slope / rows

    # A scale of 0 or less would turn a class over: texts that speak for it would speak against it.
    bounds = [(1 / FLATTEST, None)] * labels + [(None, None)] * labels
    first = np.concatenate([np.full(labels, max(start, 1 / FLATTEST)), np.zeros(labels)])
    found = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=bounds)
    return found.x[:labels], found.x[labels:]


def _fit_multi(method: str, logits: Values, gold: Gold) -> Calibration:
    """Fit each label by itself, held near what fits all labels together: three positives do not bend a label."""
    if method == "isotonic":
        return _isotonic(expit(logits), gold)
    biased = method == "vector"
    shared_scale, shared_bias = _platt(logits.reshape(-1, 1), gold.reshape(-1, 1), 1.0, 0.0, biased)
    scale, bias = _platt(logits, gold, float(shared_scale[0]), float(shared_bias[0]), biased)
    return Calibration(method=method, scale=_floats(scale), bias=_floats(bias) if biased else ())


def _platt(logits: Values, gold: Gold, scale0: float, bias0: float, biased: bool) -> tuple[Values, Values]:
    """Return scale (K,) and bias (K,) of least log loss per column, under a normal prior of unit variance.

    Newton's method on all columns at once; steps that do not lower the loss are halved.
    """
    labels = logits.shape[1]
    scale, bias = np.full(labels, scale0), np.full(labels, bias0 if biased else 0.0)

    def loss(scale: Values, bias: Values) -> Values:
        right = np.where(gold, 1.0, -1.0) * (logits * scale + bias)
        prior = 0.5 * ((scale - scale0) ** 2 + (bias - bias0) ** 2)
        return np.asarray(prior - log_expit(right).sum(axis=0))

    value = loss(scale, bias)
    for _ in range(50):
        p = expit(logits * scale + bias)
        delta, weight = p - gold, p * (1 - p)
        slope = (delta * logits).sum(axis=0) + scale - scale0
        curve = (weight * logits**2).sum(axis=0) + 1
        if biased:
            slope_b, curve_b = delta.sum(axis=0) + bias - bias0, weight.sum(axis=0) + 1
            mixed = (weight * logits).sum(axis=0)
            determinant = curve * curve_b - mixed**2
            step = (curve_b * slope - mixed * slope_b) / determinant
            step_b = (curve * slope_b - mixed * slope) / determinant
        else:
            step, step_b = slope / curve, np.zeros(labels)
        size = np.ones(labels)
        for _ in range(20):
            # Below this scale a label would be turned over, or say the same of every text.
            new_scale, new_bias = np.maximum(scale - size * step, 1 / FLATTEST), bias - size * step_b
            new_value = loss(new_scale, new_bias)
            worse = new_value > value
            if not worse.any():
                break
            size = np.where(worse, size / 2, size)
        better = new_value <= value
        moved = (
            np.abs(np.where(better, new_scale - scale, 0)).max() + np.abs(np.where(better, new_bias - bias, 0)).max()
        )
        scale, bias = np.where(better, new_scale, scale), np.where(better, new_bias, bias)
        value = np.where(better, new_value, value)
        if moved < 1e-8:
            break
    return scale, bias


def _isotonic(probabilities: Values, gold: Gold) -> Calibration:
    """Fit a rising function per label, one against the rest."""
    knots = []
    for label in range(probabilities.shape[1]):
        model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        model.fit(probabilities[:, label], gold[:, label].astype(np.float64))
        knots.append((_floats(model.X_thresholds_), _floats(model.y_thresholds_)))
    return Calibration(method="isotonic", knots=tuple(knots), rows=len(probabilities))


def _floats(values: Values) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
