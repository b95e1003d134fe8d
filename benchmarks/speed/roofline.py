"""The roofline: how fast this machine multiplies matrices, and how many operations the real tokens need.

    python -m benchmarks.speed.roofline

Operations of an encoder, per text of n real tokens (padding needs none, whatever it costs):

    forward  = sum over layers of 2 * W * n + 4 * d * pairs
    backward = 2 * forward

W is the number of weights in the layer's matrices (attention: 4 d d; feed-forward: 2 d f, gated: 3 d f), each of them one
multiplication and one addition per token (Kaplan et al. 2020, arXiv 2001.08361, section 2.1). `pairs` is how many pairs of
query and key the text has: n * n, or fewer in a layer with a sliding window; each costs 2 d for its score and 2 d for its
part of the sum (Chowdhery et al. 2022, arXiv 2204.02311, appendix B: 12 L H Q T per token, forward and backward). Not
counted: the look-up of embeddings, layer norms, softmax, activations, biases, pooling, the loss, the optimiser, and what is
computed twice to save memory. So 100 % is beyond reach.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from benchmarks.speed.harness import synchronize
from finewise.device import fast_bf16, pick_device

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SIZES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192, 16384)}
GATED = {"modernbert", "nomic_bert", "eurobert"}
"""Models whose feed-forward has a third matrix, the gate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What of an encoder decides its operations.

    Attributes:
        hidden: d.
        weights: W, per layer.
        windows: Per layer how many tokens to each side are attended to; None for all.
    """

    hidden: int
    weights: int
    windows: tuple[int | None, ...]

    @classmethod
    def of(cls, config: Any) -> "Shape | None":
        """Read a transformers configuration; None when it is no encoder of this form (shares are then not shown).

        Args:
            config: Of BERT, RoBERTa, MPNet, DistilBERT, ModernBERT and their like.
        """
        hidden = getattr(config, "hidden_size", None) or getattr(config, "dim", None)
        inner = getattr(config, "intermediate_size", None) or getattr(config, "hidden_dim", None)
        layers = getattr(config, "num_hidden_layers", None) or getattr(config, "n_layers", None)
        if not (hidden and inner and layers) or getattr(config, "embedding_size", hidden) != hidden:
            return None
        if getattr(config, "num_key_value_heads", None) not in (None, getattr(config, "num_attention_heads", None)):
            return None
        matrices = 3 if config.model_type in GATED else 2
        kinds = getattr(config, "layer_types", None) or ["full_attention"] * layers
        window = getattr(config, "sliding_window", None)
        return cls(
            hidden=hidden,
            weights=4 * hidden * hidden + matrices * hidden * inner,
            windows=tuple(window if kind == "sliding_attention" else None for kind in kinds),
        )


def forward_flop(shape: Shape, lengths: Sequence[int]) -> float:
    """Return the operations of a forward pass over texts of these many real tokens."""
    total = 0
    for window in shape.windows:
        attended = sum(pairs(length, window) for length in lengths)
        total += 2 * shape.weights * sum(lengths) + 4 * shape.hidden * attended
    return float(total)


def training_flop(shape: Shape, lengths: Sequence[int]) -> float:
    """Return the operations of a forward and backward pass."""
    return 3 * forward_flop(shape, lengths)


def pairs(length: int, window: int | None) -> int:
    """Return how many pairs of positions are at most `window` apart (None: any distance).

    >>> pairs(5, None), pairs(5, 1), pairs(2, 3)
    (25, 13, 4)
    """
    if window is None or window >= length:
        return length * length
    return length * (2 * window + 1) - window * (window + 1)


def matrix_peak(device: str, dtype: torch.dtype, *, sizes: Sequence[int] = (), seconds: float = 0.1) -> float:
    """Measure the matrix-product peak in FLOP/s: the best of several sizes, of each the median of five stretches.

    Args:
        device: As pick_device returns it.
        dtype: Of both factors and the product.
        sizes: Rows of the square matrices; none takes the device's own.
        seconds: Length of a stretch, at least.
    """
    best = 0.0
    for size in sizes or SIZES.get(torch.device(device).type, SIZES["cpu"]):
        left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        times = 1

        def stretch(count: int, left: torch.Tensor = left, right: torch.Tensor = right) -> float:
            synchronize(device)
            start = time.perf_counter()
            for _ in range(count):
                torch.nn.functional.linear(left, right)
            synchronize(device)
            return time.perf_counter() - start

        stretch(1)
        while (spent := stretch(times)) < seconds:
            times = max(times + 1, int(1.2 * times * seconds / max(spent, 1e-9)))
        best = max(best, median(2 * size**3 * times / stretch(times) for _ in range(5)))
    return best


def peaks(device: str) -> dict[str, float]:
    """Measure the peak in fp32, and in bf16 where the device is made for it."""
    return {name: matrix_peak(device, dtype) for name, dtype in DTYPES.items() if name == "fp32" or fast_bf16(device)}


def main() -> None:
    """Print the peaks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default auto)")
    device = pick_device(parser.parse_args().device)
    for name, peak in peaks(device).items():
        print(f"{device} {name}: {peak / 1e9:.0f} GFLOP/s")


if __name__ == "__main__":
    main()
