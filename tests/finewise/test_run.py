"""A run's account of its time: stages by themselves, and when the first step began."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from finewise.config import ExperimentConfig, RunConfig, setting
from finewise.errors import InputError
from finewise.run import Run, check_trackers, since_start


@dataclass(slots=True, kw_only=True)
class Experiment:
    run: RunConfig = setting(RunConfig, "where")
    name: str = field(default="some")


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(run=RunConfig(root=str(tmp_path)))


def test_a_stage_inside_a_stage_is_counted_once(experiment: Experiment) -> None:
    with Run.open("test", experiment) as run:
        with run.stage("outer"):
            for _ in range(2):
                with run.stage("inner"):
                    time.sleep(0.05)
        with run.stage("inner"):
            time.sleep(0.05)
    seconds = json.loads((run.dir / "run.json").read_text())["seconds"]
    assert set(seconds) == {"start", "outer", "inner"}
    assert seconds["inner"] >= 0.15
    assert seconds["outer"] < seconds["inner"]


def refuse(run: Run) -> None:
    with run, run.stage("data"):
        with run.stage("imports"):
            pass
        raise InputError("no such file")


def test_refused_data_leave_no_folder_although_something_was_imported(experiment: Experiment) -> None:
    run = Run.open("test", experiment)
    with pytest.raises(InputError):
        refuse(run)
    assert not run.dir.exists()


def test_the_first_step_is_counted_from_the_start_of_the_program(experiment: Experiment) -> None:
    with Run.open("test", experiment) as run, run.stage("train"):
        run.note_first_step()
    manifest = json.loads((run.dir / "run.json").read_text())
    assert manifest["seconds"]["start"] <= manifest["first_step"] <= since_start()


def test_a_refused_run_leaves_no_empty_folders_but_those_that_were_there(
    experiment: Experiment, tmp_path: Path
) -> None:
    experiment.run.root = str(tmp_path / "there" / "runs")
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError):
        refuse(Run.open("test", experiment))
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


@pytest.mark.parametrize(
    "name", ["../../x", "/tmp/x", "", " ", "a/b", "a\\b", "..", "CON", "nul.txt", "a\x1b[31mb", "x" * 300]
)
def test_a_name_that_is_no_folder_is_refused_in_one_line(experiment: Experiment, tmp_path: Path, name: str) -> None:
    if name:
        experiment.name = name
        with pytest.raises(InputError, match=r"^name=[ -~]*$"):
            Run.open("test", experiment)
    with pytest.raises(ValueError, match=r"^name=[ -~]*$"):
        ExperimentConfig(name=name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["embed-quickstart", "a+b", "größe 1.5", "日本語", "x.y"])
def test_plain_names_are_taken(name: str) -> None:
    assert ExperimentConfig(name=name).name == name


def test_a_tracker_named_twice_or_broken_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "swanlab.py").write_text("import a_module_that_is_not_there")
    (tmp_path / "mlflow.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    check_trackers(["mlflow"])
    with pytest.raises(InputError, match="'mlflow' is named 2 times"):
        check_trackers(["mlflow", "mlflow"])
    with pytest.raises(InputError, match=r"'swanlab' cannot be imported .*a_module_that_is_not_there"):
        check_trackers(["mlflow", "swanlab"])


def test_wandb_without_login_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb.py").write_text("class api: api_key = None")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="has no login"):
        check_trackers(["wandb"])
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_trackers(["wandb"])


SLEEPER = """
import time
from embed.config import EmbedExperiment
from finewise.contrastive.config import LOSSES
from finewise.run import Run
from finewise.settings import entry

@entry("embed", EmbedExperiment, groups={"loss": LOSSES})
def main(experiment):
    with Run.open("embed", experiment) as run:
        run.pin("data", "x")
        print(run.dir, flush=True)
        time.sleep(60)

main()
"""


def test_sigterm_ends_a_run_as_the_keyboard_does(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(SLEEPER)
    process = subprocess.Popen(
        [sys.executable, "program.py", "data.train=x", f"run.root={tmp_path / 'runs'}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    process.terminate()
    _, told = process.communicate(timeout=30)
    assert process.returncode == 143
    assert told.endswith("error: stopped by SIGTERM\n")
    assert "resume=auto goes on" in told
    assert "Traceback" not in told
    assert "stopped: SIGTERM" in (folder / "log.txt").read_text()


def test_a_resumed_run_takes_what_the_machine_decided_before(
    experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    with Run.open("test", experiment) as run:
        assert run.keep("micro_batch_tokens", 4096) == 4096
        part = run.inside("part")
        assert part.keep("micro_batch_tokens", 512) == 512
        assert part.keep("precision", "bf16", here=False) == "bf16"
    with Run.open("test", experiment, resume="auto") as run:
        assert run.resumed
        assert run.keep("micro_batch_tokens", 256) == 4096
        assert run.inside("part").keep("micro_batch_tokens", 512) == 512
        assert run.kept("precision") == "bf16"
    told = capsys.readouterr().err
    assert told.count("note: resumed with micro_batch_tokens=4096") == 1
    assert "would take 256 now" in told


def test_how_often_test_was_read_is_counted_over_the_runs_folder(experiment: Experiment) -> None:
    score = {"benchmark": "b", "data_revision": "r1", "split": "test", "system": "tuned", "metric": "map"}
    other = {**score, "data_revision": "r2"}
    dev = {**score, "split": "dev", "data_revision": "r3"}
    counted = []
    for scores in ([score, dev], [other], [score, other, dev]):
        with Run.open("test", experiment) as run:
            content = run.finish({"scores": scores, "selection": {"test_reads": 1}})
            counted.append({row["data_revision"]: row["reads"] for row in content["selection"]["test_sets"]})
    assert counted == [{"r1": 1}, {"r2": 1}, {"r1": 2, "r2": 2}]
    assert {row["reads_in_sweep"] for row in content["selection"]["test_sets"]} == {None}
    copied = run.dir.with_name("copy")
    shutil.copytree(run.dir, copied)
    with Run.open("test", experiment) as run:
        content = run.finish({"scores": [score], "selection": {"test_reads": 1}})
    assert content["selection"]["test_sets"][0]["reads"] == 3  # a copy of a record is no reading
