"""Metrics of how well probabilities rank: area under the ROC curve, average precision. NumPy only.

Shapes as in `benchmarks.metrics.outcome`; statistics are (2, K', B), for the K' classes that some examples have and others
do not. The mean is over classes, each against the rest (with two classes: both), and over labels in multi-label data.
A class without both values in the sample says nothing about ranking and is left out of its mean (`left_out` counts them); where
none is left the metric is NaN. A class that loses one of its values in a weighting counts as chance would: AUROC .5, average
precision 0.

Cost: a sort per class, then one pass over the examples per class and weighting.
Agrees with sklearn.metrics.roc_auc_score and average_precision_score, class by class, ties and weights included.
"""

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.outcome import Outcome, Statistics, Values, divided, mean_where


def both_values(outcome: Outcome) -> NDArray[np.bool_]:
    """Return for which classes some examples are positive and others negative, (K,)."""
    indicators = outcome.indicators()
    return np.asarray(indicators.any(axis=0) & ~indicators.all(axis=0))


def left_out(outcome: Outcome) -> int:
    """Return how many classes have no say in roc_auc and average_precision."""
    return int((~both_values(outcome)).sum())


def areas(outcome: Outcome) -> Statistics:
    """Return what gives the area under the ROC curve and the average precision of each class, (2, K', B)."""
    indicators = outcome.indicators()
    each = [_class_areas(outcome.known[:, k], indicators[:, k]) for k in np.flatnonzero(both_values(outcome))]

    def all_areas(weights: Values) -> Values:
        result = np.empty((2, len(each), weights.shape[1]))
        for row, areas_of_class in enumerate(each):
            result[:, row] = areas_of_class(weights)
        return result

    return all_areas


def _class_areas(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> Statistics:
    """Return what gives both areas of one class, (2, B). Examples with equal scores are one step of the curves.

    Only steps that hold positives matter: G of them. The order is cut where such a step begins and ends, so that one sum
    per stretch is enough.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    step = np.cumsum(np.r_[0, ranked[1:] != ranked[:-1]])
    holding = np.unique(step[positive[order]])  # (G,) the steps that hold positives
    begin = np.searchsorted(step, holding, side="left")
    end = np.searchsorted(step, holding, side="right")
    cuts = np.unique(np.r_[0, begin, end[end < len(order)]])
    at = np.searchsorted(cuts, begin)  # the stretch that is the step
    positives = order[positive[order]]
    first = np.searchsorted(step[positive[order]], holding)

    def both(weights: Values) -> Values:
        stretch = np.add.reduceat(weights[order], cuts, axis=0)
        hit = np.add.reduceat(weights[positives], first, axis=0)  # (G, B) positives within each step
        hits = np.cumsum(hit, axis=0)
        above = np.cumsum(stretch, axis=0)[at]  # (G, B) all down to the end of each step
        total, gold = stretch.sum(axis=0), hits[-1]
        missed = stretch[at] - hit  # negatives within each step
        below = (total - gold) - (above - hits)  # negatives below it
        pairs = gold * (total - gold)
        usable = (gold > 0) & (total - gold > 1e-13 * total)
        auc = np.where(usable, divided((hit * (below + missed / 2)).sum(axis=0), pairs), 0.5)
        precision = np.where(usable, divided((hit * divided(hits, above)).sum(axis=0), gold), 0.0)
        return np.stack([auc, precision])

    return both


def roc_auc(found: Values) -> Values:
    """Mean of the area under the ROC curve over the classes, each against the rest."""
    return mean_where(found[0], ~np.isnan(found[0]))


def average_precision(found: Values) -> Values:
    """Mean over the classes of the sum of precision at each step, weighted by the recall that the step adds."""
    return mean_where(found[1], ~np.isnan(found[1]))
