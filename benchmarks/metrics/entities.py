"""Entities in tagged text: chunks of tags, and strict precision, recall and F1 of entities. Pure NumPy.

An entity is right when its type and both of its ends are (Tjong Kim Sang & De Meulder 2003, sec. 3.3; the scorer conlleval).
Chunks are read as conlleval reads them: I-X that continues nothing of type X begins an entity.

Shapes: N texts, T types, B weightings; counts (N, T, 3) hold the entities that are right, predicted, and in the gold labels.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finewise.names import unknown

Counts = NDArray[np.int64]
Values = NDArray[np.float64]

Entity = tuple[int, int, int]
"""Type, start and end (exclusive); whatever start and end count, they count it in both lists alike."""

RIGHT, PREDICTED, GOLD = range(3)

METRICS = {
    "entity_f1": "micro: of all entities together",
    "entity_f1_macro": "mean over types",
    "entity_precision": "micro",
    "entity_recall": "micro",
}
"""Metric -> what it averages over; all are better when higher."""

FEWEST_OF_A_TYPE = 10
"""Gold entities below which a type makes the interval of a mean over types untrustworthy."""


def check_metric(metric: str) -> None:
    """Raise ValueError unless there is such a metric."""
    if metric not in METRICS:
        raise ValueError(unknown("metric", metric, METRICS))


def chunks(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Return the entities (type, first, last + 1) of one text's BIO tags.

    >>> chunks(["B-LOC", "I-LOC", "O", "I-PER", "B-PER", "I-ORG"])
    [('LOC', 0, 2), ('PER', 3, 4), ('PER', 4, 5), ('ORG', 5, 6)]
    """
    found: list[tuple[str, int, int]] = []
    before = ""
    for place, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-")
        if prefix == "I" and kind == before:
            found[-1] = (kind, found[-1][1], place + 1)
        elif prefix in ("B", "I"):
            found.append((kind, place, place + 1))
        before = kind if prefix in ("B", "I") else ""
    return found


def count(gold: Sequence[Collection[Entity]], predicted: Sequence[Collection[Entity]], types: int) -> Counts:
    """Return counts (N, T, 3) of N texts, for entities of types 0 to T - 1."""
    counts = np.zeros((len(gold), types, 3), dtype=np.int64)
    for row, (wanted, given) in enumerate(zip(gold, predicted, strict=True)):
        here = counts[row]
        for kind, *_ in set(wanted) & set(given):
            here[kind, RIGHT] += 1
        for kind, *_ in set(given):
            here[kind, PREDICTED] += 1
        for kind, *_ in set(wanted):
            here[kind, GOLD] += 1
    return counts


@dataclass(frozen=True, slots=True)
class Measured:
    """Precision, recall and F1 of some sums of counts; each of the same shape.

    0 where nothing was predicted, or nothing is there to be found; F1 is NaN where both.
    """

    precision: Values
    recall: Values
    f1: Values


def measured(sums: NDArray[np.number]) -> Measured:
    """Return precision, recall and F1 of sums of counts (..., 3)."""
    right, predicted, gold = (np.asarray(sums[..., place], dtype=np.float64) for place in range(3))
    with np.errstate(invalid="ignore", divide="ignore"):
        return Measured(
            precision=np.where(predicted > 0, right / predicted, 0.0),
            recall=np.where(gold > 0, right / gold, 0.0),
            f1=np.where(predicted + gold > 0, 2 * right / (predicted + gold), np.nan),
        )


def gold_types(counts: Counts) -> NDArray[np.bool_]:
    """Return the types that the gold labels of texts (N, T, 3) hold, (T,): what the macro mean is over, for all systems."""
    return np.asarray(counts[..., GOLD].sum(axis=0) > 0)


def evaluated(sums: NDArray[np.number], names: Sequence[str], types: NDArray[np.bool_]) -> Values:
    """Return metrics (M, ...) of sums of counts (..., T, 3).

    F1 is 0 where nothing is there to be found and nothing was predicted, as in scikit-learn.

    Args:
        sums: Of some or all texts.
        names: Of METRICS.
        types: (T,) which types the macro mean is over, see `gold_types`.
    """
    micro = measured(sums.sum(axis=-2))
    each = np.nan_to_num(measured(sums).f1)[..., types]
    macro = each.mean(axis=-1) if types.any() else np.zeros(each.shape[:-1])
    table = {
        "entity_f1": np.nan_to_num(micro.f1),
        "entity_f1_macro": macro,
        "entity_precision": micro.precision,
        "entity_recall": micro.recall,
    }
    return np.stack([table[name] for name in names])


def measure(counts: Counts, names: Sequence[str]) -> Callable[[Values], Values]:
    """Return what computes the metrics of texts: weights (N, B) -> (M, B)."""
    types = gold_types(counts)
    return lambda weights: evaluated(weighted(counts, weights), names, types)


def too_rare(counts: Counts, names: Sequence[str]) -> list[bool]:
    """Return which metrics have no interval: a mean over types of which one has fewer than 10 gold entities.

    With fewer, an interval would hold the truth in 91% of samples instead of 95% (`python -m benchmarks.stats.calibrate`).
    """
    gold = counts[..., GOLD].sum(axis=0)
    rare = bool(np.any((gold > 0) & (gold < FEWEST_OF_A_TYPE)))
    return [rare and name == "entity_f1_macro" for name in names]


def weighted(counts: Counts, weights: Values) -> Values:
    """Return sums (B, T, 3) of counts (N, T, 3), each text counted as often as weights (N, B) say."""
    size, types, three = counts.shape
    return (weights.T @ counts.reshape(size, types * three)).reshape(-1, types, three)
