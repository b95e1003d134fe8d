"""What decides a model's embeddings, as one number: weights, settings of its modules, tokenizer, limit, prompts, execution."""

import json
from typing import Any

import tokenizers
import torch
import xxhash
from sentence_transformers import SentenceTransformer

from finewise.data.keys import combine
from finewise.data.tokenised import TextTokenizer
from finewise.device import describe

FAMILIAR = {"sentence_transformers", "transformers", "torch", "finewise"}
"""Packages whose versions are known. A module of other code could change without any trace."""

LIBRARIES = ("torch", "transformers", "sentence-transformers", "tokenizers", "numpy")


def fingerprint(model: SentenceTransformer, *, bf16: bool) -> str | None:
    """Return the sha256 of all that decides the model's embeddings, by content: where the model lies makes no difference.

    The device, its number of threads and the precision are in it too: sums in another order differ in the last digits.

    Args:
        model: The model.
        bf16: Whether it computes in bf16.

    Returns:
        None if the model has parts that cannot be looked into: code of its own, or a tokenizer that is no fast one.
    """
    tokenizer = _tokenizer(model)
    if tokenizer is None or any(type(part).__module__.split(".")[0] not in FAMILIAR for part in model.modules()):
        return None
    settings = {
        "modules": [_settings(module) for module in model.children()],
        "prompts": model.prompts,
        "default_prompt": model.default_prompt_name,
        "limit": model.max_seq_length,
        "truncate_dim": model.truncate_dim,
        "similarity": str(model.similarity_fn_name),
        "execution": repr(getattr(model, "execution", None)),
        "device": describe(str(model.device), bf16),
        "threads": torch.get_num_threads(),
        "matmul": torch.get_float32_matmul_precision(),
    }
    return combine("model", tokenizer, json.dumps(settings, sort_keys=True, default=repr), weights(model))


def weights(model: torch.nn.Module) -> str:
    """Return the checksum of all weights and buffers, with their names, types and shapes."""
    digest = xxhash.xxh3_128()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _settings(module: Any) -> dict[str, Any]:
    """Return what is known of a module besides its weights. Paths and library versions are left out of it."""
    found: dict[str, Any] = {"class": type(module).__name__, "structure": repr(module)}
    if callable(getattr(module, "get_config_dict", None)):
        found["settings"] = module.get_config_dict()
    config: Any = getattr(module, "config", None)
    if callable(getattr(config, "to_dict", None)):
        content = {
            key: value for key, value in config.to_dict().items() if key not in ("_name_or_path", "name_or_path")
        }
        found["config"] = content | {"attention": getattr(config, "_attn_implementation", None)}
    return found


def _tokenizer(model: SentenceTransformer) -> str | None:
    """Return the sha256 of the tokenizer's content and settings, or None if it is none that can be looked into."""
    outer: Any = getattr(model, "tokenizer", None)
    backend = getattr(outer, "backend_tokenizer", outer)
    if not isinstance(backend, tokenizers.Tokenizer):
        return None
    names = ("model_max_length", "padding_side", "truncation_side", "pad_token_id", "model_input_names")
    return combine(TextTokenizer(backend, None).digest, *(repr(getattr(outer, name, None)) for name in names))
