from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("small_products")
Found = Callable[[], dict[str, Any]]


def test_training_with_every_execution(tiny_model: Path, tmp_path: Path, found: Found, checked: Any) -> None:
    from benchmarks.speed.training import main

    sides = ["plain-fp32", "sorted", "packed"]
    options = ["--model", str(tiny_model), "--batch", "4", "--limit", "24", "--rounds", "2", "--dropout", "on"]
    assert main([*options, "--device", "cpu", "--sides", *sides, "--json", str(tmp_path / "found.json")]) == 0
    content = found()
    checked(content, sides, 2)
    proof = content["benches"][0]["agreements"]
    assert {each["side"] for each in proof} == {"sorted", "packed"}
    assert any(each["what"].startswith("grad_norm of the first step, fp32") for each in proof)


def test_every_side_trains_on_the_same_batches(still_model: Path, tmp_path: Path, found: Found) -> None:
    from benchmarks.speed.training import main

    options = ["--model", str(still_model), "--batch", "4", "--steps", "3", "--limit", "24", "--rounds", "2"]
    sides = ["--sides", "plain-fp32", "sorted", "--dropout", "both"]
    assert main([*options, *sides, "--device", "cpu", "--json", str(tmp_path / "found.json")]) == 0
    benches = found()["benches"]
    assert [bench["settings"]["dropout"] for bench in benches] == [False, True]
    for bench in benches:
        plain, ours = ([each["loss"] for each in side["computed"]] for side in bench["sides"])
        assert plain == pytest.approx(ours, rel=2e-3)  # ours may be in bf16


def test_a_side_that_is_none_is_named(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.speed.training import main

    assert main(["--model", str(tiny_model), "--device", "cpu", "--sides", "pakced"]) == 2
    assert "did you mean 'packed'" in capsys.readouterr().err
