"""A small experiment from files to record: what a user gets, also after a kill, and with texts longer than the model reads."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoModelForTokenClassification, pipeline

from classify.spans.config import TokenDataConfig, TokensExperiment, WindowsConfig
from classify.spans.load import load
from classify.tokens import main
from finewise.config import AuditConfig, ModelConfig, OptimConfig, RunConfig, SelectionConfig
from finewise.errors import InputError
from finewise.settings.edge import check, register
from finewise.settings.schema import Schema

Sentences = Callable[..., list[tuple[list[str], list[str]]]]


def experiment(model: Path, train: Path, root: Path, **more: Any) -> TokensExperiment:
    settings: dict[str, Any] = {
        "data": TokenDataConfig(train=str(train), name="names"),
        "audit": AuditConfig(near_duplicates=False),
        "model": ModelConfig(name=str(model)),
        "optim": OptimConfig(epochs=6, batch_size=16, learning_rate=5e-3),
        "selection": SelectionConfig(metric="entity_f1", evaluations=3),
        "run": RunConfig(root=str(root), device="cpu", precision="fp32"),
    }
    return TokensExperiment(**settings | more)


@pytest.fixture(scope="module")
def train_file(tmp_path_factory: pytest.TempPathFactory, learnable: Sentences) -> Path:
    path = tmp_path_factory.mktemp("data") / "train.conll"
    lines = ["".join(f"{word}\t{tag}\n" for word, tag in zip(*one, strict=True)) for one in learnable(300)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(tiny_model: Path, train_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    root = tmp_path_factory.mktemp("runs")
    best = main(experiment(tiny_model, train_file, root))
    assert best is not None
    assert best > 0.8
    (folder,) = root.glob("tokens/default/*")
    return folder


def record_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    return content


def test_record(run: Path) -> None:
    record = record_of(run)
    scores = {(row["system"], row["metric"]): row for row in record["scores"] if row["split"] == "test"}
    assert {system for system, _ in scores} == {"tuned", "majority", "gazetteer", "linear"}
    assert scores["tuned", "entity_f1"]["value"] > 0.8
    assert scores["majority", "entity_f1"]["value"] == 0
    for row in record["scores"]:
        assert 0 <= row["low"] <= row["high"] <= 1
    assert {(row["a"], row["b"]) for row in record["comparisons"]} == {
        ("tuned", name) for name in ("majority", "gazetteer", "linear")
    }
    against = next(row for row in record["comparisons"] if row["b"] == "majority" and row["metric"] == "entity_f1")
    assert against["p"] is None or against["p"] < 0.01
    assert record["selection"]["test_reads"] == 1
    assert record["data"]["windows"]["train"]["texts_in_several_windows"] == 0
    assert [row["type"] for row in record["types"]] == ["LOC", "PER"]
    assert (run / "report.html").exists()
    first = json.loads((run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert {"where", "text", "gold", "tuned", "linear"} <= first.keys()


def test_saved_model_loads_plainly_and_finds_spans_in_text(run: Path, vocabulary: list[str]) -> None:
    model = AutoModelForTokenClassification.from_pretrained(str(run / "model"))
    assert list(model.config.id2label.values()) == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    find: Any = pipeline("token-classification", str(run / "model"), aggregation_strategy="simple", device="cpu")
    text = f"{vocabulary[30]} {vocabulary[0]} {vocabulary[8]} {vocabulary[31]} {vocabulary[16]}"
    found = [(one["entity_group"], text[one["start"] : one["end"]]) for one in find(text)]
    assert found == [("PER", f"{vocabulary[0]} {vocabulary[8]}"), ("LOC", vocabulary[16])]
    card = (run / "model" / "README.md").read_text(encoding="utf-8")
    assert 'aggregation_strategy="simple"' in card
    assert "pipeline_tag" in card


POINTS = ("before-the-first-checkpoint", "between-checkpoints", "before-test", "before-the-record")


@pytest.fixture(scope="module")
def killed(tiny_model: Path, train_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a killed run for every point."""
    root = tmp_path_factory.mktemp("killed")
    script = Path(__file__).with_name("crash.py")
    command = [sys.executable, str(script), str(tiny_model), str(train_file), str(root), *POINTS]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    ends = [line for line in ran.stdout.splitlines() if line.startswith(POINTS)]
    assert ends == [f"{point} {-signal.SIGKILL}" for point in POINTS], ran.stdout + ran.stderr
    return root


@pytest.mark.parametrize("point", POINTS)
def test_killed_and_finished_is_the_same(
    run: Path, killed: Path, tiny_model: Path, train_file: Path, point: str
) -> None:
    main(experiment(tiny_model, train_file, killed / point, resume="auto"))
    (folder,) = (killed / point).glob("tokens/default/*")
    assert record_of(folder)["cost"]["attempts"] == 2
    for name in ("model/model.safetensors", "predictions.jsonl"):
        assert (folder / name).read_bytes() == (run / name).read_bytes()
    for key in ("scores", "comparisons", "selection", "data"):
        assert record_of(folder)[key] == record_of(run)[key]


def test_long_texts_are_read_whole(
    tiny_model: Path, tmp_path: Path, learnable: Sentences, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sentences strung together to several times the model's 64 tokens: their ends are found as well as their beginnings."""
    rows = []
    for start in range(0, 480, 8):
        words, tags = zip(*learnable(480)[start : start + 8], strict=True)
        rows.append({"tokens": list(chain(*words)), "tags": list(chain(*tags))})
    path = tmp_path / "long.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = experiment(
        tiny_model, path, tmp_path, windows=WindowsConfig(overlap=16, pieces="first"), baselines=["majority"],
        data=TokenDataConfig(train=str(path), dev_size=10, test_size=10), class_weights="balanced",
        optim=OptimConfig(epochs=12, batch_size=16, learning_rate=5e-3),
    )  # fmt: skip
    main(settings)
    assert (
        "test: 10 of 10 texts are longer than 64 tokens and are read in overlapping windows" in capsys.readouterr().err
    )
    (folder,) = tmp_path.glob("tokens/default/*")
    ledger = record_of(folder)["data"]["windows"]["test"]
    assert ledger["texts_in_several_windows"] == 10
    assert ledger["words_without_a_piece"] == 0
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    middle = np.median([len(line["text"]) for line in lines]) / 2
    for early in (True, False):
        gold, tuned = (
            [{(row, one["start"], one["end"], one["label"]) for one in line[key] if (one["start"] < middle) == early}
             for row, line in enumerate(lines)]
            for key in ("gold", "tuned")
        )  # fmt: skip
        right = sum(len(one & other) for one, other in zip(gold, tuned, strict=True))
        assert right / sum(map(len, gold)) > 0.8


def test_mistakes_in_the_settings() -> None:
    schema = Schema(TokensExperiment, {})
    register("tokens", schema)
    assert check("tokens", schema, ["data.train=x"]).mistakes == []
    for arguments, what in (
        (["data.train=x", "selection.metric=f1"], "entity_f1"),
        (["data.train=x", "baselines=[crf]"], "baselines must be of majority, gazetteer, linear"),
        (["data.train=x", "model.query_prompt=hi"], "model.query_prompt has no effect"),
        (["data.train=x", "data.scheme=bieso"], "bioes"),
    ):
        (mistake,) = check("tokens", schema, arguments).mistakes
        assert what in mistake


def test_no_such_file(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.conll: no such file"):
        main(experiment(tiny_model, tmp_path / "nothing.conll", tmp_path))


def test_seeds_share_dev(tiny_model: Path, train_file: Path, tmp_path: Path) -> None:
    data = TokenDataConfig(train=str(train_file), max_dev_rows=12)
    first, again, other = (
        load(experiment(tiny_model, train_file, tmp_path, data=each, seed=seed))
        for each, seed in (
            (data, 1),
            (data, 2),
            (TokenDataConfig(train=str(train_file), max_dev_rows=12, split_seed=7), 1),
        )
    )
    assert first.revision == again.revision != other.revision
