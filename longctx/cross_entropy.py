"""The loss of the next token without the logits of all tokens at once.

A vocabulary of 150,000 makes 32k tokens 20 GB of fp32 logits, and as much again for their gradient. Here the logits of some
tokens exist at a time, in the forward pass and again, computed anew, in the backward pass.

The model's own code computes them, so that scaled, capped or biased logits (Gemma 2, Cohere, Granite) are what they are.
What the libraries offer was looked at: torch's `linear_cross_entropy` with options takes a plain linear head alone, and TRL's
fused head a fixed number of tokens and a list of the names under which families keep their scales.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from finewise.errors import InputError

IGNORED = -100
"""The target of a token after which nothing is predicted."""


def logits_of(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Return (1, T, V), what the model makes of its last hidden states.

    Its own forward method is run, with the transformer's replaced by what it already gave.

    Args:
        model: A causal language model.
        hidden: (1, T, D).
    """
    base = model.base_model
    before = base.__dict__.get("forward")
    base.forward = lambda *args, **kwargs: BaseModelOutputWithPast(last_hidden_state=hidden)
    try:
        ids = torch.zeros(hidden.shape[:2], dtype=torch.int64, device=hidden.device)
        found: Tensor = type(model).forward(model, input_ids=ids, use_cache=False).logits
    finally:
        del base.forward
        if before is not None:
            base.forward = before
    return found


def nll_sum(model: PreTrainedModel, hidden: Tensor, targets: Tensor, chunk: int) -> Tensor:
    """Return the summed negative log-likelihood of the targets, in fp32; one number with a gradient.

    Args:
        model: The causal language model that gave the hidden states.
        hidden: (B, T, D).
        targets: (B, T) the token that follows each, or IGNORED.
        chunk: Tokens whose logits exist at a time.
    """
    kept = targets != IGNORED
    states, wanted = hidden[kept], targets[kept]

    def part(some: Tensor, ids: Tensor) -> Tensor:
        return functional.cross_entropy(logits_of(model, some[None])[0].float(), ids, reduction="sum")

    total = states.sum().float() * 0  # so that a batch without a target has a gradient too
    for some, ids in zip(torch.split(states, chunk), torch.split(wanted, chunk), strict=True):
        if torch.is_grad_enabled() and len(ids):
            total = total + checkpoint(part, some, ids, use_reentrant=False, preserve_rng_state=False)
        elif len(ids):
            total = total + part(some, ids)
    return total


@contextmanager
def gives_nll(model: PreTrainedModel, chunk: int) -> Iterator[None]:
    """Let `model(..., targets=targets).loss` be `nll_sum`, and everything else what it was.

    Args:
        model: A causal language model; one with LoRA: the model inside.
        chunk: See `nll_sum`.

    Raises:
        InputError: The model's code does not let its logits be computed from hidden states alone.
    """
    _check(model)

    @functools.wraps(type(model).forward)
    def forward(self: PreTrainedModel, *args: Any, targets: Tensor | None = None, **kwargs: Any) -> Any:
        if targets is None:
            return type(self).forward(self, *args, **kwargs)
        given = {key: value for key, value in kwargs.items() if value is not None}
        hidden = self.base_model(*args, **given).last_hidden_state
        return CausalLMOutputWithPast(loss=nll_sum(self, hidden, targets, chunk))

    model.forward = MethodType(forward, model)
    try:
        yield
    finally:
        model.__dict__.pop("forward", None)


def _check(model: PreTrainedModel) -> None:
    """Compare the logits of a few tokens with the model's own."""
    ids = torch.arange(min(8, model.config.get_text_config().vocab_size), device=model.device)[None]
    training = model.training
    model.train(False)
    try:
        with torch.no_grad():
            own = type(model).forward(model, input_ids=ids, use_cache=False).logits
            hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            found = logits_of(model, hidden)
    finally:
        model.train(training)
    if own.shape != found.shape or not torch.allclose(own.float(), found.float(), rtol=1e-3, atol=1e-4):
        raise InputError(
            f"model type '{model.config.model_type}': its code computes logits from more than the last hidden states, so that "
            "they cannot be computed in parts; take another model for objective=lm"
        )
