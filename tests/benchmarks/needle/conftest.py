"""Tiny random models that read words, and prompts for them."""

from collections.abc import Callable
from typing import Any

import pytest

ENDS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
NAMES = [f"w{number}" for number in range(60)]


@pytest.fixture(scope="session")
def words_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<s>", "<pad>", "</s>", *NAMES]
    inner = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", pad_token="<pad>", eos_token="</s>")


@pytest.fixture(scope="session")
def tiny_causal() -> Callable[..., Any]:
    """Makes a causal model of a family with random weights, large enough that no two tokens are about equally likely."""
    import torch
    from transformers import (
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        MistralConfig,
        MistralForCausalLM,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    sizes: dict[str, Any] = {
        "vocab_size": 63, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "intermediate_size": 48, "max_position_embeddings": 512, **ENDS,
    }  # fmt: skip
    layers = ["full_attention", "sliding_attention"]
    dynamic = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}

    def make(family: str, **more: Any) -> Any:
        torch.manual_seed(0)
        model: Any
        if family == "llama":
            model = LlamaForCausalLM(LlamaConfig(**{**sizes, **more}))
        elif family == "dynamic":
            model = LlamaForCausalLM(LlamaConfig(**{**sizes, "max_position_embeddings": 32}, rope_parameters=dynamic))
        elif family == "qwen2":
            model = Qwen2ForCausalLM(Qwen2Config(**sizes))
        elif family == "gpt2":
            model = GPT2LMHeadModel(GPT2Config(vocab_size=63, n_embd=32, n_layer=2, n_head=2, n_positions=128, **ENDS))
        elif family == "mistral":
            model = MistralForCausalLM(MistralConfig(**sizes, sliding_window=16))
        else:
            model = Gemma3ForCausalLM(Gemma3TextConfig(**sizes, head_dim=16, layer_types=layers, sliding_window=16))
        for weight in model.parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=0.3)
        return model.eval()

    return make


@pytest.fixture(scope="session")
def word_prompts() -> Callable[..., list[Any]]:
    """Makes a grid: each sample has its haystack, in which its needle goes to each depth; rows differ in length by a few."""
    import numpy as np

    from benchmarks.needle.prompts import Prompt

    def make(length: int = 90, depths: Any = (0.0, 0.5, 1.0), samples: int = 3, new: int = 8, **more: Any) -> list[Any]:
        rng = np.random.default_rng(length)
        found = []
        for sample in range(samples):
            hay = list(rng.choice(NAMES, length - 20 - new - 2 * sample))
            pin, ask, answer = (list(rng.choice(NAMES, size)) for size in (6, 4, 3))
            for depth in depths:
                at = len(hay) if depth != depth else round(depth * len(hay))
                text = " ".join([*hay[:at], *pin, *hay[at:], *ask])
                given = {
                    "task": "niah_single_2", "length": length, "depth": float(depth), "sample": sample,
                    "id": f"{length}-{depth}-{sample}", "text": text, "prefix": " ".join(hay[:at]),
                    "answers": (" ".join(answer),), "metric": "substring_recall", "new_tokens": new,
                    "chat": (" ".join([*hay[:at], *pin, *hay[at:]]), " ".join(ask)),
                }  # fmt: skip
                found.append(Prompt(**{**given, **more}))
        return found

    return make
