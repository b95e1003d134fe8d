"""Split conformal prediction: sets of labels that hold the true one with the nominal coverage.

The coverage needs no assumption but that new texts come as the dev rows came. For one right label, it is the share of
texts whose set holds it; for any number of right labels, the mean share of a text's labels that are in its set (conformal
risk control of the false negative rate). A set always holds the most probable label, so coverage may be higher than nominal.

Coverage is nominal on average over dev samples, not for each one: with n dev rows the coverage of one fit varies as `spread`
says. It holds over all texts together, not within a class (but see `sets_per_class`) or a kind of text. And dev chose the
checkpoint and the calibration too, which is not allowed for: what was measured on test is what to go by.

Shapes: N rows, K labels, L levels; probabilities (N, K); gold (N,) or, multi-label, (N, K) bool.

Sources: LAC, Sadinle et al. 2019; APS, Romano et al. 2020 (without its random part, so that equal texts get equal sets); RAPS,
Angelopoulos et al. 2021; per class, Vovk 2012; risk control, Angelopoulos et al. 2022 (https://arxiv.org/abs/2208.02814).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from classify.decisions.thresholds import share_interval
from finewise.errors import InputError

Values = NDArray[np.float64]
Truth = NDArray[np.bool_]
Gold = NDArray[Any]

SCORES = ("lac", "aps", "raps")
RAPS_PENALTY, RAPS_FREE = 0.01, 5
"""RAPS adds the penalty for each label beyond the free ones: the defaults of its authors' experiments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conformal:
    """Fitted sets.

    Attributes:
        score: One of SCORES; multi-label is always "lac".
        multi: Whether any number of labels is right.
        levels: (L,) the nominal coverage.
        limits: L times K: a label is in the set when its score (1 - probability for lac) is at most this.
        pooled: Labels that share a limit, because dev has too few rows of each (per class only).
    """

    score: str
    multi: bool
    levels: tuple[float, ...]
    limits: tuple[tuple[float, ...], ...]
    pooled: tuple[int, ...] = ()

    @property
    def per_class(self) -> bool:
        """Whether the labels have limits of their own."""
        return any(len(set(row)) > 1 for row in self.limits)

    def place(self, level: float) -> int:
        """Return which of the fitted levels this is.

        Raises:
            InputError: None of them.
        """
        for place, known in enumerate(self.levels):
            if math.isclose(known, level):
                return place
        fitted = ", ".join(f"{known:g}" for known in self.levels)
        raise InputError(f"the sets were fitted for the levels {fitted}; got {level:g}")

    def sets(self, probabilities: Values, level: float) -> Truth:
        """Return which labels are in each text's set, (N, K).

        Raises:
            InputError: The level was not fitted.
        """
        inside = scores(probabilities, self.score) <= np.asarray(self.limits[self.place(level)])
        inside[np.arange(len(inside)), probabilities.argmax(axis=1)] = True
        return np.asarray(inside)


def rows_needed(level: float) -> int:
    """Return how many dev rows a level needs at least.

    >>> rows_needed(0.95)
    19
    """
    return math.ceil(level / (1 - level) - 1e-9)


def usual_levels(rows: int) -> list[float]:
    """Return those of the usual levels that so many dev rows allow.

    >>> usual_levels(12), usual_levels(100)
    ([0.8, 0.9], [0.8, 0.9, 0.95])
    """
    return [level for level in (0.8, 0.9, 0.95) if rows_needed(level) <= rows]


def spread(level: float, rows: int) -> tuple[float, float]:
    """Return between what the coverage of one fit lies in 95% of dev samples of so many rows (one right label; Vovk 2012).

    It has the distribution Beta(k, n + 1 - k) with k = ceil((n + 1) * level), for scores without ties.

    >>> [round(end, 3) for end in spread(0.9, 100)]
    [0.836, 0.951]
    """
    rank = math.ceil((rows + 1) * level - 1e-9)
    return float(beta.ppf(0.025, rank, rows + 1 - rank)), float(beta.ppf(0.975, rank, rows + 1 - rank))


def check_rows(levels: list[float], rows: int) -> None:
    """Refuse levels that so few rows do not allow.

    Raises:
        InputError: Dev is too small.
    """
    for level in levels:
        if rows < rows_needed(level):
            raise InputError(
                f"decide.levels: sets of level {level:g} need at least {rows_needed(level)} dev rows, and dev has {rows}; "
                "remove the level, or give more dev rows"
            )


def fit(score: str, levels: list[float], per_class: bool, probabilities: Values, gold: Gold) -> Conformal:
    """Find the limits.

    Raises:
        InputError: Dev is too small for a level.
    """
    multi = gold.ndim == 2
    score = "lac" if multi else score
    levels = sorted(levels)
    check_rows(levels, int(gold.any(axis=1).sum()) if multi else len(gold))
    every = scores(probabilities, score)
    labels = probabilities.shape[1]
    pooled: tuple[int, ...] = ()
    if per_class:
        limits, pooled = _per_class(every, gold if multi else gold[:, None] == np.arange(labels), levels)
    elif multi:
        limits = [[_risk_limit(every, gold, level)] * labels for level in levels]
    else:
        own = every[np.arange(len(gold)), gold]
        limits = [[_quantile(own, level)] * labels for level in levels]
    return Conformal(
        score=score,
        multi=multi,
        levels=tuple(levels),
        limits=tuple(tuple(float(limit) for limit in row) for row in limits),
        pooled=pooled,
    )


def scores(probabilities: Values, score: str) -> Values:
    """Return how strange each label would be as the true one, (N, K)."""
    if score == "lac":
        return 1 - probabilities
    order = np.argsort(-probabilities, axis=1, kind="stable")
    mass = np.cumsum(np.take_along_axis(probabilities, order, axis=1), axis=1)
    if score == "raps":
        mass = mass + RAPS_PENALTY * np.maximum(np.arange(1, mass.shape[1] + 1) - RAPS_FREE, 0)
    found = np.empty_like(mass)
    np.put_along_axis(found, order, mass, axis=1)
    return found


def _quantile(own: Values, level: float) -> float:
    """Return the ceil((n + 1) * level)-th smallest of n scores."""
    rank = math.ceil((len(own) + 1) * level - 1e-9)
    return float(np.partition(own, rank - 1)[rank - 1])


def _per_class(every: Values, gold: Truth, levels: list[float]) -> tuple[list[list[float]], tuple[int, ...]]:
    """Return L limits for each class, and the classes that share one.

    The coverage of each class needs rows of its own. Classes with too few for the highest level are taken as one; if even
    together they are too few, the limit of all classes stands in.
    """
    counts = gold.sum(axis=0)
    few = np.flatnonzero(counts < rows_needed(max(levels)))
    rare = every[:, few][gold[:, few]]
    if len(rare) < rows_needed(max(levels)):
        rare = every[gold]
    limits = []
    for level in levels:
        row = np.full(len(counts), _quantile(rare, level) if len(few) else 0.0)
        for label in np.setdiff1d(np.arange(len(counts)), few):
            row[label] = _quantile(every[gold[:, label], label], level)
        limits.append([float(limit) for limit in row])
    return limits, tuple(int(label) for label in few)


def _risk_limit(every: Values, gold: Truth, level: float) -> float:
    """Return the lowest limit whose false negative rate is controlled: (n * rate + 1) / (n + 1) <= 1 - level.

    Texts without any label have nothing to miss and are left out.
    """
    gold_rows = gold[gold.any(axis=1)]
    own = every[gold.any(axis=1)]
    weights = np.broadcast_to(1 / gold_rows.sum(axis=1, keepdims=True), gold_rows.shape)[gold_rows]
    strange = own[gold_rows]
    order = np.argsort(-strange, kind="stable")
    strange, weights = strange[order], weights[order]
    # The weight of all that is stranger than a limit is missed; equal ones come and go together.
    starts = np.flatnonzero(np.append(True, strange[1:] != strange[:-1]))
    missed = np.append(0.0, np.cumsum(weights))[starts]
    allowed = (1 - level) * (len(own) + 1) - 1 + 1e-9
    return float(strange[starts[np.flatnonzero(missed <= allowed)[-1]]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Empirical coverage at one nominal level: the share of true labels in the sets with its interval, and their mean size."""

    level: float
    measured: float
    low: float
    high: float
    size: float
    rows: int


def coverage(sets: Truth, gold: Gold, level: float) -> Coverage:
    """Measure sets (N, K) on held-out rows.

    The interval is Clopper and Pearson's for one right label, and that of a mean (normal) for any number of them.
    """
    size = float(sets.sum(axis=1).mean())
    if gold.ndim == 1:
        kept = sets[np.arange(len(gold)), gold]
        hits, rows = int(kept.sum()), len(kept)
        low, high = share_interval(hits, rows)
        return Coverage(level=level, measured=hits / rows, low=low, high=high, size=size, rows=rows)
    has = gold.any(axis=1)
    recall = (sets & gold)[has].sum(axis=1) / gold[has].sum(axis=1)
    mean, rows = float(recall.mean()), len(recall)
    reach = 1.96 * float(recall.std()) / math.sqrt(rows)
    return Coverage(
        level=level, measured=mean, low=max(0.0, mean - reach), high=min(1.0, mean + reach), size=size, rows=rows
    )
