"""Few-shot: batches by class, a loss that compares texts by their labels, and an experiment that ends in a plain classifier."""

import itertools
import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from classify import few_shot
from classify.config import ClassifyExperiment, FewShot, Lora
from classify.few_shot import ClassBatches, contrastive, label_sets, likeness
from classify.losses_config import CrossEntropy
from classify.model_config import TuningConfig
from classify.shots import shots
from classify.train import main
from finewise.config import LabelAuditConfig, LabelDataConfig, ModelConfig, OptimConfig, RunConfig, SelectionConfig
from finewise.data.labels.space import LabelSpace
from finewise.errors import InputError

CLASSES = ("alpha", "beta", "gamma")
Make = Callable[..., ClassifyExperiment]


@pytest.fixture
def make(tiny_model: Path, tmp_path: Path, vocabulary: list[str]) -> Make:
    """Makes a small experiment on texts in which words of a label's own eight tell it; keyword arguments replace its parts."""

    def experiment(*, multi: bool = False, same: bool = False, **parts: Any) -> ClassifyExperiment:
        rng = random.Random(0)
        lines = []
        for number in range(240):
            labels = sorted(rng.sample(CLASSES, rng.choice((0, 1, 2)) if multi else 1))
            words = rng.choices(vocabulary[24:], k=3)
            for label in labels:
                words += rng.sample(vocabulary[CLASSES.index(label) * 8 :][:8], 2)
            text = labels[0] if same and number < 160 else " ".join(words)
            lines.append({"text": text, "label": labels if multi else labels[0], "place": number})
        for split, part in (("train", lines[:160]), ("dev", lines[160:200]), ("test", lines[200:])):
            text = "\n".join(json.dumps(row) for row in part)
            (tmp_path / f"{split}.jsonl").write_text(text, encoding="utf-8")
        files: dict[str, Any] = {split: str(tmp_path / f"{split}.jsonl") for split in ("train", "dev", "test")}
        made: dict[str, Any] = {
            "data": LabelDataConfig(**files),
            "audit": LabelAuditConfig(label_errors=False, near_duplicates=False, leakage="allow"),
            "model": ModelConfig(name=str(tiny_model)),
            "optim": OptimConfig(batch_size=12, learning_rate=3e-3),
            "selection": SelectionConfig(metric="f1_macro", evaluations=2),
            "run": RunConfig(root=str(tmp_path / "runs"), device="cpu", precision="fp32"),
            "baselines": ["majority", "linear_probe"],
            "method": FewShot(shots=8),
        }
        return ClassifyExperiment(**made | parts)

    return experiment


def run_of(tmp_path: Path) -> Path:
    (manifest,) = (tmp_path / "runs").rglob("run.json")
    return manifest.parent


@pytest.mark.parametrize("multi", [False, True])
def test_an_experiment_learns_from_few_rows_and_leaves_a_plain_classifier(
    make: Make, tmp_path: Path, multi: bool
) -> None:
    best = main(make(multi=multi, method=FewShot(shots=24 if multi else 8)))
    run = run_of(tmp_path)
    record = json.loads((run / "record.json").read_text())
    metric = "average_precision" if multi else "f1_macro"
    scores = {
        row["system"]: row["value"] for row in record["scores"] if row["metric"] == metric and row["split"] == "test"
    }
    assert best == record["selection"]["best"]
    assert scores["tuned"] > scores["majority"] + 0.2
    assert record["model"]["method"] == "few_shot"
    if not multi:
        assert record["cost"]["texts"] == 20 * 8 * 3
    model = AutoModelForSequenceClassification.from_pretrained(run / "model", trust_remote_code=True)
    assert tuple(model.config.label2id) == CLASSES
    assert AutoTokenizer.from_pretrained(run / "model")("bal")["input_ids"]


def test_training_that_harms_leaves_the_encoder_as_it_was(
    make: Make, tmp_path: Path, tiny_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    main(make())
    trained: Any = AutoModelForSequenceClassification.from_pretrained(
        run_of(tmp_path) / "model", trust_remote_code=True
    )
    (tmp_path / "runs").rename(tmp_path / "before")
    good = tmp_path / "good"
    shutil.copytree(tiny_model, good)
    trained.body.save_pretrained(good)
    optim = OptimConfig(batch_size=12, learning_rate=0.3, max_steps=20)
    best = main(make(model=ModelConfig(name=str(good)), optim=optim))
    record = json.loads((run_of(tmp_path) / "record.json").read_text())
    assert (record["selection"]["best_step"], record["selection"]["best"]) == (0, best)
    assert "the encoder is kept as it was" in caplog.text
    saved = load_file(run_of(tmp_path) / "model/model.safetensors")
    assert all(torch.equal(values, saved[f"body.{name}"]) for name, values in trained.body.state_dict().items())


def test_a_resumed_run_ends_as_an_undisturbed_one(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = main(make())
    (tmp_path / "runs").rename(tmp_path / "before")
    learnt = few_shot.train_few_shot

    def killed(*args: Any, **kwargs: Any) -> Any:
        learnt(*args, **kwargs)
        checkpoints = run_of(tmp_path) / "checkpoints"
        newest = max(checkpoints.iterdir(), key=lambda path: int(path.name.rsplit("-", 1)[1]))
        (newest / "complete.json").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr("classify.ways.train_few_shot", killed)
    with pytest.raises(KeyboardInterrupt):
        main(make(resume="auto"))
    monkeypatch.setattr("classify.ways.train_few_shot", learnt)
    assert main(make(resume="auto")) == whole
    (before,) = [path for path in (tmp_path / "before").rglob("model.safetensors") if path.parent.name == "model"]
    assert (run_of(tmp_path) / "model/model.safetensors").read_bytes() == before.read_bytes()


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"loss": CrossEntropy()}, "loss has no effect with method=few_shot"),
        ({"tuning": TuningConfig(head="pooled")}, "tuning.head has no effect with method=few_shot"),
        ({"tuning": TuningConfig(head_learning_rate=1.0)}, "tuning.head_learning_rate has no effect"),
    ],
)
def test_settings_that_are_not_read_are_refused(make: Make, parts: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        make(**parts)


def test_other_methods_keep_their_settings(make: Make) -> None:
    assert make(method=Lora(), tuning=TuningConfig(head="pooled"), loss=CrossEntropy()).tuning.head == "pooled"


def test_classes_of_one_text_each_are_refused(make: Make) -> None:
    with pytest.raises(InputError, match="no class has two training rows with different texts"):
        main(make(same=True, method=FewShot()))


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=7),
    batch=st.integers(1, 16),
    per_class=st.integers(2, 6),
    seed=st.integers(0, 9),
)
def test_batches_hold_no_row_twice_and_all_classes_come_equally_often(
    sizes: list[int], batch: int, per_class: int, seed: int
) -> None:
    ends = np.cumsum([0, *sizes])
    members = [np.arange(low, high) for low, high in itertools.pairwise(ends)]
    batch = min(batch, int(ends[-1]))
    sampler = ClassBatches(members, batch, per_class, 6, seed)
    drawn = np.array(list(sampler)).reshape(6, batch)
    assert len(sampler) == 6 * batch
    for rows in drawn:
        assert len(set(rows.tolist())) == batch
    assert list(sampler) == drawn.reshape(-1).tolist()


def test_batches_of_large_classes_hold_equally_many_rows_of_each() -> None:
    members = [np.arange(0, 50), np.arange(50, 60), np.arange(60, 100)]
    drawn = np.array(list(ClassBatches(members, 12, 4, 30, 1))).reshape(30, 12)
    assert {int(((rows >= 50) & (rows < 60)).sum()) for rows in drawn} == {4}
    assert set(drawn.reshape(-1).tolist()) == set(range(100))


def test_the_loss_is_the_papers_for_single_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    features, labels = torch.randn(9, 4), [0, 0, 1, 1, 1, 2, 2, 0, 3]
    unit = (features / features.norm(dim=1, keepdim=True)).tolist()

    def cosine(i: int, j: int) -> float:
        return sum(a * b for a, b in zip(unit[i], unit[j], strict=True))

    expected = []
    for i, label in enumerate(labels):
        within = [p for p in range(9) if p != i and labels[p] == label]
        between = [n for n in range(9) if labels[n] != label]
        expected.append(math.log(1 + sum(math.exp(5 * (cosine(i, n) - cosine(i, p))) for p in within for n in between)))
    like, same = likeness(torch.eye(4)[torch.tensor(labels)]), torch.eye(9, dtype=torch.bool)
    torch.testing.assert_close(contrastive(features, like, same, 5.0), torch.tensor(expected))
    monkeypatch.setattr(few_shot, "CELLS", 200)  # two rows at a time
    torch.testing.assert_close(contrastive(features, like, same, 5.0), torch.tensor(expected))


def test_labels_that_are_alike_in_part_are_put_in_order() -> None:
    like = torch.tensor([[1, 0.5, 0.2, 0.2]] * 4)
    same = torch.eye(4, dtype=torch.bool)
    right = torch.tensor([[1.0, 0], [0.9, 0.5], [0.5, 0.9], [0.4, 0.9]])
    wrong = right[[0, 2, 1, 3]]
    better, worse = (contrastive(some, like, same, 10.0)[0] for some in (right, wrong))
    assert better < worse


def test_equal_texts_are_no_pair() -> None:
    features = torch.randn(4, 4, requires_grad=True)
    same = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).bool()
    # Rows 0 and 1 hold one text with two labels: nothing is left that has row 0's label, and something that has row 2's.
    like = torch.tensor([[1.0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]])
    loss = contrastive(features, like, same, 10.0)
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    assert bool(torch.isfinite(features.grad).all())
    assert (loss > 0).tolist() == [False, True, True, False]


def test_a_batch_of_one_text_has_no_loss_and_no_gradient() -> None:
    features = torch.randn(3, 4, requires_grad=True)
    loss = contrastive(features, torch.ones(3, 3), torch.ones(3, 3, dtype=torch.bool), 10.0)
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    assert loss.tolist() == [0, 0, 0]
    assert features.grad.abs().max() == 0


def test_likeness_is_the_share_of_common_labels() -> None:
    found = likeness(torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 0], [1, 1, 0]]).bool())
    torch.testing.assert_close(
        found, torch.tensor([[1, 1 / 3, 0, 1], [1 / 3, 1, 0, 1 / 3], [0, 0, 0, 0], [1, 1 / 3, 0, 1]])
    )


def test_paths_are_alike_by_what_they_share() -> None:
    space = LabelSpace(kind="hierarchical", names=("art/film", "art/music", "law"))
    found = likeness(label_sets(torch.tensor([0, 1, 2]), space))
    torch.testing.assert_close(found[0], torch.tensor([1, 1 / 3, 0]))


def test_shots_are_nested_and_seeded() -> None:
    labels = np.repeat([0, 1, 2], [30, 20, 3])

    class Rows:
        def __init__(self) -> None:
            self.labels, self.space = labels, ("a", "b", "c")

        def __len__(self) -> int:
            return len(labels)

    rows: Any = Rows()
    eight, sixteen = shots(rows, 8, 1), shots(rows, 16, 1)
    assert np.bincount(labels[eight]).tolist() == [8, 8, 3]
    assert set(eight) < set(sixteen)
    assert eight.tolist() != shots(rows, 8, 2).tolist()


def test_shots_of_several_labels_fill_each() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((400, 5)) < np.array([0.5, 0.3, 0.1, 0.05, 0.02])

    class Rows:
        def __init__(self) -> None:
            self.labels, self.counts = labels, labels.sum(axis=0)

        def __len__(self) -> int:
            return len(labels)

    drawn: Any = Rows()
    found = labels[shots(drawn, 8, 0)]
    assert (found.sum(axis=0) >= np.minimum(8, labels.sum(axis=0))).all()
    assert found.any(axis=1).all()
    assert len(found) <= 5 * 8
