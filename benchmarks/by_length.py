"""Results of benchmarks that are read at several lengths: needle, long retrieval, perplexity. One score per length.

An interval is the 95% percentile bootstrap over examples. Where examples are of several groups (models trained from several
seeds), groups are drawn first and then examples within each (the two-stage bootstrap, Davison & Hinkley 1997, 3.8), so that
what varies with the seed is in it. The paired test flips signs example by example; with several groups it is the two-stage
bootstrap's, since flips would speak of these models alone: p is twice the smaller share of resamples on one side of 0.

Shapes: N examples, R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.arrays import load_arrays, save_arrays
from benchmarks.significance import (
    LEVEL,
    Interval,
    PairedTest,
    check_same_data,
    comparison_rows,
    paired_test,
    score_rows,
)
from finewise.errors import InputError
from finewise.record import Comparison, Score

FILE = "by_length.npz"
PERPLEXITY = "perplexity"
PLAIN = ("system", "benchmark", "split", "data_revision", "metric", "ids")
ARRAYS = ("lengths", "depths", "groups", "values", "weights")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ByLength:
    """One system on one benchmark, example by example.

    Attributes:
        system: "tuned", "untuned" or what else was scored.
        benchmark: Its name.
        split: "test" or "dev".
        data_revision: sha256 of all that decides the examples.
        metric: What a value is: exact, substring_recall, accuracy (of the first rank), ndcg@10, perplexity. Scores are called
            METRIC@LENGTH.
        ids: (N,) one name per example; equal ids are the same example for all systems.
        lengths: (N,) tokens at which it was read, the nominal ones of the grid.
        depths: (N,) where in the text its answer stands, 0 to 1; NaN where that has no meaning.
        groups: (N,) which of several models (seeds) read it.
        values: (N,) the metric; for perplexity the mean negative log-likelihood per token, in nats.
        weights: (N,) 1, for perplexity the number of tokens.
    """

    system: str
    benchmark: str
    split: str
    data_revision: str
    metric: str
    ids: tuple[str, ...]
    lengths: NDArray[np.int64]
    depths: NDArray[np.float64]
    groups: NDArray[np.int64]
    values: NDArray[np.float64]
    weights: NDArray[np.float64]

    def at(self, length: int) -> "ByLength":
        """Return the examples of one length."""
        return self.select(np.flatnonzero(self.lengths == length))

    def select(self, rows: NDArray[np.int64]) -> "ByLength":
        """Return some examples."""
        arrays: dict[str, Any] = {name: getattr(self, name)[rows] for name in ARRAYS}
        return replace(self, ids=tuple(self.ids[row] for row in rows), **arrays)

    def read(self) -> list[int]:
        """Return the lengths at which anything was read, in order."""
        return [int(length) for length in np.unique(self.lengths)]

    def mean(self, length: int | None = None) -> float:
        """Return the metric over all examples, or those of one length."""
        part = self if length is None else self.at(length)
        return float(part._of(np.ones((1, len(part.ids))))[0])

    def _of(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the metric (R,) for how often each example counts, (R, N)."""
        weights = counts * self.weights
        means: NDArray[np.float64] = weights @ self.values / weights.sum(axis=1)
        return np.exp(means) if self.metric == PERPLEXITY else means


def doublings(original: int, target: int) -> list[int]:
    """Return the trained window times 1, 2, 4, ... up to the new one, which is the last.

    >>> doublings(64, 300), doublings(64, 64)
    ([64, 128, 256, 300], [64])
    """
    lengths = [original]
    while lengths[-1] * 2 < target:
        lengths.append(lengths[-1] * 2)
    return lengths if target <= original else [*lengths, target]


def joined(results: Sequence[ByLength]) -> ByLength:
    """Return the examples of several results of one system on one benchmark as one, such as those of several seeds."""
    first = results[0]
    for other in results[1:]:
        check_same_data(first, other)
        assert (first.system, first.metric) == (other.system, other.metric)
    arrays: dict[str, Any] = {name: np.concatenate([getattr(result, name) for result in results]) for name in ARRAYS}
    return replace(first, ids=tuple(name for result in results for name in result.ids), **arrays)


def interval(result: ByLength, resamples: int = 2000, seed: int = 42) -> Interval:
    """Return the metric over all examples with its 95% interval."""
    center = result.mean()
    drawn = result._of(_counts(result.groups, resamples, seed))
    return _interval(center, drawn)


def scores(result: ByLength, resamples: int = 2000, seed: int = 42) -> list[Score]:
    """Return a score per length, called METRIC@LENGTH."""
    found = []
    for length in result.read():
        part = result.at(length)
        found += score_rows(part, len(part.ids), {f"{result.metric}@{length}": interval(part, resamples, seed)})
    return found


def compare(a: ByLength, b: ByLength, resamples: int = 2000, seed: int = 42) -> list[Comparison]:
    """Return a minus b at each length that both read.

    Raises:
        InputError: They are not of the same examples of the same data.
    """
    check_same_data(a, b)
    found = []
    for length in a.read():
        one, other = a.at(length), b.at(length)
        if not other.ids:
            continue
        if one.ids != other.ids or not np.array_equal(one.groups, other.groups):
            raise InputError(
                f"cannot compare {a.system} with {b.system} on {a.benchmark} at {length} tokens: they read different examples "
                f"({len(one.ids)} and {len(other.ids)}); score both with the same settings"
            )
        counts = _counts(one.groups, resamples, seed)
        drawn = one._of(counts) - other._of(counts)
        difference, low, high = _interval(one.mean() - other.mean(), drawn)
        if len(np.unique(one.groups)) > 1:
            sides = min((drawn <= 0).sum(), (drawn >= 0).sum())
            p, name = min(1.0, 2 * (float(sides) + 1) / (resamples + 1)), f"two-stage bootstrap ({resamples})"
        else:
            share = one.weights / one.weights.mean()
            test = paired_test(one.values * share, other.values * share, resamples, seed)
            p, name = test.p, test.test
        both = PairedTest(difference, low, high, p, name)
        found += comparison_rows(a, b, {f"{a.metric}@{length}": both})
    return found


def save(file: Path, results: Sequence[ByLength]) -> None:
    """Write results into one npz file, whole or not at all."""
    save_arrays(
        file,
        (
            ({name: getattr(result, name) for name in PLAIN}, {name: getattr(result, name) for name in ARRAYS})
            for result in results
        ),
    )


def load(file: Path) -> list[ByLength]:
    """Read what `save` wrote.

    Raises:
        InputError: The file is missing or is something else.
    """

    def make(plain: dict[str, Any], arrays: dict[str, Any]) -> ByLength:
        return ByLength(ids=tuple(plain.pop("ids")), **plain, **arrays)

    return load_arrays(file, "results by length", make)


def _counts(groups: NDArray[np.int64], resamples: int, seed: int) -> NDArray[np.float64]:
    """Return how often each example is drawn in each resample, (R, N); groups first if there are several."""
    rng = np.random.default_rng(seed)
    names, of = np.unique(groups, return_inverse=True)
    counts = np.zeros((resamples, len(groups)))
    drawn = (
        np.ones((resamples, 1), np.int64)
        if len(names) == 1
        else rng.multinomial(len(names), np.full(len(names), 1 / len(names)), resamples)
    )
    for number in range(len(names)):
        rows = np.flatnonzero(of == number)
        draws = drawn[:, number] * len(rows)
        counts[:, rows] = rng.multinomial(draws, np.full(len(rows), 1 / len(rows)))
    return counts


def _interval(center: float, drawn: NDArray[np.float64]) -> Interval:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    # Where all values are equal, summing in another order must not put the mean outside its interval.
    return Interval(center, float(min(low, center)), float(max(high, center)))
