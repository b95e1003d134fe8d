"""Distillation: a student is a plain smaller model that says what its teacher says, and wrong teachers are refused."""

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
from scipy.special import softmax
from scipy.stats import entropy
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
)

from classify.config import ClassifyExperiment, Distil, DistilStatic, MethodConfig
from classify.distil import fewer_layers, soft_loss, with_unlabelled
from classify.distil_static import token_vectors, weighted
from classify.losses_config import CrossEntropy
from classify.model import load_classifier
from classify.model_config import TuningConfig
from classify.reading_config import ReadingConfig
from classify.train import main
from finewise.config import LabelAuditConfig, LabelDataConfig, ModelConfig, OptimConfig, RunConfig, SelectionConfig
from finewise.data.labels.load import load_labels
from finewise.data.labels.space import LabelSpace
from finewise.errors import InputError

CLASSES = ("alpha", "beta", "gamma")
Make = Callable[..., ClassifyExperiment]


@pytest.fixture
def make(tiny_model: Path, tmp_path: Path, vocabulary: list[str]) -> Make:
    """Makes a small experiment on texts in which words of a label's own eight tell it; keyword arguments replace its parts."""

    def experiment(*, multi: bool = False, **parts: Any) -> ClassifyExperiment:
        rng = random.Random(0)
        lines = []
        for _ in range(240):
            labels = sorted(rng.sample(CLASSES, rng.choice((0, 1, 2)) if multi else 1))
            words = rng.choices(vocabulary[24:], k=3)
            for label in labels:
                words += rng.sample(vocabulary[CLASSES.index(label) * 8 :][:8], 2)
            lines.append(json.dumps({"text": " ".join(words), "label": labels if multi else labels[0]}))
        for split, part in (("train", lines[:160]), ("dev", lines[160:200]), ("test", lines[200:])):
            (tmp_path / f"{split}.jsonl").write_text("\n".join(part), encoding="utf-8")
        files: dict[str, Any] = {split: str(tmp_path / f"{split}.jsonl") for split in ("train", "dev", "test")}
        made: dict[str, Any] = {
            "data": LabelDataConfig(**files),
            "audit": LabelAuditConfig(label_errors=False, near_duplicates=False, leakage="allow"),
            "model": ModelConfig(name=str(tiny_model)),
            "optim": OptimConfig(batch_size=16, learning_rate=4e-3, epochs=4),
            "selection": SelectionConfig(metric="f1_macro", evaluations=2),
            "run": RunConfig(root=str(tmp_path / "runs"), device="cpu", precision="fp32"),
            "baselines": ["majority"],
        }
        return ClassifyExperiment(**made | parts)

    return experiment


def model_of(root: Path) -> Path:
    (manifest,) = root.rglob("run.json")
    return manifest.parent / "model"


def macro_f1(root: Path) -> float:
    record = json.loads((model_of(root).parent / "record.json").read_text())
    return float(
        next(row["value"] for row in record["scores"] if (row["system"], row["metric"]) == ("tuned", "f1_macro"))
    )


def taught(make: Make, tmp_path: Path, *, head: str = "transformers", multi: bool = False) -> Path:
    """Train a teacher; return its folder."""
    main(make(multi=multi, tuning=TuningConfig(head=head), run=RunConfig(root=str(tmp_path / "teacher"), device="cpu")))
    return model_of(tmp_path / "teacher")


@pytest.mark.parametrize(("head", "multi"), [("transformers", False), ("pooled", False), ("transformers", True)])
def test_a_student_with_half_the_layers_is_as_good_and_loads_plain(
    make: Make, tmp_path: Path, head: str, multi: bool
) -> None:
    teacher = taught(make, tmp_path, head=head, multi=multi)
    main(make(multi=multi, method=Distil(teacher=str(teacher))))
    folder = model_of(tmp_path / "runs")
    assert f"# default: {teacher} as a classifier of" in (folder / "README.md").read_text(encoding="utf-8")
    trust = head == "pooled"
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust)
    assert (config.body if trust else config).num_hidden_layers == 1
    assert tuple(config.label2id) == CLASSES
    assert macro_f1(tmp_path / "runs") > macro_f1(tmp_path / "teacher") - 0.15
    code = (
        "import sys\nfrom transformers import pipeline\n"
        f"classify = pipeline('text-classification', {str(folder)!r}, trust_remote_code={trust})\n"
        "print(classify('bal bam', truncation=True)[0]['label'])\n"
        "assert 'finewise' not in sys.modules and 'classify' not in sys.modules\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() in CLASSES


@pytest.mark.parametrize("multi", [False, True])
def test_a_static_student_is_nearly_as_good_and_loads_with_its_own_file(
    make: Make, tmp_path: Path, multi: bool
) -> None:
    teacher = taught(make, tmp_path, multi=multi)
    main(make(multi=multi, method=DistilStatic(teacher=str(teacher), dimensions=16)))
    folder = model_of(tmp_path / "runs")
    assert macro_f1(tmp_path / "runs") > macro_f1(tmp_path / "teacher") - 0.15
    assert (folder / "static.py").is_file()
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        alone = [model(**tokenizer(text, return_tensors="pt")).logits for text in ("bal bam", "dol")]
        both = model(**tokenizer(["bal bam", "dol"], padding=True, return_tensors="pt")).logits
    torch.testing.assert_close(both, torch.cat(alone))


def test_unlabelled_texts_are_taught_but_none_that_dev_or_test_hold(
    make: Make, tmp_path: Path, vocabulary: list[str]
) -> None:
    teacher = taught(make, tmp_path)
    experiment = make()
    data = load_labels(experiment.data, experiment.audit, 42)
    more = [" ".join(random.Random(seed).sample(vocabulary, 5)) for seed in range(20)]
    lines = [*more, data.test.texts[0], data.dev.texts[0], " "]
    (tmp_path / "more.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in lines), encoding="utf-8")
    method = Distil(teacher=str(teacher), unlabelled=str(tmp_path / "more.jsonl"))
    pool = with_unlabelled(method, data)
    assert len(pool) == len(data.train) + len(more)
    assert list(pool.texts)[-20:] == more
    assert pool.revision != data.train.revision
    main(make(method=method))
    assert macro_f1(tmp_path / "runs") > 0.5
    with pytest.raises(InputError, match=r"has no column 'words'; it has text"):
        with_unlabelled(Distil(teacher="x", unlabelled=str(tmp_path / "more.jsonl"), unlabelled_column="words"), data)


def test_a_run_does_not_go_on_with_another_teacher_or_other_texts(make: Make, tmp_path: Path) -> None:
    teacher, texts = taught(make, tmp_path), tmp_path / "more.jsonl"
    texts.write_text('{"text": "bal bam"}', encoding="utf-8")
    experiment = make(
        method=DistilStatic(teacher=str(teacher), dimensions=4, unlabelled=str(texts)),
        optim=OptimConfig(batch_size=16, epochs=1),
        run=RunConfig(dir=str(tmp_path / "one"), device="cpu", precision="fp32"),
        resume="auto",
    )
    main(experiment)
    texts.write_text('{"text": "dol"}', encoding="utf-8")
    with pytest.raises(InputError, match=r"the method\.unlabelled changed since this run began"):
        main(experiment)
    (teacher / "decisions.json").unlink()
    with pytest.raises(InputError, match=r"the method\.teacher changed since this run began"):
        main(experiment)


def test_a_teacher_whose_labels_stand_in_another_order_is_understood(make: Make, tmp_path: Path) -> None:
    teacher = taught(make, tmp_path)
    config = json.loads((teacher / "config.json").read_text())
    order = [2, 0, 1]
    config["id2label"] = {str(place): CLASSES[old] for place, old in enumerate(order)}
    config["label2id"] = {CLASSES[old]: place for place, old in enumerate(order)}
    model = AutoModelForSequenceClassification.from_pretrained(teacher)
    with torch.no_grad():
        model.classifier.weight.copy_(model.classifier.weight[order].clone())
        model.classifier.bias.copy_(model.classifier.bias[order].clone())
    model.save_pretrained(teacher)
    (teacher / "config.json").write_text(json.dumps(config))
    best = main(make(method=Distil(teacher=str(teacher), layers=2, alpha=1.0), optim=OptimConfig(learning_rate=1e-9)))
    assert best == pytest.approx(json.loads((teacher.parent / "record.json").read_text())["selection"]["best"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"id2label": {"0": "alpha", "1": "beta", "2": "gama"}}, "knows the label 'gama'.*did you mean 'gamma'"),
        ({"id2label": {"0": "alpha", "1": "beta"}}, "does not know the data's label 'gamma'"),
        ({"problem_type": "multi_label_classification"}, "gives a text any number of labels.*data.kind=single"),
        ({"architectures": ["BertModel"]}, "is no text classifier"),
    ],
)
def test_a_wrong_teacher_is_one_clear_line(make: Make, tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    teacher = taught(make, tmp_path)
    config = json.loads((teacher / "config.json").read_text())
    if "id2label" in change:
        config["label2id"] = {name: int(key) for key, name in change["id2label"].items()}
    (teacher / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(InputError, match=expected) as caught:
        main(make(method=Distil(teacher=str(teacher))))
    assert "\n" not in str(caught.value)


def test_no_teacher_there(make: Make) -> None:
    with pytest.raises(InputError, match=r"nowhere/model"):
        main(make(method=Distil(teacher="nowhere/model")))


@pytest.mark.parametrize(
    ("method", "parts", "expected"),
    [
        (Distil(teacher="x"), {"tuning": TuningConfig(head="pooled")}, "tuning.head has no effect with method=distil"),
        (
            DistilStatic(teacher="x"),
            {"reading": ReadingConfig(how="chunks")},
            "reading has no effect with method=distil_s",
        ),
        (DistilStatic(teacher="x"), {"tuning": TuningConfig(layer_decay=0.9)}, "tuning.layer_decay has no effect"),
    ],
)
def test_settings_that_are_not_read_are_refused(
    make: Make, method: MethodConfig, parts: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        make(method=method, **parts)


def test_a_teacher_of_another_split_is_refused(make: Make, tmp_path: Path) -> None:
    drawn = LabelDataConfig(train=str(tmp_path / "train.jsonl"))
    main(make(data=drawn, run=RunConfig(root=str(tmp_path / "teacher"), device="cpu")))
    method = Distil(teacher=str(model_of(tmp_path / "teacher")), layers=1)
    with pytest.raises(
        InputError, match=r"^method\.teacher: the run in .* trained on rows that are .* now.* set data\.split_seed=42"
    ):
        main(make(data=replace(drawn, split_seed=1), method=method))


def test_wrong_numbers_are_refused(make: Make) -> None:
    with pytest.raises(ValueError, match=r"method.temperature has no effect with method.alpha=0"):
        Distil(teacher="x", alpha=0, temperature=4)
    with pytest.raises(ValueError, match=r"loss has no effect with method.alpha=1"):
        make(method=Distil(teacher="x", alpha=1), loss=CrossEntropy(label_smoothing=0.1))
    with pytest.raises(ValueError, match=r"method.alpha must be in \[0, 1\]; got 2"):
        Distil(teacher="x", alpha=2)
    with pytest.raises(ValueError, match=r"method.unlabelled has no effect with method.alpha=0"):
        Distil(teacher="x", alpha=0, unlabelled="more.csv")


@pytest.mark.parametrize(("layers", "kept"), [(3, [0, 2, 4]), (2, [0, 4]), (1, [0]), (5, [0, 1, 2, 3, 4])])
@pytest.mark.parametrize("kind", ["distilbert", "modernbert"])
def test_students_of_other_architectures_hold_the_teachers_layers(
    tmp_path: Path, tiny_model: Path, kind: str, layers: int, kept: list[int]
) -> None:
    size: dict[str, Any] = {"vocab_size": 80, "num_labels": 3, "id2label": dict(enumerate(CLASSES))}
    torch.manual_seed(0)
    made: Any
    if kind == "distilbert":
        made = DistilBertForSequenceClassification(
            DistilBertConfig(dim=32, n_layers=5, n_heads=2, hidden_dim=64, max_position_embeddings=64, **size)
        )
    else:
        made = ModernBertForSequenceClassification(
            ModernBertConfig(
                hidden_size=32,
                num_hidden_layers=5,
                num_attention_heads=2,
                intermediate_size=64,
                local_attention=8,
                pad_token_id=0,
                **size,
            )
        )
    made.save_pretrained(tmp_path / "teacher")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path / "teacher")
    space = LabelSpace(kind="single", names=CLASSES)
    teacher, _ = load_classifier(ModelConfig(name=str(tmp_path / "teacher")), space, "cpu")
    student = fewer_layers(teacher, Distil(teacher="x", layers=layers))
    base: Any = student.base_model
    own: Any = teacher.base_model
    stack: Any = (lambda model: model.transformer.layer) if kind == "distilbert" else (lambda model: model.layers)
    for new, place in enumerate(kept):
        one, other = stack(base)[new].state_dict(), stack(own)[place].state_dict()
        for name in set(one) & set(other):
            torch.testing.assert_close(one[name], other[name])
    student.save_pretrained(tmp_path / "student")
    again: Any = AutoModelForSequenceClassification.from_pretrained(tmp_path / "student")
    ids = torch.arange(5, 45)[None]
    with torch.no_grad():
        torch.testing.assert_close(
            again.train(False)(ids).logits, student.train(False)(ids).logits, rtol=1e-4, atol=1e-5
        )


def test_more_layers_than_there_are(tiny_model: Path) -> None:
    teacher, _ = load_classifier(ModelConfig(name=str(tiny_model)), LabelSpace(kind="single", names=CLASSES), "cpu")
    with pytest.raises(InputError, match=r"method\.layers must be at most 2"):
        fewer_layers(teacher, Distil(teacher="x", layers=3))


def test_the_soft_loss_is_the_divergence() -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(5, 4)), rng.normal(size=(5, 4))
    found = soft_loss(torch.tensor(student), torch.tensor(teacher), 2.0, multi=False)
    expected = [4 * entropy(softmax(p / 2), softmax(q / 2)) for q, p in zip(student, teacher, strict=True)]
    np.testing.assert_allclose(found.numpy(), expected)
    both = soft_loss(torch.tensor(student), torch.tensor(teacher), 2.0, multi=True)
    p, q = 1 / (1 + np.exp(-teacher / 2)), 1 / (1 + np.exp(-student / 2))
    expected = 4 * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean(axis=1)
    np.testing.assert_allclose(both.numpy(), expected)


def test_token_vectors_are_those_of_texts_of_one_token(tiny_model: Path) -> None:
    teacher, tokenizer = load_classifier(
        ModelConfig(name=str(tiny_model)), LabelSpace(kind="single", names=CLASSES), "cpu"
    )
    teacher.train(False)
    found = token_vectors(teacher, tokenizer)
    with torch.no_grad():
        hidden = teacher.base_model(**tokenizer("dol", return_tensors="pt")).last_hidden_state[0].mean(0)
    np.testing.assert_allclose(found[tokenizer.convert_tokens_to_ids("dol")], hidden.numpy(), rtol=1e-4, atol=1e-5)


def test_frequent_tokens_weigh_little() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    share = np.full(50, 1e-5)
    whole, less = weighted(vectors, share, None), weighted(vectors, np.where(np.arange(50) == 3, 0.1, share), None)
    ratio = np.linalg.norm(less[3]) / np.linalg.norm(whole[3])
    assert ratio == pytest.approx((1e-4 / (1e-4 + 0.1)) / (1e-4 / (1e-4 + 1e-5)), rel=1e-4)
    assert weighted(vectors, share, 3).shape == (50, 3)
