"""Stretching a model: its configuration gets the method's `rope_parameters`, and the model is built again from it.

Editing the configuration of a live model would change nothing: its frequencies were computed when it was built.
"""

import copy
from typing import TYPE_CHECKING, overload

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.initialization import no_init_weights

from finewise.errors import InputError
from longctx import rope
from longctx.parameters import RopeParameters, rope_parameters
from longctx.rope_config import (
    DynamicNtk,
    Linear,
    RopeConfig,
    SelfExtend,
    StretchConfig,
    Unstretched,
    name_of,
    stretches_nothing,
)

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

STRETCHED_LAYERS = "full_attention"
"""Where layers have their own `rope_parameters`, these are stretched; those of a sliding window never look farther."""

KNOWN_KEYS = {"rope_type", "type", "rope_theta", "partial_rotary_factor", "factor", "original_max_position_embeddings"}
"""What the `rope_parameters` of a layer that can be stretched may hold; anything else would be lost."""

READS_FARTHER = "a model with rotary positions (Llama, Qwen, Gemma 3, ModernBERT, EuroBERT, NomicBERT, GTE)"


@overload
def stretch(
    subject: PreTrainedModel, method: RopeConfig, how: StretchConfig, *, share: bool = ...
) -> PreTrainedModel: ...
@overload
def stretch(subject: PretrainedConfig, method: RopeConfig, how: StretchConfig) -> PretrainedConfig: ...
def stretch(
    subject: PreTrainedModel | PretrainedConfig, method: RopeConfig, how: StretchConfig, *, share: bool = False
) -> PreTrainedModel | PretrainedConfig:
    """Return the model (or configuration) with its rotary positions stretched; the given one stays as it is.

    `max_position_embeddings` becomes the new window (with dynamic NTK it stays, see there), `original_max_position_embeddings`
    the old; what is saved has the same positions in plain transformers. Stretching a linearly stretched model linearly goes on
    from there (Gemma 3 from 4B on is one), as does any method from another base, where `how.original` says what the model was
    trained with; any other second stretch is refused. A method that changes nothing, such as YaRN by a factor of 1, writes
    nothing.

    Args:
        subject: A transformers model, or its configuration.
        method: How to stretch; a row of the group `rope`.
        how: How far.
        share: The new model has no weights of its own but the subject's; for one that is only read.

    Raises:
        InputError: The model has no rotary positions, or ones that the method cannot be applied to; `how` does not fit it.
    """
    if isinstance(subject, PretrainedConfig):
        return _stretched(subject, method, how)
    if not isinstance(subject, PreTrainedModel):
        raise InputError(
            f"a {type(subject).__name__} cannot be stretched; give the transformers model itself, before adapters are added"
        )
    made = with_weights(_stretched(subject.config, method, how), subject, share=share)
    _check_built(subject, made, method, how)
    return made


def with_weights(config: PretrainedConfig, model: PreTrainedModel, *, share: bool = False) -> PreTrainedModel:
    """Return a model of this configuration with another one's weights: its positions are the configuration's.

    Args:
        config: Of a model with the same weights, such as the unstretched one's.
        model: Whose weights, device and mode are taken; it stays as it is.
        share: Take the weights themselves, not copies.
    """
    with torch.random.fork_rng(devices=[]), no_init_weights():
        made = type(model)(config)
    weights = model.state_dict()
    made.load_state_dict(weights if share else {name: weight.clone() for name, weight in weights.items()}, assign=True)
    made.tie_weights()
    for old, new in zip(model.parameters(), made.parameters(), strict=True):
        new.requires_grad_(old.requires_grad)
    nn.Module.to(made, model.device).train(model.training)
    if model.can_generate():
        made.generation_config = copy.deepcopy(model.generation_config)
    return made


def stretch_encoder(encoder: "SentenceTransformer", method: RopeConfig, how: StretchConfig) -> None:
    """Stretch a SentenceTransformer in place: its transformer, and where it cuts texts. Before anything is attached to it.

    Raises:
        InputError: As `stretch`; or its first module is no transformer.
    """
    first = encoder[0]
    model = getattr(first, "model", None)
    if not isinstance(model, PreTrainedModel):
        raise InputError(
            f"the encoder's first module is a {type(first).__name__}, no transformer that could be stretched"
        )
    first.model = stretch(model, method, how)
    encoder.max_seq_length = window(model.config, how)


def raise_limit(tokenizer: PreTrainedTokenizerBase, target: int) -> None:
    """Let the tokenizer cut texts at `target` tokens, if it cut them earlier."""
    tokenizer.model_max_length = max(tokenizer.model_max_length, target)


def window(config: PretrainedConfig, how: StretchConfig) -> int:
    """Return the window in tokens that stretching this model would give.

    Raises:
        InputError: The model has no rotary positions, or `how` does not fit it.
    """
    _stretchable(config)
    return how.window(_original(config, how))


def present_parameters(config: PretrainedConfig) -> RopeParameters:
    """Return the `rope_parameters` of the layers that would be stretched.

    Raises:
        InputError: The model has none, or none that could be stretched by themselves.
    """
    layers = _stretchable(config)
    found: RopeParameters = config.rope_parameters[layers] if layers else config.rope_parameters
    return found


def rotary_dimensions(config: PretrainedConfig, parameters: RopeParameters) -> int:
    """Return D: the dimensions of a head that are turned, all or a part of them."""
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    share = parameters.get("partial_rotary_factor", 1.0)
    assert isinstance(size, int)
    assert isinstance(share, (int, float))
    return int(size * share)


def _original(config: PretrainedConfig, how: StretchConfig) -> int:
    """Return the tokens that the model was trained with.

    Raises:
        InputError: It was stretched by another base, which can be gone on from, and nobody says whether it was trained then.
    """
    widest = int(config.max_position_embeddings)
    before = getattr(config, "original_max_position_embeddings", None) or widest
    kind = present_parameters(config).get("rope_type", "default")
    if how.original is None and before < widest and kind == "default":
        raise InputError(
            f"the model was stretched before, from {before} to {widest} tokens; say what it was trained with: "
            f"stretch.original={before}, or {widest} if it was trained after that"
        )
    return int(how.original or widest)


def _stretched(config: PretrainedConfig, method: RopeConfig, how: StretchConfig) -> PretrainedConfig:
    layers = _stretchable(config)
    if isinstance(method, SelfExtend):
        raise InputError("rope=self_extend is said by no rope_parameters; read inside longctx.self_extend.self_extend")
    original = _original(config, how)
    target = how.window(original)
    present = present_parameters(config)
    already = _already(config, present, method)
    if already == 1 and stretches_nothing(method, target / original):
        if target == original == config.max_position_embeddings:
            return copy.deepcopy(config)
        method = Unstretched()
    _check_sliding(config, method, target)
    size = rotary_dimensions(config, present)
    rope.inverse_frequencies(
        method, size, float(str(present["rope_theta"])), original, target
    )  # refuses what cannot be
    made = rope_parameters(method, size, present, original, target)
    if isinstance(method, Linear):
        made["factor"] = already * target / original
    changed = copy.deepcopy(config)
    changed.original_max_position_embeddings = original
    changed.max_position_embeddings = original if isinstance(method, DynamicNtk) else target
    try:
        _set(changed, layers, made)
    except ValueError:  # the family's own check: Phi-3's takes no type but LongRoPE's
        _set(changed, layers, rope_parameters(method, size, present, original, target, lists=True))
    return changed


def _set(config: PretrainedConfig, layers: str | None, made: RopeParameters) -> None:
    config.rope_parameters = {**config.rope_parameters, layers: made} if layers else made
    config.standardize_rope_params()
    config.validate_rope()


def _stretchable(config: PretrainedConfig) -> str | None:
    """Return the kind of layer that is stretched, None if all share one `rope_parameters`.

    Raises:
        InputError: There is nothing that could be stretched, or nothing that could be stretched by itself.
    """
    kind = config.model_type
    parameters = getattr(config, "rope_parameters", None)
    if parameters is None and getattr(config, "text_config", None) is not None:
        raise InputError(f"model type '{kind}' holds several models; stretch its language model by itself")
    if not parameters:
        rows = getattr(config, "max_position_embeddings", None)
        table = f": its positions are no rotations, and end at {rows} tokens" if rows else ""
        raise InputError(
            f"model type '{kind}' has no rotary positions to stretch{table}; take {READS_FARTHER}, or split long texts into "
            "chunks and pool them"
        )
    layers = [str(name) for name in config.nested_rope_parameter_keys(parameters)]
    if layers and STRETCHED_LAYERS not in layers:
        raise InputError(
            f"model type '{kind}' has rotary positions for the layer types {', '.join(layers)}; only {STRETCHED_LAYERS} is "
            f"known how to stretch; take {READS_FARTHER}"
        )
    local = {"sliding_attention", "chunked_attention"} & set(getattr(config, "layer_types", None) or [])
    if local and not layers:
        raise InputError(
            f"model type '{kind}' has one rope_parameters for its {' and '.join(sorted(local))} layers and the others; the "
            f"former must not be stretched; take {READS_FARTHER}"
        )
    return STRETCHED_LAYERS if layers else None


def _check_sliding(config: PretrainedConfig, method: RopeConfig, target: int) -> None:
    """Refuse to stretch a model (Mistral, Phi-3) of which no layer looks back as far as the new window.

    Raises:
        InputError: Tokens farther apart than its sliding window never meet, so that their positions need no stretching.
    """
    sliding = getattr(config, "sliding_window", None)
    if getattr(config, "layer_types", None) or not sliding or sliding >= target or isinstance(method, Unstretched):
        return
    raise InputError(
        f"model type '{config.model_type}' has a sliding_window of {sliding} tokens in all layers, which see no farther "
        f'however they are stretched to {target}; set rope=none, set "sliding_window": null in its config.json to train it '
        "without, or take a model with full attention"
    )


def _already(config: PretrainedConfig, present: RopeParameters, method: RopeConfig) -> float:
    """Return by how much the layers' positions are interpolated before: 1, or the factor if both are linear.

    Raises:
        InputError: They were stretched in a way that the method cannot go on from.
    """
    strange = {key for key, value in present.items() if value is not None} - KNOWN_KEYS
    kind, factor = present.get("rope_type", "default"), present.get("factor", 1.0)
    if kind in ("default", "linear") and strange:
        raise InputError(
            f"model type '{config.model_type}' has rotary positions of its own kind ({', '.join(sorted(strange))}); take "
            f"{READS_FARTHER}"
        )
    if kind == "default":
        return 1.0
    if kind == "linear" and isinstance(method, Linear):
        assert isinstance(factor, (int, float))
        return float(factor)
    more = " or rope=linear, which goes on from linear" if kind == "linear" else ""
    raise InputError(
        f"the model's positions are stretched already (rope_type={kind}, factor {factor}), and rope={name_of(method)} cannot "
        f"go on from there; take the unstretched checkpoint{more}"
    )


def rotations(model: nn.Module) -> dict[str | None, tuple[Tensor, float]]:
    """Return the frequencies (D/2,) and the attention factor that a built model computes with, by kind of layer (None: all)."""
    found: dict[str | None, tuple[Tensor, float]] = {}
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            layers = name.removesuffix("inv_freq").removesuffix("_") or None
            if not name.endswith("inv_freq") or name.endswith("original_inv_freq"):
                continue
            scale = getattr(module, f"{layers}_attention_scaling" if layers else "attention_scaling", None)
            if scale is not None:
                found[layers] = (buffer, float(scale))
    return found


def _check_built(old: PreTrainedModel, new: PreTrainedModel, method: RopeConfig, how: StretchConfig) -> None:
    """Compare what the new model computes with the method's equations: not all models' code reads `rope_parameters`.

    Raises:
        InputError: It computes something else.
    """
    layers = _stretchable(old.config)
    original = _original(old.config, how)
    before = present_parameters(old.config)
    wanted, scale = rope.inverse_frequencies(
        method,
        rotary_dimensions(old.config, before),
        float(str(before["rope_theta"])),
        original,
        how.window(original),
        length=original,  # what a model is built with, before it has read anything
    )
    wanted = wanted / _already(old.config, before, method)
    found, untouched = rotations(new), rotations(old)
    for name, (frequencies, factor) in found.items():
        values = frequencies.double().cpu().numpy()
        if name == layers and (wanted.shape != values.shape or not np.allclose(values, wanted, rtol=1e-5, atol=0)):
            break
        if name == layers and abs(factor - scale) > 1e-6:
            break
        if name != layers and not torch.equal(frequencies, untouched[name][0]):
            break
    else:
        if layers in found:
            return
    raise InputError(
        f"the code of model type '{old.config.model_type}' does not compute its positions from rope_parameters as "
        f"rope={name_of(method)} needs; take {READS_FARTHER}"
    )
