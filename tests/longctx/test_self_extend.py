"""Self-Extend: against the paper's formula written out pair by pair, and what it must leave as it is."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
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

from benchmarks.needle.config import NeedleConfig
from benchmarks.needle.prefix_cache import CachedRows
from benchmarks.needle.reader import Reader
from finewise.errors import InputError
from longctx.rope_config import SelfExtend, StretchConfig, Yarn
from longctx.self_extend import Sizes, self_extend, sizes_of
from longctx.stretch import rotations, stretch
from longctx.tiny.language import CAUSAL_WORDS, tokenizer_of

SIZES: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24,
    "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3, "max_position_embeddings": 32, "num_key_value_heads": 2,
}  # fmt: skip
CONFIGS = {
    "llama": LlamaConfig(**SIZES),
    "qwen3": Qwen3Config(**SIZES, head_dim=8),
    "eurobert": EuroBertConfig(**SIZES),
}
EXTEND = Sizes(window=8, group=4)


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


def first_layer(model: PreTrainedModel, ids: Tensor, sizes: Sizes, *, causal: bool) -> Tensor:
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


@pytest.mark.parametrize("sizes", [EXTEND, Sizes(window=5, group=3), Sizes(window=2, group=7)])
@pytest.mark.parametrize("family", ["llama", "eurobert"])
def test_it_is_the_formula(family: str, sizes: Sizes) -> None:
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
    with self_extend(model, Sizes(window=8, group=1)):
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


def test_the_needle_readers_cache_reads_as_one_text_at_a_time() -> None:
    """Rows of unequal lengths, padded behind, computed in pieces, rewound, and generated on behind the longest."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(CONFIGS["llama"]).eval()
    for weight in model.parameters():
        weight.data.add_(torch.randn(weight.shape) * 0.2)
    rng = np.random.default_rng(0)
    begun = [rng.integers(5, 50, 100) for _ in range(32)]
    first, second = ([np.append(one, rng.integers(5, 50, rng.integers(1, 60))) for one in begun] for _ in range(2))

    def alone(text: NDArray[np.int64]) -> Tensor:
        found: Tensor = model(input_ids=torch.from_numpy(text)[None]).logits[0]
        return found

    with torch.no_grad(), self_extend(model, EXTEND):
        rows = CachedRows(model, 32, 165, bf16=False)
        for texts in (first, second):
            asked = [range(len(text) - 3, len(text)) for text in texts]
            for text, logits in zip(texts, rows.read(texts, asked), strict=True):
                torch.testing.assert_close(logits, alone(text)[-3:], rtol=1e-3, atol=1e-3)
        made = rows.generate(first, 5, lambda row, tokens: False)
        for text, tokens in list(zip(first, made, strict=True))[:6]:
            assert alone(np.append(text, tokens))[-6:-1].argmax(-1).tolist() == tokens
    assert len({len(text) for text in first}) > 20


def test_it_works_on_a_stretched_model() -> None:
    model = stretch(build("llama"), Yarn(beta=4), StretchConfig(factor=2))
    with self_extend(model, Sizes(window=8, group=1)):
        found = states(model, tokens(60))
    torch.testing.assert_close(found, states(model, tokens(60)), rtol=1e-3, atol=1e-4)


def test_how_many_queries_are_computed_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for family in ("llama", "eurobert"):
        model = build(family)
        with self_extend(model, EXTEND):
            whole = states(model, tokens(60))
            with monkeypatch.context() as patch:
                patch.setattr("longctx.self_extend.SCORES", 4 * 60 * 7)
                torch.testing.assert_close(states(model, tokens(60)), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "eurobert"])
def test_in_bf16_it_reads_the_same_but_for_rounding(family: str) -> None:
    model = build(family)
    with self_extend(model, EXTEND):
        whole = states(model, tokens(60))
        with torch.autocast("cpu", torch.bfloat16):
            found = states(model, tokens(60)).float()
    assert float((found - whole).norm() / whole.norm()) < 0.1


def test_answers_kept_for_other_sizes_are_not_taken_up() -> None:
    model = LlamaForCausalLM(CONFIGS["llama"])
    reader = Reader(lambda length: model, tokenizer_of(CAUSAL_WORDS), NeedleConfig(), bf16=False)
    found = {reader.revision(64)}
    for sizes in (EXTEND, Sizes(window=8, group=5), Sizes(window=9, group=4)):
        with self_extend(model, sizes):
            found.add(reader.revision(64))
    assert len(found) == 4
    assert reader.revision(64) in found


@pytest.mark.parametrize(
    ("method", "sizes"),
    [
        (SelfExtend(), Sizes(window=16, group=21)),
        (SelfExtend(window=32), Sizes(window=32, group=31)),
        (SelfExtend(group=1), Sizes(window=16, group=1)),
    ],
)
def test_sizes_that_are_not_given_reach_the_new_window(method: SelfExtend, sizes: Sizes) -> None:
    assert sizes_of(method, 64, 1024) == sizes
    assert (sizes.reach(64) >= 1024) is (method.group is None)
    if method.group is None:
        assert Sizes(window=sizes.window, group=sizes.group - 1).reach(64) < 1024


def test_no_distance_beyond_the_trained_ones_within_reach() -> None:
    for sizes in (EXTEND, Sizes(window=16, group=4), Sizes(window=12, group=5)):
        reach = sizes.reach(32)
        assert max(distance(reach - 1, j, sizes.window, sizes.group) for j in range(reach)) <= 32


def test_what_it_is_not_made_for_is_refused() -> None:
    for model, sizes, words in (
        (AutoModel.from_config(GPTNeoXConfig(**SIZES)), EXTEND, "llama, mistral.*got 'gpt_neox'"),
        (AutoModel.from_config(BertConfig(**SIZES)), EXTEND, "got 'bert'"),
        (AutoModel.from_config(MistralConfig(**SIZES, sliding_window=16)), EXTEND, "sees 16 only"),
        (build("llama"), Sizes(window=32, group=2), "below the 32 tokens"),
    ):
        with pytest.raises(InputError, match=words), self_extend(model, sizes):
            pass
    with pytest.raises(InputError, match="at least 1"):
        Sizes(window=0, group=2)
