"""What the metrics of classification are computed from. NumPy only.

Shapes: N examples, K classes (or labels), A nodes of the label tree, B weightings of the examples.

    gold, predicted (N,) int    classes, where each example has one
    gold, predicted (N, K) bool labels, where an example may have any number
    probabilities (N, K)        of the classes (rows sum to 1), or of each label alone
    weights (N, B)              each column weighs the examples once: ones for the sample itself, 0 for an example that
                                is left out

A metric is computed in two steps, so that thousands of weightings cost seconds: `Statistics` are prepared once from an
outcome (sorted, counted) and then give, for each block of weightings, an array (..., B) from which the metric follows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Labels = NDArray[Any]
Statistics = Callable[[Values], Values]
"""weights (N, B) -> statistics (..., B)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What was right and what a system said.

    Attributes:
        gold: (N,) int or (N, K) bool.
        predicted: As gold.
        probabilities: (N, K), or None where only decisions are known.
        classes: K.
        ancestors: (K, A) bool, which nodes of the label tree hold a class, itself included; None without a tree.
    """

    gold: Labels
    predicted: Labels
    probabilities: NDArray[np.floating[Any]] | None
    classes: int
    ancestors: NDArray[np.bool_] | None = None

    @property
    def multi(self) -> bool:
        """Whether an example may have any number of labels."""
        return self.gold.ndim == 2

    @property
    def known(self) -> NDArray[np.floating[Any]]:
        """The probabilities.

        Raises:
            ValueError: There are none.
        """
        if self.probabilities is None:
            raise ValueError("this metric needs probabilities; got decisions alone")
        return self.probabilities

    def indicators(self) -> NDArray[np.bool_]:
        """Return which label each example has, (N, K) bool."""
        if self.multi:
            return self.gold.astype(bool, copy=False)
        return np.asarray(self.gold[:, None] == np.arange(self.classes))


def divided(part: Values, whole: Values, otherwise: float = 0.0) -> Values:
    """Return part / whole, and `otherwise` where whole is 0."""
    result: Values = np.divide(part, whole, out=np.full(part.shape, otherwise), where=whole > 0)
    return result


def mean_where(values: Values, counted: NDArray[np.bool_]) -> Values:
    """Return the mean over the first axis of the values that count, NaN where none does: (K, B) -> (B,)."""
    return divided(np.where(counted, values, 0).sum(axis=0), counted.sum(axis=0, dtype=np.float64), np.nan)


def group_sums(rows: NDArray[np.intp], groups: NDArray[np.intp], size: int) -> Statistics:
    """Return what sums the weights of `rows` by group: weights (N, B) -> (size, B).

    Args:
        rows: (E,) indices of examples; one may stand there more than once.
        groups: (E,) the group of each, below `size`.
        size: How many groups there are; one without rows sums to 0.
    """
    order = np.argsort(groups, kind="stable")
    ordered = rows[order]
    present, starts = np.unique(groups[order], return_index=True)

    def sums(weights: Values) -> Values:
        result = np.zeros((size, weights.shape[1]))
        if len(present):
            result[present] = np.add.reduceat(weights[ordered], starts, axis=0)
        return result

    return sums
