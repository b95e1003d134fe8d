"""The jackknife: how a statistic changes when one unit of the sample is left out. NumPy only.

Its variance is the delete-one-cluster variance (Efron & Stein 1981), which is the most careful of the usual ones with few or
unequal clusters (MacKinnon, Nielsen & Webb 2023, "CV3"). Degrees of freedom follow from how unevenly units contribute. For
means: 2 V^2 / Var(V) (Satterthwaite 1946). For ratios and areas, whose error and value move together when few units decide: the
number of units that contribute in effect, V^2 / sum of squares (Kish 1965). Both are at most U - H, where clusters of
unequal sizes count as fewer equal ones (Kish, again). With strata, units of each are left out in turn (Jones 1974).

**Bias.** Means of ratios (macro-F1) are biased in small samples; the jackknife's estimate of the bias (Quenouille 1956) is
subtracted for the interval's centre. A class whose only row is left out would count as 0 and turn that estimate round: for the
bias the unit keeps a weight of 1e-9 instead, with which the class keeps its value. For the variance it does count as 0.

**Seeds.** Several training runs that read the same units are crossed with them: V = V_seeds + V_units - V_both, at least the
larger of the first two (Cameron, Gelbach & Miller 2011, with jackknife parts), with min(S, U) - 1 degrees of freedom. With few
seeds that is careful: where seeds hardly differ, intervals are wider than they had to be.

Shapes: N rows, M metrics, B weightings, G deletions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.stats.design import Design, Numbers

Values = NDArray[np.float64]
Compute = Callable[[Values], Values]
"""Weights of the rows, (N, B), to metrics, (M, B); NaN where one is not defined."""

MOST = 1000
"""Deletions; with more units some are left out together, at random within their stratum."""

FEWEST = 200
_BLOCK = 400_000  # weights held at a time: they stay in the processor's cache
_TINY = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Jackknife:
    """The metrics of a sample and how certain they are, (M,) each.

    Attributes:
        values: Of the sample as it is.
        centres: Without the estimated bias.
        errors: Standard errors; NaN where the metric is not defined when some unit is left out.
        freedom: Degrees of freedom of the errors.
        exact_freedom: Those for an exact interval of a share, which has the skewness of independent rows in its formula: U - 1
            for means of such rows, for other means as `freedom`, for ratios and areas one less (but at least 2): in small
            samples their intervals would be too narrow.
        design: The sample.
    """

    values: Values
    centres: Values
    errors: Values
    freedom: Values
    exact_freedom: Values
    design: Design


@dataclass(frozen=True, slots=True, eq=False)
class _Deletions:
    """(N,) the deletion that leaves a row out, -1 for none; (G,) how many units each stands for, and their stratum."""

    rows: Numbers
    units: Values
    strata: Numbers


def jackknife(
    compute: Compute,
    design: Design,
    *,
    alike: Numbers | None = None,
    biased: bool = True,
    most: int = MOST,
    seed: int = 42,
) -> Jackknife:
    """Return the metrics with their standard errors.

    Args:
        compute: The statistic.
        design: Of N rows.
        alike: (N,) equal for rows that can be exchanged without changing any metric (the same gold and predicted class): each
            kind is left out once. Only read where every row is a unit.
        biased: Whether a bias is estimated and subtracted; False for means.
        most: Deletions, at least 2.
        seed: Decides which units are left out together where there are more than `most`.
    """
    values = compute(np.ones((design.size, 1)))[:, 0]
    centres, by_units, freedom = _variance(compute, design, values, alike, biased, most, seed)
    if design.clustered:
        freedom = np.minimum(freedom, max(1.0, design.effective - float(design.strata.max()) - 1))
    if design.runs == 1:
        alone = not biased and not design.clustered
        exact = np.full(len(values), max(1.0, design.count - 1.0)) if alone else freedom
        if biased:
            exact = np.maximum(freedom - 1, np.minimum(freedom, 2))
        return Jackknife(values, centres, np.sqrt(by_units), freedom, exact, design)
    _, by_seeds, _ = _variance(compute, design.over_seeds(), values, None, False, most, seed)
    _, by_both, _ = _variance(compute, design.each_alone(), values, None, False, most, seed)
    variance = np.maximum(by_seeds + by_units - by_both, np.maximum(by_seeds, by_units))
    few = np.full(len(values), float(max(1, min(design.runs, design.count) - 1)))
    return Jackknife(values, centres, np.sqrt(variance), few, few, design)


def _variance(
    compute: Compute, design: Design, values: Values, alike: Numbers | None, biased: bool, most: int, seed: int
) -> tuple[Values, Values, Values]:
    """Return the centre, the variance and the degrees of freedom of each metric, (M,)."""
    if np.bincount(design.strata).min() < 2:  # a stratum of one unit does not say how much it varies
        return values, np.full(len(values), np.nan), np.ones(len(values))
    found = _deletions(design, alike, most, seed)
    without = _left_out(compute, found, 0.0)
    nearly = _left_out(compute, found, _TINY) if biased else None
    strata = int(found.strata.max()) + 1
    centre, variance, unevenness = values.copy(), np.zeros(len(values)), np.zeros(len(values))
    for stratum in range(strata):
        which = found.strata == stratum
        units = found.units[which]
        count = units.sum()
        if count < 2:
            continue
        if nearly is not None:
            centre -= (count - 1) * (nearly[:, which] @ units / count - values)
        each = without[:, which]
        squares = (count - 1) / count * np.square(each - (each @ units / count)[:, None])
        part = squares @ units
        variance += part
        unevenness += np.square(squares) @ units - (0.0 if biased else np.square(part) / count)
    most_free = max(1.0, float(found.units.sum() - strata))
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = (1 if biased else 2) * np.square(variance) / np.maximum(unevenness, 0)
    # Sums in another order differ in the last digits, which is no variation.
    variance[variance < np.square(1e-12 * np.maximum(1, np.abs(values)))] = 0
    freedom = np.clip(np.where(np.isnan(freedom), most_free, freedom), 1.0, most_free)
    return centre, variance, freedom


def _deletions(design: Design, alike: Numbers | None, most: int, seed: int) -> _Deletions:
    """Return what is left out in turn: every unit, one of each kind, or units at random together."""
    if alike is not None and design.count == design.size:
        kinds = np.unique(np.stack([design.strata[design.units], alike]), axis=1, return_index=True, return_counts=True)
        _, first, counts = kinds
        if len(first) <= most:
            rows = np.full(design.size, -1, np.intp)
            rows[first] = np.arange(len(first))
            return _Deletions(rows, counts.astype(np.float64), design.strata[design.units[first]])
    if design.count <= most:
        return _Deletions(design.units, np.ones(design.count), design.strata)
    group, strata = _together(design.strata, most, seed)
    return _Deletions(group[design.units], np.ones(len(strata)), strata)


def _together(strata: Numbers, most: int, seed: int) -> tuple[Numbers, Numbers]:
    """Return a deletion for each unit, at random within its stratum, and each deletion's stratum."""
    order = np.random.default_rng(seed).permutation(len(strata))
    group = np.empty(len(strata), np.intp)
    of: list[int] = []
    for stratum in range(int(strata.max()) + 1):
        members = order[strata[order] == stratum]
        parts = min(len(members), max(2, most // (int(strata.max()) + 1)))
        group[members] = len(of) + np.arange(len(members)) % parts
        of += [stratum] * parts
    return group, np.array(of, np.intp)


def _left_out(compute: Compute, found: _Deletions, weight: float) -> Values:
    """Return the metrics with each deletion's rows at that weight, (M, G)."""
    return np.concatenate([compute(block) for block in _blocks(found, weight)], axis=1)


def _blocks(found: _Deletions, weight: float) -> Iterator[Values]:
    """Yield the weights of the rows, a column per deletion, in blocks (N, B)."""
    size, columns = len(found.rows), len(found.units)
    width = max(1, _BLOCK // size)
    for start in range(0, columns, width):
        stop = min(columns, start + width)
        weights = np.ones((size, stop - start))
        rows = np.flatnonzero((found.rows >= start) & (found.rows < stop))
        weights[rows, found.rows[rows] - start] = weight
        yield weights
