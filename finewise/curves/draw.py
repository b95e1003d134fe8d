"""The picture of a learning curve, as SVG for the report."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from finewise.curves.advise import Baseline
from finewise.curves.extrapolate import Extrapolation
from finewise.curves.points import Point

MODEL = "#2463a5"
OTHERS = ("#b3541e", "#3f7d4e", "#7a4fa3", "#8a6d1d", "#5b6670", "#a8326b")


def curve_svg(
    points: Sequence[Point],
    baselines: Sequence[Baseline],
    extrapolation: Extrapolation,
    *,
    metric: str,
    name: str = "fine-tuned",
    curves: Mapping[str, Sequence[Point]] | None = None,
) -> str:
    """Return the drawing.

    The curve is solid with its 95% intervals; what is extrapolated is dashed, in a hatched band on grey ground. A baseline is a
    horizontal line with its interval as a faint band, or, where its own curve is given, a thin curve. Rows are on a
    logarithmic axis.

    Args:
        points: The measured curve.
        baselines: Scores of models trained on all rows.
        extrapolation: Of the points.
        metric: Its name for people: the label of the vertical axis.
        name: What the curve is of.
        curves: A baseline's name -> its own measured curve, which is drawn instead of the line.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log", base=2)
    sizes = [point.rows for point in points] + [forecast.rows for forecast in extrapolation.forecasts]
    left, right = sizes[0] / 1.25, sizes[-1] * 1.25
    own = curves or {}
    for baseline, color in zip(baselines, _colors(len(baselines)), strict=True):
        if baseline.name in own:
            measured = own[baseline.name]
            axes.plot(
                [point.rows for point in measured],
                [point.score for point in measured],
                color=color,
                linewidth=1.2,
                marker=".",
                label=f"{baseline.name}: {baseline.score:.3f}",
            )
            continue
        axes.axhspan(baseline.low, baseline.high, color=color, alpha=0.08, linewidth=0)
        axes.axhline(baseline.score, color=color, linewidth=1.2, label=f"{baseline.name}: {baseline.score:.3f}")
    _draw_points(axes, points, name)
    path = extrapolation.path
    if path:
        last = points[-1].rows
        axes.axvspan(last, right, color="#888888", alpha=0.07, linewidth=0)
        rows = [forecast.rows for forecast in path]
        axes.fill_between(
            rows,
            [forecast.low for forecast in path],
            [forecast.high for forecast in path],
            facecolor=MODEL,
            edgecolor=MODEL,
            alpha=0.16,
            hatch="///",
            linewidth=0,
            label="extrapolated, not measured: 95% band",
        )
        axes.plot(rows, [forecast.score for forecast in path], color=MODEL, linestyle="--")
        axes.text(
            1.0, 1.01, "not measured", transform=axes.transAxes, ha="right", va="bottom", color="#555555", fontsize=9
        )
    axes.set(xlabel="training rows", ylabel=metric, xlim=(left, right))
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)  # beside the axes: it can hide nothing
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    drawing = buffer.getvalue()
    return drawing[drawing.index("<svg") :]


def _draw_points(axes: Any, points: Sequence[Point], name: str) -> None:
    """Draw the measured curve with its intervals; these correct bias, so that a point may lie outside of its own."""
    scores = [point.score for point in points]
    below = [max(point.score - point.low, 0.0) for point in points]
    above = [max(point.high - point.score, 0.0) for point in points]
    axes.errorbar(
        [point.rows for point in points],
        scores,
        yerr=(below, above),
        color=MODEL,
        marker="o",
        capsize=3,
        linewidth=2,
        label=f"{name}: {scores[-1]:.3f} [{points[-1].low:.3f}, {points[-1].high:.3f}]",
        zorder=3,
    )


def _colors(count: int) -> list[str]:
    return [OTHERS[number % len(OTHERS)] for number in range(count)]
