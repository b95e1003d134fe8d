from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Found = Callable[[], dict[str, Any]]
SMALL = [
    "--rounds",
    "2",
    "--device",
    "cpu",
    "--length",
    "120",
    "--depths",
    "3",
    "--samples",
    "2",
    "--new",
    "12",
    "--layers",
    "1",
]


@pytest.mark.parametrize(
    ("answer", "sides"), [("generate", ["plain", "ours", "ours-lost"]), ("forced", ["plain", "ours"])]
)
def test_both_sides_give_the_same_answers(answer: str, sides: list[str], tmp_path: Path, found: Found) -> None:
    from benchmarks.speed.needle import main

    assert main([*SMALL, "--width", "64", "--answer", answer, "--json", str(tmp_path / "found.json")]) == 0
    (bench,) = found()["benches"]
    assert bench["ok"]
    assert [side["name"] for side in bench["sides"]] == sides
    assert all(len(side["seconds"]) == 2 and min(side["seconds"]) > 0 for side in bench["sides"])
    assert set(bench["facts"]["cells_per_minute"]) == set(sides)
    assert all(each["value"] == 1 for each in bench["agreements"])


def test_answers_that_differ_are_no_agreement() -> None:
    from benchmarks.speed.needle import share

    assert share({0: ["a b", "c"]}, {0: ["a b", "d"]}, whole=True) == 0.5
    assert share({0: ["a b", "c"]}, {0: ["a", ""]}, whole=False) == 0.5
