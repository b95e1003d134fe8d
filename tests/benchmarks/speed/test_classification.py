from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("small_products")
Found = Callable[[], dict[str, Any]]


def test_classification_pads_to_the_limit_and_to_the_longest(
    tiny_model: Path, labelled: Path, tmp_path: Path, found: Found, checked: Any
) -> None:
    from benchmarks.speed.classification import main

    sides = ["plain-max", "plain-fp32", "packed"]
    options = ["--model", str(tiny_model), "--data", str(labelled), "--batch", "4", "--steps", "2", "--limit", "40"]
    path = tmp_path / "found.json"
    assert main([*options, "--rounds", "2", "--device", "cpu", "--sides", *sides, "--json", str(path)]) == 0
    content = found()
    checked(content, sides, 2)
    assert content["benches"][0]["settings"]["labels"] == 3
