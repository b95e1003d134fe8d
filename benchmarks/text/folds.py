"""Folds of labelled rows for cross-validation, and what a choice is judged by."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

from benchmarks.metrics.classes import METRICS, evaluated
from benchmarks.metrics.outcome import Outcome

if TYPE_CHECKING:
    from finewise.data.labels.rows import Labelled
    from finewise.data.labels.space import LabelSpace

Rows = NDArray[np.int64]


def folds(data: Labelled, count: int, seed: int) -> list[tuple[Rows, Rows]]:
    """Return rows to learn from and rows to judge by, `count` times: stratified, and no group in both.

    Multi-label rows are drawn without strata. A class with fewer rows than folds is missing in some of them.

    Args:
        data: The rows.
        count: Number of folds.
        seed: Of the draw.

    Returns:
        Nothing if there are not two rows (or groups) for each fold.
    """
    several = len(data) if data.groups is None else len(np.unique(data.groups))
    if several < 2 * count:
        return []
    strata = data.space.kind != "multi" and int(data.counts.max()) >= count
    kinds: dict[tuple[bool, bool], Any] = {
        (False, False): KFold,
        (False, True): GroupKFold,
        (True, False): StratifiedKFold,
        (True, True): StratifiedGroupKFold,
    }
    splitter = kinds[strata, data.groups is not None](count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return list(splitter.split(np.empty(len(data)), data.labels if strata else None, data.groups))


def quality(gold: NDArray[Any], probabilities: NDArray[np.float64], space: LabelSpace, metric: str) -> float:
    """Return the metric, turned around where lower is better; -inf where it is not defined.

    Args:
        gold: (N,) int, or (N, K) bool for multi-label.
        probabilities: (N, K).
        space: The labels.
        metric: A name in benchmarks.metrics.classes.METRICS.
    """
    predicted = probabilities >= 0.5 if space.kind == "multi" else probabilities.argmax(axis=1)
    outcome = Outcome(
        gold=gold,
        predicted=predicted,
        probabilities=probabilities,
        classes=len(space.names),
        ancestors=space.ancestors if space.kind == "hierarchical" else None,
    )
    value = evaluated(outcome, [metric])[metric]
    if np.isnan(value):
        return -np.inf
    return value if METRICS[metric].higher else -value
