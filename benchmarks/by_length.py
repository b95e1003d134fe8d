"""Results of benchmarks that are read at several lengths: needle, long retrieval, perplexity. One score per length.

Where several training runs (seeds) read the same examples, seeds and examples are crossed; depths of one needle sample and
pieces of one document are clusters; the tasks of an average are strata (`benchmarks.stats`).

Shapes: N examples, B weightings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.arrays import load_arrays, save_arrays
from benchmarks.rows import check_same_data, comparison_rows, score_rows
from benchmarks.stats.design import Design
from benchmarks.stats.inference import UNIT, Interval, Range, intervals, paired_tests
from benchmarks.stats.jackknife import Compute, Values, jackknife
from finewise.errors import InputError
from finewise.record import Comparison, Score

FILE = "by_length.npz"
PERPLEXITY = "perplexity"
PLAIN = ("system", "benchmark", "split", "data_revision", "metric", "ids")
ARRAYS = ("lengths", "depths", "groups", "values", "weights")
KINDS = ("clusters", "strata")


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
        clusters: (N,) equal for examples that vary together: depths of one sample, pieces of one document; None: each is alone.
        strata: (N,) the task of an average in which every task counts the same; None: one.
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
    clusters: NDArray[Any] | None = None
    strata: NDArray[Any] | None = None

    def at(self, length: int) -> "ByLength":
        """Return the examples of one length."""
        return self.select(np.flatnonzero(self.lengths == length))

    def select(self, rows: NDArray[np.int64]) -> "ByLength":
        """Return some examples."""
        arrays: dict[str, Any] = {name: array[rows] for name, array in _arrays(self).items()}
        return replace(self, ids=tuple(self.ids[row] for row in rows), **arrays)

    def read(self) -> list[int]:
        """Return the lengths at which anything was read, in order."""
        return [int(length) for length in np.unique(self.lengths)]

    def mean(self, length: int | None = None) -> float:
        """Return the metric over all examples, or those of one length."""
        part = self if length is None else self.at(length)
        return float(part.compute(np.ones((len(part.ids), 1)))[0, 0])

    @property
    def design(self) -> Design:
        """Which examples vary together."""
        return Design.of(
            len(self.ids),
            clusters=self.clusters,
            strata=self.strata,
            seeds=self.groups,
            examples=self.ids,
            sizes=self.weights if self.metric == PERPLEXITY else None,  # a piece is a cluster of tokens
        )

    @property
    def bounds(self) -> Range:
        """What the metric lies between."""
        return (0.0, None) if self.metric == PERPLEXITY else UNIT

    def compute(self, weights: Values) -> Values:
        """Return the metric (1, B) for how often each example counts, (N, B): the mean, or the mean of the strata's means."""
        weights = weights * self.weights[:, None]
        if self.strata is None:
            means = self.values @ weights / weights.sum(axis=0)
        else:
            each = [np.flatnonzero(self.strata == one) for one in np.unique(self.strata)]
            of_stratum = [_mean(self.values[rows], weights[rows]) for rows in each]
            means = np.mean(of_stratum, axis=0)
        return np.asarray(np.exp(means) if self.metric == PERPLEXITY else means)[None]


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
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(result, name) for result in results]) for name in _arrays(first)
    }
    return replace(first, ids=tuple(name for result in results for name in result.ids), **arrays)


def interval(result: ByLength) -> Interval:
    """Return the metric over all examples with its 95% interval."""
    return intervals(jackknife(result.compute, result.design, biased=False), [result.bounds])[0]


def scores(result: ByLength) -> list[Score]:
    """Return a score per length, called METRIC@LENGTH.

    Raises:
        InputError: An example stands twice at one length.
    """
    found = []
    for length in result.read():
        part = result.at(length)
        _check_once(part, length)
        found += score_rows(part, len(part.ids), {f"{result.metric}@{length}": interval(part)}, part.design.clusters)
    return found


def compare(a: ByLength, b: ByLength) -> list[Comparison]:
    """Return a minus b at each length that both read.

    Raises:
        InputError: They are not of the same examples of the same data, or one stands twice at one length.
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
        _check_once(one, length)
        design = one.design if one.clusters is not None else other.design
        varied = jackknife(_difference(one, other), design, biased=False)
        (test,) = paired_tests(varied, [one.bounds])
        found += comparison_rows(a, b, {f"{a.metric}@{length}": test})
    return found


def _check_once(part: ByLength, length: int) -> None:
    """Refuse an example that a training run read twice at one length: it would count as one that was read by two runs."""
    seen: set[tuple[str, int]] = set()
    for name, group in zip(part.ids, part.groups.tolist(), strict=True):
        if (name, group) in seen:
            raise InputError(
                f"{part.benchmark} ({part.system}): example {name!r} stands twice at {length} tokens; give each "
                "an id of its own"
            )
        seen.add((name, group))


def _difference(one: ByLength, other: ByLength) -> Compute:
    """Return what gives the difference of the metric, (1, B), for weights (N, B)."""
    return lambda weights: one.compute(weights) - other.compute(weights)


def save(file: Path, results: Sequence[ByLength]) -> None:
    """Write results into one npz file, whole or not at all."""
    save_arrays(
        file,
        (({name: getattr(result, name) for name in PLAIN}, _arrays(result)) for result in results),
    )


def load(file: Path) -> list[ByLength]:
    """Read what `save` wrote.

    Raises:
        InputError: The file is missing or is something else.
    """

    def make(plain: dict[str, Any], arrays: dict[str, Any]) -> ByLength:
        return ByLength(ids=tuple(plain.pop("ids")), **plain, **arrays)

    return load_arrays(file, "results by length", make)


def _arrays(result: ByLength) -> dict[str, NDArray[Any]]:
    """Return the arrays of N that the result has."""
    return {name: array for name in (*ARRAYS, *KINDS) if (array := getattr(result, name)) is not None}


def _mean(values: Values, weights: Values) -> Values:
    """Return the weighted mean (B,); of no weight at all, 0."""
    total = weights.sum(axis=0)
    return np.asarray(np.divide(values @ weights, total, out=np.zeros(len(total)), where=total > 0))
