"""A run's account of its time: stages by themselves, and when the first step began."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from finewise.config import RunConfig, setting
from finewise.errors import InputError
from finewise.run import Run, _plain_name, since_start


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


@pytest.mark.parametrize("name", ["../../x", "/x", "..", "", " ", "a/b", "a\\b", "a\nb", "a:b", "a\x1b[0m"])
def test_a_name_that_is_a_path_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="must be the name of one folder"):
        _plain_name(name)


@pytest.mark.parametrize("name", ["default", "embed-quickstart", "r\u00e9sum\u00e9 2", "a.b"])
def test_other_names_are_not(name: str) -> None:
    assert _plain_name(name) == name
