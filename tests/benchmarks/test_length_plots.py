"""The pictures say in words and numbers what they show."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.by_length import ByLength
from benchmarks.length_plots import by_length, by_position, drawing, heatmap, write


def result(system: str, *, lengths: Any = (64, 128, 256), metric: str = "exact") -> ByLength:
    rows = [(length, depth) for length in lengths for depth in (0.0, 0.5, 1.0) for _ in range(2)]
    values = [1.0 if length == 64 else 0.5 * (number % 2) for number, (length, _) in enumerate(rows)]
    return ByLength(
        system=system, benchmark="needle vt", split="test", data_revision="r", metric=metric,
        ids=tuple(map(str, range(len(rows)))), lengths=np.array([row[0] for row in rows]),
        depths=np.array([row[1] for row in rows]), groups=np.zeros(len(rows), int), values=np.array(values),
        weights=np.ones(len(rows)),
    )  # fmt: skip


def test_a_heatmap_tells_each_cell_and_each_length() -> None:
    text = drawing(heatmap(result("yarn"), original=64))
    for word in ("yarn", "needle vt", "2 prompts a cell", "1x", "4x", "256", "100%", "1.00", "0.25", "1.000", ".250"):
        assert f"{word}" in text
    assert text.startswith("<svg")


def test_a_cell_that_was_not_read_stays_empty() -> None:
    whole = result("yarn")
    part = whole.select(np.flatnonzero((whole.lengths != 128) | (whole.depths != 0.5)))
    assert drawing(heatmap(whole)).count("0.25<") == 6
    assert drawing(heatmap(part)).count("0.25<") == 5


def test_lines_name_every_system_and_the_trained_window() -> None:
    names = ["untuned", "yarn", "yarn, adapted", "a $name$ of data"]
    figure = by_length([result(name) for name in names], original=64)
    text = drawing(figure)
    assert all(name in text for name in (*names, "trained window", "1x", "2x", "4x"))
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert lines["yarn, adapted"].get_linestyle() == "-"
    assert {lines[name].get_linestyle() for name in ("untuned", "yarn")} == {"--"}
    assert lines["yarn"].get_color() == lines["yarn, adapted"].get_color() != lines["untuned"].get_color()


@pytest.mark.parametrize("high", [8.5, 4000.0])
def test_perplexity_has_plain_numbers_on_a_logarithmic_axis(high: float) -> None:
    at = np.arange(8, 512)
    figure = by_position({"untuned": (at, np.linspace(7.5, high, len(at)))}, original=64)
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    text = drawing(figure)
    assert "mathdefault" not in text
    assert "trained window" in text
    assert any(f">{tick}<" in text for tick in ("5", "10", "8", "1,000"))


def test_files_are_written_as_svg_and_png(tmp_path: Path) -> None:
    vector, raster = write(tmp_path / "pictures", "needle: vt/1", heatmap(result("a")))
    assert (vector.name, raster.name) == ("needle--vt-1.svg", "needle--vt-1.png")
    assert vector.read_text().startswith("<svg")
    assert raster.read_bytes().startswith(b"\x89PNG")
    assert vector.read_text() == write(tmp_path, "again", heatmap(result("a")))[0].read_text()
