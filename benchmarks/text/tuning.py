"""Logistic regression whose penalty and class weights are chosen by cross-validation on train."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.text.folds import folds, quality
from benchmarks.text.logistic import Logistic
from finewise.console import Advance, progress, say

if TYPE_CHECKING:
    from finewise.data.labels.rows import Labelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What is tried, and how.

    Attributes:
        C: Inverse strengths of the penalty, rising: each fit starts from the one before.
        default: The C where there are too few rows to choose by.
        solver: As in scikit-learn.
        tol: Likewise.
        folds: Number of folds.
        judged: Only so many of the folds are gone through as give this many rows to judge by.
        rows: At most so many rows are used to choose, drawn by the seed; the final fit uses all.
        labels: Multi-label: at most so many labels, likewise.
    """

    C: tuple[float, ...]
    default: float
    solver: str
    tol: float = 1e-4
    folds: int = 3
    judged: int = 5000
    rows: int = 30_000
    labels: int = 30


def tuned(
    name: str, features: Any, data: Labelled, grid: Grid, metric: str, seed: int
) -> tuple[Logistic, dict[str, Any]]:
    """Choose C and the class weights by rows held out, and learn from all rows.

    Args:
        name: What the progress bar calls it.
        features: (N, D), dense or sparse, of the rows of `data`.
        data: The rows.
        grid: What is tried.
        metric: A name in benchmarks.metrics.classes.METRICS.
        seed: Of the draws and the folds.

    Returns:
        The model, and what was chosen: C, class_weight, converged, and with enough rows the score "cv_METRIC".
    """
    with progress(f"{name}: choose and fit", None) as advance:
        scores = _scores(features, data, grid, metric, seed, advance)
        strength, balanced = max(scores, key=lambda key: scores[key]) if scores else (grid.default, False)
        model = Logistic(len(data.space.names), solver=grid.solver, tol=grid.tol)
        model.fit(features, data.labels, strength, balanced=balanced)
    if not model.converged:
        say(f"{name}: the solver stopped before it converged (C={strength:g}): its score may be a little low")
    chosen = {"C": strength, "class_weight": "balanced" if balanced else None, "converged": model.converged}
    return model, chosen | ({f"cv_{metric}": abs(scores[strength, balanced])} if scores else {})


def _scores(
    features: Any, data: Labelled, grid: Grid, metric: str, seed: int, advance: Advance
) -> dict[tuple[float, bool], float]:
    """Return the score of every C, with class weights or without, that was tried; nothing if there are too few rows.

    The rows held out by all folds are judged together, so that a class with fewer rows than folds counts once. With rising C
    the score rises and falls: after two lower scores the larger ones are not tried.
    """
    rng = np.random.default_rng(seed)
    if len(data) > grid.rows:
        rows = np.sort(rng.choice(len(data), grid.rows, replace=False))
        data, features = data.select(rows), features[rows]
    labels, space = data.labels, data.space
    if space.kind == "multi" and len(space.names) > grid.labels:
        columns = np.sort(rng.choice(len(space.names), grid.labels, replace=False))
        labels, space = labels[:, columns], replace(space, names=tuple(space.names[column] for column in columns))
    cut = folds(data, grid.folds, seed)
    cut = cut[: -(-grid.folds * grid.judged // len(data))]
    scores: dict[tuple[float, bool], float] = {}
    for balanced in (False, True) if cut else ():
        models = [Logistic(len(space.names), solver=grid.solver, tol=grid.tol) for _ in cut]
        best, lower = -np.inf, 0
        for strength in grid.C:
            found = []
            for model, (learn, judge) in zip(models, cut, strict=True):
                model.fit(features[learn], labels[learn], strength, balanced=balanced)
                found.append(model.predict_proba(features[judge]))
                advance()
            held = np.concatenate([judge for _, judge in cut])
            score = scores[strength, balanced] = quality(labels[held], np.concatenate(found), space, metric)
            lower = 0 if score >= best else lower + 1
            best = max(best, score)
            if lower == 2:
                break
    return scores
