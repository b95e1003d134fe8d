"""Loading a causal language model: a folder, a hub model, or a .gguf file."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    modeling_gguf_pytorch_utils,
)
from transformers.utils import logging

from finewise.config import ModelConfig
from finewise.device import pick_device, quiet
from finewise.errors import InputError
from finewise.limits import usable_positions
from finewise.references import model_reference

_WRITES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


def trained_window(config: PretrainedConfig) -> int:
    """Return the tokens that a model was trained with, as far as its configuration says; stretched models know both windows.

    `original_max_position_embeddings` stands in the parameters of the types that read it, and beside them for the others.

    Raises:
        InputError: As `stated_window`.
    """
    text: Any = config.get_text_config(decoder=True)
    rope = getattr(text, "rope_parameters", None) or {}
    nested = [value for value in rope.values() if isinstance(value, dict)]  # one set of parameters per type of layer
    known = [each.get("original_max_position_embeddings") for each in [rope, *nested]]
    known += [getattr(text, "original_max_position_embeddings", None)]
    return min(int(window) for window in [stated_window(config), *known] if window)


def stated_window(config: PretrainedConfig) -> int:
    """Return the tokens that a model is set to read.

    Raises:
        InputError: Its configuration does not say.
    """
    text = config.get_text_config(decoder=True)
    window = usable_positions(text.to_dict())
    if window is None:
        raise InputError(
            f"this model ({text.model_type}) states no window: its configuration has no max_position_embeddings, as with "
            "recurrent layers or ALiBi; write the tokens that it was trained with into its config.json under that name"
        )
    return window


def load_causal(
    config: ModelConfig, device: str = "auto", *, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model that writes text, in evaluation mode, and its tokenizer.

    Args:
        config: Where it is; a .gguf file is dequantized.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        dtype: Of the weights.

    Raises:
        InputError: There is no such model, it writes no text, its weights are missing or broken, or the hub cannot be reached.
    """
    quiet()
    reference = model_reference(config.name, config.revision, gguf=True)
    try:
        if isinstance(reference, Path) and reference.is_file():
            model, tokenizer, missing = _from_gguf(reference, dtype)
        else:
            model, tokenizer, missing = _from_folder(str(reference), config, dtype)
    except InputError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise InputError(
            f"model.name={config.name}: cannot load it: {lines[0] if lines else type(error).__name__}"
        ) from error
    if missing:
        raise InputError(
            f"model.name={config.name}: the weights {', '.join(sorted(missing)[:3])}{', ...' if len(missing) > 3 else ''} are "
            "missing and would be random; give a model that was saved whole"
        )
    torch.nn.Module.eval(model)
    torch.nn.Module.to(model, pick_device(device))
    return model, tokenizer


def _from_gguf(file: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, set[str]]:
    where, given = str(file.parent), {"gguf_file": file.name}
    # The one bar of the library that its own switch (`finewise.device.quiet`) does not reach.
    modeling_gguf_pytorch_utils.tqdm = logging.tqdm  # type: ignore[attr-defined]
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(where, **given)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        where, **given, dtype=dtype, quantization_config=GgufConfig(dequantize=True), output_loading_info=True
    )
    return loaded[0], tokenizer, set(loaded[1]["missing_keys"])


def _from_folder(
    reference: str, config: ModelConfig, dtype: torch.dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, set[str]]:
    source = {"revision": config.revision, "trust_remote_code": config.trust_remote_code}
    settings: PretrainedConfig = AutoConfig.from_pretrained(reference, **source)
    kinds = settings.architectures or []
    if kinds and not any(kind.endswith(_WRITES) for kind in kinds):
        raise InputError(
            f"model.name={config.name}: a {kinds[0]} writes no text; give a causal language model (one whose config.json says "
            f"architectures: [...ForCausalLM])"
        )
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(reference, **source)
    loaded: Any = AutoModelForCausalLM.from_pretrained(reference, **source, dtype=dtype, output_loading_info=True)
    return loaded[0], tokenizer, set(loaded[1]["missing_keys"])
