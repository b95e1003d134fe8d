"""Killed at any moment, the training of a language model ends, resumed, with the same weights and the same curve."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("crash_lm.py")
POINTS = [
    "before the first checkpoint",
    "between checkpoints",
    "in the second epoch",
    "in the middle of a checkpoint",
    "before the checkpoint is marked whole",
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Run every scenario once, beside an undisturbed run."""
    root = tmp_path_factory.mktemp("runs")
    command = [sys.executable, "-W", "error::RuntimeWarning", str(SCRIPT), str(root), "none", *POINTS]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"point"')]
    return {outcome["point"]: outcome for outcome in found}


def result_of(folder: str) -> tuple[bytes, list[dict[str, Any]]]:
    """The weights with the counters, and the curve without its times."""
    strip = ("runtime", "per_second")
    lines = (Path(folder) / "train.jsonl").read_text().splitlines()
    curve = [{key: value for key, value in json.loads(line).items() if not key.endswith(strip)} for line in lines]
    return (Path(folder) / "end.safetensors").read_bytes(), curve


@pytest.mark.parametrize("point", POINTS)
def test_same_weights_and_curve_after_a_kill(outcomes: dict[str, dict[str, Any]], point: str) -> None:
    assert (outcomes["none"]["killed"], outcomes["none"]["resumed"]) == (0, 0)
    outcome = outcomes[point]
    assert outcome["killed"] == -signal.SIGKILL
    assert outcome["resumed"] == 0
    assert len(outcome["folders"]) == 1, "the killed run was not taken up"
    assert result_of(outcome["folders"][0]) == result_of(outcomes["none"]["folders"][0])
