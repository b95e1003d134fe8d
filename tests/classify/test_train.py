"""A whole classification experiment on a tiny model: what it leaves behind, what it refuses, and when."""

import csv
import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.classification import load_per_example
from benchmarks.config import ClassScoringConfig
from benchmarks.text.probe import LinearProbe
from classify.config import ClassifyExperiment, Lora, MethodConfig, ProbeFirst, ZeroShot
from classify.config import LinearProbe as ProbeMethod
from classify.decisions.config import DecideConfig
from classify.losses_config import Asymmetric, CrossEntropy
from classify.model_config import TuningConfig
from classify.train import main
from finewise.config import (
    CurveConfig,
    LabelAuditConfig,
    LabelDataConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    SelectionConfig,
)
from finewise.data.labels.load import load_labels
from finewise.errors import InputError

Make = Callable[..., ClassifyExperiment]
CLASSES = ("alpha", "beta", "gamma")


def rows(vocabulary: list[str], count: int, *, multi: bool = False) -> list[dict[str, Any]]:
    """Texts in which one word of each label's own eight tells the label."""
    rng = random.Random(0)
    found = []
    for _ in range(count):
        labels = sorted(rng.sample(CLASSES, rng.choice((0, 1, 2)) if multi else 1))
        words = [rng.choice(vocabulary[24:]) for _ in range(rng.randrange(2, 9))]
        for label in labels:
            place = CLASSES.index(label) * 8
            words += rng.sample(vocabulary[place : place + 8], 2)
        rng.shuffle(words)
        found.append({"text": " ".join(words), "label": labels if multi else labels[0]})
    return found


@pytest.fixture
def make(tiny_model: Path, tmp_path: Path, vocabulary: list[str]) -> Make:
    """Makes a small experiment; keyword arguments replace its parts."""

    def experiment(*, multi: bool = False, count: int = 300, **parts: Any) -> ClassifyExperiment:
        file = tmp_path / "rows.jsonl"
        if not file.exists():
            lines = (json.dumps(row) for row in rows(vocabulary, count, multi=multi))
            file.write_text("\n".join(lines), encoding="utf-8")
        settings: dict[str, Any] = {
            "data": LabelDataConfig(train=str(file), dev_size=60, test_size=60),
            "audit": LabelAuditConfig(label_errors=False, near_duplicates=False),
            "model": ModelConfig(name=str(tiny_model)),
            "optim": OptimConfig(epochs=4, batch_size=16, learning_rate=4e-3),
            "tuning": TuningConfig(head="pooled"),
            "selection": SelectionConfig(metric="f1_macro", evaluations=2),
            "scoring": ClassScoringConfig(),
            "run": RunConfig(root=str(tmp_path / "runs"), device="cpu", precision="fp32"),
            "baselines": ["majority", "linear_probe"],
        }
        if "method" in parts and not parts["method"].trains:
            for key in ("optim", "tuning"):
                settings.pop(key)
            settings.pop("selection")
        return ClassifyExperiment(**settings | parts)

    return experiment


def only_run(tmp_path: Path) -> Path:
    (manifest,) = (tmp_path / "runs").rglob("run.json")
    return manifest.parent


def record_of(tmp_path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((only_run(tmp_path) / "record.json").read_text())
    return content


def value(record: dict[str, Any], system: str, metric: str = "f1_macro") -> float:
    return next(row["value"] for row in record["scores"] if (row["system"], row["metric"]) == (system, metric))


def test_what_a_run_leaves_behind(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = main(make())
    run, record = only_run(tmp_path), record_of(tmp_path)
    assert best == record["selection"]["best"] > 0.8
    assert value(record, "tuned") > value(record, "majority") + 0.3
    for row in record["scores"]:
        assert row["low"] is None or row["low"] <= row["high"]
        assert row["n"] == 60
    assert {row["b"] for row in record["comparisons"]} == {"majority", "linear_probe"}
    assert record["data"]["rows"] == {"train": 180, "dev": 60, "test": 60}
    assert record["selection"]["test_reads"] == 1
    assert record["cost"]["texts"] == 180 * 4
    assert [row["label"] for row in record["classes"]] == list(CLASSES)
    assert [row["level"] for row in record["decisions"]["sets"]["test"]] == [0.8, 0.9, 0.95]
    for name in (
        "config.yaml",
        "report.html",
        "train.jsonl",
        "per_example.npz",
        "model/decisions.json",
        "model/README.md",
    ):
        assert (run / name).stat().st_size > 0
    results = load_per_example(run / "per_example.npz")
    assert [result.system for result in results] == ["tuned", "majority", "linear_probe"]
    assert "tuned beats majority" in capsys.readouterr().out
    page = (run / "report.html").read_text()
    for expected in ("Confusions", "Calibration", "By length", "Most confident mistakes", "<svg"):
        assert expected in page


@pytest.mark.parametrize("head", ["transformers", "pooled"])
def test_the_saved_model_loads_without_finewise_and_says_what_was_scored(make: Make, tmp_path: Path, head: str) -> None:
    main(make(tuning=TuningConfig(head=head)))
    folder = only_run(tmp_path) / "model"
    trust = head == "pooled"
    code = (
        "import sys\nfrom transformers import AutoTokenizer, pipeline\n"
        f"tokenizer = AutoTokenizer.from_pretrained({str(folder)!r}, trust_remote_code={trust})\n"
        f"classify = pipeline('text-classification', {str(folder)!r}, tokenizer=tokenizer, trust_remote_code={trust})\n"
        "print(classify('bal bam', truncation=True)[0]['label'])\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('finewise', 'classify', 'benchmarks')]"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() in CLASSES
    model = AutoModelForSequenceClassification.from_pretrained(str(folder), trust_remote_code=trust).eval()
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    experiment = make()
    test = load_labels(experiment.data, experiment.audit, experiment.seed).test
    with torch.no_grad():
        given = model(**tokenizer(list(test.texts), padding=True, truncation=True, return_tensors="pt")).logits.argmax(
            1
        )
    tuned = load_per_example(only_run(tmp_path) / "per_example.npz")[0]
    decisions = json.loads((folder / "decisions.json").read_text())
    if decisions["calibration"]["method"] in ("none", "temperature"):  # they keep the order
        assert (given.numpy() == tuned.probabilities.argmax(axis=1)).all()
    card = (folder / "README.md").read_text()
    for expected in ("pipeline_tag", "| files | tuned |", "decisions.json", "## Limits", "truncation=True"):
        assert expected in card


@pytest.mark.parametrize(
    "method", [ProbeFirst(), Lora(rank=4), ProbeMethod(), ZeroShot()], ids=lambda method: type(method).__name__
)
def test_every_way_ends_in_a_saved_classifier(make: Make, tmp_path: Path, method: MethodConfig) -> None:
    main(make(method=method))
    record = record_of(tmp_path)
    assert (only_run(tmp_path) / "model" / "model.safetensors").exists()
    assert record["cost"]["texts"] == (180 * 4 if method.trains else 0)
    if isinstance(method, ProbeMethod):
        assert value(record, "tuned") == pytest.approx(value(record, "linear_probe"), abs=0.02)


@pytest.mark.parametrize("head", ["transformers", "pooled"])
def test_the_head_starts_as_good_as_the_probe(
    make: Make, tmp_path: Path, head: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a learning rate of nearly nothing, probe-then-fine-tuning stays the probe."""
    optim = OptimConfig(max_steps=1, batch_size=16, learning_rate=1e-9)
    main(make(method=ProbeFirst(), tuning=TuningConfig(head=head), optim=optim))
    record = record_of(tmp_path)
    told = next(line for line in capsys.readouterr().err.splitlines() if "the head starts from it" in line)
    assert float(told.split("f1_macro ")[1].split(";")[0]) == pytest.approx(record["selection"]["best"], abs=1e-3)
    if head == "pooled":
        assert value(record, "tuned") == pytest.approx(value(record, "linear_probe"), abs=0.03)
    assert record["selection"]["best"] > 0.4


def test_onnx_is_saved_beside_the_model_when_asked(make: Make, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    main(make(method=ProbeMethod(), onnx=True))
    assert (only_run(tmp_path) / "model" / "model.onnx").stat().st_size > 1000


def test_a_model_that_onnx_cannot_say_is_saved_without(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("classify.onnx.TOLERANCE", -1.0)
    main(make(method=ProbeMethod(), onnx=True))
    model = only_run(tmp_path) / "model"
    assert (model / "model.safetensors").exists()
    assert not list(model.glob("*.onnx*"))
    assert "warning: the model is saved without model.onnx" in capsys.readouterr().err.replace("\n", " ")
    assert record_of(tmp_path)["status"]


def test_levels_of_ones_own_come_to_the_end(make: Make, tmp_path: Path) -> None:
    main(make(method=ProbeMethod(), decide=DecideConfig(levels=[0.7])))
    assert any("70% nominal" in sentence for sentence in record_of(tmp_path)["words"])


def test_costs_that_changed_are_not_passed_over(make: Make, tmp_path: Path) -> None:
    costs = tmp_path / "costs.csv"

    def write(miss: int) -> None:
        lines = ["label,alpha,beta,gamma", f"alpha,0,{miss},1", "beta,1,0,1", "gamma,1,1,0"]
        costs.write_text("\n".join(lines))

    write(1)
    experiment = make(method=ProbeMethod(), decide=DecideConfig(thresholds="cost", costs=str(costs)), resume="auto")
    main(experiment)
    write(9)
    with pytest.raises(InputError, match=r"the decide\.costs changed since this run began"):
        main(experiment)


def test_a_model_of_another_split_is_not_gone_on_from(make: Make, tmp_path: Path) -> None:
    main(make(method=ProbeMethod()))
    model = ModelConfig(name=str(only_run(tmp_path) / "model"))
    with pytest.raises(
        InputError,
        match=r"^model\.name: the run in .* trained on rows that are dev and test now: .*; set data\.split_seed=42",
    ):
        main(make(model=model, data=LabelDataConfig(train=str(tmp_path / "rows.jsonl"), split_seed=7)))
    with pytest.raises(InputError, match=r"set data\.test_size=60"):
        main(make(model=model, data=LabelDataConfig(train=str(tmp_path / "rows.jsonl"), dev_size=60, test_size=90)))


def test_a_probe_in_the_head_says_what_the_probe_says(make: Make, tmp_path: Path) -> None:
    from classify.predictor import Predictor

    experiment = make(method=ProbeMethod())
    main(experiment)
    data = load_labels(experiment.data, experiment.audit, experiment.seed)
    from benchmarks.embedded import Embedded

    probe = LinearProbe(Embedded(experiment.model, "cpu", "fp32"), seed=experiment.seed).fit(data.train)
    expected = probe.predict_proba(data.test.texts)
    predictor = Predictor.load(only_run(tmp_path) / "model", device="cpu", precision="fp32", trust_remote_code=True)
    from classify.logits import logits

    found = logits(predictor.model, predictor.tokenizer, data.test.texts, bf16=False)
    found = np.exp(found - found.max(axis=1, keepdims=True))
    np.testing.assert_allclose(found / found.sum(axis=1, keepdims=True), expected, atol=1e-4)


def test_several_labels_with_tuned_thresholds(make: Make, tmp_path: Path) -> None:
    main(make(multi=True, selection=SelectionConfig(metric="average_precision", evaluations=2), loss=Asymmetric()))
    record = record_of(tmp_path)
    assert record["data"]["kind"] == "multi"
    assert value(record, "tuned") > value(record, "majority")
    assert len(json.loads((only_run(tmp_path) / "model" / "decisions.json").read_text())["thresholds"]) == 3
    assert any("thresholds:" in sentence for sentence in record["words"])


def test_the_learning_curve_says_what_to_do(make: Make, tmp_path: Path) -> None:
    main(make(curve=True, learning_curve=CurveConfig(fractions=[0.25, 0.5, 1.0])))
    record, run = record_of(tmp_path), only_run(tmp_path)
    curve = record["curve"]
    assert [point["rows"] for point in curve["points"]] == [45, 90, 180]
    assert curve["advice"] in record["words"]
    assert curve["verdict"] in ("stop", "label more", "do not fine-tune", "unclear")
    assert {baseline["name"] for baseline in curve["baselines"]} == {"majority", "linear_probe"}
    assert not list((run / "curve").iterdir())  # checkpoints of the parts are gone
    assert "Is it worth it?" in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"loss": Asymmetric()}, "loss=asymmetric is for multi labels; data.kind is single"),
        ({"selection": SelectionConfig(metric="exact_match")}, "metric 'exact_match' is for multi labels"),
        ({"loss": CrossEntropy(weights="given", given={"alhpa": 2.0})}, "did you mean 'alpha'"),
        ({"tuning": TuningConfig(freeze_layers=9)}, "tuning.freeze_layers must be at most 2"),
        ({"decide": DecideConfig(levels=[0.999])}, "dev"),
        ({"scoring": ClassScoringConfig(metrics=["quadratic_kappa"])}, "quadratic_kappa"),
        ({"scoring": ClassScoringConfig(slices=["lenght"])}, "scoring.slices: .*did you mean 'length'"),
        (
            {"data": {"dev_size": 8}, "decide": DecideConfig(calibration="temperature", sets="none")},
            "decide.calibration=temperature needs at least 10 dev rows, and dev has 8",
        ),
    ],
    ids=["loss", "metric", "weights", "layers", "levels", "scoring", "slices", "calibration"],
)
def test_settings_that_do_not_fit_the_labels_are_refused_in_one_line(
    make: Make, parts: dict[str, Any], message: str
) -> None:
    experiment = make(**{key: value for key, value in parts.items() if key != "data"})
    experiment.data = replace(experiment.data, **parts.get("data", {}))
    with pytest.raises(InputError, match=message.replace("(", r"\(")) as caught:
        main(experiment)
    assert "\n" not in str(caught.value)


def test_what_a_way_does_not_read_is_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="optim has no effect with method=linear_probe"):
        make(method=ProbeMethod(), optim=OptimConfig(epochs=3))
    with pytest.raises(ValueError, match=r"model.document_prompt is not read by a classifier"):
        make(model=ModelConfig(name="x", document_prompt="passage: "))
    with pytest.raises(ValueError, match="curve=true has no meaning with method=zero_shot"):
        make(method=ZeroShot(), curve=True)


def test_a_single_class_is_refused_before_anything_slow(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"text": f"bal {number}", "label": "one"}) + "\n" for number in range(50))
    with pytest.raises(InputError, match="one"):
        main(make())
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").rglob("run.json"))


def test_from_the_command_line(make: Make, tmp_path: Path, vocabulary: list[str], tiny_model: Path) -> None:
    file = tmp_path / "tickets.csv"
    with file.open("w", newline="", encoding="utf-8") as sink:
        writer = csv.writer(sink)
        writer.writerow(("body", "queue"))
        writer.writerows((row["text"], row["label"]) for row in rows(vocabulary, 120))

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "classify.train",
            f"data.train={file}",
            f"run.root={tmp_path / 'runs'}",
            *words,
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    named = ("data.columns.text=body", "data.columns.label=queue", f"model={tiny_model}", "run.device=cpu")
    ran = call(*named, "method=zero_shot", "baselines=[majority]")
    assert ran.returncode == 0, ran.stderr
    assert "macro-F1" in ran.stdout
    assert "Loading weights" not in ran.stderr  # the libraries' own bars
    assert "80% nominal" in ran.stdout  # 12 dev rows are too few for 95%
    assert "95% nominal" not in ran.stdout
    wrong = call(*named, "loss=focall")
    assert wrong.returncode == 2
    assert "focal" in wrong.stderr
    assert "Traceback" not in wrong.stderr
