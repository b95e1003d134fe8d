"""Intervals of single scores and tests of differences, both from one jackknife, so that they cannot contradict each other.

A score between two bounds (accuracy, nDCG, F1, AUROC, MCC) gets Clopper and Pearson's interval (1934) with an effective
sample size, corrected by Student's t (Korn & Graubard 1998): it stays within the bounds, 0 of 10 is not certain to be 0, and it
holds at least its level. A positive score without an upper bound (perplexity, log loss) gets a t interval of its logarithm, and
every difference a plain one: centre +- t x standard error. The p-value of a difference is the smallest level whose interval
excludes 0.

Where no unit differs at all, "none of n" allows up to -ln(level) / n of them (the rule of three, Hanley & Lippman-Hand 1983).
"""

from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv, ndtri, stdtr, stdtrit

from benchmarks.stats.design import Design
from benchmarks.stats.jackknife import Jackknife

LEVEL = 0.95
POWER = 0.8

Range = tuple[float | None, float | None]
"""What a metric lies between; None: no bound."""

UNIT: Range = (0.0, 1.0)

MANY_CLUSTERS = 30
"""Below these the interval of one run's score takes half the degrees of freedom: what a few clusters share may be skewed, and
they do not show it (`benchmarks.stats.calibrate`: ten clusters held 86 to 93% without it). A difference is hardly skewed."""


class Interval(NamedTuple):
    """A value and its 95% interval; None where the value has none."""

    value: float
    low: float | None
    high: float | None

    def without_ends(self) -> "Interval":
        """Return the value alone."""
        return self._replace(low=None, high=None)


class PairedTest(NamedTuple):
    """A difference with its 95% interval and the test against 0.

    Attributes:
        difference: a minus b.
        low: Lower end; None where the difference is not defined when some row is left out.
        high: Upper end.
        p: Two-sided; None where there is too little to test.
        test: The procedure and over what, or why there is none.
        detectable: The smallest true difference that such a sample shows with 80% probability.
    """

    difference: float
    low: float | None
    high: float | None
    p: float | None
    test: str
    detectable: float | None


def intervals(found: Jackknife, ranges: list[Range]) -> list[Interval]:
    """Return the interval of each metric, given what it lies between."""
    return [
        _interval(*one, float(exact), found.design, bounds)
        for one, exact, bounds in zip(_columns(found), found.exact_freedom, ranges, strict=True)
    ]


def paired_tests(found: Jackknife, ranges: list[Range]) -> list[PairedTest]:
    """Return the test of each metric's difference, given what the metric (not the difference) lies between."""
    return [_test(*one, found.design, bounds) for one, bounds in zip(_columns(found), ranges, strict=True)]


def quantile(freedom: float, level: float = LEVEL) -> float:
    """Return Student's t for a two-sided interval of that level."""
    return float(stdtrit(freedom, 1 - (1 - level) / 2))


def _columns(found: Jackknife) -> list[tuple[float, float, float, float]]:
    """Return value, centre, standard error and degrees of freedom of each metric."""
    table = np.stack([found.values, found.centres, found.errors, found.freedom], axis=1)
    return [(float(row[0]), float(row[1]), float(row[2]), float(row[3])) for row in table]


def _interval(
    value: float, centre: float, error: float, freedom: float, exact_freedom: float, design: Design, bounds: Range
) -> Interval:
    low, high = bounds
    if design.thin:
        return Interval(value, None, None)
    if design.clustered and design.runs == 1 and design.effective < MANY_CLUSTERS:
        freedom, exact_freedom = max(1.0, freedom / 2), max(1.0, exact_freedom / 2)
    t = quantile(freedom)
    if low is not None and high is not None:
        width = high - low
        ends = _exact((value - low) / width, (centre - low) / width, error / width, quantile(exact_freedom), design)
        return Interval(value, *(None if np.isnan(end) else low + end * (high - low) for end in ends))
    if np.isnan(error):
        return Interval(value, None, None)
    if low == 0 and value > 0:
        middle = centre if centre > 0 else value
        factor = float(np.exp(t * error / middle))
        return Interval(value, middle / factor, middle * factor)
    return Interval(value, centre - t * error, centre + t * error)


def _exact(value: float, centre: float, error: float, t: float, design: Design) -> tuple[float, float]:
    """Return Clopper and Pearson's interval for a share with a standard error; all from 0 to 1."""
    if np.isnan(error):
        return np.nan, np.nan
    share = centre if 0 < centre < 1 else value
    share = min(max(share, 0.0), 1.0)
    spread = share * (1 - share)
    size = spread / error**2 if error > 0 and spread > 0 else float(design.count)
    size *= (ndtri(1 - (1 - LEVEL) / 2) / t) ** 2
    hits, tail = share * size, (1 - LEVEL) / 2
    low = float(betaincinv(hits, size - hits + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, size - hits, 1 - tail)) if hits < size else 1.0
    return low, high


def _test(value: float, centre: float, error: float, freedom: float, design: Design, bounds: Range) -> PairedTest:
    if np.isnan(error) or design.thin:
        reason = design.too_few or "not defined when some rows are left out"
        return PairedTest(value, None, None, None, reason, None)
    low, high = bounds
    t = quantile(freedom)
    width = high - low if low is not None and high is not None else 0.0
    if error > 0:
        half, p = t * error, 2 * float(stdtr(freedom, -abs(centre) / error))
        detectable = float((t + stdtrit(freedom, POWER)) * error)
    else:  # no unit differs from another
        half = -np.log(1 - LEVEL) / design.count * width
        p = 1.0 if not centre else float(np.exp(-abs(centre) * design.count / width)) if width else 0.0
        detectable = float(half)
    few = design.too_few
    name = few or f"paired jackknife t over {design.words}"
    return PairedTest(value, centre - half, centre + half, None if few else p, name, detectable)
