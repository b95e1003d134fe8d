"""Self-Extend: against the paper's formula written out pair by pair, and what it must leave as it is."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModel,
    BertConfig,
    EuroBertConfig,
    GPTNeoXConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    PreTrainedModel,
    Qwen3Config,
)

from finewise.errors import InputError
from longctx.rope_config import StretchConfig, Yarn
from longctx.self_extend import SelfExtend, self_extend
from longctx.stretch import rotations, stretch

SIZES: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24,
    "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3, "max_position_embeddings": 32, "num_key_value_heads": 2,
}  # fmt: skip
CONFIGS = {
    "llama": LlamaConfig(**SIZES),
    "qwen3": Qwen3Config(**SIZES, head_dim=8),
    "eurobert": EuroBertConfig(**SIZES),
}
EXTEND = SelfExtend(window=8, group=4)


def build(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModel.from_config(CONFIGS[family])
    for weight in model.parameters():
        weight.data.add_(torch.randn(weight.shape) * 0.2)
    return model.float().eval()


def tokens(length: int) -> Tensor:
    return torch.randint(5, 50, (1, length), generator=torch.Generator().manual_seed(length))


@torch.no_grad()
def states(model: PreTrainedModel, ids: Tensor, **more: Any) -> Tensor:
    found: Tensor = model(input_ids=ids, **more).last_hidden_state
    return found


def distance(i: int, j: int, window: int, group: int) -> int:
    """Return the distance at which query i sees key j (arXiv 2401.01325, algorithm 1; mirrored for later keys)."""
    if abs(i - j) < window:
        return i - j
    shift = window - window // group
    return i // group - j // group + (shift if i > j else -shift)


def rotate(x: Tensor, position: int, frequencies: Tensor) -> Tensor:
    angles = position * frequencies
    first, second = x.chunk(2, -1)
    return torch.cat((first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()), -1)


def first_layer(model: PreTrainedModel, ids: Tensor, sizes: SelfExtend, *, causal: bool) -> Tensor:
    """Return the first layer's attention output, (T, hidden), computed pair by pair without any library's attention."""
    layer: Any = model.layers[0]  # type: ignore[index, union-attr]
    attention = layer.self_attn
    x = layer.input_layernorm(model.get_input_embeddings()(ids))[0]
    length, size = len(x), attention.head_dim
    q, k, v = (getattr(attention, name)(x).view(length, -1, size) for name in ("q_proj", "k_proj", "v_proj"))
    frequencies = rotations(model)[None][0]
    out = torch.zeros(length, q.shape[1], size)
    for head in range(q.shape[1]):
        other = head // (q.shape[1] // k.shape[1])
        for i in range(length):
            seen = range(i + 1) if causal else range(length)
            scores = [
                rotate(q[i, head], distance(i, j, sizes.window, sizes.group), frequencies) @ k[j, other] / size**0.5
                for j in seen
            ]
            out[i, head] = torch.softmax(torch.stack(scores), 0) @ v[list(seen), other]
    found: Tensor = attention.o_proj(out.view(length, -1))
    return found


@pytest.mark.parametrize("sizes", [EXTEND, SelfExtend(window=5, group=3), SelfExtend(window=2, group=7)])
@pytest.mark.parametrize("family", ["llama", "eurobert"])
def test_it_is_the_formula(family: str, sizes: SelfExtend) -> None:
    model, ids = build(family), tokens(45)
    kept: list[Tensor] = []
    hook = model.layers[0].self_attn.register_forward_hook(lambda *call: kept.append(call[2][0][0]))  # type: ignore[index, union-attr]
    with torch.no_grad(), self_extend(model, sizes):
        model(input_ids=ids)
    hook.remove()
    with torch.no_grad():
        wanted = first_layer(model, ids, sizes, causal=family != "eurobert")
    torch.testing.assert_close(kept[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", CONFIGS)
def test_within_the_window_nothing_changes_and_beyond_it_something_does(family: str) -> None:
    model = build(family)
    for length, same in ((8, True), (40, False)):
        before = states(model, tokens(length))
        with self_extend(model, EXTEND):
            found = states(model, tokens(length))
        assert torch.allclose(found, before, rtol=1e-4, atol=1e-4) is same
        assert torch.equal(states(model, tokens(length)), before), "as before, after the block"


@pytest.mark.parametrize("family", CONFIGS)
def test_groups_of_one_change_nothing_at_any_length(family: str) -> None:
    model = build(family)
    before = states(model, tokens(60))
    with self_extend(model, SelfExtend(window=8, group=1)):
        torch.testing.assert_close(states(model, tokens(60)), before, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["llama", "eurobert"])
def test_padding_on_either_side_changes_nothing(family: str, side: str) -> None:
    model = build(family)
    short, long = tokens(30), tokens(41)
    padding = torch.ones(1, 11, dtype=torch.long)
    row, mask = [short, padding], [torch.ones_like(short), torch.zeros_like(padding)]
    part = slice(0, 30) if side == "right" else slice(11, 41)
    if side == "left":
        row, mask = row[::-1], mask[::-1]
    ids, seen = torch.cat((torch.cat(row, 1), long)), torch.cat((torch.cat(mask, 1), torch.ones_like(long)))
    places = (seen.cumsum(1) - 1).clamp(min=0)
    with self_extend(model, EXTEND):
        more = {"position_ids": places} if side == "left" else {}
        found = states(model, ids, attention_mask=seen, **more)
        torch.testing.assert_close(found[0, part], states(model, short)[0], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found[1], states(model, long)[0], rtol=1e-3, atol=1e-4)


def test_generating_with_a_cache_is_reading_it_whole() -> None:
    torch.manual_seed(0)
    model = LlamaForCausalLM(CONFIGS["llama"]).eval()
    for weight in model.parameters():
        weight.data.add_(torch.randn(weight.shape) * 0.2)
    ids = tokens(40)
    with torch.no_grad(), self_extend(model, EXTEND):
        made = model.generate(ids, max_new_tokens=12, min_new_tokens=12, do_sample=False)
        logits = model(input_ids=made).logits
    assert made.shape == (1, 52)
    allowed = logits[0, 39:-1]
    allowed[:, 3] = -torch.inf  # the end of the text, which min_new_tokens forbids
    assert torch.equal(allowed.argmax(-1), made[0, 40:])


def test_it_works_on_a_stretched_model() -> None:
    model = stretch(build("llama"), Yarn(beta=4), StretchConfig(factor=2))
    with self_extend(model, SelfExtend(window=8, group=1)):
        found = states(model, tokens(60))
    torch.testing.assert_close(found, states(model, tokens(60)), rtol=1e-3, atol=1e-4)


def test_no_distance_beyond_the_trained_ones_within_reach() -> None:
    for sizes in (EXTEND, SelfExtend(window=16, group=4), SelfExtend(window=12, group=5)):
        reach = sizes.reach(32)
        assert max(distance(reach - 1, j, sizes.window, sizes.group) for j in range(reach)) <= 32


def test_what_it_is_not_made_for_is_refused() -> None:
    for model, sizes, words in (
        (AutoModel.from_config(GPTNeoXConfig(**SIZES)), EXTEND, "llama, mistral.*got 'gpt_neox'"),
        (AutoModel.from_config(BertConfig(**SIZES)), EXTEND, "got 'bert'"),
        (AutoModel.from_config(MistralConfig(**SIZES, sliding_window=16)), EXTEND, "sees 16 only"),
        (build("llama"), SelfExtend(window=32, group=2), "below the 32 tokens"),
    ):
        with pytest.raises(InputError, match=words), self_extend(model, sizes):
            pass
    with pytest.raises(InputError, match="at least 1"):
        SelfExtend(window=0, group=2)
