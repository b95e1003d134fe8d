"""Killed at any moment, the same command with resume=auto ends with the same weights, decisions and record."""

import csv
import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("crash.py")
POINTS = [
    "between checkpoints",
    "before the checkpoint is marked whole",
    "while the curve is measured",
    "before the record is written",
]


@pytest.fixture(scope="module")
def outcomes(
    tiny_model: Path, vocabulary: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """Run every scenario once, beside an undisturbed run. LoRA: its checkpoints hold the added weights alone."""
    rng = random.Random(0)
    file = tmp_path_factory.mktemp("data") / "train.csv"
    with file.open("w", newline="", encoding="utf-8") as sink:
        writer = csv.writer(sink)
        writer.writerow(("text", "label"))
        for _ in range(150):
            label = rng.randrange(3)
            words = rng.sample(vocabulary[8 * label : 8 * label + 8], 2) + rng.sample(vocabulary[24:], 4)
            writer.writerow((" ".join(words), "abc"[label]))
    root = tmp_path_factory.mktemp("runs")
    command = [sys.executable, "-W", "error::RuntimeWarning", str(SCRIPT), str(tiny_model), str(file), str(root)]
    ran = subprocess.run([*command, "none", *POINTS], capture_output=True, text=True, check=False, timeout=280)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"point"')]
    return {outcome["point"]: outcome for outcome in found}


def result_of(folder: str) -> tuple[bytes, str, dict[str, Any]]:
    """The weights, the decisions, and what the record claims (times and attempts aside)."""
    record = json.loads((Path(folder) / "record.json").read_text())
    for key in ("command", "started", "finished"):
        record.pop(key)
    cost = record.pop("cost")
    record["cost"] = {key: cost[key] for key in ("texts", "tokens")}
    for point in record["curve"]["points"]:
        point.pop("seconds")
    model = Path(folder) / "model"
    return (model / "model.safetensors").read_bytes(), (model / "decisions.json").read_text(), record


@pytest.mark.parametrize("point", POINTS)
def test_same_weights_decisions_and_record_after_a_kill(outcomes: dict[str, dict[str, Any]], point: str) -> None:
    assert (outcomes["none"]["killed"], outcomes["none"]["resumed"]) == (0, 0)
    outcome = outcomes[point]
    assert outcome["killed"] == -signal.SIGKILL
    assert outcome["resumed"] == 0
    assert len(outcome["folders"]) == 1, "the killed run was not taken up"
    assert result_of(outcome["folders"][0]) == result_of(outcomes["none"]["folders"][0])
