"""A stretching method as transformers' own `rope_parameters`, so that the saved model needs nothing of ours."""

from collections.abc import Mapping

from finewise.errors import InputError
from longctx import rope
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
)

RopeParameters = dict[str, object]

DECLARES_WINDOW = ("yarn", "longrope", "llama3")
"""Types of transformers that read `original_max_position_embeddings`; it warns of the key in the others."""


def rope_parameters(
    method: RopeConfig,
    head_dim: int,
    present: Mapping[str, object],
    original: int,
    target: int,
    *,
    lists: bool = False,
) -> RopeParameters:
    """Return the `rope_parameters` of one kind of layer with which transformers computes the method's positions exactly.

    What transformers has no type for is said by one that it has: NTK-aware and ABF are the default type with another base; NTK
    by parts is YaRN with an attention factor of 1; ramps in turns are LongRoPE whose two lists are the same.

    Args:
        method: How to stretch.
        head_dim: D, the rotary dimensions of a head.
        present: The layer's `rope_parameters` before; its base and its partial rotary factor are kept.
        original: L.
        target: L'.
        lists: Say it by LongRoPE's lists, whatever the method: some families (Phi-3) take no other type.

    Raises:
        InputError: Lists cannot say it: dynamic NTK has other frequencies at every length.
    """
    theta = present["rope_theta"]
    assert isinstance(theta, (int, float))
    factor = target / original
    kept = {key: present[key] for key in ("rope_theta", "partial_rotary_factor") if key in present}
    as_lists = lists and not isinstance(method, LongRope)
    made = (
        _lists(method, head_dim, float(theta), original, target)
        if as_lists
        else _typed(method, head_dim, float(theta), original, target, factor)
    )
    if made["rope_type"] in DECLARES_WINDOW:
        made["original_max_position_embeddings"] = original
    return {**kept, **made}


def _typed(
    method: RopeConfig, head_dim: int, theta: float, original: int, target: int, factor: float
) -> RopeParameters:
    match method:
        case Unstretched():
            return {"rope_type": "default"}
        case Linear():
            return {"rope_type": "linear", "factor": factor}
        case NtkAware():
            return {"rope_type": "default", "rope_theta": rope.ntk_theta(head_dim, theta, factor)}
        case DynamicNtk():
            return {"rope_type": "dynamic", "factor": rope.dynamic_factor(method, factor)}
        case NtkByParts(ramp="rotations"):
            return _lists(method, head_dim, theta, original, target)
        case NtkByParts():
            return {
                "rope_type": "yarn",
                "factor": factor,
                "beta_fast": method.beta,
                "beta_slow": method.alpha,
                "attention_factor": rope.attention_factor(method, original, target),
            }
        case LongRope():
            return {
                "rope_type": "longrope",
                "factor": factor,
                "short_factor": list(rope.short_factors(method)),
                "long_factor": list(method.long_factors),
                "attention_factor": rope.attention_factor(method, original, target),
            }
        case Llama3():
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": method.low_freq_factor,
                "high_freq_factor": method.high_freq_factor,
            }
        case Abf():
            return {"rope_type": "default", "rope_theta": method.theta}
    raise AssertionError(method)


def _lists(method: RopeConfig, head_dim: int, theta: float, original: int, target: int) -> RopeParameters:
    """Return LongRoPE's parameters that give any method's frequencies, at every length the same."""
    if isinstance(method, DynamicNtk):
        raise InputError(
            "rope=dynamic has other frequencies at every length, and this model takes none but two lists (longrope); take "
            "rope=ntk"
        )
    stretched, scale = rope.inverse_frequencies(method, head_dim, theta, original, target)
    factors = (rope.base_frequencies(head_dim, theta) / stretched).tolist()
    return {
        "rope_type": "longrope",
        "factor": target / original,
        "short_factor": factors,
        "long_factor": factors,
        "attention_factor": scale,
    }
