"""Metrics that follow from counts per class: how often it is right, predicted, and gold. NumPy only.

Shapes as in `benchmarks.metrics.outcome`; counts are (3, K, B).

**Which classes a macro mean is over**: those that are gold or predicted somewhere in the sample, as scikit-learn does by
default for single labels. A class of the label space that the sample neither has nor predicts is left out, neither a 0
nor a 1; one that is only predicted counts with F1 0. The same holds for labels in multi-label data, where scikit-learn
would count an absent label as 0. Balanced accuracy is over the classes that are gold. The rule holds for each bootstrap
resample anew, as it would for another sample of the same kind.

Agrees with sklearn.metrics: f1_score, balanced_accuracy_score, matthews_corrcoef.
"""

import numpy as np

from benchmarks.metrics.outcome import Outcome, Statistics, Values, divided, group_sums, mean_where


def counts(outcome: Outcome) -> Statistics:
    """Return what gives the weight of the hits, predictions and gold labels of each class, (3, K, B)."""
    size = outcome.classes
    if outcome.multi:
        found = [np.nonzero(which) for which in (outcome.gold & outcome.predicted, outcome.predicted, outcome.gold)]
        sums = [group_sums(rows, labels, size) for rows, labels in found]
        return lambda weights: np.stack([each(weights) for each in sums])
    # One pass over the examples, by cell of the confusion matrix; the rest is sums of cells.
    cells, cell = np.unique(outcome.gold.astype(np.int64) * size + outcome.predicted, return_inverse=True)
    gold, predicted = cells // size, cells % size
    by_cell = group_sums(np.arange(len(cell)), cell, len(cells))
    hit = np.flatnonzero(gold == predicted)
    parts = [
        group_sums(hit, gold[hit], size),
        group_sums(np.arange(len(cells)), predicted, size),
        group_sums(np.arange(len(cells)), gold, size),
    ]

    def sums_of_cells(weights: Values) -> Values:
        sums = by_cell(weights)
        return np.stack([part(sums) for part in parts])

    return sums_of_cells


def f1_per_class(counted: Values) -> Values:
    """2 hits / (predicted + gold) of each class, (K, B); NaN where the class is neither."""
    hits, predicted, gold = counted
    return divided(2 * hits, predicted + gold, np.nan)


def f1_macro(counted: Values) -> Values:
    """Mean of F1 over the classes that are gold or predicted: every class weighs the same, however rare."""
    each = f1_per_class(counted)
    return mean_where(each, ~np.isnan(each))


def f1_micro(counted: Values) -> Values:
    """F1 of all decisions together; with one label per example it is the accuracy."""
    hits, predicted, gold = counted.sum(axis=1)
    return divided(2 * hits, predicted + gold)


def f1_weighted(counted: Values) -> Values:
    """Mean of F1 over the classes, each weighing as much as it is gold."""
    gold = counted[2]
    return divided((np.nan_to_num(f1_per_class(counted)) * gold).sum(axis=0), gold.sum(axis=0))


def balanced_accuracy(counted: Values) -> Values:
    """Mean of the recall over the classes that are gold."""
    hits, _, gold = counted
    return mean_where(divided(hits, gold), gold > 0)


def mcc(counted: Values) -> Values:
    """Matthews' correlation coefficient for K classes (Gorodkin 2004); 0 where gold or predicted are all one class."""
    hits, predicted, gold = counted
    total = gold.sum(axis=0)
    covariance = hits.sum(axis=0) * total - (predicted * gold).sum(axis=0)
    spread = (total**2 - (predicted**2).sum(axis=0)) * (total**2 - (gold**2).sum(axis=0))
    several = ((predicted > 0).sum(axis=0) > 1) & ((gold > 0).sum(axis=0) > 1)
    return divided(covariance, np.sqrt(np.where(several, np.maximum(spread, 0), 0)))
