"""Pictures of decisions as SVG: reliability, risk and coverage, nominal and empirical coverage, thresholds.

Shapes: N rows, K labels; probabilities (N, K); gold (N,) or, multi-label, (N, K) bool.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from classify.decisions.abstain import risk_coverage
from classify.decisions.conformal import Coverage

Values = NDArray[np.float64]
Gold = NDArray[Any]

BEFORE, AFTER, IDEAL = "#b3541e", "#2463a5", "#8a919a"
BINS = 15


def reliability(before: Values, after: Values, gold: Gold) -> str:
    """Return a reliability diagram: how often is right what is said with some confidence, and how often that is said.

    One right label: the confidence in the most probable. Multi-label: the probability of every label.

    Args:
        before: Probabilities before calibration.
        after: The same rows after it.
        gold: Labels.
    """
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3, 1))
    unit = "share of labels" if gold.ndim == 2 else "share of texts"
    for column, (name, probabilities, color) in enumerate((("before", before, BEFORE), ("after", after, AFTER))):
        said, right = _said(probabilities, gold)
        top, below = axes[0][column], axes[1][column]
        # Bins of equal mass, as the ECE has them: where nothing is said there is nothing to see.
        bins = np.array_split(np.argsort(said, kind="stable"), min(BINS, len(said)))
        x = [float(said[rows].mean()) for rows in bins]
        y = np.array([float(right[rows].mean()) for rows in bins])
        reach = np.array([1.96 * np.sqrt(max(0.0, p * (1 - p)) / len(rows)) for p, rows in zip(y, bins, strict=True)])
        top.plot([0, 1], [0, 1], color=IDEAL, linewidth=1, linestyle="--")
        errors = [y - np.maximum(0, y - reach), np.minimum(1, y + reach) - y]
        top.errorbar(x, y, yerr=errors, color=color, marker="o", markersize=4, linewidth=1.2, elinewidth=0.8)
        top.set(title=f"{name} calibration", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        below.hist(said, bins=20, range=(0, 1), weights=np.full(len(said), 1 / len(said)), color=color, alpha=0.7)
        below.set(xlabel="probability")
        _plain(top, below)
    axes[0][0].set(ylabel="share that is right")
    axes[1][0].set_ylabel(unit, fontsize="small")
    return _svg(figure)


def risk(confidence: Values, right: NDArray[np.bool_], floor: float | None = None) -> str:
    """Return the risk-coverage curve: how often the surest texts are wrong.

    Args:
        confidence: (N,).
        right: (N,).
        floor: Where it was decided to abstain below, if it was.
    """
    curve = risk_coverage(confidence, right)
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.coverage, curve.risk, color=AFTER, label=f"this model (AURC {curve.aurc:.3g})")
    axes.axhline(float((~right).mean()), color=IDEAL, linewidth=1, linestyle="--", label="abstaining at random")
    if floor is not None and (confidence >= floor).any():
        kept = confidence >= floor
        axes.plot(kept.mean(), (~right[kept]).mean(), "o", color=BEFORE, label=f"chosen: confidence of {floor:.2f}")
    axes.set(xlabel="coverage: share of texts decided", ylabel="share of them wrong", xlim=(0, 1.01))
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize="small")
    _plain(axes)
    return _svg(figure)


def nominal_coverage(found: Sequence[Coverage]) -> str:
    """Return nominal against empirical coverage of conformal sets with intervals, and the mean size of the sets."""
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    levels = np.array([each.level for each in found])
    measured = np.array([each.measured for each in found])
    reach = [measured - [each.low for each in found], [each.high for each in found] - measured]
    axes.plot([0, 1], [0, 1], color=IDEAL, linewidth=1, linestyle="--")
    axes.errorbar(levels, measured, yerr=reach, fmt="o", color=AFTER, capsize=3)
    for each in found:
        label = f"{each.size:.1f} labels"
        axes.annotate(label, (each.level, each.measured), (8, -12), textcoords="offset points", fontsize="small")
    low = min([*levels, *(each.low for each in found)])
    axes.set(xlabel="nominal coverage", ylabel="empirical, on test", xlim=(low - 0.06, 1.01), ylim=(low - 0.06, 1.01))
    _plain(axes)
    return _svg(figure)


def threshold_rows(
    names: Sequence[str], thresholds: Values, probabilities: Values, gold: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """Return the rows of a table, most frequent label first: what the threshold gives beside 0.5.

    Args:
        names: K labels.
        thresholds: (K,).
        probabilities: (N, K).
        gold: (N, K).
    """
    rows = []
    for label in np.argsort(-gold.sum(axis=0), kind="stable"):
        truth, tuned = gold[:, label], probabilities[:, label] >= thresholds[label]
        hits, given, there = int((tuned & truth).sum()), int(tuned.sum()), int(truth.sum())
        half = probabilities[:, label] >= 0.5
        rows.append(
            {
                "label": names[label],
                "texts": there,
                "threshold": float(thresholds[label]),
                "precision": hits / given if given else 0.0,
                "recall": hits / there if there else 0.0,
                "F1": _f1(hits, given, there),
                "F1 at 0.5": _f1(int((half & truth).sum()), int(half.sum()), there),
            }
        )
    return rows


def _f1(hits: int, given: int, there: int) -> float:
    return 2 * hits / (given + there) if given + there else 0.0


def _said(probabilities: Values, gold: Gold) -> tuple[Values, NDArray[np.bool_]]:
    """Return what is said and whether it is right, flat."""
    if gold.ndim == 2:
        return probabilities.ravel(), gold.ravel()
    return probabilities.max(axis=1), np.asarray(probabilities.argmax(axis=1) == gold)


def _plain(*axes: Axes) -> None:
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(alpha=0.3)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    drawing = buffer.getvalue()
    return drawing[drawing.index("<svg") :]
