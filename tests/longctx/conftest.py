"""Shared by the tests of long context: tiny random language models of several families."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Cohere2Config,
    Gemma2Config,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

SIZES: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
    "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3, "max_position_embeddings": 32,
}  # fmt: skip

FAMILIES: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**SIZES, num_key_value_heads=1),
    "llama-tied": LlamaConfig(**SIZES, tie_word_embeddings=True),
    "qwen2": Qwen2Config(**SIZES, num_key_value_heads=1),
    "qwen3": Qwen3Config(**SIZES, num_key_value_heads=1, head_dim=16),
    "gpt_neox": GPTNeoXConfig(**SIZES),
    "granite": GraniteConfig(**SIZES, logits_scaling=4.0),
    "gemma2": Gemma2Config(**SIZES, num_key_value_heads=1, head_dim=16, final_logit_softcapping=2.0, sliding_window=16),
    "cohere2": Cohere2Config(**SIZES, num_key_value_heads=1, logit_scale=0.25, sliding_window=16),
}


def build(family: str = "llama", seed: int = 0) -> PreTrainedModel:
    """Return a language model of a few thousand weights, in evaluation, large enough in its logits to tell errors apart."""
    torch.manual_seed(seed)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(FAMILIES[family])  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight.mul_(4 if "embed" in name or "head" in name else 2)
    model.train(False)
    return model


@pytest.fixture(scope="session")
def tiny_causal() -> Callable[..., PreTrainedModel]:
    """Builds a language model with a window of 32 tokens and a vocabulary of 60."""
    return build
