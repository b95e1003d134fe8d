"""Dropout whose masks are cheap on a CPU.

torch draws a Bernoulli number per element on one thread: in the training of a small encoder that is a sixth of the time. Here
sixteen random bits decide about an element, four elements per 64-bit draw of the same generator, and masks are applied to the
bits of the numbers. The share of dropped elements is the nearest multiple of 1/65,536 to p (0.1 becomes 0.100006), and what is
kept is scaled by the inverse of the true share, so that the expectation is exact.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

_Function = TypeVar("_Function", bound=Callable[..., Any])

_LEVELS = 65_536
_BITS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}


def untraced(function: _Function) -> _Function:
    """Keep torch.compile out of a function: it cannot trace numbers whose bits are read as another type."""
    left: _Function = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
    return left


@untraced
def draw(shape: torch.Size, p: float) -> Tensor:
    """Return a mask (int16, CPU): all bits set where an element is kept, none where it is dropped.

    Args:
        shape: Of the mask.
        p: Probability of dropping.
    """
    size = shape.numel()
    words = torch.empty(-(-size // 4), dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.int16)[:size].ge_(_level(p) - _LEVELS // 2).neg_().view(shape)


@untraced
def keep(values: Tensor, mask: Tensor) -> Tensor:
    """Return the values with the dropped ones set to zero, not scaled; contiguous `values` of the mask's shape."""
    kind = _BITS[values.dtype]
    return values.view(kind).bitwise_and(mask if kind is torch.int16 else mask.to(kind)).view(values.dtype)


def scale(p: float) -> float:
    """Return what the kept values are multiplied by: one over the share that is kept."""
    return _LEVELS / (_LEVELS - _level(p))


def _level(p: float) -> int:
    return min(_LEVELS - 1, max(0, round(p * _LEVELS)))


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, p: float) -> Tensor:
        mask = draw(values.shape, p)
        ctx.save_for_backward(mask)
        ctx.scale = scale(p)
        return keep(values.contiguous(), mask).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return keep(gradients[0].contiguous(), mask).mul_(ctx.scale), None


class FastDropout(nn.Dropout):
    """nn.Dropout (Srivastava et al. 2014) with the masks of this module on a CPU, and torch's own elsewhere."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the library's own name
        """Drop elements in training; return the input in evaluation."""
        if (
            self.training
            and 0 < self.p < 1
            and not self.inplace
            and input.device.type == "cpu"
            and input.dtype in _BITS
        ):
            dropped: Tensor = _Drop.apply(input, self.p)  # type: ignore[no-untyped-call]
            return dropped
        return super().forward(input)


def speed_up(model: nn.Module) -> None:
    """Let the model's dropout layers draw their masks this way. They keep their place, name and probability."""
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = FastDropout
