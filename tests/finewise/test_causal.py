"""A causal language model is loaded whole, or refused in one line."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from finewise.causal import load_causal, stated_window
from finewise.config import ModelConfig
from finewise.errors import InputError


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path / "llama"
    sizes: dict[str, Any] = {"vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=1)).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(8)}, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_have_the_type_that_was_asked_for(saved: Path, dtype: torch.dtype) -> None:
    model, tokenizer = load_causal(ModelConfig(name=str(saved)), "cpu", dtype=dtype)
    assert model.dtype == dtype
    assert not model.training
    assert tokenizer("w3")["input_ids"] == [3]


def test_an_encoder_writes_no_text(tiny_model: Path) -> None:
    with pytest.raises(InputError, match="a BertModel writes no text; give a causal language model"):
        load_causal(ModelConfig(name=str(tiny_model)), "cpu")


def test_missing_weights_are_not_drawn(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, saved / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"the weights lm_head\.weight are missing"):
        load_causal(ModelConfig(name=str(saved)), "cpu")


def test_a_broken_gguf_file_is_told_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    path = tmp_path / "model.gguf"
    path.write_bytes(b"no gguf at all")
    with pytest.raises(InputError, match=r"model\.gguf: cannot load it") as refused:
        load_causal(ModelConfig(name=str(path)), "cpu")
    assert "\n" not in str(refused.value)


def test_a_model_that_states_no_window_is_refused_in_one_line() -> None:
    from transformers import BloomConfig, LlamaConfig, MambaConfig

    assert stated_window(LlamaConfig(max_position_embeddings=96)) == 96
    for config in (BloomConfig(), MambaConfig()):
        with pytest.raises(
            InputError, match=rf"this model \({config.model_type}\) states no window: .* config.json under"
        ):
            stated_window(config)
