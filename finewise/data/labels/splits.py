"""Held-out rows in which every class has its share, and which share no text and no group with the training rows.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas, On the Stratification of Multi-Label Data, ECML PKDD 2011): the
label with the fewest rows left is dealt out first, to each part as many rows as it still wants of that label. Here whole
units are dealt out: rows that share a text or a group. For one label per row and no groups this is plain stratification.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from finewise.data.keys import combine, mix
from finewise.data.labels.rows import Labelled
from finewise.data.splits import targets_of
from finewise.data.store import entry, made_by
from finewise.errors import InputError

MAX_ROWS = 10_000
"""A share (not a count) of a large file never holds out more rows than this."""

PARTS = "parts.i1"
MODULES = ("finewise.data.labels.splits", "finewise.data.keys")

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSplit:
    """Disjoint parts of the rows; dev or test is None if it was not asked for."""

    train: Labelled
    dev: Labelled | None
    test: Labelled | None


def split_labels(
    data: Labelled,
    dev_size: float | None,
    test_size: float | None,
    seed: int,
    *,
    apart: NDArray[np.bool_] | None = None,
) -> LabelSplit:
    """Split dev and test off, each class in proportion, and keep rows together that share a text or a group.

    A class keeps at least one training row; one that is too small for its share has no held-out row. The split depends on
    the seed and the content, not on the order of the rows.

    Args:
        data: The rows.
        dev_size: A share of the rows below 1 (at most 10,000 rows are taken), or a number of rows; None for no dev.
        test_size: The same for test.
        seed: Decides which rows are sampled.
        apart: (N,) rows that must stay in train with all that are linked to them: another held-out file has their texts.

    Raises:
        InputError: There are too few rows, or they hang together too much.
    """
    targets = targets_of(dev_size, test_size, len(data), data.reference, MAX_ROWS)
    made = made_by(MODULES, ("numpy", "scipy"))
    groups = "" if data.groups is None else hashlib.sha256(data.groups.tobytes()).hexdigest()
    kept = hashlib.sha256(b"" if apart is None or not apart.any() else apart.tobytes()).hexdigest()
    key = combine("label split", made, data.revision, groups, *targets.items(), seed, kept)

    def build(folder: Path) -> dict[str, Any]:
        _drawn(data, targets, seed, apart).tofile(folder / PARTS)
        return {}

    parts = np.fromfile(entry(key, build, kind="splits")[0] / PARTS, dtype=np.int8)
    chosen = {
        name: replace(data.select(np.flatnonzero(parts == number)), split=name)
        for number, name in enumerate(targets, 1)
    }
    return LabelSplit(train=data.select(np.flatnonzero(parts == 0)), dev=chosen.get("dev"), test=chosen.get("test"))


def shared_rows(train: Labelled, held: Sequence[Labelled]) -> NDArray[np.bool_]:
    """Return (N,) which rows have a text or group of a held-out file: a part that is split off must not be made of these."""
    found = np.zeros(len(train), dtype=bool)
    for one in held:
        found |= np.isin(train.keys, one.keys)
        if train.groups is not None and one.groups is not None:
            found |= np.isin(train.groups, one.groups) & (train.groups >= 0)
    return found


def _drawn(data: Labelled, targets: Mapping[str, int], seed: int, apart: NDArray[np.bool_] | None) -> NDArray[np.int8]:
    """Return (N,) 0 for rows of train, 1 for those of the first target, 2 for those of the second."""
    units = joined(data)
    sizes = np.bincount(units)
    lowest = np.full(len(sizes), np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(lowest, units, data.keys)
    linked = 0 if apart is None else int(sizes[np.unique(units[apart])].sum())
    if linked and len(data) - linked < sum(max(1, target // 2) for target in targets.values()):
        raise InputError(
            f"{data.reference}: {' and '.join(targets)} cannot be split off: {linked} of {len(data)} rows are linked to texts "
            f"or groups of the other held-out file; give {' and '.join(f'data.{name}' for name in targets)} files of their own"
        )
    order = np.argsort(mix(lowest ^ mix(np.array([seed], dtype=np.uint64) + np.uint64(1))), kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    kept = None if apart is None else np.unique(rank[units][apart])
    held = stratify(indicators(data), rank[units], list(targets.values()), seed, kept)
    for number, (name, target) in enumerate(targets.items(), 1):
        got = int(sizes[order][held == number].sum())
        if got < max(1, target // 2):
            largest = int(sizes.argmax())
            row = int(np.argmax(units == largest))
            raise InputError(
                f"{data.reference}: {name} cannot be split off: it should get {target} rows and gets {got}, because rows that "
                f"share a text or group must stay in one split (one such unit has {sizes[largest]} of {len(data)} rows, first "
                f"{data.where(row)}) and every class must keep a training row; give data.dev and data.test files of their own"
                f"{', or name another data.columns.group' if data.groups is not None else ''}"
            )
    return held[rank[units]]


def joined(data: Labelled) -> Rows:
    """Return (N,) the number of the unit that each row belongs to: rows joined by equal texts or groups."""
    texts, text = np.unique(data.keys, return_inverse=True)
    if data.groups is None:
        return text.astype(np.int64)
    groups, group = np.unique(data.groups, return_inverse=True)
    nodes = len(texts) + len(groups)
    edges = coo_matrix((np.ones(len(text), dtype=np.int8), (text, group + len(texts))), shape=(nodes, nodes))
    _, component = connected_components(edges.tocsr(), directed=False)
    unit: Rows = np.unique(component[text], return_inverse=True)[1].astype(np.int64)
    return unit


def indicators(data: Labelled) -> csr_matrix:
    """Return (N, K) ones where a row has a label; for multi-label data one column more, of rows without any."""
    if data.labels.ndim == 2:
        return csr_matrix(np.column_stack([data.labels, ~data.labels.any(axis=1)]).astype(np.int64))
    rows = np.arange(len(data))
    return csr_matrix((np.ones(len(rows), dtype=np.int64), (rows, data.labels)), shape=(len(rows), len(data.space)))


def stratify(
    labels: csr_matrix, units: Rows, targets: list[int], seed: int, kept: Rows | None = None
) -> NDArray[np.int8]:
    """Deal units out to held-out parts, by the label with the fewest units left first.

    Args:
        labels: (N, K) ones where a row has a label; every row has one.
        units: (N,) the unit of each row, numbered in the order in which units are to be drawn.
        targets: Rows wanted by each part.
        seed: Decides whose share is rounded up.
        kept: Units that stay in train.

    Returns:
        (U,) 0 for units that stay in train, else 1 + the number of the part.
    """
    total, classes = labels.shape
    sizes = np.bincount(units)
    deal = csr_matrix((np.ones(total, dtype=np.int64), (units, np.arange(total))), shape=(len(sizes), total))
    counts = csr_matrix(deal @ labels)  # (U, K) rows of each label in each unit
    counts.sort_indices()
    by_label = counts.tocsc()
    by_label.sort_indices()
    rows_of = np.asarray(counts.sum(axis=0)).reshape(-1)
    draw = np.random.default_rng(seed)
    wanted = np.array([_apportioned(rows_of, target / total, draw) for target in targets])
    excess = np.maximum(wanted.sum(axis=0) - np.maximum(rows_of - 1, 0), 0)
    for want in wanted[::-1]:
        cut = np.minimum(want, excess)
        want -= cut
        excess -= cut
    in_train, space = rows_of.copy(), list(targets)
    part, done = np.zeros(len(sizes), dtype=np.int8), np.zeros(len(sizes), dtype=bool)
    fixed = np.zeros(len(sizes), dtype=bool)
    if kept is not None:
        fixed[kept] = True

    def take(unit: int, number: int, *, fits: bool) -> None:
        """Give a unit to a part, unless it is too large for it, holds the last training rows of a label, or does not fit.

        It fits if the part still wants all rows of all labels of the unit: the original looks at one label only.
        """
        slot = slice(counts.indptr[unit], counts.indptr[unit + 1])
        labels_of, rows = counts.indices[slot], counts.data[slot]
        if fixed[unit] or sizes[unit] > space[number] or (in_train[labels_of] <= rows).any():
            return
        if fits and (wanted[number, labels_of] < rows).any():
            return
        part[unit] = number + 1
        space[number] -= int(sizes[unit])
        wanted[number, labels_of] -= rows
        in_train[labels_of] -= rows

    left = np.diff(by_label.indptr).astype(np.float64)  # units per label that are not dealt out yet
    left[left == 0] = np.inf
    while np.isfinite(left).any():
        label = int(left.argmin())
        slot = slice(by_label.indptr[label], by_label.indptr[label + 1])
        members, rows = by_label.indices[slot], by_label.data[slot]
        free = ~done[members]
        members, rows = members[free], rows[free]
        for number, fits in product(range(len(targets)), (True, False)):
            for unit, count in zip(members.tolist(), rows.tolist(), strict=True):
                if wanted[number, label] <= 0 or space[number] <= 0:
                    break
                if part[unit] == 0 and count <= wanted[number, label]:
                    take(unit, number, fits=fits)
        done[members] = True
        left -= np.bincount(counts[members].indices, minlength=classes)
        left[label] = np.inf
    for number in range(len(targets)):  # what rounding and large units left open
        for unit in range(len(sizes)):
            if space[number] <= 0:
                break
            if part[unit] == 0:
                take(unit, number, fits=False)
    return part


def _apportioned(rows: Rows, share: float, draw: np.random.Generator) -> Rows:
    """Return the share of each class in whole rows whose sum is the share of the sum (largest remainder, ties by draw)."""
    exact = rows * share
    whole = np.floor(exact).astype(np.int64)
    open_ = max(0, round(float(exact.sum())) - int(whole.sum()))
    order = np.lexsort((draw.random(len(rows)), -np.round(exact - whole, 9)))
    whole[order[:open_]] += 1
    rounded: Rows = whole
    return rounded


def sample(data: Labelled, count: int, seed: int) -> Labelled:
    """Return `count` of the rows in their order, each class in proportion; one seed nests smaller samples in larger.

    Every class has a row if there are as many rows as classes. A multi-label row counts for its rarest label.

    Args:
        data: The rows.
        count: How many to keep; all of them, if they are no more.
        seed: Decides which.
    """
    if count >= len(data):
        return data
    stratum = data.labels
    if data.labels.ndim == 2:
        rarity = np.append(np.argsort(np.argsort(data.counts, kind="stable")), len(data.space))
        order = np.argsort(rarity)
        padded = np.column_stack([data.labels, ~data.labels.any(axis=1)])[:, order]
        stratum = order[padded.argmax(axis=1)]
    draw = np.random.default_rng(seed).permutation(len(data))
    by_class = draw[np.argsort(stratum[draw], kind="stable")]
    sizes = np.bincount(stratum)
    start = np.repeat(np.cumsum(sizes) - sizes, sizes)
    place = np.empty(len(data))
    place[by_class] = (np.arange(len(data)) - start) / np.repeat(sizes, sizes)  # 0 for the first row of every class
    return data.select(np.sort(np.lexsort((np.argsort(draw), place))[:count]))
