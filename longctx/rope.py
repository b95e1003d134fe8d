"""Frequencies of rotary positions (Su et al. 2021, arXiv 2104.09864), stretched: pure, in float64.

Pair d of a head's D rotary dimensions is turned at position p by the angle p theta_d. What each method does to theta is told,
with source and limits, by its class in `longctx.rope_config`; the notation is explained there too.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from finewise.errors import InputError
from longctx.rope_config import (
    Abf,
    DynamicNtk,
    Linear,
    Llama3,
    LongRope,
    NtkAware,
    NtkByParts,
    RopeConfig,
    Unstretched,
    Yarn,
)

Frequencies = NDArray[np.float64]


def inverse_frequencies(
    method: RopeConfig, head_dim: int, theta: float, original: int, target: int, *, length: int | None = None
) -> tuple[Frequencies, float]:
    """Return the stretched frequencies theta'_d, and what multiplies cos and sin.

    Args:
        method: How to stretch.
        head_dim: D, the rotary dimensions of a head (with a partial rotary factor: those alone); even.
        theta: b, the model's base.
        original: L, the window that the model was trained with.
        target: L', the new window.
        length: l, the length that is read; None is `target`. Only dynamic NTK and LongRoPE look at it.

    Returns:
        (D/2,) radians per token, from fast to slow; and the attention factor.

    Raises:
        InputError: The target is shorter than the original, or the method cannot be computed with these sizes.
    """
    _check(method, head_dim, theta, original, target)
    s = target / original
    read = target if length is None else length
    match method:
        case Unstretched():
            return base_frequencies(head_dim, theta), 1.0
        case Linear():
            return base_frequencies(head_dim, theta) / s, 1.0
        case NtkAware():
            return base_frequencies(head_dim, ntk_theta(head_dim, theta, s)), 1.0
        case DynamicNtk():
            f = dynamic_factor(method, s)
            growth = f * max(read, original) / original - (f - 1)
            return base_frequencies(head_dim, ntk_theta(head_dim, theta, growth)), 1.0
        case NtkByParts():  # and YaRN, which is one
            frequencies, kept = base_frequencies(head_dim, theta), kept_share(method, head_dim, theta, original)
            return (1 - kept) * frequencies / s + kept * frequencies, attention_factor(method, original, target)
        case LongRope():
            factors = method.long_factors if read > original else short_factors(method)
            return base_frequencies(head_dim, theta) / np.array(factors), attention_factor(method, original, target)
        case Llama3():
            frequencies = base_frequencies(head_dim, theta)
            kept = _ramp(_turns(frequencies, original), method.low_freq_factor, method.high_freq_factor)
            return (1 - kept) * frequencies / s + kept * frequencies, 1.0
        case Abf():
            return base_frequencies(head_dim, method.theta), 1.0
    raise AssertionError(method)


def base_frequencies(head_dim: int, theta: float) -> Frequencies:
    """Return theta_d = b^(-2d/D), (D/2,)."""
    return np.power(float(theta), -np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)


def wavelengths(frequencies: Frequencies) -> Frequencies:
    """Return lambda_d = 2 pi / theta_d in tokens, (D/2,)."""
    return 2 * np.pi / frequencies


def ntk_theta(head_dim: int, theta: float, growth: float) -> float:
    """Return b' = b growth^(D/(D-2)) (YaRN eq. 16)."""
    return float(theta * growth ** (head_dim / (head_dim - 2)))


def dynamic_factor(method: DynamicNtk, s: float) -> float:
    """Return f of dynamic NTK: transformers' `factor`."""
    return 1.0 if method.reading == "paper" else s


def kept_share(method: NtkByParts, head_dim: int, theta: float, original: int) -> Frequencies:
    """Return gamma_d, the share of each pair's frequency that is not divided by s: (D/2,) from 1 to 0."""
    if method.ramp == "rotations":
        return _ramp(_turns(base_frequencies(head_dim, theta), original), method.alpha, method.beta)
    low = max(math.floor(_pair_turning(method.beta, head_dim, theta, original)), 0)
    high = min(math.ceil(_pair_turning(method.alpha, head_dim, theta, original)), head_dim - 1)
    # All code steps aside by this thousandth where the two ends meet; the ramp is then a step.
    return 1 - _ramp(np.arange(head_dim // 2, dtype=np.float64), low, high if high != low else high + 0.001)


def attention_factor(method: NtkByParts | LongRope, original: int, target: int) -> float:
    """Return what multiplies cos and sin: YaRN eq. 22, or LongRoPE's; 1 for NTK by parts."""
    if not isinstance(method, (Yarn, LongRope)) or (isinstance(method, Yarn) and not method.temperature):
        return 1.0
    if method.attention_factor is not None:
        return method.attention_factor
    s = target / original
    return 0.1 * math.log(s) + 1 if isinstance(method, Yarn) else math.sqrt(1 + math.log(s) / math.log(original))


def short_factors(method: LongRope) -> Sequence[float]:
    """Return LongRoPE's factors within the trained window."""
    return method.short_factors or [1.0] * len(method.long_factors)


def _turns(frequencies: Frequencies, original: int) -> Frequencies:
    """Return r_d = L / lambda_d: how often each pair turns in the trained window."""
    return original / wavelengths(frequencies)


def _pair_turning(turns: float, head_dim: int, theta: float, original: int) -> float:
    """Return d(r), the (fractional) pair that turns `turns` times in the trained window."""
    return head_dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))


def _ramp(values: Frequencies, low: float, high: float) -> Frequencies:
    """Return 0 up to `low`, 1 from `high` on, linear between."""
    return np.clip((values - low) / (high - low), 0.0, 1.0)


def _check(method: RopeConfig, head_dim: int, theta: float, original: int, target: int) -> None:
    if target < original:
        raise InputError(
            f"target={target} is shorter than the original window of {original} tokens; stretch by 1 or more"
        )
    if head_dim < 2 or head_dim % 2:
        raise InputError(f"head_dim must be even, since rotary dimensions go in pairs; got {head_dim}")
    if not theta > 1:
        raise InputError(f"theta (the base of rotary positions) must be above 1; got {theta:g}")
    if isinstance(method, (NtkAware, DynamicNtk)) and head_dim < 4:
        raise InputError(
            f"NTK-aware stretching divides by D - 2: heads need at least 4 rotary dimensions; got {head_dim}"
        )
    if isinstance(method, NtkByParts) and method.ramp == "dimension" and original < 2 * math.pi * method.alpha:
        # Here the code's ramp ends before the first pair, and what all code then computes is no interpolation at all.
        raise InputError(
            f"no pair turns rope.alpha={method.alpha:g} times in an original window of {original} tokens; take "
            "rope.ramp=rotations or a longer original window"
        )
    if isinstance(method, LongRope) and len(method.long_factors) != head_dim // 2:
        raise InputError(
            f"rope.long_factors must have {head_dim // 2} factors for {head_dim} rotary dimensions; got "
            f"{len(method.long_factors)}"
        )
    if isinstance(method, Abf) and method.theta < theta:
        raise InputError(f"rope.theta={method.theta:g} is below the model's own {theta:g}: it would shorten the window")
