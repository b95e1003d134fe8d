"""Packed chats do not see each other, and the trainer's loss is the plain mean over the answers' tokens."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Lfm2Config,
    MambaConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from finewise.features import ROW
from longctx.rope_config import DynamicNtk, LongRope, StretchConfig
from longctx.sft.loss import dev_loss
from longctx.sft.packed import IGNORED, Collator, keeps_chats_apart, packs, packs_per_step
from longctx.sft.render import Renderer
from longctx.sft.rows import ChatRows, read_chats
from longctx.stretch import stretch

Tokenizers = Callable[[str], PreTrainedTokenizerFast]


@pytest.fixture
def rows(tmp_path: Path, tokenizer: Tokenizers) -> ChatRows:
    """Chats of different lengths."""
    rng = random.Random(0)
    lines = []
    for number in range(7):
        turns = [
            {"role": role, "content": "".join(rng.choices("abcdef ", k=rng.randint(2, 12))) + str(number)}
            for role in ("user", "assistant") * rng.randint(1, 2)
        ]
        lines.append(json.dumps({"messages": turns}))
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(lines))
    return read_chats(str(path), Renderer(tokenizer("llama3"), "tiny"))


def alone(model: PreTrainedModel, rows: ChatRows) -> list[torch.Tensor]:
    """Return the loss of each learnt token of each chat, computed by itself."""
    found = []
    for row in range(len(rows)):
        ids, learnt = (torch.tensor(np.array(part)) for part in rows.tokens(row))
        logits = model(input_ids=ids.long()[None]).logits[0, :-1]
        found.append(cross_entropy(logits, ids[1:].long(), reduction="none")[learnt[1:]])
    return found


def batch_losses(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    inputs = {key: batch[key] for key in ("input_ids", "position_ids")}
    logits = model(**inputs, use_cache=False).logits[:, :-1]
    labels = batch["labels"][:, 1:]
    return cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")[labels.flatten() != IGNORED]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.no_grad()
def test_packed_chats_do_not_see_each_other(language_model: PreTrainedModel, rows: ChatRows, attention: str) -> None:
    language_model.set_attn_implementation(attention)
    laid = packs(rows.lengths, 200)
    assert max(map(len, laid)) > 1
    batch = Collator(rows, laid)([{ROW: number} for number in range(len(laid))])
    expected = torch.cat([alone(language_model, rows)[row] for pack in laid for row in pack])
    torch.testing.assert_close(batch_losses(language_model, batch), expected)
    together = batch | {"position_ids": torch.arange(batch["input_ids"].shape[1]).expand_as(batch["input_ids"])}
    assert not torch.allclose(batch_losses(language_model, together), expected), "they could have seen each other"
    assert batch["texts"] == len(rows)
    assert batch["tokens"] == rows.lengths.sum()


@torch.no_grad()
def test_what_trls_own_packing_does(language_model: PreTrainedModel, rows: ChatRows) -> None:
    """TRL 1.16 keeps packed chats apart without flash attention too, in one row for the whole batch."""
    examples = []
    for pack in packs(rows.lengths, 200):
        ids, learnt = (np.concatenate(parts) for parts in zip(*(rows.tokens(row) for row in pack), strict=True))
        lengths = rows.lengths[pack].tolist()
        examples.append(
            {"input_ids": ids.astype(int), "labels": np.where(learnt, ids, IGNORED).astype(int), "seq_lengths": lengths}
        )
    batch = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)(examples)
    assert batch["input_ids"].shape == (1, rows.lengths.sum())
    expected = torch.cat([alone(language_model, rows)[row] for pack in packs(rows.lengths, 200) for row in pack])
    torch.testing.assert_close(batch_losses(language_model, batch), expected)


def test_flash_attention_is_told_where_chats_begin(rows: ChatRows) -> None:
    laid = packs(rows.lengths, 200)
    batch = Collator(rows, laid, flash=True)([{ROW: number} for number in range(len(laid))])
    starts = np.cumsum([0, *(rows.lengths[row] for pack in laid for row in pack)])
    assert batch["cu_seq_lens_q"].tolist() == starts.tolist()
    assert "attention_mask" not in batch


def test_dev_loss_is_the_mean_over_the_answers_tokens(language_model: PreTrainedModel, rows: ChatRows) -> None:
    with torch.no_grad():
        expected = torch.cat(alone(language_model, rows)).mean()
    assert dev_loss(language_model, rows) == pytest.approx(float(expected), rel=1e-5)


def test_dev_loss_of_positions_that_follow_the_length_is_that_of_each_chat_read_first(
    language_model: PreTrainedModel, rows: ChatRows
) -> None:
    size, how = language_model.config.hidden_size // language_model.config.num_attention_heads, StretchConfig(factor=8)
    lists = LongRope(long_factors=[4.0] * (size // 2))
    for method in (DynamicNtk(), lists):
        small = how.original = int(np.median(rows.lengths))
        assert rows.lengths.min() < small < rows.lengths.max()
        with torch.no_grad():
            expected = [alone(stretch(language_model, method, how), rows)[row].sum() for row in range(len(rows))]
        count = sum(int(rows.tokens(row)[1][1:].sum()) for row in range(len(rows)))
        found = dev_loss(stretch(language_model, method, how), rows)
        assert found == pytest.approx(float(torch.stack(expected).sum()) / count, rel=1e-5)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60))
def test_packs(lengths: list[int]) -> None:
    """Every row is in one pack, none is above the window, and no two packs would fit into one."""
    found = packs(np.array(lengths), 50)
    assert sorted(row for pack in found for row in pack) == list(range(len(lengths)))
    assert all(sum(lengths[row] for row in pack) <= 50 for pack in found)
    full = [sum(lengths[row] for row in pack) for pack in found]
    assert sum(sorted(full)[:2]) > 50 or len(full) == 1


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention_keeps_packed_chats_apart(language_model: PreTrainedModel, attention: str) -> None:
    language_model.set_attn_implementation(attention)
    language_model.train()
    assert keeps_chats_apart(language_model)
    assert language_model.training


@pytest.mark.parametrize("kind", ["lfm2", "mamba", "bloom"])
def test_layers_that_read_across_the_border_are_found(kind: str) -> None:
    torch.manual_seed(0)
    configs: dict[str, PretrainedConfig] = {
        "lfm2": Lfm2Config(
            vocab_size=60, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, layer_types=["conv", "full_attention"], pad_token_id=0,
        ),
        "mamba": MambaConfig(vocab_size=60, hidden_size=32, num_hidden_layers=2, state_size=4),
        "bloom": BloomConfig(vocab_size=60, hidden_size=32, n_layer=2, n_head=2),
    }  # fmt: skip
    assert not keeps_chats_apart(AutoModelForCausalLM.from_config(configs[kind]))  # type: ignore[no-untyped-call]


def test_a_pack_has_no_more_chats_than_a_step() -> None:
    found = packs(np.full(100, 3), 300, 8)
    assert sorted(row for pack in found for row in pack) == list(range(100))
    assert max(map(len, found)) == 8
    assert packs_per_step(100, len(found), 8) == 1
