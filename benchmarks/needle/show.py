"""How needle results are shown: a table with a row per task and a column per length, pictures, and how far a model reads."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from benchmarks.by_length import ByLength, interval, joined
from benchmarks.length_plots import by_length, drawing, heatmap
from benchmarks.needle.effective import effective_length, relative_effective_length
from benchmarks.needle.names import RULER
from benchmarks.table import bracket, number

THRESHOLD = 0.856
"""What Llama-2-7B reaches at 4K tokens on RULER (Hsieh et al. 2024, section 4): from here on a length counts as read."""

SHORT = 1024
"""Tokens up to which a length counts for the base score."""


def with_average(results: Sequence[ByLength]) -> list[ByLength]:
    """Return the results, and RULER's average behind them if all its tasks are there: every task counts the same."""
    parts = [result for result in results if result.benchmark.removeprefix("needle ") in RULER]
    if len(parts) < len(RULER):
        return list(results)
    same = [
        replace(
            result,
            benchmark="needle ruler",
            data_revision="+".join(part.data_revision[:8] for part in parts),
            metric="mean",
            ids=tuple(f"{result.benchmark} {name}" for name in result.ids),
            strata=np.full(len(result.ids), result.benchmark),
        )
        for result in parts
    ]
    return [*results, joined(same)]


def base_score(result: ByLength, original: int) -> float:
    """Return what a model scores where length is no difficulty: the best of the short lengths, or of the shortest; else 0.

    Short are lengths up to SHORT and within the trained window: a model trained for fewer tokens would else lower its own
    threshold by failing. NoLiMa takes the maximum over 250, 500 and 1K tokens of each pair of question and needle, and the mean
    of these (Modarressi et al. 2025, arXiv 2502.05167, section 4.3); prompts here differ in both, so the lengths' means are
    compared. Where all lengths are beyond the trained window there is no such score.
    """
    within = [length for length in result.read() if length <= original]
    short = [length for length in within if length <= SHORT] or within[:1]
    return max(map(result.mean, short), default=0.0)


def reach(result: ByLength, original: int) -> dict[str, int | None]:
    """Return how far a model reads, in tokens: by RULER's threshold, and by NoLiMa's share of the model's base score.

    Args:
        result: Of one system and task.
        original: The window that the model was trained with.
    """
    return {
        "ruler": effective_length(result, threshold=THRESHOLD),
        "nolima": relative_effective_length(result, base_score(result, original)),
    }


def table(results: Sequence[ByLength], original: int) -> Table:
    """Return the table for the terminal."""
    shown = Table(
        caption=escape(
            f"[...]: 95% interval over prompts; reads: longest length up to which the score is {THRESHOLD:.1%} (RULER), or "
            "85% of the score up to 1K within the trained window (NoLiMa)"
        ),
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    lengths = sorted({length for result in results for length in result.read()})
    shown.add_column("task")
    for name in (*(f"{length:,}" for length in lengths), "reads\nRULER", "\nNoLiMa"):
        shown.add_column(name, justify="right", no_wrap=True)
    for result in results:
        cells = []
        for length in lengths:
            part = result.at(length)
            if part.ids:
                mean, low, high = interval(part)
                cells.append(f"{number(mean)}\n{bracket(low, high).replace(', ', ',')}")
            else:
                cells.append("")
        task = f"{result.benchmark.removeprefix('needle ')}\n{result.metric.replace('_', ' ')}"
        far = ["none" if found is None else f"{found:,}" for found in reach(result, original).values()]
        shown.add_row(*map(escape, (task, *cells, *far)))
    return shown


def sections(results: Sequence[ByLength], original: int) -> list[tuple[str, str]]:
    """Return (heading, HTML) of the report's pictures."""
    tasks = [result for result in results if not np.isnan(result.depths).all()]
    lines = [(result.benchmark, drawing(by_length([result], original=original))) for result in results]
    maps = "".join(f"<div>{drawing(heatmap(result, original=original))}</div>" for result in tasks)
    return [("Depth and length", maps), *((f"By length: {name}", picture) for name, picture in lines)]
