"""Shared by the tests of long context: tiny random language models of several families."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import (
    AutoModelForCausalLM,
    Cohere2Config,
    EuroBertModel,
    Gemma2Config,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from benchmarks.needle.config import NeedleConfig
from benchmarks.perplexity_config import PerplexityConfig
from finewise.config import ModelConfig, RunConfig
from longctx.config import LongContextExperiment
from longctx.rope_config import StretchConfig
from longctx.tiny import causal, embedding
from longctx.tiny.language import CAUSAL_WORDS, EMBEDDING_WORDS, WINDOW, filler_text, tokenizer_of

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


def _louder(model: PreTrainedModel) -> PreTrainedModel:
    """Return it with weights so large that what is read far away is not lost among the rest."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape) * 0.15)
    return model


@pytest.fixture(scope="session")
def reader_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with a window of 64 tokens that knows the words of the made-up language, as a folder."""
    folder = tmp_path_factory.mktemp("models") / "reader"
    torch.manual_seed(0)
    _louder(LlamaForCausalLM(causal.config())).save_pretrained(folder)
    tokenizer_of(CAUSAL_WORDS).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random EuroBERT with a window of 64 tokens and mean pooling, as a folder."""
    plain, folder = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("models") / "encoder"
    torch.manual_seed(0)
    _louder(EuroBertModel(embedding.config())).save_pretrained(plain)
    tokenizer_of(EMBEDDING_WORDS).save_pretrained(plain)
    modules = [Transformer(str(plain), max_seq_length=WINDOW), Pooling(64, pooling_mode="mean")]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="session")
def long_documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 20 documents of 300 words in the made-up language."""
    file = tmp_path_factory.mktemp("data") / "documents.jsonl"
    rng = np.random.default_rng(0)
    rows = [json.dumps({"text": " ".join(filler_text(rng, 300))}) for _ in range(20)]
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def reading(reader_folder: Path, long_documents: Path, tmp_path: Path) -> Callable[..., LongContextExperiment]:
    """Makes the settings of an experiment that trains nothing: the random Llama reads up to 256 tokens."""

    def make(**parts: Any) -> LongContextExperiment:
        settings: dict[str, Any] = {
            "model": ModelConfig(name=str(reader_folder)),
            "stretch": StretchConfig(factor=4),
            "adapt": False,
            "compare": ["none"],
            "needle": NeedleConfig(tasks=["niah_single_1"], depths=[0.5], samples=2, lengths=[128, 256]),
            "perplexity": PerplexityConfig(data=str(long_documents), documents=2, lengths=[64, 256]),
            "run": RunConfig(root=str(tmp_path / "runs"), device="cpu", precision="fp32"),
        }
        return LongContextExperiment(**settings | parts)

    return make
