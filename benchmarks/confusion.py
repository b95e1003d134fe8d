"""Pictures of what a classifier takes for what, as SVG."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.classified import Classified

LARGEST = 60
"""With more classes than this a matrix cannot be read; the most confused pairs are shown instead."""

_NUMBERS = 15  # up to this many classes each cell shows its value
_BARS = 30  # pairs or labels shown at most
_LONGEST = 28  # characters of a label
_BLUE, _RED = "#2463a5", "#b3541e"

Counts = NDArray[np.int64]


def confusion_svg(result: Classified) -> str:
    """Return the picture that fits: a matrix up to 60 classes, else the most confused pairs; mistakes per label if multi.

    Only classes that are gold or predicted are shown.
    """
    from matplotlib import rc_context

    # Labels are data: a "$" is no formula. Text stays text, so that it can be searched and is small.
    with rc_context({"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "confusion"}):
        if result.kind == "multi":
            return _per_label(result)
        if len(np.union1d(result.gold, result.predicted)) > LARGEST:
            return _pairs(result)
        counts, names = confusion(result)
        order = confusable(counts) if result.kind == "single" else np.arange(len(names))
        return _matrix(counts[np.ix_(order, order)], [names[k] for k in order])


def confusion(result: Classified) -> tuple[Counts, list[str]]:
    """Return how often each class (row) was predicted as each (column), over the classes that are gold or predicted."""
    present, numbered = np.unique(np.concatenate([result.gold, result.predicted]), return_inverse=True)
    gold, predicted = np.split(numbered, 2)
    size = len(present)
    counts = np.bincount(gold * size + predicted, minlength=size * size).reshape(size, size)
    return counts.astype(np.int64, copy=False), [result.names[k] for k in present]


def confusable(counts: Counts) -> NDArray[np.intp]:
    """Return the order of the classes in which those that are taken for each other stand together.

    Hierarchical clustering, average linkage, of 1 - the mean share of confusions both ways, and the leaf order with the
    smallest sum of distances between neighbours (Bar-Joseph, Gifford & Jaakkola 2001).
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(counts) < 3:
        return np.arange(len(counts))
    shares = _shares(counts)
    distance = 1 - (shares + shares.T) / 2
    np.fill_diagonal(distance, 0)
    return np.asarray(leaves_list(linkage(squareform(distance), "average", optimal_ordering=True)), np.intp)


def _shares(counts: Counts) -> NDArray[np.float64]:
    """Return the counts as shares of their row; a class that is never gold has a row of 0."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.asarray(counts / np.maximum(totals, 1), np.float64)


def _matrix(counts: Counts, names: list[str]) -> str:
    """Return the matrix: rows are gold, columns predicted, cells the share of the row."""
    from matplotlib.figure import Figure

    size = len(names)
    shares, totals = _shares(counts), counts.sum(axis=1)
    cell = 0.55 if size <= _NUMBERS else 0.22
    side = max(2.2, cell * size)
    figure = Figure(figsize=(side + 2.6, side + 1.4), layout="constrained")
    axes = figure.subplots()
    # Square root: a confusion of 5% is seen beside a diagonal of 95%.
    image = axes.imshow(shares**0.5, cmap="Blues", vmin=0, vmax=1)
    font = 9 if size <= _NUMBERS else 7
    short = [_short(name) for name in names]
    axes.set_xticks(range(size), short, rotation=90, fontsize=font)
    axes.set_yticks(
        range(size), [f"{name} ({total:,})" for name, total in zip(short, totals, strict=True)], fontsize=font
    )
    axes.set(xlabel="predicted", ylabel="gold (how many)")
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#e3e7eb", linewidth=0.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    if size <= _NUMBERS:
        for row, column in np.argwhere(counts):
            share = shares[row, column]
            color = "white" if share > 0.4 else "#1b1f24"
            axes.text(column, row, _percent(share), ha="center", va="center", fontsize=8, color=color)
    bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 3 / side), aspect=15)
    ticks = (0, 0.05, 0.25, 0.5, 1)
    bar.set_ticks([tick**0.5 for tick in ticks], labels=[f"{tick:.0%}" for tick in ticks])
    bar.ax.tick_params(labelsize=font)
    bar.set_label("share of the gold class", fontsize=font)
    return svg(figure)


def _pairs(result: Classified) -> str:
    """Return bars: which class is most often taken for which."""
    from matplotlib.figure import Figure

    wrong = result.gold != result.predicted
    classes = len(result.names)
    cells, sizes = np.unique(result.gold[wrong] * classes + result.predicted[wrong], return_counts=True)
    order = np.argsort(-sizes, kind="stable")[:_BARS]
    gold, predicted = np.divmod(cells[order], classes)
    sizes, count = sizes[order], len(order)
    totals = np.bincount(result.gold, minlength=classes)
    figure = Figure(figsize=(9, max(1.6, 0.24 * count + 1.0)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(range(count), sizes, color=_BLUE)
    shares = sizes / np.maximum(totals[gold], 1)
    axes.bar_label(bars, [f" {n:,} ({_percent(share)})" for n, share in zip(sizes, shares, strict=True)], fontsize=8)
    labels = [f"{_short(result.names[g])} → {_short(result.names[p])}" for g, p in zip(gold, predicted, strict=True)]
    axes.set_yticks(range(count), labels, fontsize=8)
    axes.set(xlabel="examples (share of the gold class)")
    _plain(axes, count, int(sizes.max(initial=1)))
    axes.set_title(f"gold → predicted: the most confused of {classes:,} classes", loc="left", fontsize=10)
    return svg(figure)


def _per_label(result: Classified) -> str:
    """Return bars: for each label how often it was missed and how often given wrongly."""
    from matplotlib.figure import Figure

    missed = (result.gold & ~result.predicted).sum(axis=0)
    wrong = (result.predicted & ~result.gold).sum(axis=0)
    order = np.argsort(-(missed + wrong), kind="stable")[:_BARS]
    order = order[(missed + wrong)[order] > 0]
    count = len(order)
    figure = Figure(figsize=(9, max(1.8, 0.24 * count + 1.2)), layout="constrained")
    axes = figure.subplots()
    axes.barh(range(count), missed[order], color=_BLUE, label="missed")
    bars = axes.barh(range(count), wrong[order], left=missed[order], color=_RED, label="given wrongly")
    gold = result.gold.sum(axis=0)[order]
    axes.bar_label(bars, [f" of {n:,}" for n in gold], fontsize=8)
    axes.set_yticks(range(count), [_short(result.names[k]) for k in order], fontsize=8)
    axes.set(xlabel="examples (beside the bar: how many have the label)")
    _plain(axes, count, int((missed + wrong).max(initial=1)))
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    axes.set_title(f"labels with the most mistakes, of {len(result.names):,}", loc="left", fontsize=10)
    return svg(figure)


def _plain(axes: Any, count: int, longest: int) -> None:
    """Draw the first bar on top, with room for what is written beside it."""
    axes.set_ylim(max(count, 1) - 0.4, -0.6)
    if not count:
        axes.text(0.5, 0.5, "no mistake", transform=axes.transAxes, ha="center", va="center")
    axes.set_xlim(0, longest * 1.18)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def _percent(share: float) -> str:
    """Return a share above 0 in whole percent.

    >>> _percent(0.251), _percent(0.001)
    ('25%', '<1%')
    """
    return f"{share:.0%}" if share >= 0.005 else "<1%"


def _short(name: str) -> str:
    """Return a label that fits: its end is what tells it from its siblings, its beginning what it is."""
    half = _LONGEST // 2
    return name if len(name) <= _LONGEST else f"{name[: half - 1]}…{name[-half:]}"


def svg(figure: Any) -> str:
    """Return a matplotlib figure as an SVG element."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    drawing = buffer.getvalue()
    return drawing[drawing.index("<svg") :]
