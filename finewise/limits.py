"""How many tokens a model can read, from its configuration. Imports nothing heavy."""

from collections.abc import Mapping
from typing import Any

from finewise.config import ModelConfig
from finewise.errors import InputError

NO_LIMIT = 1_000_000
"""Tokenizers without a limit state a huge one, from here on."""

_COUNTS_FROM_PADDING = {
    *("roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "camembert", "xmod", "mpnet", "longformer"),
    *("ibert", "data2vec-text", "esm", "luke", "markuplm", "layoutlmv3", "lilt"),
}
"""Model types whose first position is the one behind the padding id, so that the positions before it are never used."""

_COMPUTED = ("rope_", "rotary_")
_LENGTHS = ("max_position_embeddings", "n_positions")
_RELATIVE = {"t5", "mt5", "umt5", "longt5", "switch_transformers"}
"""Model types whose `n_positions` says what they were trained with, not where they end."""


def usable_positions(config: Mapping[str, Any]) -> int | None:
    """Return how many tokens the positions of a model are enough for; None if nothing says that they end.

    Args:
        config: The model's config.json, or `to_dict()` of its configuration.

    >>> usable_positions({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1})
    512
    >>> usable_positions({"model_type": "xlnet", "max_position_embeddings": -1}) is None
    True
    """
    text = config.get("text_config")
    if isinstance(text, Mapping) and not any(key in config for key in _LENGTHS):
        config = text
    kind = config.get("model_type")
    if kind in _RELATIVE:
        return None
    most = next((config[key] for key in _LENGTHS if config.get(key) is not None), None)
    if not isinstance(most, int) or not 0 < most < NO_LIMIT:
        return None
    if kind in _COUNTS_FROM_PADDING:
        padding = None if kind == "mpnet" else config.get("pad_token_id")  # MPNet's code has a 1 in it
        most -= 1 + (1 if padding is None else int(padding))
    return most if most > 0 else None


def reading_limit(config: Mapping[str, Any], own: float | None, tokenizer: float | None = None) -> int | None:
    """Return at how many tokens texts are truncated; None if neither the model nor its tokenizer has a limit.

    Args:
        config: As for `usable_positions`.
        own: What the sentence-transformers folder of the model says.
        tokenizer: What its tokenizer says, which counts where `own` says nothing.
    """
    positions, stated = usable_positions(config), known_limit(own) or known_limit(tokenizer)
    if known_limit(own) is not None and any(key.startswith(_COMPUTED) and config[key] for key in config):
        return stated  # rotary positions go on behind the trained window
    return min((limit for limit in (positions, stated) if limit is not None), default=None)


def refuse_beyond(config: ModelConfig, positions: int | None) -> None:
    """Refuse a `max_seq_length` above what the model has positions for.

    Raises:
        InputError: It is.
    """
    if positions is not None and config.max_seq_length is not None and config.max_seq_length > positions:
        raise InputError(
            f"model.max_seq_length must be at most {positions} with {config.name}, which has no positions beyond; "
            f"got {config.max_seq_length}"
        )


def known_limit(limit: float | None) -> int | None:
    """Return a limit that a tokenizer or setting states, None if it stands for none (such as 1e30, 0 or -1)."""
    return int(limit) if limit is not None and 0 < limit < NO_LIMIT else None
