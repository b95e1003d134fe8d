"""What one classifier said of one set of labelled texts, example by example; how that is kept in a file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.arrays import load_arrays, save_arrays
from benchmarks.metrics.outcome import Outcome

PER_EXAMPLE_FILE = "per_example.npz"
_INDEXED = ("system", "benchmark", "split", "data_revision", "kind")
_ARRAYS = ("gold", "predicted", "probabilities", "groups", "ancestors")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classified:
    """The result of one system on one set.

    Shapes: N examples, K classes, A nodes of the label tree.

    Attributes:
        system: "tuned", "untuned" or a baseline's name.
        benchmark: Name of the data.
        split: "dev" or "test".
        data_revision: Revision of the data.
        ids: The examples' line or row numbers, as text.
        kind: "single", "multi", "ordinal" or "hierarchical".
        names: (K) the classes, in the order of all columns here.
        gold: (N,) int, or (N, K) bool where kind is "multi".
        probabilities: (N, K) float32, the precision in which they are kept, so that a file gives the same scores.
        predicted: As gold.
        groups: (N,) equal for examples that belong together, such as texts of one source; None: each is alone.
        ancestors: (K, A) which nodes of the tree hold a class; None where kind is not "hierarchical".
    """

    system: str
    benchmark: str
    split: str
    data_revision: str
    ids: tuple[str, ...]
    kind: str
    names: tuple[str, ...]
    gold: NDArray[Any]
    probabilities: NDArray[np.float32]
    predicted: NDArray[Any]
    groups: NDArray[np.integer[Any]] | None = None
    ancestors: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.ids)

    @property
    def outcome(self) -> Outcome:
        """What the metrics are computed from."""
        return Outcome(
            gold=self.gold,
            predicted=self.predicted,
            probabilities=self.probabilities,
            classes=len(self.names),
            ancestors=self.ancestors,
        )

    def select(self, rows: NDArray[np.integer[Any]]) -> "Classified":
        """Return the result on these examples alone."""
        return replace(
            self,
            ids=tuple(self.ids[row] for row in rows),
            gold=self.gold[rows],
            probabilities=self.probabilities[rows],
            predicted=self.predicted[rows],
            groups=None if self.groups is None else self.groups[rows],
        )


def save_per_example(path: Path, results: Sequence[Classified]) -> None:
    """Write results, example by example, to one .npz file, whole or not at all."""
    save_arrays(path, map(_parts, results))


def _parts(result: Classified) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    arrays = {name: np.array(getattr(result, name), dtype=np.str_) for name in ("ids", "names")}
    arrays |= {name: found for name in _ARRAYS if (found := getattr(result, name)) is not None}
    return {key: getattr(result, key) for key in _INDEXED}, arrays


def load_per_example(path: Path) -> list[Classified]:
    """Read what `save_per_example` wrote.

    Raises:
        InputError: The file is missing or is something else.
    """

    def make(plain: dict[str, Any], arrays: dict[str, Any]) -> Classified:
        ids, names = (tuple(arrays.pop(name).tolist()) for name in ("ids", "names"))
        return Classified(ids=ids, names=names, **plain, **arrays)

    return load_arrays(path, "per-example results", make)
