"""The metrics of classification are usable as any module of the `evaluate` library, without a hub."""

import sys
from pathlib import Path

import pytest

import benchmarks.metrics.classification


@pytest.fixture
def classification():
    from benchmarks.metrics.classification.classification import Classification

    return Classification


def test_decisions_probabilities_and_several_labels(classification):
    assert classification().compute(predictions=[0, 1, 1], references=[0, 1, 1]) == {"f1_macro": 1}
    found = classification().compute(
        predictions=[[0.5, 0.5], [0.0, 1.0]], references=[0, 1], metrics=["accuracy", "brier"]
    )
    assert found == {"accuracy": 1, "brier": 0.125}
    assert classification("exact_match").compute(predictions=[[1, 0], [1, 1]], references=[[1, 0], [0, 1]]) == {
        "exact_match": 0.5
    }


@pytest.fixture
def no_modules_yet():
    """Forget the package that `evaluate` keeps its copies in: each test has its own folder for it."""

    def forget():
        for name in [name for name in sys.modules if name.partition(".")[0] == "evaluate_modules"]:
            del sys.modules[name]

    forget()
    yield
    forget()


@pytest.mark.usefixtures("no_modules_yet")
def test_it_is_loaded_from_its_folder(tmp_path, monkeypatch):
    import evaluate

    monkeypatch.setattr("evaluate.loading.HF_MODULES_CACHE", str(tmp_path / "modules"), raising=False)
    monkeypatch.setattr("evaluate.config.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    folder = Path(benchmarks.metrics.classification.__file__).parent
    metric = evaluate.load(str(folder), "f1_micro", cache_dir=str(tmp_path))
    assert metric.compute(predictions=[0, 1], references=[0, 0]) == {"f1_micro": 0.5}


def test_mistakes_are_refused(classification):
    with pytest.raises(ValueError, match="unknown metric 'f1_marco'; did you mean 'f1_macro'"):
        classification("f1_marco")
    with pytest.raises(ValueError, match="needs probabilities"):
        classification("ece").compute(predictions=[0, 1], references=[0, 1])
    with pytest.raises(ValueError, match="the data is multi"):
        classification("mcc").compute(predictions=[[1, 0]], references=[[1, 0]])
