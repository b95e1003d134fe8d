"""Intervals and paired tests for metrics that are no means over examples, such as macro-F1. Pure NumPy, seeded.

`benchmarks.significance` resamples means; here the whole metric is computed anew for every resample, from weights.

An interval is the 95% percentile bootstrap over examples, drawn plainly (not stratified): the number of rows of each class
varies as it would in another sample, and a class that was not drawn is not in that resample's mean. Where the data says
which examples belong together (several texts of one source), whole groups are drawn instead (the cluster bootstrap,
Davison & Hinkley 1997, 3.8): rows of one source are alike, and counting them as independent makes intervals too narrow.

The paired test swaps what the two systems said, example by example (group by group), by a coin flip: if they are equally
good, that changes nothing (Fisher's randomisation; Yeh 2000 for F1). p is the share of swaps whose difference is at least
as far from 0 as the observed one; exact where few examples differ, else (count + 1) / (resamples + 1).

ROC AUC, average precision and multi-label ECE pass over all examples once per class and resample; they get fewer
resamples where that would take minutes: N x K x resamples stays below `BUDGET`, but at least `FEWEST`.

Shapes: N examples, G groups, K classes, M metrics, R resamples, B resamples held at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.calibration import gaps
from benchmarks.metrics.classes import METRICS, measure
from benchmarks.metrics.outcome import Outcome, Values
from benchmarks.metrics.ranked import areas
from benchmarks.significance import LEVEL, Interval, PairedTest

Groups = NDArray[np.integer]
Compute = Callable[[Values], Values]

BUDGET = 400_000_000
FEWEST = 200
_BLOCK = 400_000  # weights held at a time: they stay in the processor's cache
_EXACT = 12  # up to this many differing examples all 2^n swaps are tried


def intervals(
    outcome: Outcome, names: Sequence[str], groups: Groups | None = None, resamples: int = 2000, seed: int = 42
) -> list[Interval]:
    """Return each metric of the sample with its bootstrap interval.

    Args:
        outcome: N examples, at least one.
        names: Of `benchmarks.metrics.classes.METRICS`.
        groups: (N,) equal numbers for examples that belong together; None: each example is alone.
        resamples: How many resamples.
        seed: Equal seeds give equal results.
    """
    groups = together(groups)
    found: dict[str, Interval] = {}
    for part, affordable in _affordable(outcome, names, resamples):
        around = bootstrapped(measure(outcome, part), len(outcome.gold), groups, affordable, seed)
        found.update(zip(part, around, strict=True))
    return [found[name] for name in names]


def paired_tests(
    a: Outcome,
    b: Outcome,
    names: Sequence[str],
    groups: Groups | None = None,
    resamples: int = 2000,
    seed: int = 42,
) -> list[PairedTest]:
    """Compare two systems on the same examples: a minus b.

    Args:
        a: What one system said.
        b: What the other said of the same examples, in the same order.
        names: Of `benchmarks.metrics.classes.METRICS`.
        groups: (N,) as in `intervals`.
        resamples: Bootstrap resamples, and swaps.
        seed: Equal seeds give equal results.
    """
    groups = together(groups)
    found: dict[str, PairedTest] = {}
    for part, affordable in _affordable(a, names, resamples):
        around = bootstrapped(_difference(measure(a, part), measure(b, part)), len(a.gold), groups, affordable, seed)
        for probabilities in (False, True):
            chosen = [name for name in part if METRICS[name].probabilities is probabilities]
            if chosen:
                p, test = permuted(_swapped(a, b, chosen), _differs(a, b, probabilities), groups, affordable, seed)
                for name, value in zip(chosen, p, strict=True):
                    found[name] = PairedTest(*around[part.index(name)], value, test)
    return [found[name] for name in names]


def together(groups: Groups | None) -> Groups | None:
    """Return the groups numbered from 0, or None where no group has more than one example."""
    if groups is None:
        return None
    known, numbered = np.unique(groups, return_inverse=True)
    return numbered if len(known) < len(groups) else None


def bootstrapped(compute: Compute, size: int, groups: Groups | None, resamples: int, seed: int) -> list[Interval]:
    """Return the bootstrap interval of each metric that `compute` gives, around its value for all examples as they are.

    Args:
        compute: Weights of the examples, (N, B), to metrics, (M, B).
        size: N, at least 1.
        groups: From `together`.
        resamples: How many resamples.
        seed: Equal seeds give equal results.
    """
    centers = compute(np.ones((size, 1)))[:, 0]
    blocks = [compute(weights) for weights in bootstrap(size, groups, resamples, seed)]
    ends = _percentiles(np.concatenate(blocks, axis=1), centers)
    return list(map(Interval._make, zip(centers.tolist(), *ends, strict=True)))


def permuted(
    difference: Compute, differs: NDArray[np.bool_], groups: Groups | None, resamples: int, seed: int
) -> tuple[list[float], str]:
    """Return the two-sided p-value of no difference for each metric, and the name of the test.

    Args:
        difference: Which examples are swapped, (N, B) of 0 and 1, to the differences (M, B) of the two systems' metrics.
        differs: (N,) where the systems differ: the examples whose swap can change anything.
        groups: From `together`: whole groups are swapped.
        resamples: Swaps, where not all are tried.
        seed: Equal seeds give equal results.
    """
    size = len(differs)
    units = size if groups is None else int(groups.max()) + 1
    moving = np.flatnonzero(differs) if groups is None else np.unique(groups[differs])

    def after(swapped: Values) -> Values:
        return difference(swapped if groups is None else swapped[groups])

    reach = np.abs(after(np.zeros((units, 1))))
    reach = reach * (1 - 1e-9) - 1e-12  # an equal value in another order of adding counts as equal
    exact = len(moving) <= _EXACT
    count, total = np.zeros(len(reach)), np.zeros(len(reach))
    for flips in _every(len(moving), 2 * size) if exact else _coins(len(moving), 2 * size, resamples, seed):
        swapped = np.zeros((units, flips.shape[1]))
        swapped[moving] = flips
        distance = np.abs(after(swapped))
        count += (distance >= reach).sum(axis=1)
        total += (~np.isnan(distance)).sum(axis=1)
    unit = "" if groups is None else " of groups"
    if exact:
        return (count / total).tolist(), f"paired permutation{unit} (exact)"
    return ((count + 1) / (resamples + 1)).tolist(), f"paired permutation{unit} ({resamples})"


def bootstrap(size: int, groups: Groups | None, resamples: int, seed: int) -> Iterator[Values]:
    """Yield how often each example was drawn, a column per resample, in blocks (N, B).

    Args:
        size: N.
        groups: (N,) numbered from 0: whole groups are drawn; None: examples are.
        resamples: How many columns in all.
        seed: Equal seeds give equal draws, whatever the systems.
    """
    rng = np.random.default_rng(seed)
    units = size if groups is None else int(groups.max()) + 1
    for width in _widths(size, resamples):
        drawn = rng.integers(0, units, (width, units))
        cells = (drawn * width + np.arange(width)[:, None]).ravel()
        weights = np.bincount(cells, minlength=units * width).reshape(units, width).astype(np.float64)
        yield weights if groups is None else weights[groups]


def _widths(size: int, resamples: int) -> Iterator[int]:
    """Yield how many resamples are held at a time."""
    block = max(1, _BLOCK // size)
    for start in range(0, resamples, block):
        yield min(block, resamples - start)


def _affordable(outcome: Outcome, names: Sequence[str], resamples: int) -> Iterator[tuple[list[str], int]]:
    """Yield the metrics that share a number of resamples, and that number."""

    def many(name: str) -> int:
        costly = METRICS[name].statistics is areas or (METRICS[name].statistics is gaps and outcome.multi)
        if not costly:
            return resamples
        return min(resamples, max(FEWEST, BUDGET // (len(outcome.gold) * outcome.classes)))

    for count, part in groupby(sorted(names, key=many), key=many):
        yield list(part), count


def _percentiles(values: Values, centers: Values) -> tuple[list[float], list[float]]:
    """Return the ends of the intervals of `values` (M, R), none beyond its center; resamples without a value do not count."""
    tail = (1 - LEVEL) / 2
    low, high = np.full(len(values), np.nan), np.full(len(values), np.nan)
    for row, of_metric in enumerate(values):
        known = of_metric[~np.isnan(of_metric)]
        if len(known):
            low[row], high[row] = np.quantile(known, [tail, 1 - tail])
    # fmin: summing in another order must not put a constant outside its interval, and a resample may be all there is.
    return np.fmin(low, centers).tolist(), np.fmax(high, centers).tolist()


def _difference(first: Compute, second: Compute) -> Compute:
    """Return the difference of what two systems get from the same weights."""
    return lambda weights: first(weights) - second(weights)


def _differs(a: Outcome, b: Outcome, probabilities: bool) -> NDArray[np.bool_]:
    """Return (N,) where the systems said something else."""
    differs: NDArray[np.bool_] = a.known != b.known if probabilities else a.predicted != b.predicted
    return np.asarray(differs.any(axis=1)) if differs.ndim == 2 else differs


def _swapped(a: Outcome, b: Outcome, names: Sequence[str]) -> Compute:
    """Return what gives the differences (M, B) of the metrics when some examples are swapped, (N, B).

    Both systems' answers are put under each other, 2N rows; who says what is then a matter of weights, and nothing has to
    be sorted again: the first system's weights (2N, B) are 1 - swap above swap, and the second's the other way round.
    """
    compute = measure(_stacked(a, b), names)
    return lambda rows: compute(np.concatenate([1 - rows, rows])) - compute(np.concatenate([rows, 1 - rows]))


def _every(moving: int, size: int) -> Iterator[Values]:
    """Yield all 2^n ways to swap in blocks (n, B)."""
    start = 0
    for width in _widths(size, 2**moving):
        yield (np.arange(start, start + width) >> np.arange(moving)[:, None] & 1).astype(np.float64)
        start += width


def _coins(moving: int, size: int, resamples: int, seed: int) -> Iterator[Values]:
    """Yield coin flips in blocks (n, B)."""
    rng = np.random.default_rng(seed)
    for width in _widths(size, resamples):
        yield rng.integers(0, 2, (moving, width)).astype(np.float64)


def _stacked(a: Outcome, b: Outcome) -> Outcome:
    """Return both systems' answers to the same examples as one outcome of 2N rows."""

    def both(of: Callable[[Outcome], NDArray[np.generic]]) -> NDArray[np.generic]:
        return np.concatenate([of(a), of(b)])

    known = a.probabilities is not None and b.probabilities is not None
    return Outcome(
        gold=both(lambda outcome: outcome.gold),
        predicted=both(lambda outcome: outcome.predicted),
        probabilities=np.concatenate([a.known, b.known]) if known else None,
        classes=a.classes,
        ancestors=a.ancestors,
    )
