"""method=auto: the cheap ways first, what the budget pays, dev alone chooses, a resumed run tries the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from classify import auto
from classify.config import AutoMethod, ClassifyExperiment, LinearProbe
from classify.predictor import Predictor
from classify.train import main
from finewise.config import LabelAuditConfig, LabelDataConfig, ModelConfig, OptimConfig, RunConfig, SelectionConfig
from finewise.run import MACHINE
from tests.classify.test_stack import write_rows


@pytest.fixture
def make(tiny_model: Path, tmp_path: Path, vocabulary: list[str]) -> Callable[..., ClassifyExperiment]:
    """Makes a small experiment with method=auto."""

    def experiment(**parts: Any) -> ClassifyExperiment:
        file = tmp_path / "rows.jsonl"
        if not file.exists():
            write_rows(file, vocabulary, 240)
        settings: dict[str, Any] = {
            "data": LabelDataConfig(train=str(file), dev_size=60, test_size=60),
            "audit": LabelAuditConfig(label_errors=False, near_duplicates=False),
            "model": ModelConfig(name=str(tiny_model)),
            "method": AutoMethod(),
            "optim": OptimConfig(epochs=2, batch_size=16, learning_rate=4e-3),
            "selection": SelectionConfig(metric="f1_macro", evaluations=2),
            "run": RunConfig(root=str(tmp_path / "runs"), device="cpu", precision="fp32"),
            "baselines": ["majority", "tfidf_lr"],
        }
        return ClassifyExperiment(**settings | parts)

    return experiment


def record_of(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    (path,) = (tmp_path / "runs").rglob("record.json")
    return path.parent, json.loads(path.read_text())


def test_dev_alone_chooses_among_all_and_test_is_read_once(
    make: Callable[..., ClassifyExperiment], tmp_path: Path
) -> None:
    best = main(make())
    folder, record = record_of(tmp_path)
    tried = {one["name"]: one for one in record["model"]["candidates"]}
    assert list(tried) == ["linear_probe", "stack_probe", "lp_ft", "stack"]
    assert best == max(one["dev"] for one in tried.values()) == tried[record["model"]["method"]]["dev"]
    assert tried["lp_ft"]["steps"] == tried["stack"]["steps"] == 16
    assert record["selection"]["test_reads"] == 1
    assert any("method=auto chose" in sentence for sentence in record["words"])
    assert "method=auto chose" in (folder / "model" / "README.md").read_text()
    assert Predictor.load(folder / "model").predict(["alpha"])


@pytest.mark.parametrize(("per_step", "steps"), [(0.5, 100), (1e-4, None), (2.0, 0)])
def test_a_training_gets_the_steps_that_the_budget_pays(
    make: Callable[..., ClassifyExperiment],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    per_step: float,
    steps: int | None,
) -> None:
    from finewise.data.labels.load import load_labels
    from finewise.run import Run

    monkeypatch.setattr(auto, "timed", lambda data, experiment: (per_step, 0.0))
    monkeypatch.setattr(auto.time, "perf_counter", lambda: 1000.0)
    experiment = make(optim=OptimConfig(epochs=100, batch_size=16), method=AutoMethod(budget=50 / 0.85 / 60))
    data = load_labels(experiment.data, experiment.audit, seed=experiment.seed)
    with Run.open("classify", experiment) as run:
        found = auto.affordable(data, experiment, experiment.method, run, 1000.0)
        again = auto.affordable(data, experiment, experiment.method, run, 0.0)
    assert found == again  # what the clock says later changes nothing
    if steps == 0:
        assert found is None
    else:
        assert found is not None
        assert found.optim.max_steps == steps
    assert json.loads((run.dir / MACHINE).read_text())[auto.STEPS] == (800 if steps is None else steps)


def test_without_time_the_cheap_ones_are_left(make: Callable[..., ClassifyExperiment], tmp_path: Path, capsys) -> None:
    main(make(method=AutoMethod(budget=1e-4)))
    _, record = record_of(tmp_path)
    assert [one["name"] for one in record["model"]["candidates"]] == ["linear_probe", "stack_probe"]
    assert record["model"]["loss"] is None
    assert "lp_ft is left out" in "".join(capsys.readouterr())


def test_a_method_that_was_chosen_does_alone_what_it_did(
    make: Callable[..., ClassifyExperiment], tmp_path: Path
) -> None:
    experiment = make()
    frozen = auto.without_training(experiment)
    assert frozen.method == LinearProbe()
    main(experiment)
    _, record = record_of(tmp_path)
    name = record["model"]["method"]
    from classify.config import METHODS

    alone = make(
        method=METHODS[name](),
        run=RunConfig(root=str(tmp_path / "alone"), device="cpu", precision="fp32"),
        **({} if METHODS[name].trains else {"optim": frozen.optim, "selection": frozen.selection}),
    )
    assert main(alone) == pytest.approx(record["selection"]["best"], abs=1e-6)


def test_steps_are_timed_on_a_model_of_their_own(make: Callable[..., ClassifyExperiment]) -> None:
    from finewise.data.labels.load import load_labels

    experiment = make()
    data = load_labels(experiment.data, experiment.audit, seed=experiment.seed)
    step, scoring = auto.timed(data, auto.without_training(experiment))
    assert 0 < step < 10
    assert 0 < scoring < 10
