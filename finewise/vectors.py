"""How an encoder makes a vector of its token states, and how vectors are compared: by the settings, or as the model says."""

from collections.abc import Mapping
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from transformers import PretrainedConfig

from finewise.checkpoint import read_json
from finewise.config import ModelConfig
from finewise.console import say_once
from finewise.errors import InputError


def settle_vectors(model: SentenceTransformer, config: ModelConfig, reference: str, *, compared: bool = True) -> None:
    """Set pooling and similarity as the settings say, and warn of what neither they nor the model say.

    Args:
        model: As the library loaded it; changed in place.
        config: The settings.
        reference: Where the model is: a folder or a hub id.
        compared: Whether the vectors are compared by the model's similarity, so that it matters.

    Raises:
        InputError: `model.pooling` is set, and the model has no token states to pool.
    """
    if "/" not in reference:  # the library knows the owner of its own models
        reference = getattr(getattr(model[0], "model", None), "name_or_path", "") or reference
    says_pooling = read_json(reference, "modules.json", config.revision) is not None
    stated = read_json(reference, "config_sentence_transformers.json", config.revision) or {}
    if config.pooling is not None:
        _set_pooling(model, config.pooling)
    if config.similarity is not None:
        model.similarity_fn_name = config.similarity  # type: ignore[assignment]  # the settings know its names
    # Of unit vectors every similarity gives the same order.
    says_similarity = stated.get("similarity_fn_name") is not None or isinstance(model[-1], Normalize)
    pooling = pooling_of(model)
    warn_of_defaults(
        config.name,
        ({"pooling": f"{pooling} pooling"} if pooling and not (says_pooling or config.pooling) else {})
        | ({"similarity": "cosine similarity"} if compared and not (says_similarity or config.similarity) else {}),
    )


def usual_pooling(config: PretrainedConfig) -> str:
    """Return the pooling that the library takes for a model that says nothing of it."""
    kinds = getattr(config, "architectures", None) or [""]
    return "lasttoken" if kinds[0].endswith("ForCausalLM") and getattr(config, "is_causal", True) else "mean"


def pooling_of(model: SentenceTransformer) -> str | None:
    """Return the model's pooling in the library's word, several joined by +; None if it pools nothing."""
    mode = next((module.pooling_mode for module in model if isinstance(module, Pooling)), None)
    return mode if mode is None or isinstance(mode, str) else "+".join(mode)


def vectors_of(model: SentenceTransformer) -> dict[str, Any]:
    """Return what a record says of how the model's vectors are made and compared."""
    return {
        "max_seq_length": model.max_seq_length,
        "pooling": pooling_of(model),
        "similarity": str(model.similarity_fn_name),
    }


def _set_pooling(model: SentenceTransformer, mode: str) -> None:
    first: Any = model[0]
    if getattr(first, "module_output_name", None) != "token_embeddings":
        raise InputError(
            f"model.pooling={mode}: {type(first).__name__} gives a vector per text and no token states to pool; leave it out"
        )
    at = next((place for place, module in enumerate(model) if isinstance(module, Pooling)), None)
    before: Any = None if at is None else model[at]
    made = Pooling(
        first.get_embedding_dimension() if before is None else before.embedding_dimension,
        mode,
        include_prompt=True if before is None else before.include_prompt,
    )
    if at is None:
        model.insert(1, made)
        return
    behind = [type(module).__name__ for module in list(model)[at + 1 :] if not isinstance(module, Normalize)]
    if behind and made.pooling_output_dimension != before.pooling_output_dimension:
        raise InputError(
            f"model.pooling={mode} gives {made.pooling_output_dimension} dimensions, and the {behind[0]} behind it takes "
            f"{before.pooling_output_dimension}; leave it out"
        )
    model[at] = made


def warn_of_defaults(name: str, taken: Mapping[str, str]) -> None:
    """Warn of what is taken because nobody says otherwise: setting -> its value, in words."""
    if taken:
        values, verb = " and ".join(taken.values()), "are" if len(taken) > 1 else "is"
        say_once(
            f"warning: model.name={name} does not say how its vectors are made, so {values} {verb} taken; if it was trained "
            f"otherwise, set {' and '.join(f'model.{key}' for key in taken)}"
        )
