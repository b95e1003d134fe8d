"""What a training step keeps is counted, bounded by the micro-batch where asked, and made to fit what is free."""

import types
from pathlib import Path

import psutil
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from finewise import device
from finewise.config import ModelConfig
from finewise.encoder import Encoder, load_encoder
from finewise.execution import attach, detach
from finewise.memory import FEWEST, activation_bytes, settle


def kept(model: Encoder, features: dict[str, torch.Tensor]) -> int:
    """Return the bytes that autograd holds after a forward pass, weights aside."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    seen: dict[int, int] = {}
    alive = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(dict(features))
    return sum(seen.values())


@pytest.fixture
def model(tiny_model: Path) -> Encoder:
    return load_encoder(ModelConfig(name=str(tiny_model)), "cpu", micro_batch_tokens=200).train()


@pytest.fixture
def features(model: Encoder, vocabulary: list[str]) -> dict[str, torch.Tensor]:
    return dict(model.preprocess([" ".join(vocabulary[:40])] * 50))


def test_the_estimate_is_what_a_batch_keeps(model: Encoder, features: dict[str, torch.Tensor]) -> None:
    tokens = int(features["attention_mask"].sum())
    estimate = activation_bytes(model, bf16=False) * tokens
    assert kept(model, features) <= 1.2 * estimate  # the estimate is made with texts of full length


def test_the_estimate_leaves_no_trace(model: Encoder) -> None:
    model.eval()
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    activation_bytes(model, bf16=False)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not model.training
    assert all(weight.grad is None for weight in model.parameters())


def test_recomputing_keeps_a_small_part_however_large_the_batch(
    model: Encoder, features: dict[str, torch.Tensor]
) -> None:
    model.recompute = "always"
    assert kept(model, features) < 0.1 * activation_bytes(model, bf16=False) * int(features["attention_mask"].sum())


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=count))


def test_micro_batches_shrink_to_what_is_free(
    model: Encoder, features: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = model(dict(features))["sentence_embedding"]
    free(monkeypatch, 10_000)
    said = settle(model, recompute="auto", given_tokens=None, bf16=False)
    assert model.execution.tokens == FEWEST
    assert "256 tokens at a time" in said
    free(monkeypatch, 10**12)
    assert "recompute=always" in settle(model, recompute="always", given_tokens=None, bf16=False)
    model.eval()
    assert model(dict(features))["sentence_embedding"].shape == whole.shape


def test_tokens_that_the_settings_state_are_kept(model: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 10_000)
    assert "200 tokens at a time" in settle(model, recompute="auto", given_tokens=200, bf16=False)
    assert model.execution.tokens == 200


def test_auto_recomputes_only_what_would_not_fit(
    model: Encoder, features: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(model, recompute="auto", given_tokens=200, bf16=False)
    whole = kept(model, features)
    free(monkeypatch, whole)  # more than half of it would be taken
    assert kept(model, features) < whole / 5


def classifier() -> BertForSequenceClassification:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = BertForSequenceClassification(BertConfig(vocab_size=50, num_labels=3, **shape))
    attach(model, micro_batch_tokens=64)
    return model.train()


def test_a_model_with_a_head_recomputes_to_the_same_gradients_in_less_memory() -> None:
    ids = torch.arange(4, 44).repeat(30, 1)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.arange(30) % 3}
    found = []
    for recompute in ("never", "always"):
        model = classifier()
        said = settle(model, 40, recompute=recompute, given_tokens=64, bf16=False)
        assert f"recompute={recompute}" in said
        torch.manual_seed(1)
        held = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal held
            held += tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            loss = model(**batch).loss
        loss.backward()
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        found.append((loss.detach(), gradients, held))
    (one, before, much), (other, after, little) = found
    assert torch.equal(one, other)
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert little < much / 4


def test_a_padded_model_says_so() -> None:
    model = classifier()
    detach(model.base_model)
    assert settle(model, recompute="auto", given_tokens=None, bf16=False).startswith("execution: padded")


def test_limit_of_a_container(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    (tmp_path / "memory.stat").write_text("anon 100\ninactive_file 50000\n")
    assert device._container(tmp_path) == 650_000
    (tmp_path / "memory.max").write_text("max\n")
    assert device._container(tmp_path) > 1 << 60
    assert device._container(tmp_path / "none") > 1 << 60
