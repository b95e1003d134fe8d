"""A study: what each arm leaves, that it goes on from there without opening the model, seeds side by side or in turn."""

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import by_length
from finewise.config import ModelConfig
from finewise.errors import InputError
from finewise.run import Run
from longctx.config import LongContextExperiment
from longctx.language import LanguageModel
from longctx.rope_config import StretchConfig
from longctx.study import OUTCOME, Found, study

Make = Callable[..., LongContextExperiment]


def run_in(folder: Path) -> Run:
    folder.mkdir(exist_ok=True)
    return Run(folder, "longctx", "test", {"attempts": 1}, None)


def same(one: Found, other: Found) -> bool:
    return len(one.results) == len(other.results) and all(
        (a.system, a.benchmark, a.ids, a.data_revision) == (b.system, b.benchmark, b.ids, b.data_revision)
        and np.array_equal(a.groups, b.groups)
        and np.allclose(a.values, b.values, rtol=1e-4)
        for a, b in zip(one.results, other.results, strict=True)
    )


def test_it_goes_on_from_the_arms_that_are_kept(reading: Make, reader_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(reader_folder, tmp_path / "reader")
    experiment = reading(model=ModelConfig(name=str(tmp_path / "reader")), compare=["none", "linear"])
    run = run_in(tmp_path / "run")
    whole = study(experiment, run)
    assert [(result.system, result.benchmark) for result in whole.results] == [
        (system, benchmark)
        for system in ("untuned", "linear", "yarn")
        for benchmark in ("needle niah_single_1", "perplexity")
    ]
    assert whole.outcome is None
    assert whole.test_reads == 0
    assert (run.dir / "model/config.json").is_file()

    part = run.dir / "seed-42"
    kept = {arm: json.loads((part / arm / OUTCOME).read_text()) for arm in ("untuned", "linear", "yarn")}
    assert [kept[arm]["dev"] is None for arm in kept] == [True, True, False], "dev is read where it is asked for"
    assert whole.best == kept["yarn"]["dev"]
    assert whole.before is None

    shutil.rmtree(tmp_path / "reader")
    assert same(study(experiment, run), whole), "all is kept: nothing is opened"
    (part / "linear" / by_length.FILE).unlink()
    with pytest.raises(InputError, match=r"reader: no such folder"):
        study(experiment, run)
    shutil.copytree(reader_folder, tmp_path / "reader")
    assert same(study(experiment, run), whole)


def test_seeds_side_by_side_find_what_seeds_in_turn_find(reading: Make, tmp_path: Path) -> None:
    experiment = reading(seeds=2, compare=[])
    in_turn = study(experiment, run_in(tmp_path / "turn"))
    aside = study(replace(experiment, parallel_seeds=2), run_in(tmp_path / "aside"))
    assert same(in_turn, aside)
    assert in_turn.best == pytest.approx(aside.best)
    for found in (in_turn, aside):
        assert set(found.results[0].groups.tolist()) == {0, 1}
    for name in ("turn", "aside"):
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["model", "seed-42", "seed-43"]


def test_a_seed_that_is_killed_ends_all_and_is_told(reading: Make, tmp_path: Path) -> None:
    def kill_one() -> None:
        while not (children := multiprocessing.active_children()):
            time.sleep(0.01)
        os.kill(children[0].pid or 0, signal.SIGKILL)

    threading.Thread(target=kill_one, daemon=True).start()
    with pytest.raises(
        InputError, match=r"^parallel_seeds=2: the process of a seed was killed[^\n]*resume=auto goes on"
    ):
        study(reading(seeds=2, parallel_seeds=2, compare=[]), run_in(tmp_path / "run"))


def test_methods_that_stretch_nothing_are_read_once(
    reading: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read: list[str] = []
    whole = LanguageModel.read
    monkeypatch.setattr(
        LanguageModel, "read", lambda self, model, arm, run: read.append(arm.system) or whole(self, model, arm, run)
    )
    experiment = reading(stretch=StretchConfig(factor=1), compare=["none", "linear", "ntk"])
    run = run_in(tmp_path / "run")
    found = study(experiment, run)
    assert read == ["untuned"]
    assert "yarn is the same model as untuned: read once" in " ".join(capsys.readouterr().err.split())
    assert [result.system for result in found.results[::2]] == ["untuned", "linear", "ntk", "yarn"]
    assert len({result.values.tobytes() for result in found.results[1::2]}) == 1
    saved = json.loads((run.dir / "model/config.json").read_text())
    assert saved["rope_parameters"]["rope_type"] == "default"
    assert "factor" not in saved["rope_parameters"]
