"""How many rows each point of a learning curve is trained on, and which: every subset holds the smaller ones. Pure NumPy."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FRACTIONS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Halving spreads the points evenly over the logarithm of the rows, which is what the shape of the curve depends on."""


def subset_sizes(rows: int, fractions: Sequence[float] = FRACTIONS, minimum: int = 1) -> list[int]:
    """Return the numbers of rows to train on, smallest first; the last one is always all rows.

    Args:
        rows: Number of training rows.
        fractions: Shares of them, above 0 and at most 1.
        minimum: A subset below this many rows is left out: it could not train (a batch, a row of each class).

    Raises:
        ValueError: A share is out of its range.

    >>> subset_sizes(1000)
    [62, 125, 250, 500, 1000]
    >>> subset_sizes(1000, minimum=200)
    [250, 500, 1000]
    """
    if not all(0 < share <= 1 for share in fractions):
        raise ValueError(f"learning_curve.fractions must be above 0 and at most 1; got {list(fractions)}")
    found = {int(rows * share) for share in fractions}
    return sorted({size for size in found if minimum <= size} | {rows})


def epochs_for(epochs: float, part: int, rows: int, batch: int, accumulation: int = 1) -> float:
    """Return the epochs that train on a part of the rows with as many steps as on all of them.

    With the same number of epochs a sixteenth of the rows would also get a sixteenth of the steps, and the curve would show too
    little training as too little data.

    Args:
        epochs: Of the training on all rows.
        part: Rows of the part.
        rows: All rows.
        batch: Rows of a batch on all processes.
        accumulation: Batches of a step.

    >>> epochs_for(3, 62, 1000, 32)
    48.0
    """

    def steps(count: int) -> int:
        batches = -(-count // batch)
        return max(1, -(-batches // accumulation))

    return epochs * steps(rows) / steps(part)


def nested(rows: int, seed: int) -> NDArray[np.int64]:
    """Return an order of the rows (N,) whose first n entries are the subset of n rows."""
    return np.random.default_rng(seed).permutation(rows)


def nested_by_class(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return an order of the rows (N,) whose every beginning holds the classes in about the same shares as the whole.

    One row of each class comes first, so that no subset of at least as many rows as classes lacks one. In subsets of few
    rows per class, rare classes are therefore somewhat more frequent than in the whole.

    Args:
        labels: (N,) class numbers.
        seed: Equal seeds give equal orders.
    """
    rng = np.random.default_rng(seed)
    place = np.empty(len(labels), np.float64)  # where in the order a row belongs, as a share of the whole
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
        place[members[0]] = -rng.random()
    return np.argsort(place, kind="stable")
