"""method=knn: the saved classifier says what the baseline says, wherever it is computed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.special import expit, softmax

from benchmarks.config import ClassScoringConfig
from benchmarks.embedded import Embedded
from benchmarks.text.neighbours import TEMPERATURE, NearestNeighbours
from classify import neighbours
from classify.config import ClassifyExperiment, Neighbours
from classify.decide import to_logits
from classify.knn import with_neighbours
from classify.logits import logits
from classify.model import load_classifier
from classify.model_config import TuningConfig
from classify.neighbours import NeighboursForSequenceClassification, Votes
from classify.predictor import Predictor
from classify.reading_config import ReadingConfig
from classify.train import main
from finewise.config import LabelAuditConfig, LabelDataConfig, ModelConfig, RunConfig
from finewise.data.arrow import TextColumn
from finewise.data.keys import text_keys
from finewise.data.labels.columns import Rows, as_is
from finewise.data.labels.load import load_labels
from finewise.data.labels.rows import Labelled
from finewise.data.labels.space import LabelSpace
from finewise.errors import InputError

NAMES = ("a/x", "a/y", "b/z")
Make = Callable[..., Labelled]


@pytest.fixture
def rows(vocabulary: list[str]) -> Make:
    """Makes rows in which some words of each label's own eight tell the label; no two texts are equal."""

    def make(count: int, kind: str = "single", seed: int = 0) -> Labelled:
        rng = np.random.default_rng(seed)
        labels: NDArray[Any] = rng.random((count, 3)) < 0.4 if kind == "multi" else rng.integers(0, 3, count)
        texts = []
        for label in labels:
            told = np.flatnonzero(label) if kind == "multi" else [label]
            own = [word for place in told for word in rng.choice(vocabulary[8 * place : 8 * place + 8], 2)]
            texts.append(" ".join([*own, *rng.choice(vocabulary[24:], rng.integers(4, 9))]))
        return Labelled(
            name="words",
            split="train",
            reference="words.csv",
            unit="line",
            numbers=np.arange(count),
            texts=Rows(TextColumn(pa.chunked_array([pa.array(texts)])), None, as_is),
            labels=labels,
            space=LabelSpace(kind=kind, names=NAMES),
            groups=None,
            columns={},
            keys=text_keys(texts),
            revision="r",
        )

    return make


def experiment(model: Path, method: Neighbours | None = None, **parts: Any) -> ClassifyExperiment:
    return ClassifyExperiment(
        **{
            "data": LabelDataConfig(train="unread.csv"),
            "model": ModelConfig(name=str(model)),
            "method": method or Neighbours(),
            "run": RunConfig(device="cpu", precision="fp32"),
            **parts,
        }
    )


def remembered(
    model: Path, train: Labelled, method: Neighbours | None = None, **loading: Any
) -> tuple[NeighboursForSequenceClassification, Any, NearestNeighbours]:
    """Return the classifier, its tokenizer, and the baseline on the same rows."""
    settings = experiment(model, method)
    embed = Embedded(settings.model, "cpu", "fp32")
    pooled, tokenizer = load_classifier(settings.model, train.space, "cpu", head="pooled", **loading)
    found = with_neighbours(pooled, train, embed, settings, settings.method)  # type: ignore[arg-type]
    return (
        found.eval(),
        tokenizer,
        NearestNeighbours(embed, seed=settings.seed).fit(train),
    )


def said(model: Any, tokenizer: Any, texts: Any, kind: str) -> NDArray[np.floating[Any]]:
    found = logits(model, tokenizer, texts, bf16=False).astype(np.float64)
    return expit(found) if kind == "multi" else softmax(found, axis=1)


@pytest.mark.parametrize("kind", ["single", "multi", "ordinal", "hierarchical"])
def test_it_says_what_the_baseline_says_before_and_after_saving(
    tiny_model: Path, tmp_path: Path, rows: Make, kind: str
) -> None:
    train, test = rows(150, kind), rows(40, kind, seed=1)
    model, tokenizer, baseline = remembered(tiny_model, train)
    expected = baseline.predict_proba(test.texts)
    assert model.config.k == baseline.k
    np.testing.assert_allclose(said(model, tokenizer, test.texts, kind), expected, atol=1e-5)
    raw = logits(model, tokenizer, test.texts, bf16=False)
    np.testing.assert_allclose(raw, to_logits(expected, "probabilities", kind == "multi"), atol=2e-3)
    model.save_pretrained(str(tmp_path / "m"))
    tokenizer.save_pretrained(str(tmp_path / "m"))
    predictor = Predictor.load(tmp_path / "m", device="cpu", precision="fp32", trust_remote_code=True)
    np.testing.assert_allclose(
        said(predictor.model, predictor.tokenizer, test.texts, kind),
        expected,
        atol=1e-5,
    )
    assert predictor.decisions.multi == (kind == "multi")
    stored = load_file(tmp_path / "m" / "model.safetensors")
    assert stored["classifier.vectors"].dtype is torch.float32
    assert stored["classifier.labels"].dtype is (torch.bool if kind == "multi" else torch.int64)


@pytest.mark.parametrize("k", [1, 7, 150])
def test_as_many_vote_as_are_asked_for(tiny_model: Path, rows: Make, k: int) -> None:
    train, test = rows(150), rows(40, seed=1)
    model, tokenizer, baseline = remembered(tiny_model, train, Neighbours(k=k))
    baseline.k = k
    np.testing.assert_allclose(
        said(model, tokenizer, test.texts, "single"),
        baseline.predict_proba(test.texts),
        atol=1e-5,
    )
    with pytest.raises(
        InputError,
        match=r"method.k must be at most 150, the stored training rows; got 151",
    ):
        remembered(tiny_model, train, Neighbours(k=151))


def test_rows_are_compared_in_parts(tiny_model: Path, rows: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = rows(150), rows(40, seed=1)
    model, tokenizer, _ = remembered(tiny_model, train, Neighbours(k=20))
    whole = said(model, tokenizer, test.texts, "single")
    monkeypatch.setattr(neighbours, "ROWS_AT_A_TIME", 16)  # the last part has fewer rows than vote
    np.testing.assert_allclose(said(model, tokenizer, test.texts, "single"), whole, atol=1e-6)


def test_rows_above_the_bound_are_left_out_and_told(
    tiny_model: Path, rows: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _, _ = remembered(tiny_model, rows(150), Neighbours(max_rows=60))
    assert isinstance(model.classifier, Votes)
    assert model.classifier.vectors.shape == (60, 32)
    assert np.bincount(model.classifier.labels.numpy()).min() > 10  # each class in proportion
    told = capsys.readouterr().err
    assert "knn: 60 rows stored" in told
    assert "90 left out (method.max_rows)" in told


@pytest.mark.parametrize("execution", ["padded", "sorted", "packed"])
def test_it_does_not_matter_how_batches_are_computed(tiny_model: Path, rows: Make, execution: str) -> None:
    train, test = rows(150), rows(40, seed=1)
    model, tokenizer, baseline = remembered(tiny_model, train, execution=execution, micro_batch_tokens=32)
    np.testing.assert_allclose(
        said(model, tokenizer, test.texts, "single"),
        baseline.predict_proba(test.texts),
        atol=1e-5,
    )


def test_votes_are_counted_in_fp32_under_bf16(tiny_model: Path, rows: Make) -> None:
    model, _, _ = remembered(tiny_model, rows(150), Neighbours(k=5))
    queries = torch.nn.functional.normalize(torch.randn(9, 32, generator=torch.Generator().manual_seed(0)), dim=1)
    expected = model.classifier(queries)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model.classifier(queries), expected)


def test_head_and_tail_are_compared_with_head_and_tail(tiny_model: Path, rows: Make) -> None:
    from classify.ways import features_of, set_frozen

    train, test = rows(150), rows(40, seed=1)
    settings = experiment(tiny_model, reading=ReadingConfig(how="head_tail"))
    settings.model.max_seq_length = 8
    pooled, tokenizer = load_classifier(settings.model, train.space, "cpu", head="pooled", reading=settings.reading)
    embed = features_of(pooled, tokenizer, bf16=False)
    data: Any = type("Data", (), {"train": train})
    model = set_frozen(pooled, data, embed, settings)
    baseline = NearestNeighbours(embed, seed=settings.seed).fit(train)
    np.testing.assert_allclose(
        said(model, tokenizer, test.texts, "single"),
        baseline.predict_proba(test.texts),
        atol=1e-5,
    )
    with pytest.raises(
        ValueError,
        match=r"reading.how=chunks gives a text several embeddings.*head_tail",
    ):
        experiment(tiny_model, reading=ReadingConfig(how="chunks"))


@pytest.mark.parametrize("multi", [False, True])
def test_logits_are_finite_where_no_vote_is(multi: bool) -> None:
    config = neighbours.NeighboursConfig(
        body={"model_type": "bert", "hidden_size": 2},
        rows=2,
        k=2,
        vote_temperature=TEMPERATURE,
        num_labels=3,
        problem_type="multi_label_classification" if multi else "single_label_classification",
    )
    votes = Votes(config)
    votes.vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    votes.labels = torch.tensor([[True, True, False], [True, False, False]]) if multi else torch.tensor([0, 1])
    votes.prior = torch.tensor([1.0, 0.5, 0.0] if multi else [0.5, 0.5, 0.0])
    found = votes(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    assert found.isfinite().all()
    share = torch.sigmoid(torch.tensor(1 / TEMPERATURE))  # of a neighbour whose cosine is 1, beside one of 0
    voted = np.array([[1, share, 0], [1, 0.5, 0]] if multi else [[share, 1 - share, 0], [0.5, 0.5, 0]])
    probabilities = found.sigmoid() if multi else found.softmax(1)
    np.testing.assert_allclose(probabilities, (2 * voted + votes.prior.numpy()) / 3, atol=1e-6)


OUTSIDE = """
import json, sys
# No import finds these now.
sys.modules.update(dict.fromkeys(("finewise", "classify", "benchmarks", "sentence_transformers", "peft")))
from transformers import pipeline
folder, texts = sys.argv[1], json.loads(sys.argv[2])
classify = pipeline("text-classification", model=folder, trust_remote_code=True, device="cpu")
print(json.dumps(classify(texts, top_k=None)))
"""


def test_a_whole_run_is_the_baseline_and_works_where_finewise_is_not(
    tiny_model: Path, tmp_path: Path, rows: Make
) -> None:
    table = rows(240)
    file = tmp_path / "rows.jsonl"
    lines = [
        json.dumps({"text": text, "label": NAMES[label]})
        for text, label in zip(table.texts, table.labels.tolist(), strict=True)
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    onnx = all(find_spec(name) for name in ("onnx", "onnxruntime"))
    settings = experiment(
        tiny_model,
        data=LabelDataConfig(train=str(file), dev_size=60, test_size=60),
        audit=LabelAuditConfig(label_errors=False, near_duplicates=False),
        scoring=ClassScoringConfig(),
        run=RunConfig(root=str(tmp_path / "runs"), device="cpu", precision="fp32"),
        baselines=["majority", "knn"],
        onnx=onnx,
    )
    main(settings)
    (manifest,) = (tmp_path / "runs").rglob("run.json")
    folder = manifest.parent / "model"
    record = json.loads((manifest.parent / "record.json").read_text())
    scores = {(row["system"], row["metric"]): row["value"] for row in record["scores"] if row["split"] == "test"}
    assert scores["tuned", "accuracy"] == scores["knn", "accuracy"]
    assert record["model"]["method"] == "knn"
    assert record["model"]["neighbours"]["rows"] == 120
    assert record["cost"]["texts"] == 0
    assert (folder / "model.onnx").exists() == onnx
    card = (folder / "README.md").read_text()
    for expected in (
        "120 training rows are stored",
        "neighbours.py with pooled.py",
        "share it with those who may",
    ):
        assert expected in card
    saved = json.loads((folder / "config.json").read_text())
    assert saved["auto_map"] == {
        "AutoConfig": "neighbours.NeighboursConfig",
        "AutoModelForSequenceClassification": "neighbours.NeighboursForSequenceClassification",
    }

    test = load_labels(settings.data, settings.audit, settings.seed).test
    ran = subprocess.run(
        [
            sys.executable,
            "-P",
            "-c",
            OUTSIDE,
            str(folder),
            json.dumps(list(test.texts)),
        ],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        env={
            **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            "HF_MODULES_CACHE": str(tmp_path / "code"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    predictor = Predictor.load(folder, device="cpu", precision="fp32", trust_remote_code=True)
    expected = said(predictor.model, predictor.tokenizer, test.texts, "single")
    for row, answer in zip(expected, json.loads(ran.stdout.splitlines()[-1]), strict=True):
        by_label = {entry["label"]: entry["score"] for entry in answer}
        assert [by_label[name] for name in test.space.names] == pytest.approx(row.tolist(), abs=1e-5)


def test_onnx_says_what_the_model_says_for_several_labels(tiny_model: Path, tmp_path: Path, rows: Make) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from classify.onnx import export_onnx

    train = rows(150, "multi")
    model, tokenizer, _ = remembered(tiny_model, train, Neighbours(k=10))
    model.save_pretrained(str(tmp_path / "m"))
    tokenizer.save_pretrained(str(tmp_path / "m"))
    texts = rows(12, "multi", seed=1).texts
    assert export_onnx(tmp_path / "m", tmp_path / "m.onnx", texts, trust_remote_code=True) < 0.01


def test_stored_rows_are_no_start_for_training(tiny_model: Path, tmp_path: Path, rows: Make) -> None:
    from classify.heads import head_linear

    model, tokenizer, _ = remembered(tiny_model, rows(60))
    folder = tmp_path / "m"
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    again, _ = load_classifier(ModelConfig(name=str(folder)), LabelSpace(kind="single", names=NAMES), "cpu")
    with pytest.raises(
        InputError,
        match="method=knn has no head that could learn; give the encoder it was made of",
    ):
        head_linear(again)
    others = LabelSpace(kind="single", names=("b/z", "a/y", "a/x"))
    with pytest.raises(
        InputError,
        match="was saved by method=knn for other labels, or for these in another order; give the encoder it was made of",
    ):
        load_classifier(ModelConfig(name=str(folder)), others, "cpu")
    weights = load_file(folder / "model.safetensors")
    del weights["classifier.vectors"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"1 weights of Neighbours\w+ are missing.*classifier.vectors"):
        load_classifier(ModelConfig(name=str(folder)), LabelSpace(kind="single", names=NAMES), "cpu")


def test_settings_are_checked(tiny_model: Path) -> None:
    with pytest.raises(ValueError, match=r"method.k must be at least 1"):
        Neighbours(k=0)
    with pytest.raises(ValueError, match=r"method.max_rows must be at least 2"):
        Neighbours(max_rows=1)
    with pytest.raises(ValueError, match="tuning has no effect with method=knn"):
        experiment(tiny_model, tuning=TuningConfig(head="pooled"))
