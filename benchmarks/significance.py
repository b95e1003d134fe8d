"""Is the difference real? Intervals and paired tests over queries. Pure NumPy, seeded.

An interval is the 95% percentile bootstrap over queries (Efron & Tibshirani 1993, chapter 13): how the mean would vary
with other queries of the same kind. Under about 30 queries it comes out somewhat too narrow.

The paired test is Fisher's randomisation test (Smucker, Allan & Carterette 2007): if two systems are equally good, the
sign of each query's difference is a coin flip. p is the share of sign flips whose mean difference is at least as far
from 0 as the observed one; it is exact where few queries differ, else estimated as (count + 1) / (resamples + 1).

Metrics that are no means over examples (macro-F1, ROC AUC): `benchmarks.resampling`.

Shapes: Q queries, M metrics, R resamples.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.retrieval import Result
from finewise.errors import InputError
from finewise.record import Comparison, Score

Values = NDArray[np.float64]

LEVEL = 0.95
_BLOCK = 1_000_000  # resampled values held at a time: bounds the memory to about 20 MB
_EXACT = 12  # up to this many differing queries all 2^n sign flips are tried


class Interval(NamedTuple):
    """A mean and its 95% interval."""

    mean: float
    low: float
    high: float


class PairedTest(NamedTuple):
    """A mean difference, its 95% interval, the two-sided p-value and what computed it."""

    difference: float
    low: float
    high: float
    p: float
    test: str


def interval(values: Values, resamples: int = 2000, seed: int = 42) -> Interval:
    """Return the mean of `values` (Q,) and its bootstrap interval."""
    return _intervals(np.asarray(values, np.float64)[:, None], resamples, seed)[0]


def paired_test(a: Values, b: Values, resamples: int = 2000, seed: int = 42) -> PairedTest:
    """Compare two systems on the same queries.

    Args:
        a: (Q,) per-query values of one system.
        b: (Q,) those of the other, in the same order of queries.
        resamples: Bootstrap resamples, and sign flips.
        seed: Equal seeds give equal results.
    """
    return _paired_tests((np.asarray(a, np.float64) - np.asarray(b, np.float64))[:, None], resamples, seed)[0]


def scores(result: Result, resamples: int = 2000, seed: int = 42) -> list[Score]:
    """Return the mean of each metric of a result with its interval."""
    found = _intervals(_matrix(result, list(result.per_query)), resamples, seed)
    return score_rows(result, len(result.query_ids), dict(zip(result.per_query, found, strict=True)))


def compare(a: Result, b: Result, resamples: int = 2000, seed: int = 42) -> list[Comparison]:
    """Return a minus b for each metric that both have.

    Raises:
        InputError: The results are not of the same queries on the same data.
    """
    check_comparable(a, b)
    metrics = [metric for metric in a.per_query if metric in b.per_query]
    found = _paired_tests(_matrix(a, metrics) - _matrix(b, metrics), resamples, seed)
    return comparison_rows(a, b, dict(zip(metrics, found, strict=True)))


def check_comparable(a: Result, b: Result) -> None:
    """Refuse two results whose per-query values do not belong together.

    Raises:
        InputError: They differ in benchmark, split, revision of the data, or queries.
    """
    check_same_data(a, b)
    if a.query_ids != b.query_ids:
        raise InputError(
            f"cannot compare {a.system} with {b.system} on {a.benchmark}: they were scored on different queries "
            f"({len(a.query_ids)} and {len(b.query_ids)}); score both on the same benchmark"
        )


class Scored(Protocol):
    """A result of any benchmark."""

    @property
    def system(self) -> str:
        """Whose it is."""
        ...

    @property
    def benchmark(self) -> str:
        """Name of the data."""
        ...

    @property
    def split(self) -> str:
        """Which part of it."""
        ...

    @property
    def data_revision(self) -> str:
        """Its content."""
        ...


def score_rows(result: Scored, n: int, found: Mapping[str, Interval]) -> list[Score]:
    """Return the record's rows of a result of n queries or examples, given each metric's interval."""
    return [
        Score(
            benchmark=result.benchmark,
            data_revision=result.data_revision,
            split=result.split,
            system=result.system,
            metric=metric,
            value=mean,
            low=low,
            high=high,
            n=n,
        )
        for metric, (mean, low, high) in found.items()
    ]


def comparison_rows(a: Scored, b: Scored, found: Mapping[str, PairedTest]) -> list[Comparison]:
    """Return the record's rows of a minus b, given each metric's test."""
    return [
        Comparison(benchmark=a.benchmark, metric=metric, a=a.system, b=b.system, **test._asdict())
        for metric, test in found.items()
    ]


def check_same_data(a: Scored, b: Scored) -> None:
    """Refuse two results of different data.

    Raises:
        InputError: They differ in benchmark, split or revision of the data.
    """
    for what in ("benchmark", "split", "data_revision"):
        first, second = getattr(a, what), getattr(b, what)
        if first != second:
            raise InputError(
                f"cannot compare {a.system} with {b.system}: they were scored on different data "
                f"({what.replace('_', ' ')} {first} and {second}); score both on the same benchmark"
            )


def mcnemar(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> tuple[float, str]:
    """Compare how often two systems are right on the same, independent examples: McNemar's test, exact.

    If they are equally good, each example on which only one is right is a coin flip: two-sided binomial test.

    Args:
        a: (N,) whether one system is right.
        b: (N,) whether the other is.

    Returns:
        The p-value, and the name of the test.
    """
    from scipy.stats import binomtest  # half a second, which no other command shall wait for

    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    p = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return float(p), "McNemar (exact)"


def _matrix(result: Result, metrics: Sequence[str]) -> Values:
    """Return the per-query values of the metrics, (Q, M)."""
    return np.stack([result.per_query[metric] for metric in metrics], axis=1)


def _intervals(values: Values, resamples: int, seed: int) -> list[Interval]:
    """Return an interval per column of `values` (Q, M); all columns share the resampled queries."""
    means = _resampled_means(values, resamples, seed)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    center = values.mean(axis=0)
    # Where all values are equal, summing in another order must not put the mean outside its interval.
    low, high = np.minimum(low, center), np.maximum(high, center)
    return [Interval(*map(float, column)) for column in zip(center, low, high, strict=True)]


def _resampled_means(values: Values, resamples: int, seed: int) -> Values:
    """Return the mean of each column over each resample of the rows, (R, M)."""
    size = len(values)
    if not size:
        raise ValueError("there must be at least one value; got none")
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // size)
    means = np.empty((resamples, values.shape[1]))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(0, size, (rows, size), dtype=np.int32)
        drawn += size * np.arange(rows, dtype=np.int32)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
        means[start : start + rows] = counts @ values / size
    return means


def _paired_tests(differences: Values, resamples: int, seed: int) -> list[PairedTest]:
    """Return a paired test per column of `differences` (Q, M)."""
    found = []
    for column, (mean, low, high) in zip(differences.T, _intervals(differences, resamples, seed), strict=True):
        p, test = _sign_flips(column, resamples, seed)
        found.append(PairedTest(mean, low, high, p, test))
    return found


def _sign_flips(differences: Values, resamples: int, seed: int) -> tuple[float, str]:
    """Return the two-sided p-value of the mean of `differences` (Q,) being 0, and the name of the test."""
    moving = differences[differences != 0]  # flipping a zero changes nothing
    total = moving.sum()
    reach = abs(total) * (1 - 1e-12)  # an equal sum in another order of adding counts as equal
    if len(moving) <= _EXACT:
        every = np.arange(2 ** len(moving))[:, None] >> np.arange(len(moving)) & 1
        sums = total - 2 * (every @ moving)
        return float((np.abs(sums) >= reach).mean()), "paired sign flips (exact)"
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(moving))
    count = 0
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        width = -(-len(moving) // 8)
        bits = np.frombuffer(rng.bytes(rows * width), np.uint8).reshape(rows, width)
        flips = np.unpackbits(bits, axis=1, count=len(moving))
        sums = total - 2 * (flips @ moving)
        count += int((np.abs(sums) >= reach).sum())
    return (count + 1) / (resamples + 1), f"paired sign flips ({resamples})"
