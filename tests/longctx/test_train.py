"""A whole long-context experiment on a tiny model: what it leaves behind, and that a kill at any moment changes nothing."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.perplexity_config import PerplexityConfig
from finewise.errors import InputError
from longctx.config import LongContextExperiment
from longctx.rope_config import StretchConfig
from longctx.train import main

SCRIPT = Path(__file__).with_name("crash_study.py")
POINTS = [
    "in the second stage",
    "while test is read",
    "while the model is saved",
    "before the record",
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Run every scenario once, beside an undisturbed run."""
    root = tmp_path_factory.mktemp("runs")
    command = [sys.executable, "-W", "error::RuntimeWarning", str(SCRIPT), str(root), "none", *POINTS]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"point"')]
    return {outcome["point"]: outcome for outcome in found}


def record_of(outcome: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(outcome["folders"][0]) / "record.json").read_text())
    return content


def test_what_a_run_leaves_behind(outcomes: dict[str, dict[str, Any]]) -> None:
    record, run = record_of(outcomes["none"]), Path(outcomes["none"]["folders"][0])
    assert {row["system"] for row in record["scores"]} == {"untuned", "linear", "yarn", "tuned"}
    assert record["selection"]["test_reads"] == 1
    assert record["selection"]["best"] > record["selection"]["untuned"]
    assert record["selection"]["steps"] == 8, "of both stages"
    assert record["selection"]["best_step"] > 4
    assert "of 8 steps" in (run / "model/README.md").read_text()
    assert record["data"]["rows"] == {"train": 48, "dev": 6, "test": 6}
    assert not list(run.rglob("checkpoints"))
    assert (run / "seed-42/tuned/stage-2/train.jsonl").stat().st_size > 0
    assert (run / "pictures/perplexity-by-position.png").stat().st_size > 0
    page = (run / "report.html").read_text()
    for expected in ("perplexity by position", "Choice of the checkpoint"):
        assert expected in page


@pytest.mark.parametrize("point", POINTS)
def test_same_scores_after_a_kill(outcomes: dict[str, dict[str, Any]], point: str) -> None:
    outcome = outcomes[point]
    assert (outcome["killed"], outcome["resumed"]) == (-signal.SIGKILL, 0)
    assert len(outcome["folders"]) == 1, "the killed run was not taken up"
    expected, found = record_of(outcomes["none"]), record_of(outcome)
    for key in ("scores", "comparisons", "selection"):
        assert found[key] == expected[key]


def test_refused_input_leaves_no_run_behind(
    reading: Callable[..., LongContextExperiment],
    long_documents: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    too_long = PerplexityConfig(data=str(long_documents), lengths=[64, 4096])
    with pytest.raises(InputError, match="no document has the 4,09"):
        main(reading(stretch=StretchConfig(factor=64), perplexity=too_long))
    assert not list(tmp_path.rglob("run.json"))
    assert "run: " not in capsys.readouterr().err
    main(reading())
    assert capsys.readouterr().err.count("run: ") == 1
