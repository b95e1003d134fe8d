"""Whether a training step fits into memory, estimated before it starts, and what would fit if it does not."""

from dataclasses import replace

import torch
from transformers import PreTrainedModel

from finewise.activations import saved_bytes
from finewise.device import available
from finewise.errors import InputError
from finewise.execution import Execution
from finewise.packing import LONG

SHARE = 0.9
"""Of the free memory that a step may take."""

TRIAL = 2 * LONG + 128
"""Tokens that are tried: the half of them is still long for the packed attention."""

LORA_RANK = 16

FEWEST = 64
"""Tokens of the shortest window that is proposed."""


def check_memory(
    model: PreTrainedModel,
    longest: int,
    execution: Execution,
    *,
    activation_checkpointing: bool,
    logits_chunk: int,
    bf16: bool,
    lora: bool = False,
) -> tuple[Execution, str]:
    """Estimate what a training step takes besides the weights.

    Gradients (4 bytes a trained weight), Adam's two moments (8), the activations of the tokens that are computed at a time, and
    the logits of a chunk with their gradient.

    Args:
        model: A causal language model on its device; of one with LoRA the model inside.
        longest: Tokens of the longest piece, which is never divided.
        execution: How many tokens are to be computed at a time.
        activation_checkpointing: Whether only each layer's input is kept.
        logits_chunk: Tokens whose logits exist at a time.
        bf16: Whether the training computes in bf16.
        lora: Whether only added matrices are trained already.

    Returns:
        The execution, with fewer tokens at a time if no more fit, and a line that says what a step takes.

    Raises:
        InputError: Not even the longest piece fits. Says what it would take, what is free, and what would fit.
    """
    text = model.config.get_text_config()
    layers = int(text.num_hidden_layers)
    logits = 12 * min(logits_chunk, longest) * int(text.vocab_size)
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    linear, square = activation_bytes(model, longest, bf16=bf16)
    if execution.mode == "packed":  # which keeps the scores of texts up to LONG tokens
        linear += text.num_attention_heads * layers * min(longest, LONG) * (2 if bf16 else 4)
        square = 0.0

    def activations(tokens: int, text_length: int, *, recomputed: bool) -> float:
        kept = tokens * (linear + square * text_length)
        return tokens * int(text.hidden_size) * 4 * layers + kept / layers if recomputed else kept

    device = str(model.device)
    free = available(device)
    room = SHARE * free - 12 * trained - logits
    needed = 12 * trained + logits + activations(longest, longest, recomputed=activation_checkpointing)
    if needed <= SHARE * free:
        fits = int(room / activations(1, longest, recomputed=activation_checkpointing))
        tokens = max(longest, min(execution.tokens, fits))
        most = 12 * trained + logits + activations(tokens, longest, recomputed=activation_checkpointing)
        return replace(execution, tokens=min(execution.tokens, tokens)), (
            f"execution: {execution.mode}, {tokens:,} tokens at a time; a step takes up to {_size(most)} besides the weights; "
            f"{_size(free)} are free"
        )
    ways = []
    if not activation_checkpointing and activations(longest, longest, recomputed=True) <= room:
        ways.append("optim.activation_checkpointing=true")
    # The embeddings, which are trained with LoRA too, and a fiftieth of the other weights.
    added = text.vocab_size * text.hidden_size + sum(weight.numel() for weight in model.parameters()) // 50
    spared = 12 * (trained - added)
    if not lora and activations(longest, longest, recomputed=activation_checkpointing) <= room + spared:
        ways.append(f"lora.rank={LORA_RANK}")
    fits = longest
    while fits >= FEWEST and activations(fits, fits, recomputed=activation_checkpointing) > room:
        fits = fits * 9 // 10
    if fits >= FEWEST:
        ways.append(f"objective.window={fits}")
    raise InputError(
        f"a training step of {longest:,} tokens takes about {_size(needed)} besides the weights ({_size(12 * trained)} for "
        f"gradients and moments), {_size(free)} are free on {device}; set "
        + (
            " or ".join(ways)
            or f"optim.activation_checkpointing=true, lora.rank={LORA_RANK} and a shorter objective.window"
        )
    )


def activation_bytes(model: PreTrainedModel, longest: int, *, bf16: bool) -> tuple[float, float]:
    """Return a and b, where the activations of one text of T tokens take a T + b T^2 bytes until the backward pass.

    Measured at two lengths: the tensors that a training forward pass saves are counted, each storage once, weights not at all.
    b is above 0 where attention keeps its scores (eager). The random generator is left as it was.

    Args:
        model: A causal language model.
        longest: Tokens of the longest text; no more are tried.
        bf16: Whether the training computes in bf16.
    """
    long = max(4, min(longest, TRIAL))
    half = long // 2
    whole, part = _saved(model, long, bf16=bf16), _saved(model, half, bf16=bf16)
    square = max(0.0, (whole / long - part / half) / (long - half))
    if square * long < 0.05 * whole / long:
        square = 0.0  # rounding, not scores
    return whole / long - square * long, square


def _saved(model: PreTrainedModel, tokens: int, *, bf16: bool) -> int:
    """Return the bytes that a forward pass of the transformer saves for its backward pass."""
    ids = torch.zeros(1, tokens, dtype=torch.int64, device=model.device)
    return saved_bytes(model, lambda: model.base_model(input_ids=ids, use_cache=False), bf16=bf16)


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
