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
"""Below these a comparison is not tested; from there on tests hold their level (`python -m benchmarks.stats.calibrate`)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Design:
    """How a sample was taken.

    Attributes:
        units: (N,) the unit of each row, numbered from 0: a row of its own, or the cluster that it shares with others (texts of
            one customer, depths of one needle sample, pieces of one novel).
        clustered: Whether some unit has several rows (of one seed).
        strata: (U,) the stratum of each unit, numbered from 0: parts of which the sample always has so many units, such as
            the tasks of an average.
        seeds: (N,) which of several training runs a row is of, numbered from 0; every run reads the same units.
    """

    units: Numbers
    clustered: bool
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
    ) -> "Design":
        """Number clusters, strata and seeds.

        Args:
            size: N, at least 1.
            clusters: (N,) equal for rows that vary together; None: every example is alone.
            strata: (N,) equal for rows of one stratum; clusters of different strata are different clusters. None: one.
            seeds: (N,) equal for rows of one training run; None: one run.
            examples: (N,) equal for the same example read by several runs; None: every row is an example.

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
        return cls(
            units=units,
            clustered=len(first) < len(np.unique(np.stack([stratum, example]), axis=1).T),
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
    def clusters(self) -> int | None:
        """How many clusters there are; None where every example is alone."""
        return self.count if self.clustered else None

    @property
    def too_few(self) -> str | None:
        """Why a comparison cannot be tested; None where it can."""
        fewest = FEWEST_CLUSTERS if self.clustered else FEWEST_ROWS
        if self.count >= fewest:
            return None
        what = "clusters" if self.clustered else "rows"
        return f"too few to test: {self.count} {what}, {fewest} are needed"

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


def warn_of_few(name: str, design: Design) -> None:
    """Warn, before hours are spent, that a test set is too small for its comparisons to be tested."""
    if design.too_few:
        say(f"warning: {name}: {design.too_few}; scores get wide intervals and comparisons no p-value: hold out more")


def _numbered(values: Sequence[Any] | NDArray[Any]) -> Numbers:
    """Return equal numbers from 0 for equal values."""
    return np.unique(np.asarray(values), return_inverse=True)[1].reshape(-1)
