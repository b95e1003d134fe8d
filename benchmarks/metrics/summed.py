"""Metrics that follow from sums over examples. NumPy only.

Shapes as in `benchmarks.metrics.outcome`; each example has M values, and statistics are their weighted sums (M, B).

Agrees with sklearn.metrics: accuracy_score, log_loss, brier_score_loss, mean_absolute_error on class numbers, and
cohen_kappa_score(weights="quadratic") on class numbers.
"""

from collections.abc import Callable

import numpy as np

from benchmarks.metrics.outcome import Outcome, Statistics, Values, divided


def mean(values: Callable[[Outcome], Values]) -> Callable[[Outcome], Statistics]:
    """Return the statistics of a mean over examples: the sum of their values and of their weights, (2, B)."""
    return sums(lambda outcome: np.stack([values(outcome), np.ones(len(outcome.gold))]))


def sums(values: Callable[[Outcome], Values]) -> Callable[[Outcome], Statistics]:
    """Return the statistics that sum the values (M, N) of the examples, (M, B)."""

    def prepare(outcome: Outcome) -> Statistics:
        found = values(outcome)

        def summed(weights: Values) -> Values:
            result: Values = found @ weights
            return result

        return summed

    return prepare


def ratio(summed: Values) -> Values:
    """Return the first sum over the second: the mean."""
    return divided(summed[0], summed[1])


def correct(outcome: Outcome) -> Values:
    """1 where the example is decided rightly; with several labels, where all of them are (N,)."""
    right = outcome.gold == outcome.predicted
    return np.asarray(right.all(axis=1) if outcome.multi else right, np.float64)


def log_loss(outcome: Outcome) -> Values:
    """-ln of the probability of the right answer (N,): of the gold class, or the mean over the labels.

    Probabilities are kept off 0 and 1 by the machine epsilon, as in scikit-learn: one certain mistake costs 36, not infinity.
    """
    probabilities = np.asarray(outcome.known, np.float64)
    tiny = np.finfo(np.float64).eps
    if outcome.multi:
        right = np.where(outcome.gold, probabilities, 1 - probabilities)
        return np.asarray(-np.log(np.clip(right, tiny, 1 - tiny)).mean(axis=1))
    right = np.take_along_axis(probabilities, outcome.gold[:, None], axis=1)[:, 0]
    return np.asarray(-np.log(np.clip(right, tiny, 1 - tiny)))


def brier(outcome: Outcome) -> Values:
    """Squared distance of the probabilities from the truth (Brier 1950), (N,).

    One label of K > 2: summed over the classes, 0 to 2. Two classes: half of that, 0 to 1, as is usual (and as
    scikit-learn's scale_by_half="auto"). Multi-label: the mean over the labels, 0 to 1.
    """
    distance = np.square(np.asarray(outcome.known, np.float64) - outcome.indicators())
    if outcome.multi:
        return np.asarray(distance.mean(axis=1))
    return np.asarray(distance.sum(axis=1) / (2 if outcome.classes == 2 else 1))


def distance(outcome: Outcome) -> Values:
    """How many classes the prediction is off, in the order of the classes (N,)."""
    return np.asarray(np.abs(outcome.gold - outcome.predicted), np.float64)


def agreement(outcome: Outcome) -> Values:
    """The sums that quadratic kappa follows from (6, N): weight, squared error, gold, predicted, and their squares.

    The classes are numbered from the middle one in gold, so that no digits are lost.
    """
    middle = int(np.median(outcome.gold)) if len(outcome.gold) else 0
    gold, predicted = (outcome.gold - middle).astype(np.float64), (outcome.predicted - middle).astype(np.float64)
    return np.stack([np.ones(len(gold)), np.square(gold - predicted), gold, predicted, gold**2, predicted**2])


def quadratic_kappa(summed: Values) -> Values:
    """1 - squared error / squared error expected by chance (Cohen 1968); 0 where all is one and the same class."""
    total, observed, gold, predicted, gold_squared, predicted_squared = summed
    expected = gold_squared + predicted_squared - 2 * divided(gold * predicted, total)
    defined = expected > 1e-12 * (gold_squared + predicted_squared)
    return np.where(defined, 1 - divided(observed, np.where(defined, expected, 0)), 0.0)


def overlap(outcome: Outcome) -> Values:
    """Nodes of the tree that gold and prediction share, and that each has (3, N); the root, which all share, is no node."""
    if outcome.ancestors is None:
        raise ValueError("f1_hierarchical needs labels with parents (data.kind=hierarchical); these have none")
    nodes = outcome.ancestors.astype(np.float64)
    shared, size = nodes @ nodes.T, nodes.sum(axis=1)
    return np.stack([shared[outcome.gold, outcome.predicted], size[outcome.gold], size[outcome.predicted]])


def f1_hierarchical(summed: Values) -> Values:
    """F1 over the sets of ancestors (Kiritchenko, Matwin, Nock & Famili 2006): a near miss in the tree costs less."""
    shared, gold, predicted = summed
    return divided(2 * shared, gold + predicted)
