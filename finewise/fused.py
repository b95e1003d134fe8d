"""Linear layers at inference on a CPU in bf16: bias and GELU inside the matrix product, weights laid out for it once.

Under autocast a linear layer converts its input and its weight, multiplies, and GELU then goes through memory twice more. The
oneDNN kernels behind torch.compile do all of it in one pass. Only where gradients are off: training computes as before.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import GELUActivation

BF16 = torch.bfloat16


@contextmanager
def fused(model: nn.Module) -> Iterator[None]:
    """Compute the model's linear layers fused, while bf16 autocast is on and gradients are off; else change nothing.

    The weights must not change meanwhile.
    """
    layers = list(_layers(model)) if _possible(model) else []
    for module, forward in layers:
        module.forward = forward
    try:
        yield
    finally:
        for module, _ in layers:
            del module.forward


def supported() -> bool:
    """Return whether this processor has the instructions that oneDNN's bf16 layers need."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx_ne_convert") or all(has.get(f"avx512_{part}") for part in ("bw", "vl", "dq")))


def _possible(model: nn.Module) -> bool:
    parameter = next(model.parameters(), None)
    return (
        parameter is not None
        and parameter.device.type == "cpu"
        and not torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") is BF16
        and supported()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )


def _layers(model: nn.Module) -> Iterator[tuple[nn.Module, "_Linear"]]:
    """Yield each module to compute otherwise, and how: plain linear layers, and blocks that are one followed by GELU."""
    inside = set()
    for module in model.modules():
        dense = getattr(module, "dense", None)
        if type(dense) is nn.Linear and _is_gelu(getattr(module, "intermediate_act_fn", None)):
            inside.add(dense)
            yield module, _Linear(dense, _Shared(), gelu=True)
    for module in model.modules():
        shared = _Shared()
        for child in module.children():
            if type(child) is nn.Linear and child not in inside:
                yield child, _Linear(child, shared)


def _is_gelu(activation: object) -> bool:
    """Tell whether this is the exact GELU (Hendrycks & Gimpel 2016), not its tanh approximation."""
    if isinstance(activation, nn.GELU):
        return activation.approximate == "none"
    return isinstance(activation, GELUActivation) and activation.act is functional.gelu


class _Shared:
    """The last input of sibling layers in bf16: query, key and value read the same."""

    def __init__(self) -> None:
        self.given: Tensor | None = None
        self.lower: Tensor | None = None

    def __call__(self, given: Tensor) -> Tensor:
        if given is not self.given or self.lower is None:
            self.given, self.lower = given, given.to(BF16)
        return self.lower


class _Linear:
    """Stands in for the forward method of a linear layer, or of one with GELU behind it."""

    def __init__(self, layer: nn.Linear, shared: _Shared, *, gelu: bool = False) -> None:
        self.weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().to(BF16), None)
        self.bias = None if layer.bias is None else layer.bias.detach().to(BF16)
        self.shared = shared
        self.after = "gelu" if gelu else "none"

    def __call__(self, given: Tensor) -> Tensor:
        """Return (..., out) in bf16 for (..., in)."""
        return torch.ops.mkldnn._linear_pointwise(  # type: ignore[no-any-return]
            self.shared(given), self.weight, self.bias, self.after, [], "none"
        )
