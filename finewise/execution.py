"""How a transformers model computes a padded batch: as it is, as length-sorted micro-batches, or packed.

`attach` changes how a model computes, never what: it takes the same padded batch and gives the same hidden states in the same
places, so that poolings, heads and losses do not notice. What the model saves is what it saved before.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from finewise import attention, dropout
from finewise.batching import micro_batches, packs
from finewise.device import available
from finewise.errors import InputError
from finewise.packing import Packing

CPU_TOKENS = 4096
"""Tokens computed at a time on a CPU: larger products gain nothing there, and their intermediate results leave the cache."""

GPU_TOKENS = 65_536


@dataclass(frozen=True, slots=True)
class Execution:
    """How a model computes its batches.

    Attributes:
        mode: "padded", "sorted" or "packed".
        tokens: Tokens computed at a time; padded ones when sorted.
        reason: Why not packed, when that was asked or hoped for; else empty.
    """

    mode: str
    tokens: int
    reason: str = ""

    def groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Cut a batch; return lists of indices into `lengths` (tokens of each text)."""
        if self.mode == "padded":
            return [list(range(len(lengths)))]
        return packs(lengths, self.tokens) if self.mode == "packed" else micro_batches(lengths, self.tokens)


def attach(model: PreTrainedModel, *, execution: str = "auto", micro_batch_tokens: int | None = None) -> Execution:
    """Let a model, with or without a head, compute its batches in this way from now on.

    Args:
        model: Any transformers model. It is changed in place.
        execution: "padded", "sorted", "packed", or "auto": packed where the model computes packed rows as it computes padded
            batches (tried with a few tokens), sorted otherwise.
        micro_batch_tokens: Tokens computed at a time; None takes what is fast on the device.

    Returns:
        What was chosen.

    Raises:
        InputError: execution=packed, and the model cannot do it.
    """
    base = model.base_model
    assert isinstance(base, PreTrainedModel)
    detach(base)
    chosen = choose(base, execution, micro_batch_tokens)
    if chosen.mode != "padded":
        dropout.speed_up(model)
        base.forward = Forward(base, chosen)
    return chosen


def detach(base: nn.Module) -> None:
    """Undo `attach` (dropout masks stay cheap)."""
    if isinstance(base.__dict__.get("forward"), Forward):
        del base.forward


def choose(base: PreTrainedModel, execution: str, tokens: int | None) -> Execution:
    """Return how the model will compute; see `attach`."""
    kind = base.device.type
    tokens = tokens or (CPU_TOKENS if kind == "cpu" else GPU_TOKENS)
    if execution in ("padded", "sorted"):
        return Execution(execution, tokens)
    reason = "packed rows were not tried on this device" if kind not in ("cpu", "cuda") else cannot_pack(base)
    if not reason:
        return Execution("packed", tokens)
    if execution == "packed":
        raise InputError(f"execution=packed: {type(base).__name__}: {reason}; set execution=auto")
    return Execution("sorted", tokens, reason)


def cannot_pack(base: PreTrainedModel) -> str:
    """Try a packed row of two texts; return why the model cannot do it, or "" if it gives what a padded batch gives.

    The model's attention implementation is set to the packed one if it can, and left as it was if not.
    """
    if getattr(base.config.get_text_config(), "attn_logit_softcapping", None):
        # Caps of 50 do nothing to the small values of a few tokens, so that the trial below would not notice.
        return "its attention caps its values (attn_logit_softcapping), which the packed attention does not do"
    before = base.config._attn_implementation
    training = base.training
    base.train(False)
    try:
        ids, mask = _trial(base)
        with torch.no_grad(), torch.autocast(base.device.type, enabled=False):
            expected = base(input_ids=ids, attention_mask=mask)
            if set(expected.keys()) - {"last_hidden_state", "pooler_output", "past_key_values"}:
                return f"it gives more than hidden states ({', '.join(expected.keys())})"
            base.set_attn_implementation(attention.NAME)
            found = Forward(base, Execution("packed", CPU_TOKENS))(input_ids=ids, attention_mask=mask)
            for key in ("last_hidden_state", "pooler_output"):
                one, other = expected.get(key), found.get(key)
                if one is None and other is None:
                    continue
                if one is None or other is None:
                    raise ValueError(f"{key} comes and goes")
                real = mask.bool() if key == "last_hidden_state" else slice(None)
                one, other = one[real].float(), other[real].float()
                far = float((one - other).abs().max() / one.abs().max().clamp_min(1e-6))
                if not far <= (1e-3 if expected[0].dtype is torch.float32 else 5e-2):
                    raise ValueError(f"its hidden states differ by {far:.1g} from those of a padded batch")
        return ""
    except Exception as error:  # whatever a model's own code does with such a row
        if base.config._attn_implementation != before:
            base.set_attn_implementation(before)
        return f"packed rows do not work with it ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
    finally:
        base.train(training)


def _trial(base: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """Return input_ids and attention_mask (2, T) of two texts, longer than a sliding window if the model has one."""
    config = base.config.get_text_config()
    window = getattr(config, "sliding_window", None) or 0
    most = getattr(config, "max_position_embeddings", None) or 512
    long = max(2, min(2 * window + 9, most - 4, 4096))
    short = max(1, long - 4)
    first = min(5, config.vocab_size - 1)
    ids = first + torch.arange(2 * long, device=base.device).view(2, long) * 7 % max(1, config.vocab_size - first)
    pad = getattr(config, "pad_token_id", None)
    if pad is not None:
        ids = torch.where(ids == pad, (ids + 1) % config.vocab_size, ids)
    mask = torch.ones_like(ids)
    mask[1, short:] = 0
    return ids.masked_fill(mask == 0, pad or 0), mask


def attached(model: PreTrainedModel) -> "Forward | None":
    """Return what computes the model's batches since `attach`; None if they are padded."""
    found = model.base_model.__dict__.get("forward")
    return found if isinstance(found, Forward) else None


def recomputes(recompute: str, tokens: int, activation_bytes: float, device: str) -> bool:
    """Tell whether a batch of so many tokens keeps the activations of one micro-batch at a time alone."""
    if recompute != "auto":
        return recompute == "always"
    return tokens * activation_bytes > available(device) / 2


class Forward:
    """Stands in for the forward method of a base model (the transformer without a head).

    Attributes:
        execution: How batches are computed.
        recompute: "never", "always" or "auto": whether activations are computed again in the backward pass, one micro-batch
            at a time; see `finewise.encoder.Encoder`.
        activation_bytes: Bytes that a token's activations take; 0 if not measured.
    """

    recompute: str = "never"
    activation_bytes: float = 0.0

    def __init__(self, base: PreTrainedModel, execution: Execution) -> None:
        self.base = base
        self.execution = execution
        self.parameters = list(inspect.signature(type(base).forward).parameters)[1:]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the model's own forward method returns for a padded batch."""
        kwargs = {**dict(zip(self.parameters, args, strict=False)), **kwargs}
        mask = kwargs.get("attention_mask")
        if not _plain(kwargs):
            return type(self.base).forward(self.base, **kwargs)
        assert isinstance(mask, Tensor)
        lengths = mask.sum(dim=1).tolist()
        rows = [row for row, length in enumerate(lengths) if length > 0]
        if not rows or (
            self.execution.mode == "sorted" and padded_left(mask) and not has_relative_positions(self.base)
        ):
            # Cutting padding on the left moves every token, which only relative positions survive.
            return type(self.base).forward(self.base, **kwargs)
        groups = [[rows[place] for place in group] for group in self.execution.groups([lengths[row] for row in rows])]
        compute = self._packed if self.execution.mode == "packed" else self._sorted
        if (
            self.base.training
            and torch.is_grad_enabled()
            and recomputes(self.recompute, sum(lengths), self.activation_bytes, str(mask.device))
        ):
            parts = [checkpoint(compute, kwargs, mask, group, lengths, use_reentrant=False) for group in groups]
        else:
            parts = [compute(kwargs, mask, group, lengths) for group in groups]
        found, places = zip(*parts, strict=True)
        hidden = torch.cat([output for output, _ in found])
        out = hidden.new_zeros(mask.numel(), hidden.shape[-1]).index_copy(0, torch.cat(places), hidden)
        return self._output(out.view(*mask.shape, -1), found[0][1])

    def _packed(
        self, kwargs: dict[str, Any], mask: Tensor, group: list[int], lengths: list[int]
    ) -> tuple[tuple[Tensor, type], Tensor]:
        """Return the hidden states (t, D) of the group's tokens, the class of the output, and the tokens' places (t,)."""
        width = mask.shape[1]
        rows = torch.tensor(group, device=mask.device)
        # Row by row, as the packing lays the texts out; nonzero() goes through them in this order.
        at = torch.nonzero(mask.index_select(0, rows))
        places = rows[at[:, 0]] * width + at[:, 1]
        packing = Packing.of([lengths[row] for row in group], mask.device)
        start = _first_position(self.base)
        positions = at[:, 1] if start is None else packing.positions() + start
        part = {
            key: value.reshape(-1)[places][None] if isinstance(value, Tensor) and value.shape == mask.shape else value
            for key, value in kwargs.items()
        }
        # A mask of four dimensions is taken as ready made: no model builds one, and the packed attention reads none.
        part |= {"attention_mask": mask.new_zeros(1, 1, 1, 1), "position_ids": positions[None], "packing": packing}
        if "use_cache" in self.parameters:
            part["use_cache"] = False
        output = type(self.base).forward(self.base, **part)
        return (output.last_hidden_state[0], type(output)), places

    def _sorted(
        self, kwargs: dict[str, Any], mask: Tensor, group: list[int], lengths: list[int]
    ) -> tuple[tuple[Tensor, type], Tensor]:
        """Return the same, computed as a padded batch of the group alone."""
        part = micro_batch(kwargs, mask, group, max(lengths[row] for row in group))
        inner = part["attention_mask"].bool()
        output = type(self.base).forward(self.base, **part)
        rows = torch.tensor(group, device=mask.device)
        at = torch.nonzero(mask.index_select(0, rows))
        return (output.last_hidden_state[inner], type(output)), rows[at[:, 0]] * mask.shape[1] + at[:, 1]

    def _output(self, hidden: Tensor, kind: type) -> Any:
        """Return the output for hidden states (B, T, D), pooled as the model pools."""
        pooler = getattr(self.base, "pooler", None)
        pooled = {"pooler_output": pooler(hidden)} if isinstance(pooler, nn.Module) else {}
        return kind(last_hidden_state=hidden, **pooled)


def micro_batch(batch: dict[str, Any], mask: Tensor, rows: Sequence[int], longest: int) -> dict[str, Any]:
    """Return some rows of a padded batch, padded to their longest text.

    Args:
        batch: Tensors of (B, T), (B, ...) and anything else, which is handed on.
        mask: (B, T), 1 on tokens.
        rows: Which.
        longest: Tokens of the longest of them.
    """
    size, width = mask.shape
    wanted = torch.tensor(list(rows), device=mask.device)
    columns = slice(width - longest, width) if padded_left(mask) else slice(0, longest)
    part: dict[str, Any] = {}
    for key, value in batch.items():
        if isinstance(value, Tensor) and value.dim() >= 1 and value.shape[0] == size:
            value = value.index_select(0, wanted)
            if value.dim() >= 2 and value.shape[1] == width:
                value = value[:, columns]
        part[key] = value
    return part


def _plain(kwargs: dict[str, Any]) -> bool:
    """Tell whether this is the forward pass of a padded batch, without anything that a row of another shape would change."""
    mask, ids = kwargs.get("attention_mask"), kwargs.get("input_ids")
    if not (isinstance(mask, Tensor) and isinstance(ids, Tensor) and mask.dim() == 2 and ids.shape == mask.shape):
        return False
    absent = ("inputs_embeds", "past_key_values", "position_ids", "encoder_hidden_states", "packing", "cache_position")
    if any(kwargs.get(key) is not None for key in absent):
        return False
    return not (
        kwargs.get("output_hidden_states")
        or kwargs.get("output_attentions")
        or kwargs.get("use_cache")
        or kwargs.get("return_dict") is False
    )


def padded_left(mask: Tensor) -> bool:
    """Tell whether the padding is on the left."""
    return bool((mask[:, -1] == 1).all()) and not bool((mask[:, 0] == 1).all())


def has_relative_positions(base: nn.Module) -> bool:
    """Tell whether only distances between tokens matter to the model (rotary positions)."""
    return getattr(getattr(base, "config", None), "rope_parameters", None) is not None


def _first_position(base: nn.Module) -> int | None:
    """Return the position of a text's first token in models that count from behind the padding index (RoBERTa), else None."""
    embeddings = getattr(base, "embeddings", None)
    if hasattr(embeddings, "create_position_ids_from_input_ids"):
        return int(getattr(embeddings, "padding_idx", 0)) + 1
    return None
