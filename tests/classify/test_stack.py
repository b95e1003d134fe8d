"""method=stack: a fine-tuned classifier and TF-IDF, combined on dev; what was scored is what the saved folder says."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from benchmarks.classification import load_per_example
from benchmarks.config import ClassScoringConfig
from classify.config import ClassifyExperiment, Stack
from classify.predictor import Predictor
from classify.stack import FILE, WEIGHTS, _fit_weights, _parts, fit_stack, fit_words
from classify.stack import Stack as Fitted
from classify.train import loads_with, main
from finewise.config import LabelAuditConfig, LabelDataConfig, ModelConfig, OptimConfig, RunConfig, SelectionConfig
from finewise.data.labels.load import load_labels
from finewise.errors import InputError

LABELS = ("alpha", "beta", "gamma")


def write_rows(path: Path, vocabulary: list[str], count: int, *, multi: bool = False) -> None:
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(count):
        told = np.flatnonzero(rng.random(3) < 0.5) if multi else [int(rng.integers(3))]
        words = [str(word) for word in rng.choice(vocabulary[24:], rng.integers(3, 9))]
        for label in told:
            words += [str(word) for word in rng.choice(vocabulary[8 * label : 8 * label + 8], 2)]
        names = [LABELS[label] for label in told]
        lines.append(json.dumps({"text": " ".join(words), "label": names if multi else names[0]}))
    path.write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture
def make(tiny_model: Path, tmp_path: Path, vocabulary: list[str]) -> Callable[..., ClassifyExperiment]:
    """Makes a small experiment with method=stack."""

    def experiment(*, multi: bool = False, **parts: Any) -> ClassifyExperiment:
        file = tmp_path / "rows.jsonl"
        if not file.exists():
            write_rows(file, vocabulary, 240, multi=multi)
        settings: dict[str, Any] = {
            "data": LabelDataConfig(train=str(file), dev_size=60, test_size=60),
            "audit": LabelAuditConfig(label_errors=False, near_duplicates=False),
            "model": ModelConfig(name=str(tiny_model)),
            "method": Stack(),
            "optim": OptimConfig(epochs=2, batch_size=16, learning_rate=4e-3),
            "selection": SelectionConfig(metric="f1_macro", evaluations=2),
            "scoring": ClassScoringConfig(),
            "run": RunConfig(root=str(tmp_path / "runs"), device="cpu", precision="fp32"),
            "baselines": ["majority", "tfidf_lr"],
        }
        return ClassifyExperiment(**settings | parts)

    return experiment


def only_run(tmp_path: Path) -> Path:
    (manifest,) = (tmp_path / "runs").rglob("run.json")
    return manifest.parent


@pytest.mark.parametrize("multi", [False, True])
def test_the_saved_folder_says_what_was_scored(
    make: Callable[..., ClassifyExperiment], tmp_path: Path, *, multi: bool
) -> None:
    experiment = make(multi=multi)
    best = main(experiment)
    run = only_run(tmp_path)
    record = json.loads((run / "record.json").read_text())
    stack = record["model"]["stack"]
    assert record["model"]["method"] == "stack"
    assert best == record["selection"]["best"] == stack["dev"]["stack"]
    assert record["selection"]["test_reads"] == 1
    assert {row["b"] for row in record["comparisons"]} == {"majority", "tfidf_lr", "without_tfidf"}
    test = load_labels(experiment.data, experiment.audit, seed=experiment.seed).test
    predictor = Predictor.load(run / "model", precision="fp32")
    answers = predictor.answers(list(test.texts))
    scored = {each.system: each for each in load_per_example(run / "per_example.npz")}["tuned"]
    assert scored.probabilities is not None
    np.testing.assert_allclose(answers.probabilities, scored.probabilities, atol=1e-4)
    assert "AutoModelForSequenceClassification" in loads_with(record)
    assert "the classifier alone, without TF-IDF" in loads_with(record)
    card = (run / "model" / "README.md").read_text()
    assert "without TF-IDF" in card
    assert "words of the training texts" in card
    (run / "model" / WEIGHTS).unlink()
    with pytest.raises(InputError, match=r"stack\.json is damaged or incomplete"):
        Predictor.load(run / "model")


def test_a_fresh_process_predicts_with_both_parts(make: Callable[..., ClassifyExperiment], tmp_path: Path) -> None:
    main(make())
    folder = only_run(tmp_path) / "model"
    code = (
        "import sys, json; from classify.predictor import Predictor;"
        "p = Predictor.load(sys.argv[1], precision='fp32');"
        "print(json.dumps([p.stack is not None, p.answers(['', sys.argv[2]]).probabilities.tolist()]))"
    )
    text = json.loads((tmp_path / "rows.jsonl").read_text().splitlines()[0])["text"]
    done = subprocess.run([sys.executable, "-c", code, str(folder), text], capture_output=True, text=True, check=True)
    stacked, found = json.loads(done.stdout.splitlines()[-1])
    assert stacked
    here = Predictor.load(folder, precision="fp32").answers(["", text]).probabilities
    np.testing.assert_allclose(found, here, atol=1e-5)


def noisy(gold: NDArray[Any], skill: float, seed: int, *, multi: bool) -> NDArray[np.float64]:
    target = gold.astype(float) if multi else np.eye(3)[gold]
    return skill * (2 * target - 1) + np.random.default_rng(seed).normal(size=target.shape)


@pytest.mark.parametrize("multi", [False, True])
def test_the_weights_are_those_of_least_log_loss(*, multi: bool) -> None:
    rng = np.random.default_rng(0)
    gold = rng.random((400, 3)) < 0.5 if multi else rng.integers(0, 3, 400)
    parts = _parts(noisy(gold, 1.0, 1, multi=multi), noisy(gold, 0.5, 2, multi=multi), multi)
    found = _fit_weights(parts, gold)

    def loss(weights: NDArray[np.float64]) -> float:
        logits = weights[0] * parts[0] + weights[1] * parts[1]
        if multi:
            chance = expit(logits)
            return float(-np.where(gold, np.log(chance), np.log(1 - chance)).mean())
        return float(-log_softmax(logits, axis=1)[np.arange(400), gold].mean())

    assert (found > 0).all()
    if multi:
        flat = parts.reshape(2, -1).T
        plain = LogisticRegression(C=1e9, fit_intercept=False, tol=1e-8).fit(flat, gold.ravel())
        np.testing.assert_allclose(found, plain.coef_[0], atol=1e-3)
    for step in ([0.01, 0], [-0.01, 0], [0, 0.01], [0, -0.01]):
        assert loss(found) <= loss(found + np.array(step))


def test_a_part_that_knows_nothing_gets_no_weight() -> None:
    gold = np.random.default_rng(0).integers(0, 3, 600)
    good, wrong = noisy(gold, 1.0, 1, multi=False), -noisy(gold, 1.0, 3, multi=False)
    model, words = _fit_weights(_parts(good, wrong, multi=False), gold)
    assert words == 0
    assert model > 0.5


def test_the_weights_of_a_perfect_part_stay_finite() -> None:
    gold = np.array([0, 1, 2] * 20)
    weights = _fit_weights(_parts(np.eye(3)[gold] * 9, np.zeros((60, 3)), multi=False), gold)
    assert np.isfinite(weights).all()


def test_dev_is_cross_fitted_and_unreadable_texts_are_taken(
    make: Callable[..., ClassifyExperiment], tmp_path: Path
) -> None:
    experiment = make()
    data = load_labels(experiment.data, experiment.audit, seed=experiment.seed)
    raw = noisy(data.dev.labels, 0.5, 1, multi=False).astype(np.float32)
    found = fit_stack(raw, fit_words(data.train, "f1_macro", 42), data.dev, "f1_macro", 42)
    again = found.stack.combine(raw, data.dev.texts)
    assert not np.array_equal(found.held_out, again)
    np.testing.assert_allclose(softmax(found.held_out, axis=1), softmax(again, axis=1), atol=0.2)
    assert found.dev["stack"] > found.dev["without_tfidf"]
    found.stack.save(tmp_path)
    loaded = Fitted.load(tmp_path, 3)
    assert loaded is not None
    odd = ["", "日本語の文", "!!! ???", "word " * 5000]
    np.testing.assert_array_equal(loaded.combine(raw[:4], odd), found.stack.combine(raw[:4], odd))
    assert Fitted.load(tmp_path / "nowhere", 3) is None
    with pytest.raises(InputError, match="weights"):
        Fitted.load(tmp_path, 4)
    content = json.loads((tmp_path / FILE).read_text())
    content["vectorizer"]["tokenizer"] = {"function": "os:system"}
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(InputError, match="no function of finewise"):
        Fitted.load(tmp_path, 3)


def test_onnx_is_refused(make: Callable[..., ClassifyExperiment]) -> None:
    with pytest.raises(ValueError, match="TF-IDF part of method=stack"):
        make(onnx=True)
