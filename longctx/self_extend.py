"""Self-Extend: reading farther without training, at inference only (Jin et al. 2024, arXiv 2401.01325).

Keys nearer than a window w are seen at their exact distance; farther ones at a distance between groups of G tokens,
floor(i/G) - floor(j/G) + w - floor(w/G) for query i and key j (the paper's equation 3 and algorithm 1), so that no distance
beyond the trained ones occurs up to (L - w) G + w tokens. Both sets of scores go through one softmax. A model that looks both
ways (EuroBERT) gets the mirrored distance for later keys, as in LongEmbed (arXiv 2404.12096).

Nothing is saved with the model. It computes every score two times (three, looking both ways), without a fused kernel.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from finewise.errors import InputError
from longctx.stretch import rotations

NAME = "finewise_self_extend"

LLAMA_LIKE = ("llama", "mistral", "qwen2", "qwen3", "eurobert")
"""Model types whose attention turns the two halves of a head against each other and passes the positions on."""


@dataclass(slots=True, kw_only=True, frozen=True)
class SelfExtend:
    """Sizes of Self-Extend.

    Attributes:
        window: w, the distance up to which keys are seen exactly; below the trained window, such as a half to a quarter of it.
        group: G, the tokens that share a position beyond; 1 changes nothing.
    """

    window: int
    group: int

    def __post_init__(self) -> None:
        if self.window < 1 or self.group < 1:
            raise InputError(f"Self-Extend needs window and group of at least 1; got {self.window} and {self.group}")

    @property
    def shift(self) -> int:
        """Return w - floor(w/G), which is added to the distance between groups so that it goes on from w."""
        return self.window - self.window // self.group

    def reach(self, original: int) -> int:
        """Return the longest text in tokens within which no distance beyond the trained ones occurs.

        >>> SelfExtend(window=16, group=4).reach(64)
        208
        """
        return (original - self.window) * self.group + self.window


@contextmanager
def self_extend(model: PreTrainedModel, sizes: SelfExtend) -> Iterator[None]:
    """Let the model attend by Self-Extend inside the `with` block; it is as before afterwards.

    Texts may be padded on either side; positions must count up by one within a text.

    Raises:
        InputError: The model's attention is not of the kind that this is made for, or the window is not below the trained one.
    """
    kind, original = model.config.model_type, model.config.max_position_embeddings
    turns = rotations(model)
    if kind not in LLAMA_LIKE or None not in turns:
        raise InputError(f"Self-Extend is made for the model types {', '.join(LLAMA_LIKE)}; got '{kind}'")
    if getattr(model.config, "sliding_window", None) is not None:
        raise InputError(
            f"Self-Extend needs attention to all tokens; this model sees {model.config.sliding_window} only"
        )
    if sizes.window >= original:
        raise InputError(
            f"Self-Extend's window must be below the {original} tokens that the model was trained with; got {sizes.window}"
        )
    before = model.config._attn_implementation
    layers = [module for module in model.modules() if hasattr(module, "q_proj") and hasattr(module, "is_causal")]
    model.set_attn_implementation(NAME)
    for layer in layers:
        layer.self_extend = sizes, turns[None][0]  # type: ignore[assignment]
    try:
        yield
    finally:
        model.set_attn_implementation(before)
        for layer in layers:
            del layer.self_extend


def turn(states: Tensor, by: Tensor, frequencies: Tensor) -> Tensor:
    """Return (B, H, T, D) states turned on by `by` positions (B, T): what RoPE would have given `by` tokens later."""
    angles = (by[..., None].float() * frequencies.float())[:, None]
    cos, sin = angles.cos(), angles.sin()
    first, second = states.float().chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(states.dtype)


def self_extend_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    position_ids: Tensor,
    dropout: float = 0.0,
    **_more: object,
) -> tuple[Tensor, Tensor]:
    """Attend by Self-Extend.

    Args:
        module: The model's attention module, with the sizes and frequencies on it.
        query: (B, H, Q, D), turned to its positions.
        key: (B, K, T, D), turned to its positions, those of the cache included.
        value: (B, K, T, D).
        attention_mask: (B or 1, 1, Q, T), added to the scores.
        scaling: Factor of the scores.
        position_ids: (B or 1, Q), positions of the queries.
        dropout: Zero: this is for inference.

    Returns:
        (B, Q, H, D), and the weights (B, H, Q, T).
    """
    assert dropout == 0, "Self-Extend is for inference: model.eval()"
    sizes, frequencies = vars(module)["self_extend"]
    assert isinstance(sizes, SelfExtend)
    assert isinstance(frequencies, Tensor)
    shared = query.shape[1] // key.shape[1]
    at = position_ids
    # Keys of padding before the text get negative positions, and are hidden by the mask.
    keys_at = at[:, -1:] - torch.arange(key.shape[2] - 1, -1, -1, device=at.device)
    grouped_key = turn(key, keys_at.div(sizes.group, rounding_mode="floor") - keys_at, frequencies)
    group_of_query = at.div(sizes.group, rounding_mode="floor")

    def scores(queries: Tensor, keys: Tensor) -> Tensor:
        return queries @ keys.repeat_interleave(shared, 1).transpose(2, 3) * scaling

    distance = (at[:, :, None] - keys_at[:, None, :])[:, None]
    far = scores(turn(query, group_of_query + sizes.shift - at, frequencies), grouped_key)
    merged = torch.where(distance < sizes.window, scores(query, key), far)
    if not module.is_causal:
        later = scores(turn(query, group_of_query - sizes.shift - at, frequencies), grouped_key)
        merged = torch.where(distance <= -sizes.window, later, merged)
    if attention_mask is not None:
        merged = merged + attention_mask
    weights = functional.softmax(merged, -1, dtype=torch.float32).to(query.dtype)
    return (weights @ value.repeat_interleave(shared, 1)).transpose(1, 2).contiguous(), weights


AttentionInterface.register(NAME, self_extend_attention)
AttentionMaskInterface.register(NAME, eager_mask)
