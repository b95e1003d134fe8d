"""From which probability on a label is given.

Shapes: N rows, K labels; probabilities (N, K), calibrated; gold (N,) or, multi-label, (N, K) bool. A threshold of infinity
means that the label is never given; a probability equal to its threshold is enough.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import beta

Values = NDArray[np.float64]
Truth = NDArray[np.bool_]
Classes = NDArray[np.int64]

NEVER = math.inf
HALF = 0.5
TRUSTED_POSITIVES = 10.0
"""A label with this many dev positives gets a threshold half-way between its own best and the one that is best for all."""

ALPHA = 0.05
"""How often a threshold may fall short of its target: lower confidence bounds are of level 1 - ALPHA."""

CORRECTIONS = np.linspace(0, 1.5, 31)


def sweep(scores: Values, truth: Truth) -> tuple[Values, NDArray[np.int64], NDArray[np.int64]]:
    """Return all thresholds that matter for one label, with what each leads to; from the highest down.

    Args:
        scores: (N,).
        truth: (N,).

    Returns:
        Thresholds (C,), half-way between neighbouring scores; rows at or above each (C,); true ones among them (C,).
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(np.append(ranked[:-1] != ranked[1:], True)) if len(ranked) else np.empty(0, np.int64)
    above = ranked[ends]
    below = np.append(above[1:], -above[-1:])  # the lowest threshold takes all rows: 0
    cuts = above + (below - above) / 2
    # Between two neighbouring floats there is nothing: the upper one itself still parts them.
    cuts = np.where((cuts > below) & (cuts <= above), cuts, above)
    return cuts, (ends + 1).astype(np.int64), np.cumsum(truth[order])[ends].astype(np.int64)


def best_f1(scores: Values, truth: Truth) -> float | None:
    """Return the threshold of one label's highest F1; None without a true row. Of equals, the highest."""
    if not truth.any():
        return None
    cuts, given, right = sweep(scores, truth)
    return float(cuts[np.argmax(2 * right / (given + truth.sum()))])


def f1_thresholds(probabilities: Values, gold: Truth, trusted: float = TRUSTED_POSITIVES) -> Values:
    """Return the thresholds (K,) that are tuned for macro-F1, label by label.

    The best threshold of a label with three positives is chance. So each is drawn, on the logit scale, towards the one that
    is best for all labels together, by the weight trusted / (trusted + positives).

    Args:
        probabilities: (N, K).
        gold: (N, K).
        trusted: Positives at which a label's own threshold has half of the weight; 0 takes each label's own best.
    """
    shared = best_f1(probabilities.ravel(), gold.ravel())
    if shared is None:
        return np.full(gold.shape[1], HALF)
    thresholds = np.full(gold.shape[1], shared)
    for label in range(gold.shape[1]):
        own = best_f1(probabilities[:, label], gold[:, label])
        if own is not None:
            positives = float(gold[:, label].sum())
            weight = positives / (positives + trusted)
            low, high = _logit(shared), _logit(own)
            thresholds[label] = own if trusted == 0 else float(expit(low + weight * (high - low)))
    return thresholds


def precision_thresholds(probabilities: Values, gold: Truth, precision: float, among: Truth | None = None) -> Values:
    """Return for each label the threshold of highest recall whose precision surely reaches the target, (K,); else NEVER.

    Surely: by the lower confidence bound of `lowest_reaching`, so that one right row of one is no proof.

    Args:
        probabilities: (N, K).
        gold: (N, K).
        precision: In (0, 1).
        among: (N, K), the rows that can be given the label at all (those where it is the most probable); None: every row.
    """
    thresholds = np.full(gold.shape[1], NEVER)
    for label in range(gold.shape[1]):
        rows = slice(None) if among is None else among[:, label]
        cuts, given, right = sweep(probabilities[rows, label], gold[rows, label])
        lowest = lowest_reaching(given, right, precision)
        if lowest is not None:
            # Rows further down that are all wrong add nothing to the recall: the highest threshold of that recall.
            thresholds[label] = cuts[np.flatnonzero(right == right[lowest])[0]]
    return thresholds


def lowest_reaching(
    given: NDArray[np.int64], right: NDArray[np.int64], target: float, alpha: float = ALPHA
) -> int | None:
    """Return the place of the lowest threshold above which the share of right rows surely reaches the target, or None.

    The lower confidence bound of the share must reach it. Simulated on new rows (100 to 2,000 on dev, targets .8 to .95, errors
    rarer at higher scores), the true share was below the target in 3 to 6% of samples; where scores do not tell right from
    wrong and the share of all rows is barely below the target, it is more often, by little.

    Args:
        given: (C,) rows at or above each threshold, rising.
        right: (C,) right rows among them.
        target: In (0, 1).
        alpha: One minus the level of the bound.
    """
    reached = np.flatnonzero(lower_bound(right, given, alpha) >= target)
    return int(reached[-1]) if len(reached) else None


def rows_needed(target: float, alpha: float = ALPHA) -> int:
    """Return how many rows, all of them right, prove a share of right ones.

    >>> rows_needed(0.9), rows_needed(0.95)
    (29, 59)
    """
    return math.ceil(math.log(alpha) / math.log(target) - 1e-9)


def lower_bound(right: NDArray[np.int64], given: NDArray[np.int64], alpha: float = ALPHA) -> Values:
    """Return the lower confidence bound of the share right / given, of level 1 - alpha (Clopper & Pearson 1934)."""
    found = beta.ppf(alpha, np.maximum(right, 1), given - right + 1)
    return np.asarray(np.where(right > 0, found, 0.0))


def share_interval(hits: int, rows: int, alpha: float = ALPHA) -> tuple[float, float]:
    """Return the two-sided interval of a share hits / rows, of level 1 - alpha (Clopper & Pearson 1934).

    >>> [round(end, 3) for end in share_interval(10, 10)]
    [0.692, 1.0]
    """
    low = float(beta.ppf(alpha / 2, hits, rows - hits + 1)) if hits else 0.0
    return low, float(beta.ppf(1 - alpha / 2, hits + 1, rows - hits)) if hits < rows else 1.0


def prior_correction(probabilities: Values, gold: Classes) -> Values:
    """Return what to add to the log probabilities (K,) so that their maximum is tuned for macro-F1.

    One number t is fitted, and -t * log(share of the class) added (post-hoc logit adjustment, Menon et al. 2021): the
    most probable class is best for accuracy, and gives rare classes too seldom for macro-F1.
    """
    labels = probabilities.shape[1]
    counts = np.bincount(gold, minlength=labels)
    rarity = -np.log((counts + 1) / (counts.sum() + labels))
    logs = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    found = [macro_f1((logs + t * rarity).argmax(axis=1), gold, labels) for t in CORRECTIONS]
    # The score is a staircase with chance steps: the middle of all values that come within a hair of the best.
    near = CORRECTIONS[np.asarray(found) >= max(found) - 0.002]
    return np.asarray(float(np.median(near)) * rarity)


def macro_f1(predicted: Classes, gold: Classes, labels: int) -> float:
    """Return the mean F1 over the classes that are gold or predicted, of one class number per row, (N,)."""
    right = np.bincount(gold[predicted == gold], minlength=labels)
    both = np.bincount(predicted, minlength=labels) + np.bincount(gold, minlength=labels)
    return float((2 * right[both > 0] / both[both > 0]).mean())


def _logit(probability: float) -> float:
    return float(logit(np.clip(probability, 1e-9, 1 - 1e-9)))
