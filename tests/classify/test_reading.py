"""Long documents: which tokens are read, with which special tokens, and that training, scoring and the saved model agree."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from transformers import PreTrainedModel

from benchmarks.classification import load_per_example
from benchmarks.config import ClassScoringConfig
from classify.config import ClassifyExperiment, Full, LinearProbe, Lora, MethodConfig, ProbeFirst
from classify.features import RowCollator
from classify.heads import encode, head_features, head_linear
from classify.logits import logits
from classify.model import load_classifier
from classify.model_config import TuningConfig
from classify.predictor import Predictor
from classify.prove import unlike
from classify.reading import DOCUMENTS, Reader, pool, reading_of
from classify.reading_config import ReadingConfig
from classify.train import main
from finewise.config import LabelAuditConfig, LabelDataConfig, ModelConfig, OptimConfig, RunConfig, SelectionConfig
from finewise.data.labels.load import load_labels
from finewise.data.labels.space import LabelSpace
from finewise.errors import InputError
from finewise.features import ROW

SPACE = LabelSpace(kind="single", names=("bad", "fair", "good"))
CHUNKS = ReadingConfig(how="chunks", stride=4)
HEAD_TAIL = ReadingConfig(how="head_tail", head_share=0.5)
LIMIT = 8  # of which two are special


def load(folder: Path, reading: ReadingConfig | None, **more: Any) -> tuple[PreTrainedModel, Any]:
    model = ModelConfig(name=str(folder), max_seq_length=LIMIT, **more.pop("model", {}))
    return load_classifier(model, SPACE, "cpu", reading=reading, **more)


def read(folder: Path, text: str, reading: ReadingConfig, prompt: str = "") -> list[str]:
    model, tokenizer = load(folder, reading, model={"query_prompt": prompt})
    return [" ".join(tokenizer.convert_ids_to_tokens(ids)) for ids in encode(model, tokenizer, [text])["input_ids"]]


@pytest.fixture
def texts(vocabulary: list[str]) -> list[str]:
    rng = random.Random(1)
    return [" ".join(rng.choices(vocabulary, k=count)) for count in (1, 30, 6, 7, 13, 61, 3, 0)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stride": 4}, "reading.stride has no effect with reading.how=head"),
        ({"how": "chunks", "head_share": 0.5}, "reading.head_share has no effect with reading.how=chunks"),
        ({"how": "head_tail", "pool": "max"}, "reading.pool has no effect with reading.how=head_tail"),
        ({"how": "head_tail", "head_share": 1.0}, "reading.head_share must be between 0 and 1"),
        ({"how": "chunks", "max_chunks": 0}, "reading.max_chunks must be at least 1"),
    ],
)
def test_a_setting_that_would_not_be_read_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReadingConfig(**settings)


@pytest.mark.parametrize(
    ("reading", "model", "message"),
    [
        (ReadingConfig(how="chunks", window=9), {}, "reading.window must be at most 8, the model's limit; got 9"),
        (ReadingConfig(how="chunks", stride=7), {}, "reading.stride must be at most 6"),
        (HEAD_TAIL, {"query_prompt": "bal bam ban "}, "max_seq_length=8 leaves no room .* take 5"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(
    tiny_model: Path, reading: ReadingConfig, model: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load(tiny_model, reading, model=model)


def test_each_window_has_its_special_tokens_and_the_prompt(tiny_model: Path) -> None:
    text = "bal bam ban bar bas bat bav baz dol dom"
    assert read(tiny_model, text, ReadingConfig()) == ["[CLS] bal bam ban bar bas bat [SEP]"]
    assert read(tiny_model, text, HEAD_TAIL) == ["[CLS] bal bam ban baz dol dom [SEP]"]
    assert read(tiny_model, text, CHUNKS) == [
        "[CLS] bal bam ban bar bas bat [SEP]",
        "[CLS] bas bat bav baz dol dom [SEP]",
    ]
    assert read(tiny_model, text, HEAD_TAIL, "ril ") == ["[CLS] ril bal bam baz dol dom [SEP]"]
    assert read(tiny_model, text, ReadingConfig(how="chunks", max_chunks=2), "ril ") == [
        "[CLS] ril bal bam ban bar bas [SEP]",
        "[CLS] ril bat bav baz dol dom [SEP]",
    ]


@pytest.mark.parametrize("reading", [CHUNKS, HEAD_TAIL])
def test_a_text_within_the_limit_is_read_as_the_tokenizer_gives_it(tiny_model: Path, reading: ReadingConfig) -> None:
    short = ["bal bam ban bar bas bat", "dol", ""]
    model, tokenizer = load(tiny_model, reading)
    found = encode(model, tokenizer, short)
    assert found.pop(DOCUMENTS, [0, 1, 2]) == [0, 1, 2]
    assert found == dict(tokenizer(short, truncation=True))


readers = st.builds(
    lambda room, stride, windows: Reader(
        config=ReadingConfig(how="chunks", stride=None if stride is None else 1 + stride % room, max_chunks=windows),
        before=2,
        after=1,
        room=room,
    ),
    st.integers(4, 40),
    st.none() | st.integers(0, 100),
    st.integers(1, 9),
)


@given(readers, st.integers(0, 500))
def test_windows_lie_evenly_from_the_first_token_to_the_last(reader: Reader, count: int) -> None:
    spans = reader.spans(count)
    assert 1 <= len(spans) <= reader.config.max_chunks
    assert spans[0][0] == 0
    assert spans == sorted(set(spans))
    assert {stop - start for start, stop in spans} == {min(count, reader.room)}
    if len(spans) > 1:
        assert spans[-1][1] == count
        steps = np.diff([start for start, _ in spans])
        assert steps.max() - steps.min() <= 1
    if len(spans) < reader.config.max_chunks:  # as many as are needed: nothing is left out
        assert {place for start, stop in spans for place in range(start, stop)} == set(range(count))


@given(st.integers(4, 40), st.floats(0.01, 0.99), st.integers(0, 500))
def test_head_and_tail_fill_the_window(room: int, share: float, count: int) -> None:
    reader = Reader(config=ReadingConfig(how="head_tail", head_share=share), before=1, after=1, room=room)
    (ids,) = reader.windows([0, *range(10, 10 + count), 1])
    assert len(ids) == min(count, room) + 2
    assert ids[1:-1] == sorted(set(ids[1:-1]))
    if count:
        assert (ids[1], ids[-2]) == (10, 9 + count)


@pytest.mark.parametrize("multi", [False, True])
def test_pooling_is_what_it_says(multi: bool) -> None:
    torch.manual_seed(0)
    raw = torch.randn(7, 4, dtype=torch.float64).mul(3).float().requires_grad_()
    owner = torch.tensor([0, 0, 0, 1, 2, 2, 2])
    groups = [raw[owner == number] for number in range(3)]
    torch.testing.assert_close(pool(raw, owner, "mean", multi=multi), torch.stack([one.mean(0) for one in groups]))
    torch.testing.assert_close(pool(raw, owner, "max", multi=multi), torch.stack([one.amax(0) for one in groups]))
    found = pool(raw, owner, "probabilities", multi=multi)
    if multi:
        expected = torch.stack([one.sigmoid().mean(0) for one in groups])
        torch.testing.assert_close(found.sigmoid(), expected)
    else:
        expected = torch.stack([one.softmax(1).mean(0) for one in groups])
        torch.testing.assert_close(found.softmax(1), expected)
    (slope,) = torch.autograd.grad(found.sum(), raw, retain_graph=True)
    (other,) = torch.autograd.grad((expected.logit() if multi else expected.log()).sum(), raw)
    torch.testing.assert_close(slope, other, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("multi", [False, True])
def test_pooled_probabilities_near_0_and_1_stay_finite(multi: bool) -> None:
    raw = torch.tensor([[90.0, -90.0], [95.0, -99.0]], requires_grad=True)
    found = pool(raw, torch.tensor([0, 0]), "probabilities", multi=multi)
    assert bool((found[:, 0] > 80).all()) if multi else bool((found[:, 1] < -100).all())
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert raw.grad is not None
    assert bool(raw.grad.isfinite().all())


@pytest.mark.parametrize("head", ["transformers", "pooled"])
@pytest.mark.parametrize("how", ["mean", "max", "probabilities"])
def test_logits_of_documents_are_pooled_from_those_of_their_windows(
    still_model: Path, texts: list[str], head: str, how: str
) -> None:
    model, tokenizer = load(still_model, replace(CHUNKS, pool=how, max_chunks=5), head=head)
    padded, _ = load(still_model, replace(CHUNKS, pool=how, max_chunks=5), head=head, execution="padded")
    plain, _ = load(still_model, ReadingConfig(), head=head)
    plain.train(False)
    found = logits(model, tokenizer, texts, bf16=False)
    np.testing.assert_allclose(logits(padded, tokenizer, texts, bf16=False), found, atol=1e-5)
    for text, row in zip(texts, found, strict=True):
        windows = encode(model, tokenizer, [text])
        windows.pop(DOCUMENTS)
        with torch.no_grad():
            raw = plain(**tokenizer.pad(windows, return_tensors="pt")).logits
        expected = {"mean": raw.mean(0), "max": raw.amax(0), "probabilities": raw.softmax(1).mean(0).log()}[how]
        np.testing.assert_allclose(row, expected, atol=1e-5)
    if how == "mean":
        layer = head_linear(model)
        again = functional.linear(torch.from_numpy(head_features(model, tokenizer, texts)), layer.weight, layer.bias)
        np.testing.assert_allclose(again.detach(), found, atol=1e-5)


def long_rows(folder: Path, vocabulary: list[str], count: int = 180) -> Path:
    """Texts of up to 40 words, whose last word alone tells the label."""
    rng = random.Random(0)
    file = folder / "long.jsonl"
    with file.open("w", encoding="utf-8") as lines:
        for number in range(count):
            label = number % 3
            words = rng.choices(vocabulary[24:], k=rng.randrange(1, 40))
            words.append(rng.choice(vocabulary[label * 8 : label * 8 + 8]))
            lines.write(json.dumps({"text": " ".join(words), "label": SPACE.names[label]}) + "\n")
    return file


@pytest.mark.parametrize("reading", [CHUNKS, HEAD_TAIL])
def test_a_training_batch_is_what_scoring_reads(
    tiny_model: Path, tmp_path: Path, vocabulary: list[str], reading: ReadingConfig
) -> None:
    data = load_labels(
        LabelDataConfig(train=str(long_rows(tmp_path, vocabulary))), LabelAuditConfig(label_errors=False), seed=0
    )
    model, tokenizer = load(tiny_model, reading, model={"query_prompt": "ril "})
    batch = RowCollator(model, tokenizer, data.train)([{ROW: row} for row in (5, 0, 9)])
    np.testing.assert_array_equal(batch.pop("labels"), data.train.labels[[5, 0, 9]])
    expected = tokenizer.pad(
        encode(model, tokenizer, [data.train.texts[row] for row in (5, 0, 9)]), return_tensors="pt"
    )
    assert batch.keys() == expected.keys()
    for key, value in batch.items():
        assert torch.equal(value, expected[key]), key


def train(
    folder: Path, model: Path, vocabulary: list[str], reading: ReadingConfig, method: MethodConfig
) -> tuple[float, Path, dict[str, Any]]:
    """Run an experiment; return its test score, its folder and its record."""
    training: dict[str, Any] = {
        "optim": OptimConfig(epochs=8, batch_size=16, learning_rate=1e-2),
        "tuning": TuningConfig(head="pooled"),
        "selection": SelectionConfig(metric="f1_macro", evaluations=2),
    }
    experiment = ClassifyExperiment(
        data=LabelDataConfig(train=str(long_rows(folder, vocabulary)), dev_size=30, test_size=30),
        audit=LabelAuditConfig(label_errors=False, near_duplicates=False),
        model=ModelConfig(name=str(model), max_seq_length=10),
        scoring=ClassScoringConfig(),
        run=RunConfig(dir=str(folder / "run"), device="cpu", precision="fp32"),
        baselines=["majority"],
        reading=reading,
        method=method,
        **(training if method.trains else {}),
    )
    main(experiment)
    run = folder / "run"
    record = json.loads((run / "record.json").read_text())
    score = next(row for row in record["scores"] if (row["system"], row["metric"]) == ("tuned", "f1_macro"))
    return score["value"], run, record


def check_saved(predictor: Predictor, run: Path, folder: Path) -> None:
    """The saved model says of the test rows what the run said of them."""
    tuned = load_per_example(run / "per_example.npz")[0]
    data = load_labels(
        LabelDataConfig(train=str(folder / "long.jsonl"), dev_size=30, test_size=30),
        LabelAuditConfig(label_errors=False, near_duplicates=False),
        seed=42,
    )
    found = predictor.answers(list(data.test.texts)).probabilities
    np.testing.assert_allclose(found, tuned.probabilities, atol=1e-4)


@pytest.mark.parametrize(
    ("reading", "learns"),
    [
        (ReadingConfig(), False),
        (HEAD_TAIL, True),
        (ReadingConfig(how="chunks", pool="max"), True),
    ],
)
def test_the_end_of_a_text_is_learned_if_it_is_read_and_the_saved_model_reads_it(
    tiny_model: Path, tmp_path: Path, vocabulary: list[str], reading: ReadingConfig, learns: bool
) -> None:
    score, run, record = train(tmp_path, tiny_model, vocabulary, reading, Full())
    assert (score > 0.8) == learns
    assert record["model"]["reading"]["how"] == reading.how
    predictor = Predictor.load(run / "model", device="cpu", precision="fp32")
    assert reading_of(predictor.model.config) == reading
    check_saved(predictor, run, tmp_path)
    card = (run / "model" / "README.md").read_text()
    assert ("the pipeline reads the first 10 tokens alone" in card) == (reading.how != "head")


@pytest.mark.parametrize("method", [ProbeFirst(), Lora(), LinearProbe()])
def test_other_ways_read_windows_too(
    tiny_model: Path, tmp_path: Path, vocabulary: list[str], method: MethodConfig
) -> None:
    _, run, _ = train(tmp_path, tiny_model, vocabulary, ReadingConfig(how="chunks"), method)
    check_saved(Predictor.load(run / "model", device="cpu", precision="fp32"), run, tmp_path)
    config = json.loads((run / "model" / "config.json").read_text())
    assert config["reading"] == {"how": "chunks", "window": None, "stride": None, "max_chunks": 8, "pool": "mean"}


def test_it_is_said_that_baselines_read_the_head_alone() -> None:
    data = LabelDataConfig(train="x")
    (said,) = unlike(ClassifyExperiment(data=data, reading=HEAD_TAIL))
    assert "knn and linear_probe read the head of a long text alone" in said
    assert not unlike(ClassifyExperiment(data=data, reading=HEAD_TAIL, baselines=["majority", "tfidf_lr"]))
    assert not unlike(ClassifyExperiment(data=data))


def test_a_saved_model_that_is_trained_again_reads_as_the_new_settings_say(tiny_model: Path, tmp_path: Path) -> None:
    model, tokenizer = load(tiny_model, CHUNKS)
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    kept, _ = load(tmp_path / "saved", None)
    assert reading_of(kept.config) == CHUNKS
    anew, tokenizer = load(tmp_path / "saved", ReadingConfig())
    assert not hasattr(anew.config, "reading")
    assert DOCUMENTS not in encode(anew, tokenizer, ["bal"])
