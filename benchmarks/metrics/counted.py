"""Metrics that follow from counts per class: how often it is right, predicted, and gold. NumPy only.

Shapes as in `benchmarks.metrics.outcome`; counts are (4, K, B): hits, predictions, gold labels, and whether the class counts.

**Which classes a macro mean is over** is fixed once by the gold labels of the sample, for all systems and all weightings: with
one label per example the classes that have a row, with several labels all of the label space. A class of these that is neither
gold nor predicted (in multi-label data, or when its rows are left out) counts as 0.

Agrees with sklearn.metrics: f1_score(average="macro") for multi-label data, f1_score(average="macro", labels=unique(gold)) for
single labels (its default, unless a system predicts a class without a row: the default counts that class as 0 for this system
and leave it out for the others), balanced_accuracy_score, matthews_corrcoef.
"""

import numpy as np

from benchmarks.metrics.outcome import Outcome, Statistics, Values, divided, group_sums, mean_where


def counts(outcome: Outcome) -> Statistics:
    """Return what gives the weight of the hits, predictions and gold labels of each class, and whether it counts, (4, K, B)."""
    size = outcome.classes
    counting = np.ones(size) if outcome.multi else (np.bincount(outcome.gold, minlength=size) > 0).astype(np.float64)

    def counted(parts: list[Statistics], weights: Values) -> Values:
        return np.stack([*(part(weights) for part in parts), np.repeat(counting[:, None], weights.shape[1], axis=1)])

    if outcome.multi:
        found = [np.nonzero(which) for which in (outcome.gold & outcome.predicted, outcome.predicted, outcome.gold)]
        sums = [group_sums(rows, labels, size) for rows, labels in found]
        return lambda weights: counted(sums, weights)
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

    return lambda weights: counted(parts, by_cell(weights))


def f1_per_class(counted: Values) -> Values:
    """2 hits / (predicted + gold) of each class, (K, B); NaN where the class is neither."""
    hits, predicted, gold, _ = counted
    return divided(2 * hits, predicted + gold, np.nan)


def f1_macro(counted: Values) -> Values:
    """Mean of F1 over the classes that count: every class weighs the same, however rare."""
    return mean_where(np.nan_to_num(f1_per_class(counted)), counted[3] > 0)


def f1_micro(counted: Values) -> Values:
    """F1 of all decisions together; with one label per example it is the accuracy."""
    hits, predicted, gold, _ = counted.sum(axis=1)
    return divided(2 * hits, predicted + gold)


def f1_weighted(counted: Values) -> Values:
    """Mean of F1 over the classes, each weighing as much as it is gold."""
    gold = counted[2]
    return divided((np.nan_to_num(f1_per_class(counted)) * gold).sum(axis=0), gold.sum(axis=0))


def balanced_accuracy(counted: Values) -> Values:
    """Mean of the recall over the classes that are gold."""
    hits, _, gold, _ = counted
    return mean_where(divided(hits, gold), counted[3] > 0)


def mcc(counted: Values) -> Values:
    """Matthews' correlation coefficient for K classes (Gorodkin 2004); 0 where gold or predicted are all one class."""
    hits, predicted, gold, _ = counted
    total = gold.sum(axis=0)
    covariance = hits.sum(axis=0) * total - (predicted * gold).sum(axis=0)
    spread = (total**2 - (predicted**2).sum(axis=0)) * (total**2 - (gold**2).sum(axis=0))
    several = ((predicted > 0).sum(axis=0) > 1) & ((gold > 0).sum(axis=0) > 1)
    return divided(covariance, np.sqrt(np.where(several, np.maximum(spread, 0), 0)))
