"""How much memory a training step keeps, how much is free, and what to do when the one exceeds the other."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from finewise.activations import saved_bytes
from finewise.device import available
from finewise.encoder import Encoder
from finewise.execution import Forward, attached
from finewise.run import Run

SHARE = 0.3
"""Of the free memory, for the activations of one micro-batch: its backward pass and the loss need room too."""

FEWEST = 256
"""Tokens of a micro-batch that are never undercut: below, products are too small to be worth it."""

_TRIAL = 2048  # tokens that are tried


def activation_bytes(model: Encoder | PreTrainedModel, limit: int | None = None, *, bf16: bool) -> float:
    """Return the bytes that one token's activations take until the backward pass, for texts as long as the model reads.

    Measured: a short training forward pass whose saved tensors are counted, each storage once, weights not at all. The random
    generator is left as it was.

    Args:
        model: An encoder, or a transformers model after `finewise.execution.attach`.
        limit: Tokens of the longest text; None takes an encoder's own limit.
        bf16: Whether the training computes in bf16.
    """
    features = _texts(model, limit)
    tokens = int(features["attention_mask"].sum())
    computes = computes_of(model)
    assert computes is not None
    recompute = computes.recompute
    computes.recompute = "never"
    try:
        found = saved_bytes(
            model, lambda: model(features) if isinstance(model, Encoder) else model(**features), bf16=bf16
        )
    finally:
        computes.recompute = recompute
    return found / tokens


def _texts(model: Encoder | PreTrainedModel, limit: int | None) -> dict[str, Any]:
    """Return made-up texts of the model's full length, as the model takes them."""
    if isinstance(model, Encoder):
        limit = min(model.max_seq_length or 512, _TRIAL)
        words = " ".join(["a"] * limit)
        features = model.preprocess([words] * max(1, _TRIAL // limit))
        return {key: value.to(model.device) if isinstance(value, Tensor) else value for key, value in features.items()}
    limit = min(limit or 512, _TRIAL)
    ids = torch.ones(max(1, _TRIAL // limit), limit, dtype=torch.int64, device=model.device)
    return {"input_ids": ids + 1, "attention_mask": ids}


def computes_of(model: Encoder | PreTrainedModel) -> Encoder | Forward | None:
    """Return what decides how a model computes its batches; None if a transformers model pads them."""
    return model if isinstance(model, Encoder) else attached(model)


def settle(
    model: Encoder | PreTrainedModel,
    limit: int | None = None,
    *,
    recompute: str,
    given_tokens: int | None,
    bf16: bool,
    run: Run | None = None,
) -> str:
    """Set the model's micro-batches and its recomputation so that a training step fits; return a line that says so.

    Args:
        model: An encoder with its execution chosen, or a transformers model after `finewise.execution.attach`.
        limit: See `activation_bytes`.
        recompute: "auto" recomputes a batch whose activations would fill the memory; "never" and "always" are obeyed.
        given_tokens: Tokens of a micro-batch that the settings state; these are kept. None lets them shrink to what fits.
        bf16: Whether the training computes in bf16.
        run: Keeps the tokens of a micro-batch, so that a resumed run cuts its batches as it began, whatever is free now.
    """
    computes = computes_of(model)
    if computes is None or computes.execution.mode == "padded":
        return "execution: padded, batches are computed as one"
    computes.recompute = recompute
    each = activation_bytes(model, limit, bf16=bf16)
    computes.activation_bytes = each
    free = available(str(model.device))
    tokens = computes.execution.tokens
    fits = int(SHARE * free / max(1.0, each))
    shrunk = given_tokens is None and fits < tokens
    if shrunk:
        tokens = max(FEWEST, fits)
    if run is not None and given_tokens is None:
        tokens = run.keep("micro_batch_tokens", tokens)
    computes.execution = replace(computes.execution, tokens=tokens)
    why = {
        "auto": "a batch that does not fit is recomputed micro-batch by micro-batch",
        "never": "all micro-batches of a batch are kept (recompute=never)",
        "always": "one micro-batch is kept at a time (recompute=always)",
    }[recompute]
    return (
        f"execution: {computes.execution.mode}, {tokens:,} tokens at a time"
        + (" (fewer, to fit)" if shrunk else "")
        + f", which hold {_size(each * tokens)} of activations; {_size(free)} are free; {why}"
    )


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
