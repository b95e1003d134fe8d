"""How a model computes its batches changes the work, never the numbers: across families, heads, lengths, sides of padding."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    Gemma2Config,
    LlamaConfig,
    ModernBertConfig,
    PretrainedConfig,
    PreTrainedModel,
    RobertaConfig,
)

from finewise import packing
from finewise.dropout import FastDropout
from finewise.errors import InputError
from finewise.execution import attach

SIZES: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24,
    "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3,
}  # fmt: skip
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}

FAMILIES: dict[str, PretrainedConfig] = {
    "bert": BertConfig(**SIZES, **STILL, max_position_embeddings=64),
    "roberta": RobertaConfig(**SIZES, **STILL, max_position_embeddings=66),
    "distilbert": DistilBertConfig(
        vocab_size=50, dim=16, n_layers=2, n_heads=4, hidden_dim=24, max_position_embeddings=64, pad_token_id=1,
        dropout=0.0, attention_dropout=0.0,
    ),
    # Texts longer than the window of the local layers, whose attention therefore differs from the full one.
    "modernbert": ModernBertConfig(**SIZES, local_attention=16, global_attn_every_n_layers=2, max_position_embeddings=64),
    # Causal, with two query heads on each key head.
    "llama": LlamaConfig(**SIZES, num_key_value_heads=2, max_position_embeddings=64),
}  # fmt: skip


def build(family: str, *, head: bool) -> PreTrainedModel:
    torch.manual_seed(0)
    config = copy.deepcopy(FAMILIES[family])
    config.num_labels = 3
    kind = AutoModelForSequenceClassification if head else AutoModel
    model: PreTrainedModel = kind.from_config(config)
    for weight in model.parameters():  # a fresh model's small weights would hide mistakes in attention
        weight.data.add_(torch.randn(weight.shape) * 0.2)
    return model.float().eval()


def batch(lengths: list[int], side: str = "right") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(sum(lengths))
    width = max(lengths)
    ids = torch.ones(len(lengths), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        part = slice(0, length) if side == "right" else slice(width - length, width)
        ids[row, part] = torch.randint(5, 50, (length,), generator=generator)
        mask[row, part] = 1
    return {"input_ids": ids, "attention_mask": mask}


def outcome(model: PreTrainedModel, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return what the model gives on real tokens, and the gradient of a number made from all of it."""
    model.zero_grad()
    output = model(**inputs)
    if "logits" in output:
        found = output.logits
    else:
        found = output.last_hidden_state[inputs["attention_mask"].bool()]
        if output.get("pooler_output") is not None:
            found = torch.cat([found, output.pooler_output])
    (found * torch.arange(found.numel()).view(found.shape).sin()).sum().backward()
    gradient = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
    return found.detach(), gradient


def agree(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> None:
    for a, b in zip(one, other, strict=True):
        assert float((a - b).norm() / a.norm()) < 1e-5


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=[False, True], ids=["base", "classifier"])
def models(request: pytest.FixtureRequest, family: str) -> dict[str, PreTrainedModel]:
    found = {}
    for execution in ("padded", "sorted", "packed"):
        found[execution] = build(family, head=request.param)
        assert attach(found[execution], execution=execution, micro_batch_tokens=60).mode == execution
    return found


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 60), min_size=1, max_size=12))
def test_outputs_and_gradients_are_those_of_the_padded_batch(
    models: dict[str, PreTrainedModel], lengths: list[int]
) -> None:
    inputs = batch(lengths)
    expected = outcome(models["padded"], inputs)
    for execution in ("sorted", "packed"):
        agree(outcome(models[execution], inputs), expected)


def test_padding_on_the_left(family: str) -> None:
    inputs = batch([30, 7, 30, 12, 1], side="left")
    found = []
    for execution in ("padded", "sorted", "packed"):
        model = build(family, head=False)
        if hasattr(model, "pooler"):
            model.pooler = None  # it reads the first column, which is padding here
        attach(model, execution=execution, micro_batch_tokens=60)
        found.append(outcome(model, inputs))
    agree(found[1], found[0])
    agree(found[2], found[0])


def test_long_texts_take_the_kernel_for_long_texts(
    models: dict[str, PreTrainedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = batch([50, 33, 20, 20, 3])
    expected = outcome(models["padded"], inputs)
    monkeypatch.setattr(packing, "LONG", 30)
    agree(outcome(models["packed"], inputs), expected)


def test_the_loss_inside_a_classifier_is_that_of_the_whole_batch(family: str) -> None:
    inputs = {**batch([30, 3, 17, 8, 8, 25]), "labels": torch.tensor([0, 1, 2, 0, 1, 2])}
    losses = []
    for execution in ("padded", "sorted", "packed"):
        model = build(family, head=True)
        attach(model, execution=execution, micro_batch_tokens=30)
        losses.append(model(**inputs).loss.item())
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-5)


def test_packed_texts_do_not_see_each_other(family: str) -> None:
    model = build(family, head=False)
    attach(model, execution="packed")
    inputs = batch([9, 9, 9])
    before = model(**inputs).last_hidden_state[1]
    inputs["input_ids"][0] = 5
    inputs["input_ids"][2] = 6
    torch.testing.assert_close(model(**inputs).last_hidden_state[1], before, rtol=1e-5, atol=1e-6)


def test_another_call_of_a_packed_model_is_as_before(family: str) -> None:
    inputs = batch([9, 4])
    plain, packed = build(family, head=False), build(family, head=False)
    attach(packed, execution="packed")
    embedded = plain.get_input_embeddings()(inputs["input_ids"]).detach()
    mask = inputs["attention_mask"]
    expected = plain(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
    found = packed(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], rtol=1e-4, atol=1e-5)


def test_saves_what_it_saved_before(family: str, tmp_path: Any) -> None:
    plain, packed = build(family, head=True), build(family, head=True)
    attach(packed, execution="packed")
    plain.save_pretrained(tmp_path / "plain")
    packed.save_pretrained(tmp_path / "packed")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "packed" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def test_a_copy_of_a_packed_model_computes_with_its_own_weights() -> None:
    model = build("bert", head=False)
    attach(model, execution="packed")
    twin = copy.deepcopy(model)
    for weight in twin.parameters():
        weight.data.zero_()
    assert float(twin(**batch([5, 3])).last_hidden_state.detach().abs().sum()) == 0
    assert float(model(**batch([5, 3])).last_hidden_state.detach().abs().sum()) > 0


class TestChoice:
    """What `auto` takes, and what is refused."""

    def test_auto_packs_where_it_can(self) -> None:
        assert attach(build("bert", head=False)).mode == "packed"

    def test_auto_sorts_where_positions_are_not_in_the_attention_interface(self) -> None:
        model = AutoModel.from_config(
            DebertaV2Config(
                **{**SIZES, "num_attention_heads": 2}, **STILL, relative_attention=True, pos_att_type=["c2p"]
            )
        ).eval()
        inputs = batch([20, 5, 9])
        expected = outcome(model, inputs)
        chosen = attach(model, micro_batch_tokens=20)
        assert chosen.mode == "sorted"
        assert chosen.reason
        agree(outcome(model, inputs), expected)
        with pytest.raises(InputError, match=r"execution=packed: DebertaV2Model: .*; set execution=auto"):
            attach(model, execution="packed")

    def test_attention_that_caps_its_values_is_not_packed(self) -> None:
        config = Gemma2Config(**SIZES, num_key_value_heads=2, head_dim=4, max_position_embeddings=64, sliding_window=8)
        config.attn_logit_softcapping = 0.5  # low enough to matter to such small values
        torch.manual_seed(0)
        model = AutoModel.from_config(config, attn_implementation="eager").eval()
        for weight in model.parameters():
            weight.data.add_(torch.randn(weight.shape) * 0.2)
        inputs = batch([20, 5, 9])
        expected = outcome(model, inputs)
        with pytest.raises(
            InputError, match=r"execution=packed: Gemma2Model: .*attn_logit_softcapping.*set execution=auto"
        ):
            attach(model, execution="packed")
        assert attach(model, micro_batch_tokens=20).mode == "sorted"
        agree(outcome(model, inputs), expected)

    def test_attaching_again_replaces(self) -> None:
        model = build("bert", head=False)
        attach(model, execution="packed")
        attach(model, execution="padded")
        assert "forward" not in vars(model)

    def test_dropout_layers_are_swapped_and_keep_their_probability(self) -> None:
        config = BertConfig(**SIZES, hidden_dropout_prob=0.3, max_position_embeddings=64)
        model = AutoModel.from_config(config)
        attach(model, execution="packed")
        layers = [module for module in model.modules() if isinstance(module, FastDropout)]
        assert {layer.p for layer in layers} == {0.3, 0.1}


def test_dropout_makes_noise_around_the_same_mean() -> None:
    """With dropout in attention and elsewhere, the mean over many passes is that of the padded model's many passes."""
    config = BertConfig(**{**SIZES, "num_hidden_layers": 1}, attention_probs_dropout_prob=0.4, hidden_dropout_prob=0.0)
    torch.manual_seed(0)
    model = AutoModel.from_config(config).train()
    for weight in model.parameters():
        weight.data.add_(torch.randn(weight.shape) * 0.1)
    inputs = {key: value.repeat(100, 1) for key, value in batch([6, 4]).items()}

    def passes() -> Tensor:
        with torch.no_grad():
            return torch.stack([model(**inputs).last_hidden_state.view(100, 2, 6, 16) for _ in range(20)]).flatten(0, 1)

    torch.manual_seed(1)
    padded = passes()
    attach(model, execution="packed")
    packed = passes()
    real = batch([6, 4])["attention_mask"].bool()
    spread = padded.std(0)[real] / len(padded) ** 0.5
    assert float((padded.mean(0)[real] - packed.mean(0)[real]).abs().max()) < 8 * float(spread.max())
    ratio = packed.std(0)[real] / padded.std(0)[real]
    assert 0.9 < float(ratio.mean()) < 1.1
