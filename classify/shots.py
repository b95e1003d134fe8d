"""Few rows per class, drawn from many: for experiments that ask what a handful of labels is worth."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from finewise.data.keys import combine
from finewise.data.labels.load import LabelledData
from finewise.data.labels.rows import Labelled


def shots(train: Labelled, count: int, seed: int) -> NDArray[np.int64]:
    """Return the rows, rising, of `count` rows per class; of a class with fewer, all.

    16 rows of a class hold the 8 that are drawn with the same seed. Multi-label: the labels are gone through from the rarest to
    the most frequent, and each gets what the rows drawn for rarer ones do not give it yet; a frequent label so ends with more
    than `count`. Rows without a label are not drawn.

    Args:
        train: The rows.
        count: Rows per class.
        seed: Of the draw.
    """
    order = np.random.default_rng(seed).permutation(len(train))
    if train.labels.ndim == 1:
        drawn = [order[train.labels[order] == label][:count] for label in range(len(train.space))]
        return np.sort(np.concatenate(drawn))
    taken = np.zeros(len(train), dtype=bool)
    for label in np.argsort(train.counts, kind="stable"):
        having = order[train.labels[order, label]]
        missing = count - int(taken[having].sum())
        taken[having[~taken[having]][: max(0, missing)]] = True
    return np.flatnonzero(taken)


def with_shots(data: LabelledData, count: int | None, seed: int) -> LabelledData:
    """Return the data with `count` training rows per class (None: all); dev and test stay. A second time changes nothing."""
    if count is None:
        return data
    rows = shots(data.train, count, seed)
    if len(rows) == len(data.train):
        return data
    train = data.train.select(rows)
    return replace(
        data,
        train=train,
        rows={**data.rows, "train": len(train)},
        revision=combine(data.revision, train.revision),
    )
