"""Killed at any moment, the same command with resume=auto ends with the same weights and the same record."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("crash.py")
POINTS = [
    "while the data is read",
    "before the first checkpoint",
    "between checkpoints",
    "in the second epoch",
    "in the middle of a checkpoint",
    "before the checkpoint is marked whole",
    "after the last step",
    "while test is scored",
    "before the record is written",
]
Pairs = Callable[[int], list[tuple[str, str]]]


@pytest.fixture(scope="module")
def train_file(tmp_path_factory: pytest.TempPathFactory, learnable_pairs: Pairs) -> Path:
    path = tmp_path_factory.mktemp("data") / "train.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("anchor", "positive"), *learnable_pairs(300)])
    return path


@pytest.fixture(scope="module")
def outcomes(tiny_model: Path, train_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Run every scenario once, beside an undisturbed run."""
    root = tmp_path_factory.mktemp("runs")
    command = [sys.executable, "-W", "error::RuntimeWarning", str(SCRIPT), str(tiny_model), str(train_file), str(root)]
    ran = subprocess.run([*command, "none", *POINTS], capture_output=True, text=True, check=False, timeout=280)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"point"')]
    return {outcome["point"]: outcome for outcome in found}


def result_of(folder: str) -> tuple[bytes, dict[str, Any], list[str]]:
    """The weights, what the record claims (times and attempts aside), and the curve."""
    record = json.loads((Path(folder) / "record.json").read_text())
    for key in ("command", "started", "finished"):
        record.pop(key)
    cost = record.pop("cost")
    record["cost"] = {key: cost[key] for key in ("texts", "tokens")}
    curve = (Path(folder) / "train.jsonl").read_text().splitlines()
    return (Path(folder) / "model" / "model.safetensors").read_bytes(), record, curve


def test_the_undisturbed_run_learns_and_is_not_repeated(outcomes: dict[str, dict[str, Any]]) -> None:
    outcome = outcomes["none"]
    assert (outcome["killed"], outcome["resumed"]) == (0, 0)
    assert len(outcome["folders"]) == 1
    _, record, _ = result_of(outcome["folders"][0])
    assert record["selection"]["best"] > record["selection"]["untuned"]
    assert record["selection"]["test_reads"] == 1


@pytest.mark.parametrize("point", POINTS)
def test_same_weights_record_and_curve_after_a_kill(outcomes: dict[str, dict[str, Any]], point: str) -> None:
    outcome = outcomes[point]
    assert outcome["killed"] == -signal.SIGKILL
    assert outcome["resumed"] == 0
    assert len(outcome["folders"]) == 1, "the killed run was not taken up"
    weights, record, curve = result_of(outcome["folders"][0])
    expected_weights, expected_record, expected_curve = result_of(outcomes["none"]["folders"][0])
    assert weights == expected_weights
    assert record == expected_record
    strip = ("runtime", "per_second")
    assert [{k: v for k, v in json.loads(line).items() if not k.endswith(strip)} for line in curve] == [
        {k: v for k, v in json.loads(line).items() if not k.endswith(strip)} for line in expected_curve
    ]


def test_a_kill_from_outside_and_a_second_process_in_the_same_folder(
    tiny_model: Path, train_file: Path, tmp_path: Path
) -> None:
    """The command line as a user has it: kill -9, a second process beside the first, then resume=auto."""
    command = [
        *(sys.executable, "-m", "embed.train", "data=files", f"data.train={train_file}", f"model.name={tiny_model}"),
        *(f"run.dir={tmp_path / 'run'}", "resume=auto", "optim.batch_size=16", "optim.epochs=60", "run.device=cpu"),
    ]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("run/checkpoints/checkpoint-*/complete.json")):
        assert first.poll() is None, first.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 2
    assert "another process is running in this folder" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert not (tmp_path / "run" / "record.json").exists()
    third = subprocess.run([*command], capture_output=True, text=True, check=False, timeout=200)
    assert third.returncode == 0, third.stderr
    assert "resume: step" in third.stderr
    assert json.loads((tmp_path / "run" / "record.json").read_text())["status"] == "finished"
