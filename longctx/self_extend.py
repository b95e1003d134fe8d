"""Self-Extend: reading farther without training, at inference only (Jin et al. 2024, arXiv 2401.01325).

Keys nearer than a window w are seen at their exact distance; farther ones at a distance between groups of G tokens,
floor(i/G) - floor(j/G) + w - floor(w/G) for query i and key j (the paper's equation 3 and algorithm 1), so that no distance
beyond the trained ones occurs up to (L - w) G + w tokens. Both sets of scores go through one softmax. A model that looks both
ways (EuroBERT) gets the mirrored distance for later keys, as in LongEmbed (arXiv 2404.12096).

Nothing is saved with the model. It computes every score two times (three, looking both ways), without a fused kernel, for
some queries at a time.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PretrainedConfig, PreTrainedModel
from transformers.masking_utils import sdpa_mask

from finewise.console import say
from finewise.errors import InputError
from longctx.rope_config import RopeConfig, SelfExtend, StretchConfig
from longctx.stretch import rotations, stretch

NAME = "finewise_self_extend"

LLAMA_LIKE = ("llama", "mistral", "qwen2", "qwen3", "eurobert")
"""Model types whose attention turns the two halves of a head against each other."""

SCORES = 2**22
"""Numbers of scores that exist at a time: 16 MB in fp32, a few times over."""


@dataclass(slots=True, kw_only=True, frozen=True)
class Sizes:
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

        >>> Sizes(window=16, group=4).reach(64)
        208
        """
        return (original - self.window) * self.group + self.window


def sizes_of(method: SelfExtend, original: int, target: int) -> Sizes:
    """Return what the settings mean for a model: a quarter of L for w, and the smallest G that reaches L'.

    Args:
        method: The settings; what they name is kept.
        original: L.
        target: L'.

    Raises:
        InputError: The window is not below the trained one.

    >>> sizes_of(SelfExtend(), 64, 1024)
    Sizes(window=16, group=21)
    """
    window = method.window or max(1, original // 4)
    _check_window(window, original)
    return Sizes(window=window, group=method.group or -(-(target - window) // (original - window)))


def check_methods(model: PreTrainedModel, methods: Sequence[RopeConfig], original: int, target: int) -> None:
    """Refuse methods that the model cannot be read by, without building anything.

    Args:
        model: As it is.
        methods: Any rows of the group `rope`.
        original: L.
        target: L'.

    Raises:
        InputError: As `longctx.stretch.stretch`, or as `self_extend`.
    """
    for method in methods:
        if not isinstance(method, SelfExtend):
            stretch(model.config, method, StretchConfig(target=target, original=original))
            continue
        _check_attention(model)
        sizes = sizes_of(method, original, target)
        if sizes.reach(original) < target:
            say(
                f"note: rope=self_extend with window {sizes.window} and group {sizes.group} keeps to trained distances up to "
                f"{sizes.reach(original):,} tokens, of the new window's {target:,}"
            )


def positions_of(config: PretrainedConfig, method: RopeConfig, original: int, target: int) -> str:
    """Return a text that is the same for methods by which a model reads the same.

    Args:
        config: Of the model as it is.
        method: Any row of the group `rope`.
        original: L.
        target: L'.
    """
    if isinstance(method, SelfExtend):
        return repr(sizes_of(method, original, target))
    return stretch(config, method, StretchConfig(target=target, original=original)).to_json_string()


@contextmanager
def self_extend(model: PreTrainedModel, sizes: Sizes) -> Iterator[None]:
    """Let the model attend by Self-Extend inside the `with` block; it is as before afterwards.

    Texts may be padded anywhere, also in the columns of a cache, where a mask says so (behind a text that looks back alone it
    need not); positions count up by one within a text.

    Raises:
        InputError: The model's attention is not of the kind that this is made for, or the window is not below the trained one.
    """
    before = model.config._attn_implementation
    extend(model, sizes)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
        del model.config.self_extend
        for layer in _layers(model):
            del layer.frequencies


def extend(model: PreTrainedModel, sizes: Sizes) -> None:
    """Let the model attend by Self-Extend from now on; the sizes stand in its configuration, as `self_extend`.

    Raises:
        InputError: As `self_extend`.
    """
    _check_attention(model)
    _check_window(sizes.window, model.config.max_position_embeddings)
    model.set_attn_implementation(NAME)
    model.config.self_extend = asdict(sizes)
    frequencies, _ = rotations(model)[None]
    for layer in _layers(model):
        layer.frequencies = (frequencies,)  # type: ignore[assignment] # in a tuple, so that it is no buffer of the layer


def turn(states: Tensor, by: Tensor, frequencies: Tensor) -> Tensor:
    """Return (B, H, T, D) states turned on by `by` positions (B or 1, T): what RoPE would have given `by` tokens later."""
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
    dropout: float = 0.0,
    **_more: object,
) -> tuple[Tensor, None]:
    """Attend by Self-Extend.

    Args:
        module: The model's attention module, with the frequencies on it, and the sizes in its configuration.
        query: (B, H, Q, D), turned to its positions, in the last Q columns.
        key: (B, K, T, D), turned to its positions, those of the cache included.
        value: (B, K, T, D).
        attention_mask: (B or 1, 1, Q, T), true where a query sees a key; None: no padding.
        scaling: Factor of the scores.
        dropout: Zero: this is for inference.

    Returns:
        (B, Q, H, D), and no weights.
    """
    assert dropout == 0, "Self-Extend is for inference: model.eval()"
    sizes = Sizes(**module.config.self_extend)  # type: ignore[union-attr, arg-type]
    (frequencies,) = vars(module)["frequencies"]
    (rows, heads, asked, _), columns = query.shape, key.shape[2]
    at = places(attention_mask, columns, key.device)
    own = at[:, columns - asked :]
    groups, own_group = at.div(sizes.group, rounding_mode="floor"), own.div(sizes.group, rounding_mode="floor")
    far_key = turn(key, groups - at, frequencies)
    far = turn(query, own_group + sizes.shift - own, frequencies)
    later = None if module.is_causal else turn(query, own_group - sizes.shift - own, frequencies)
    step = max(1, SCORES // (rows * heads * columns))
    parts = []
    for start in range(0, asked, step):
        these = slice(start, min(start + step, asked))
        seen = columns - asked + these.stop if module.is_causal else columns  # later columns hold later tokens
        distance = (own[:, these, None] - at[:, None, :seen])[:, None]
        near_scores = _product(query[:, :, these], key[:, :, :seen].transpose(2, 3))
        far_scores = _product(far[:, :, these], far_key[:, :, :seen].transpose(2, 3))
        scores = torch.where(distance < sizes.window, near_scores, far_scores) * scaling
        if later is not None:
            later_scores = _product(later[:, :, these], far_key.transpose(2, 3)) * scaling
            scores = torch.where(distance <= -sizes.window, later_scores, scores)
        if attention_mask is not None:
            scores = scores.masked_fill(~attention_mask[:, :, these, :seen], torch.finfo(scores.dtype).min)
        elif module.is_causal:
            scores = scores.masked_fill(distance < 0, torch.finfo(scores.dtype).min)
        weights = functional.softmax(scores, -1, dtype=torch.float32).to(value.dtype)
        parts.append(_product(weights, value[:, :, :seen]))
    return torch.cat(parts, 2).transpose(1, 2).contiguous(), None


def places(mask: Tensor | None, columns: int, device: torch.device) -> Tensor:
    """Return the place of each column's token in its text, (B or 1, T), counted over what is no padding.

    Args:
        mask: (B or 1, 1, Q, T), of which the last query sees all of its text; None: no padding.
        columns: T.
        device: Where.
    """
    if mask is None:
        return torch.arange(columns, device=device)[None]
    return (mask[:, 0, -1].cumsum(-1) - 1).clamp(min=0)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Return (B, H, Q, M) of (B, H, Q, N) and (B, K, N, M), of which each serves H/K heads side by side."""
    rows, heads, asked, _ = left.shape
    kept = right.shape[1]
    return (left.reshape(rows, kept, heads // kept * asked, -1) @ right).view(rows, heads, asked, -1)


def _layers(model: PreTrainedModel) -> list[nn.Module]:
    return [module for module in model.modules() if hasattr(module, "q_proj") and hasattr(module, "is_causal")]


def _check_attention(model: PreTrainedModel) -> None:
    kind = model.config.model_type
    if kind not in LLAMA_LIKE or None not in rotations(model):
        raise InputError(f"Self-Extend is made for the model types {', '.join(LLAMA_LIKE)}; got '{kind}'")
    sliding = getattr(model.config, "sliding_window", None)
    if sliding is not None:
        raise InputError(f"Self-Extend needs attention to all tokens; this model sees {sliding} only")


def _check_window(window: int, original: int) -> None:
    if window >= original:
        raise InputError(
            f"Self-Extend's window must be below the {original} tokens that the model was trained with; got "
            f"rope.window={window}"
        )


AttentionInterface.register(NAME, self_extend_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
