"""How surprised a language model is by each token of a long text, without ever holding all its logits.

16,384 tokens of a vocabulary of 256,000 have 17 GB of fp32 logits. So the model's body reads the window once, and its head is
asked for some positions at a time. The head's own ways (soft caps, scales) differ by family; instead of copying them, the
model's own `forward` is called with a body that answers with some of the hidden states it gave before.

Shapes: B windows, T tokens, V vocabulary.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from benchmarks.needle.memory import converted_bytes
from finewise.device import available
from finewise.errors import InputError

CHUNK = 1024
"""Positions whose logits exist at a time, over all windows of a batch."""

CLEARLY = 1.0
"""Nats per token above those of guessing, from which a loss is said to be worse."""

SHARE = 0.8
"""Of the free memory, what a reading may take."""


def token_losses(model: PreTrainedModel, ids: Tensor, first: int = 1, *, chunk: int = CHUNK) -> Tensor:
    """Return the negative log-likelihood of tokens given all before them, (B, T - first) in nats, fp32.

    Args:
        model: A causal language model, in evaluation mode.
        ids: (B, T) token ids, all real.
        first: Number (from 0) of the first token whose loss is wanted; at least 1.
        chunk: Positions whose logits exist at a time.
    """
    body = model.base_model
    step = max(1, chunk // len(ids))
    losses = []
    with torch.no_grad():  # inference_mode would make autocast convert the weights again in each call
        # Without an attention mask the fast causal kernels are taken; positions count from 0.
        given = body(input_ids=ids, use_cache=False)
        for start in range(first - 1, ids.shape[1] - 1, step):
            stop = min(start + step, ids.shape[1] - 1)
            with _answering(body, replace(given, last_hidden_state=given.last_hidden_state[:, start:stop])):
                logits = model(input_ids=ids[:, start:stop], use_cache=False).logits
            target = ids[:, start + 1 : stop + 1]
            losses.append(functional.cross_entropy(logits.float().transpose(1, 2), target, reduction="none"))
    return torch.cat(losses, dim=1)


def guesses_better(model: PreTrainedModel, loss: float) -> str:
    """Say that a guess among all tokens would be clearly better than the model; empty where it is not.

    Args:
        model: A causal language model.
        loss: What it lost per token, in nats, within the window that it was trained with.
    """
    vocabulary = int(model.config.get_text_config().vocab_size)
    if loss <= math.log(vocabulary) + CLEARLY:
        return ""
    return (
        f"a perplexity of {math.exp(min(loss, 700)):,.0f} within its window is worse than guessing among its {vocabulary:,} "
        "tokens: it is no language model of such texts"
    )


@contextmanager
def _answering(body: nn.Module, answer: Any) -> Iterator[None]:
    """Let a module answer with what it is given, whatever it is asked."""
    forward = body.__dict__.get("forward")
    body.forward = lambda *args, **kwargs: answer
    try:
        yield
    finally:
        if forward is None:
            del body.forward
        else:
            body.forward = forward


def reading_bytes(model: PreTrainedModel, tokens: int, *, bf16: bool, chunk: int = CHUNK) -> int:
    """Return about how many bytes a window takes while it is read: converted weights, one layer, the logits of a chunk."""
    config = model.config.get_text_config()
    width = max(config.hidden_size, getattr(config, "intermediate_size", None) or 4 * config.hidden_size)
    each = 2 if bf16 else 4
    # Hidden states before and after, queries, keys, values and their products; gate, up and their product.
    layer = tokens * (8 * config.hidden_size * 4 + 3 * width * each)
    logits = min(tokens, chunk) * config.vocab_size * 4 * 3
    if model.config._attn_implementation == "eager":
        layer += 2 * config.num_attention_heads * tokens**2 * 4
    elif getattr(config, "sliding_window", None):
        layer += tokens**2  # a mask of truth values
    return int(layer + logits + converted_bytes(model, bf16=bf16))


def check_fits(model: PreTrainedModel, tokens: int, key: str, *, bf16: bool) -> None:
    """Refuse a window that would not fit into memory, before anything is read.

    Args:
        model: The model, where it will read.
        tokens: Of the window.
        key: The setting that names it.
        bf16: Whether it computes in bf16.

    Raises:
        InputError: Says about how much is needed and free, and what would fit.
    """
    free = available(str(model.device))
    needed = reading_bytes(model, tokens, bf16=bf16)
    if needed <= SHARE * free:
        return
    fits = tokens
    while fits > 1 and reading_bytes(model, fits, bf16=bf16) > SHARE * free:
        fits //= 2
    hint = f"{fits:,} tokens would fit" if fits >= 64 else "free some memory, or take a smaller model"
    raise InputError(
        f"{key}: a window of {tokens:,} tokens needs about {needed / 1e9:.1f} GB beside the weights, and "
        f"{free / 1e9:.1f} GB are free on {model.device}; {hint}"
    )
