from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("small_products")
Found = Callable[[], dict[str, Any]]


def test_few_shot_without_setfit_says_how_to_get_it(
    tiny_model: Path, labelled: Path, tmp_path: Path, found: Found, checked: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    import importlib.util

    from benchmarks.speed.fewshot import main

    path = tmp_path / "found.json"
    options = ["--model", str(tiny_model), "--data", str(labelled), "--batch", "4", "--limit", "24", "--rounds", "1"]
    assert main([*options, "--device", "cpu", "--sides", "setfit", "sorted", "--json", str(path)]) == 0
    if importlib.util.find_spec("setfit") is None:
        assert "pip install 'finewise[bench]'" in capsys.readouterr().err
        assert found()["benches"] == []
    else:
        checked(found(), ["setfit", "sorted"], 1)
