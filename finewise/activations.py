"""What a forward pass keeps for its backward pass."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from finewise.device import autocast


def saved_bytes(model: nn.Module, compute: Callable[[], object], *, bf16: bool) -> int:
    """Return the bytes that a training forward pass saves for its backward pass: each storage once, weights not at all.

    Args:
        model: In evaluation or in training; it is left as it was, and so is the random generator.
        compute: The forward pass.
        bf16: Whether it computes in bf16.
    """
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    seen: dict[int, int] = {}
    alive = []

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # else an address could be used again
        return tensor

    training = model.training
    model.train()
    try:
        with (
            torch.random.fork_rng(),
            torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
            autocast(bf16, str(next(model.parameters()).device)),
        ):
            compute()
    finally:
        model.train(training)
    return sum(seen.values())
