"""What reading takes of the memory, estimated before anything is read: key-value cache and activations."""

from transformers import PretrainedConfig, PreTrainedModel

from benchmarks.needle.prefix_cache import chunk_columns, kind_of
from finewise.device import available
from finewise.errors import InputError

SHARE = 0.8
"""How much of the free memory reading may take."""


def cache_bytes(config: PretrainedConfig, size: int) -> int:
    """Return the bytes of one token's keys and values in all layers.

    Args:
        config: The model's.
        size: Bytes of a number.
    """
    text = config.get_text_config(decoder=True)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    return int(text.num_hidden_layers * 2 * heads * _head(text) * size)


def reading_bytes(model: PreTrainedModel, columns: int, rows: int, *, bf16: bool) -> int:
    """Estimate what reading takes besides the weights.

    The weights as autocast converts them and the cache of all columns; for the columns computed at a time one layer's
    activations, its mask, the logits of the last, and one layer's keys and values repeated for all heads.

    Args:
        model: The model.
        columns: Tokens of the longest row.
        rows: Texts in the cache.
        bf16: Whether it computes under autocast.
    """
    text = model.config.get_text_config(decoder=True)
    size = 2 if bf16 else model.dtype.itemsize
    chunk = columns if kind_of(model.config) == "whole" else min(columns, chunk_columns(model.device.type, rows))
    inner = int(getattr(text, "intermediate_size", None) or 4 * text.hidden_size)
    wide = text.num_attention_heads * _head(text)
    per_token = 6 * text.hidden_size + 3 * inner + 4 * wide
    mask = chunk * columns * 5 if chunk < columns else 0
    repeated = 2 * columns * wide * size
    return int(
        rows
        * (columns * cache_bytes(model.config, size) + chunk * per_token * 4 + mask + repeated + text.vocab_size * 8)
        + converted_bytes(model, bf16=bf16)
    )


def converted_bytes(model: PreTrainedModel, *, bf16: bool) -> int:
    """Return what the bf16 copies of the weights take that autocast keeps while it reads; 0 for weights that are bf16."""
    return 2 * sum(weight.numel() for weight in model.parameters() if weight.itemsize > 2) if bf16 else 0


def rows_that_fit(model: PreTrainedModel, columns: int, batch_tokens: int | None, *, bf16: bool) -> int:
    """Return how many texts the cache holds at a time: what `batch_tokens` says, else what fits into memory; 1 to 64."""
    if batch_tokens is not None:
        return max(1, batch_tokens // columns)
    free = SHARE * available(str(model.device))
    rows = 1
    while rows < 64 and reading_bytes(model, columns, rows + 1, bf16=bf16) <= free:
        rows += 1
    return rows


def check_memory(model: PreTrainedModel, length: int, *, bf16: bool) -> None:
    """Refuse a length that one text alone cannot be read at.

    Raises:
        InputError: Says what it would take, and what would fit.
    """
    device = str(model.device)
    free = available(device)
    needed = reading_bytes(model, length, 1, bf16=bf16)
    if needed <= SHARE * free:
        return
    fits = length
    while fits > 1 and reading_bytes(model, fits, 1, bf16=bf16) > SHARE * free:
        fits = fits * 9 // 10
    size = 2 if bf16 else model.dtype.itemsize
    raise InputError(
        f"needle.lengths: {length} tokens take about {needed / 2**30:.1f} GB besides the weights (key-value cache "
        f"{length * cache_bytes(model.config, size) / 2**30:.1f}), {free / 2**30:.1f} GB are free on {device}; about "
        f"{fits} tokens would fit"
    )


def _head(text: PretrainedConfig) -> int:
    return int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)
