"""A picture of what the methods do: the wavelength of each pair of rotary dimensions, stretched."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from longctx import rope
from longctx.rope_config import RopeConfig


def plot_wavelengths(
    file: Path, methods: Mapping[str, RopeConfig], head_dim: int, theta: float, original: int, target: int
) -> None:
    """Draw wavelength by pair, one line per method, with both windows as horizontal lines.

    Args:
        file: Where to; the ending says the format.
        methods: By the name in the legend.
        head_dim: D.
        theta: b.
        original: L.
        target: L'.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, method in methods.items():
        frequencies, scale = rope.inverse_frequencies(method, head_dim, theta, original, target)
        label = name if scale == 1 else f"{name} (cos and sin times {scale:.3g})"
        axes.plot(rope.wavelengths(frequencies), marker=".", markersize=4, linewidth=1, label=label)
    for tokens, name in ((original, "trained window"), (target, "new window")):
        axes.axhline(tokens, color="grey", linestyle=":", linewidth=1)
        axes.annotate(f"{name}, {tokens} tokens", (0, tokens), xytext=(2, 2), textcoords="offset points", fontsize=8)
    axes.set(yscale="log", xlabel="pair of rotary dimensions", ylabel="wavelength in tokens")
    axes.set_title(f"D={head_dim}, base {theta:g}, {original} to {target} tokens")
    axes.legend(fontsize=8)
    figure.savefig(file, dpi=150)
