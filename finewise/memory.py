"""How much memory a training step keeps, how much is free, and what to do when the one exceeds the other."""

from typing import Any

import torch
from torch import Tensor

from finewise.device import autocast, available
from finewise.encoder import Encoder

SHARE = 0.3
"""Of the free memory, for the activations of one micro-batch: its backward pass and the loss need room too."""

FEWEST = 256
"""Tokens of a micro-batch that are never undercut: below, products are too small to be worth it."""

_TRIAL = 2048  # tokens that are tried


def activation_bytes(model: Encoder, *, bf16: bool) -> float:
    """Return the bytes that one token's activations take until the backward pass, for texts as long as the model reads.

    Measured: a short training forward pass whose saved tensors are counted, each storage once, weights not at all. The random
    generator is left as it was.
    """
    features = _texts(model)
    tokens = int(features["attention_mask"].sum())
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    seen: dict[int, int] = {}
    alive = []

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # else an address could be used again
        return tensor

    training, recompute = model.training, model.recompute
    model.recompute = "never"
    model.train()
    try:
        with (
            torch.random.fork_rng(),
            torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
            autocast(bf16, str(model.device)),
        ):
            model(features)
    finally:
        model.train(training)
        model.recompute = recompute
    return sum(seen.values()) / tokens


def _texts(model: Encoder) -> dict[str, Any]:
    """Return made-up texts of the model's full length, as the model takes them."""
    limit = min(model.max_seq_length or 512, _TRIAL)
    words = " ".join(["a"] * limit)
    features = model.preprocess([words] * max(1, _TRIAL // limit))
    return {key: value.to(model.device) if isinstance(value, Tensor) else value for key, value in features.items()}


def settle(model: Encoder, *, recompute: str, given_tokens: int | None, bf16: bool) -> str:
    """Set the model's micro-batches and its recomputation so that a training step fits; return a line that says so.

    Args:
        model: The encoder, with its execution chosen.
        recompute: "auto" recomputes a batch whose activations would fill the memory; "never" and "always" are obeyed.
        given_tokens: Tokens of a micro-batch that the settings state; these are kept. None lets them shrink to what fits.
        bf16: Whether the training computes in bf16.
    """
    model.recompute = recompute
    if model.execution.mode == "padded":
        return "execution: padded, batches are computed as one"
    each = activation_bytes(model, bf16=bf16)
    model.activation_bytes = each
    free = available(str(model.device))
    tokens = model.execution.tokens
    fits = int(SHARE * free / max(1.0, each))
    shrunk = given_tokens is None and fits < tokens
    if shrunk:
        tokens = max(FEWEST, fits)
        model.execute(model.execution.mode, tokens)
    why = {
        "auto": "a batch that does not fit is recomputed micro-batch by micro-batch",
        "never": "all micro-batches of a batch are kept (recompute=never)",
        "always": "one micro-batch is kept at a time (recompute=always)",
    }[recompute]
    return (
        f"execution: {model.execution.mode}, {tokens:,} tokens at a time"
        + (" (fewer, to fit)" if shrunk else "")
        + f", which hold {_size(each * tokens)} of activations; {_size(free)} are free; {why}"
    )


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
