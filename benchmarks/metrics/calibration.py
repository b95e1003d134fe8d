"""Expected calibration error: how far confidence and accuracy are apart. NumPy only.

Shapes as in `benchmarks.metrics.outcome`.

One label: the confidence is the probability of the likeliest class, and it is right where that class is gold, whatever
was decided (Guo, Pleiss, Sun & Weinberger 2017). Multi-label: the error of each label's probability against whether the
label is there, averaged over all labels.

The bins hold equal mass, not equal width (Nguyen & O'Connor 2015): 15 bins, each with a fifteenth of the weight, so that
none is empty. Equal confidences are never parted: they go where the middle of their mass falls, and the order of
the rows cannot matter. ECE = sum over the bins of |confidence - accuracy| x share of the examples.

ECE of a finite sample is too high: chance alone parts confidence and accuracy within a bin, and no resampling undoes that. It
is shown without an interval and without a test; compare systems on the same rows rather than values with 0.
"""

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.outcome import Outcome, Statistics, Values

BINS = 15


def top_label(outcome: Outcome) -> tuple[Values, NDArray[np.bool_]]:
    """Return the confidence in the likeliest class and whether it is gold, (N,) each."""
    probabilities = np.asarray(outcome.known, np.float64)
    top = probabilities.argmax(axis=1)
    return probabilities[np.arange(len(top)), top], np.asarray(top == outcome.gold)


def gaps(outcome: Outcome) -> Statistics:
    """Return what gives the expected calibration error: of the top label (1, B), or of each label (K, B)."""
    if outcome.multi:
        columns = [(np.asarray(outcome.known[:, k], np.float64), outcome.gold[:, k]) for k in range(outcome.classes)]
    else:
        columns = [top_label(outcome)]
    each = [_gap(confidence, right) for confidence, right in columns]

    def all_gaps(weights: Values) -> Values:
        return np.stack([gap(weights) for gap in each])

    return all_gaps


def _gap(confidence: Values, right: NDArray[np.bool_]) -> Statistics:
    """Return what gives the error of one probability per example, (B,)."""
    order = np.argsort(confidence, kind="stable")
    _, starts = np.unique(confidence[order], return_index=True)
    surplus = (confidence - right)[order, None]

    def gap(weights: Values) -> Values:
        ordered = weights[order]
        mass = np.add.reduceat(ordered, starts, axis=0)  # (U, B) of each distinct confidence
        surpluses = np.add.reduceat(ordered * surplus, starts, axis=0)
        below = np.cumsum(mass, axis=0)
        total = below[-1]
        middle = (below - mass / 2) * BINS / total
        bins = np.minimum(middle.astype(np.int64), BINS - 1)
        width = weights.shape[1]
        cells = (bins * width + np.arange(width)).ravel()
        by_bin = np.bincount(cells, surpluses.ravel(), BINS * width).reshape(BINS, width)
        result: Values = np.abs(by_bin).sum(axis=0) / total
        return result

    return gap


def ece(found: Values) -> Values:
    """Mean of the expected calibration error over the columns."""
    result: Values = found.mean(axis=0)
    return result
