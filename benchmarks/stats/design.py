"""Which rows of a sample vary together: clusters, strata, and repeated training runs that read the same rows. NumPy only.

Shapes: N rows, U units (rows, or clusters of rows), S seeds, H strata.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finewise.console import say

Numbers = NDArray[np.intp]

FEWEST_ROWS = 50
FEWEST_CLUSTERS = 10
FEWEST_EFFECTIVE = 5
"""Below these a comparison is not tested; from there on tests hold their level (`python -m benchmarks.stats.calibrate`)."""

FEWEST_FREEDOM = 29
"""Degrees of freedom below which unequal strata give neither interval nor test: some 30 units in the smallest."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Design:
    """How a sample was taken.

    Attributes:
        units: (N,) the unit of each row, numbered from 0: a row of its own, or the cluster that it shares with others (texts of
            one customer, depths of one needle sample, pieces of one novel).
        rows: How many rows the units hold together, each example of several seeds counted once.
        largest: (U,) rows of each unit.
        strata: (U,) the stratum of each unit, numbered from 0: parts of which the sample always has so many units, such as
            the tasks of an average.
        seeds: (N,) which of several training runs a row is of, numbered from 0; every run reads the same units.
    """

    units: Numbers
    rows: int
    largest: Numbers
    strata: Numbers
    seeds: Numbers

    @classmethod
    def of(
        cls,
        size: int,
        *,
        clusters: Sequence[Any] | NDArray[Any] | None = None,
        strata: Sequence[Any] | NDArray[Any] | None = None,
        seeds: Sequence[Any] | NDArray[Any] | None = None,
        examples: Sequence[Any] | NDArray[Any] | None = None,
        sizes: NDArray[np.floating[Any]] | None = None,
    ) -> "Design":
        """Number clusters, strata and seeds.

        Args:
            size: N, at least 1.
            clusters: (N,) equal for rows that vary together; None: every example is alone.
            strata: (N,) equal for rows of one stratum; clusters of different strata are different clusters. None: one.
            seeds: (N,) equal for rows of one training run; None: one run.
            examples: (N,) equal for the same example read by several runs; None: every row is an example.
            sizes: (N,) how many rows each example stands for: the tokens of a piece of text; None: one.

        Raises:
            ValueError: There is no row.
        """
        if size < 1:
            raise ValueError("there must be at least one row; got none")
        example = _numbered(np.arange(size) if examples is None else examples)
        stratum = _numbered(np.zeros(size) if strata is None else strata)
        group = example if clusters is None else _numbered(clusters)
        _, first, units = np.unique(np.stack([stratum, group]), axis=1, return_index=True, return_inverse=True)
        units = units.reshape(-1)
        once = np.unique(np.stack([stratum, example]), axis=1, return_index=True)[1]
        held = np.bincount(units[once], None if sizes is None else sizes[once], minlength=len(first)).astype(np.intp)
        return cls(
            units=units,
            rows=int(held.sum()),
            largest=held,
            strata=stratum[first],
            seeds=_numbered(np.zeros(size) if seeds is None else seeds),
        )

    @property
    def size(self) -> int:
        """N."""
        return len(self.units)

    @property
    def count(self) -> int:
        """U."""
        return len(self.strata)

    @property
    def runs(self) -> int:
        """S."""
        return int(self.seeds.max()) + 1

    @property
    def clustered(self) -> bool:
        """Whether some unit has several rows."""
        return self.rows > self.count

    @property
    def clusters(self) -> int | None:
        """How many clusters there are; None where every example is alone."""
        return self.count if self.clustered else None

    @property
    def effective(self) -> float:
        """How many units of equal size the units are worth (Kish 1965)."""
        return self.rows**2 / float(np.square(self.largest.astype(np.float64)).sum())

    @property
    def thin(self) -> bool:
        """Whether small strata, next to larger ones, decide an average and do not tell how much it varies."""
        per_stratum = np.bincount(self.strata)
        freedom = _freedom(per_stratum)
        return (freedom < FEWEST_FREEDOM and 2 * freedom < len(self.strata) - len(per_stratum)) or per_stratum.min() < 2

    @property
    def too_few(self) -> str | None:
        """Why a comparison cannot be tested; None where it can."""
        if self.rows < FEWEST_ROWS:
            return f"too few to test: {self.rows} rows, {FEWEST_ROWS} are needed"
        if self.count < FEWEST_CLUSTERS:
            return f"too few to test: {self.count} clusters, {FEWEST_CLUSTERS} are needed"
        if self.thin:
            per_stratum = np.bincount(self.strata)
            return (
                f"too few to test: the smallest of {len(per_stratum)} strata, which count the same, has "
                f"{per_stratum.min()} of the {self.count:,} units"
            )
        if self.effective < FEWEST_EFFECTIVE:
            return f"too few to test: {self.count} clusters of such unequal sizes count as {self.effective:.1f}, 5 are needed"
        return None

    @property
    def words(self) -> str:
        """What varies, in words: "3,656 rows", "41 clusters", "3 seeds x 100 rows"."""
        units = f"{self.count:,} {'clusters' if self.clustered else 'rows'}"
        return units if self.runs == 1 else f"{self.runs} seeds x {units}"

    def each_alone(self) -> "Design":
        """Return the design in which every unit of every seed is a unit of its own."""
        cells = _numbered(self.units * self.runs + self.seeds)
        first = np.unique(cells, return_index=True)[1]
        strata = self.strata[self.units[first]]
        return replace(self, units=cells, strata=strata, seeds=np.zeros(self.size, np.intp))

    def over_seeds(self) -> "Design":
        """Return the design whose units are the training runs."""
        return replace(self, units=self.seeds, strata=np.zeros(self.runs, np.intp), seeds=np.zeros(self.size, np.intp))


def _freedom(units: Numbers) -> float:
    """Return the degrees of freedom of an average over strata with so many units of equal variance (Satterthwaite 1946)."""
    if units.min() < 2:
        return 0.0
    parts = 1.0 / units
    return float(parts.sum() ** 2 / (np.square(parts) / (units - 1)).sum())


def warn_of_few(name: str, design: Design) -> None:
    """Warn, before hours are spent, that a test set is too small for its comparisons to be tested."""
    if design.too_few:
        say(f"warning: {name}: {design.too_few}; scores get wide intervals and comparisons no p-value: hold out more")


def _numbered(values: Sequence[Any] | NDArray[Any]) -> Numbers:
    """Return equal numbers from 0 for equal values."""
    return np.unique(np.asarray(values), return_inverse=True)[1].reshape(-1)
