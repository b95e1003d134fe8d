"""Pictures of what is read at several lengths: depth x length, score by length, perplexity by position.

Systems that were trained ("tuned", or a name that ends in "adapted") are drawn solid, all others dashed; "yarn" and
"yarn, adapted" have one colour. Colours can be told apart by the colour-blind (Okabe & Ito 2008; the heatmap runs from red over
yellow to blue).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import ArrayLike

from benchmarks.by_length import PERPLEXITY, ByLength, interval
from benchmarks.confusion import svg
from benchmarks.table import number

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#8c6d00", "#5b6670", "#e69f00")
MARKERS = "osD^vPX*"
_TRAINED_WINDOW = "#5b6670"
_STYLE: Any = {"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "lengths"}


def heatmap(result: ByLength, *, original: int | None = None) -> Figure:
    """Return one system's mean score at each depth (rows) and length (columns); grey where nothing was read.

    Args:
        result: Of one benchmark with depths.
        original: The trained window, which is marked.
    """
    lengths = result.read()
    # A prompt without a depth belongs to no row.
    depths = np.unique(result.depths[~np.isnan(result.depths)])
    cells = np.full((len(depths), len(lengths)), np.nan)
    for column, length in enumerate(lengths):
        part = result.at(length)
        for row, depth in enumerate(depths):
            here = part.values[part.depths == depth]
            if len(here):
                cells[row, column] = here.mean()
    wide, high = max(5.4, 0.95 * len(lengths) + 2.2), max(2.8, 0.5 * len(depths) + 1.9)
    figure = Figure(figsize=(wide, high), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("#e3e7eb")
    image = axes.imshow(cells, cmap="RdYlBu", vmin=0, vmax=1, aspect="auto")
    for row, column in np.argwhere(~np.isnan(cells)):
        value = cells[row, column]
        color = "white" if value < 0.15 or value > 0.8 else "#1b1f24"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=9, color=color)
    labels = [f"{_ticks([length], original)[0]}\n{number(result.mean(length))}" for length in lengths]
    axes.set_xticks(range(len(lengths)), labels, fontsize=9)
    axes.set_yticks(range(len(depths)), [f"{depth:.0%}" for depth in depths], fontsize=9)
    axes.set(xlabel="tokens of the prompt, and the mean over depths", ylabel="depth of the needle")
    if original is not None and lengths[0] <= original < lengths[-1]:
        edge = sum(length <= original for length in lengths) - 0.5
        axes.axvline(edge, color="#1b1f24", linewidth=1.5, linestyle=(0, (4, 2)))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    count = len(result.ids) / max(1, (~np.isnan(cells)).sum())
    what = f"{result.benchmark}: {result.metric}, {count:g} prompts a cell"
    figure.suptitle(f"{_short(result.system)}\n{what}", x=0.02, ha="left", fontsize=10)
    bar = figure.colorbar(image, ax=axes, aspect=12, shrink=0.9)
    bar.ax.tick_params(labelsize=8, length=0)
    bar.outline.set_visible(False)
    return figure


def by_length(
    results: Sequence[ByLength],
    *,
    original: int | None = None,
    title: str | None = None,
) -> Figure:
    """Return each system's score by length, with its 95% interval as a band.

    Args:
        results: Of one benchmark, a system each.
        original: The trained window, which is marked; ticks count in it.
        title: The benchmark's name if None.
    """
    first = results[0]
    figure, axes = _axes()
    lengths = sorted({length for result in results for length in result.read()})
    for result, (color, style, marker) in zip(results, _styles([result.system for result in results]), strict=True):
        read = result.read()
        found = [interval(result.at(length)) for length in read]
        ends = [(each.value if end is None else end for end in (each.low, each.high)) for each in found]
        axes.fill_between(read, *zip(*ends, strict=True), color=color, alpha=0.12, linewidth=0)
        means = [each.value for each in found]
        axes.plot(
            read, means, color=color, linestyle=style, marker=marker, markersize=5, linewidth=1.8, label=result.system
        )
    axes.set_ylabel(first.metric)
    if first.metric == PERPLEXITY:
        _perplexity_axis(axes)
    else:
        axes.set_ylim(-0.03, 1.03)
    _lengths_axis(axes, lengths, original, "tokens", top=first.metric == PERPLEXITY)
    axes.set_title(title or first.benchmark, loc="left", fontsize=10)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9, handlelength=2.8)
    return figure


def by_position(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    original: int | None = None,
    title: str = "perplexity by position",
) -> Figure:
    """Return each system's perplexity by the position of the token that is predicted.

    Args:
        curves: System -> positions and perplexities, of one length each.
        original: The trained window, which is marked.
        title: What stands above.
    """
    figure, axes = _axes()
    ends = []
    for (system, (positions, values)), (color, style, _) in zip(curves.items(), _styles(list(curves)), strict=True):
        at = np.asarray(positions, np.float64)
        axes.plot(at, np.asarray(values, np.float64), color=color, linestyle=style, linewidth=1.8, label=_short(system))
        ends.append((at.min(), at.max()))
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    ticks = [2**k for k in range(int(np.ceil(np.log2(max(low, 1)))), int(np.floor(np.log2(high))) + 1)]
    _lengths_axis(axes, ticks[-8:], original, "position of the token", limits=(low / 1.1, high * 1.1), top=True)
    _perplexity_axis(axes)
    axes.set_title(title, loc="left", fontsize=10)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9, handlelength=2.8)
    return figure


def drawing(figure: Figure) -> str:
    """Return a figure as an SVG element, whose text stays text."""
    with rc_context(_STYLE):
        return svg(figure)


def write(folder: Path, name: str, figure: Figure) -> list[Path]:
    """Write a figure as NAME.svg and NAME.png into a folder, which is made; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
    vector, raster = folder / f"{stem}.svg", folder / f"{stem}.png"
    vector.write_text(drawing(figure), encoding="utf-8")
    with rc_context(_STYLE):
        figure.savefig(raster, dpi=150)
    return [vector, raster]


def trained(system: str) -> bool:
    """Tell by its name whether a system was trained.

    >>> trained("tuned"), trained("yarn, adapted"), trained("yarn")
    (True, True, False)
    """
    return system == "tuned" or system.endswith("adapted")


def _styles(systems: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return (colour, line, marker) of each system: those of one method share colour and marker."""
    methods = list(dict.fromkeys(system.removesuffix("adapted").rstrip(", ") or system for system in systems))
    found = []
    for system in systems:
        place = methods.index(system.removesuffix("adapted").rstrip(", ") or system)
        found.append((COLORS[place % len(COLORS)], "-" if trained(system) else "--", MARKERS[place % len(MARKERS)]))
    return found


def _axes() -> tuple[Figure, Any]:
    figure = Figure(figsize=(8.5, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    return figure, axes


def _lengths_axis(
    axes: Any,
    ticks: Sequence[int],
    original: int | None,
    label: str,
    *,
    limits: tuple[float, float] | None = None,
    top: bool = False,
) -> None:
    """Make the horizontal axis logarithmic in tokens, and mark the trained window; its label stands where no curve does."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(*(limits or (ticks[0] / 1.15, ticks[-1] * 1.15)))
    axes.set_xticks(ticks, _ticks(ticks, original), fontsize=9)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(label if original is None else f"{label}, and times the trained window")
    left, right = axes.get_xlim()
    if original is not None and left < original < right:
        axes.axvline(original, color=_TRAINED_WINDOW, linewidth=1.2, linestyle=":", zorder=1)
        axes.annotate(
            "trained window", (original, 0.97 if top else 0.03), xycoords=("data", "axes fraction"),
            xytext=(3, 0), textcoords="offset points", rotation=90, ha="left", va="top" if top else "bottom", fontsize=8,
            color=_TRAINED_WINDOW,
        )  # fmt: skip


def _perplexity_axis(axes: Any) -> None:
    """Make the vertical axis logarithmic, with plain numbers also where it spans less than a power of ten."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("perplexity")


def _short(name: str) -> str:
    """Return a name that fits above a picture; its end tells it from its siblings."""
    return name if len(name) <= 60 else f"{name[:20]}…{name[-39:]}"


def _ticks(lengths: Sequence[int], original: int | None) -> list[str]:
    """Return the labels of lengths: "2x" over "16,384"."""
    if original is None:
        return [f"{length:,}" for length in lengths]
    return [f"{length / original:.3g}x\n{length:,}" for length in lengths]
