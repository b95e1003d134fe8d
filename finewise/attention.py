"""Attention for packed rows: texts one behind the other in a single row, each attending to itself alone.

Registered with transformers' attention interface as "finewise_packed"; every other call of a model under that name (padded
batches, generation) goes to torch's scaled dot-product attention as before. On a CPU, and in fp32 on CUDA, texts of nearly
equal length are computed together as batched products; on CUDA in 16 bits torch's own variable-length attention does it.

Shapes: T tokens of the row, H query heads, K key heads, D dimensions per head, n texts of a bucket, L the longest of them.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from finewise import dropout as masks
from finewise.packing import HIDDEN, Bucket, Packing

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # before torch 2.10
    varlen_attn = None  # type: ignore[assignment]

NAME = "finewise_packed"


class _Grouped(torch.autograd.Function):
    """Softmax attention (Vaswani et al. 2017, eq. 1) of each text of a row, bucket by bucket."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        packing: Packing,
        scaling: float,
        p: float,
        causal: bool,
        window: int | None,
    ) -> Tensor:
        """Return (T, H, D) for contiguous query (T, H, D) and key and value (T, K, D)."""
        tokens, heads, size = query.shape
        shared = heads // key.shape[1]
        own, other = packing.layout(heads), packing.layout(heads, shared)
        # The factor goes to the queries, of which there are fewer than scores.
        q = query.view(-1, size).index_select(0, own.gather).mul_(scaling)
        k = key.view(-1, size).index_select(0, other.gather)
        v = value.view(-1, size).index_select(0, other.gather)
        out = torch.empty_like(q)
        kept = []
        for bucket in packing.buckets:
            part = _slice(bucket, heads)
            shape = (bucket.texts * heads, bucket.longest, size)
            scores = torch.bmm(q[part].view(shape), k[part].view(shape).transpose(1, 2))
            cells = scores.view(bucket.texts, heads, bucket.longest, bucket.longest)
            if bucket.bias is not None:
                cells += bucket.bias.to(scores.dtype)  # adding another type takes torch several times as long
            band = _band(bucket.longest, causal, window, scores.device)
            if band is not None:
                cells += band.to(scores.dtype)
            weights = torch.softmax(scores, -1)
            mask = _mask(weights, p) if p else None
            used = weights if mask is None else _apply(weights, mask)
            torch.bmm(used, v[part].view(shape), out=out[part].view(shape))
            kept += [weights] if mask is None else [weights, mask]
        if p:
            out.mul_(masks.scale(p))
        ctx.save_for_backward(q, k, v, *kept)
        ctx.packing, ctx.scaling, ctx.p, ctx.shared = packing, scaling, p, shared
        return out.index_select(0, own.back).view(tokens, heads, size)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Return the gradients of query, key and value."""
        q, k, v, *kept = ctx.saved_tensors
        packing: Packing = ctx.packing
        tokens, heads, size = gradients[0].shape
        own = packing.layout(heads)
        given = gradients[0].reshape(-1, size).index_select(0, own.gather)
        given.index_fill_(0, own.padding, 0)
        if ctx.p:
            given.mul_(masks.scale(ctx.p))
        d_q, d_k, d_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for bucket in packing.buckets:
            part = _slice(bucket, heads)
            shape = (bucket.texts * heads, bucket.longest, size)
            weights = kept.pop(0)
            mask = kept.pop(0) if ctx.p else None
            above = given[part].view(shape)
            used = weights if mask is None else _apply(weights, mask)
            torch.bmm(used.transpose(1, 2), above, out=d_v[part].view(shape))
            d_weights = torch.bmm(above, v[part].view(shape).transpose(1, 2))
            if mask is not None:
                d_weights = _apply(d_weights, mask)
            d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
            torch.bmm(d_scores, k[part].view(shape), out=d_q[part].view(shape))
            torch.bmm(d_scores.transpose(1, 2), q[part].view(shape), out=d_k[part].view(shape))
        d_q.mul_(ctx.scaling)
        rows = [found.index_select(0, own.back).view(tokens, heads, size) for found in (d_q, d_k, d_v)]
        if ctx.shared > 1:
            rows[1:] = [found.view(tokens, -1, ctx.shared, size).sum(2) for found in rows[1:]]
        return (*rows, None, None, None, None, None)


def _slice(bucket: Bucket, heads: int) -> slice:
    return slice(bucket.start * heads, (bucket.start + bucket.texts * bucket.longest) * heads)


def _mask(weights: Tensor, p: float) -> Tensor:
    if weights.device.type == "cpu":
        return masks.draw(weights.shape, p)
    return torch.rand(weights.shape, device=weights.device) >= p


def _apply(weights: Tensor, mask: Tensor) -> Tensor:
    return masks.keep(weights, mask) if mask.dtype is torch.int16 else weights * mask


def _band(length: int, causal: bool, window: int | None, device: torch.device) -> Tensor | None:
    """Return (L, L) HIDDEN on keys that a query does not see: later ones, or those outside its window."""
    if not causal and (window is None or length <= window):
        return None
    ahead = torch.arange(length, device=device) - torch.arange(length, device=device)[:, None]
    hidden = ahead > 0 if causal else torch.zeros_like(ahead, dtype=torch.bool)
    if window is not None:
        hidden = hidden | (ahead.abs() >= window)
    return torch.zeros(hidden.shape, device=device).masked_fill_(hidden, HIDDEN)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    packing: Packing | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Attend within each text of a packed row; without `packing`, as torch's scaled dot-product attention.

    Args:
        module: The model's attention module.
        query: (1, H, T, D).
        key: (1, K, T, D).
        value: (1, K, T, D).
        attention_mask: Not read with `packing`.
        dropout: Probability of dropping an attention weight.
        scaling: Factor of the scores; None is 1 / sqrt(D).
        is_causal: Whether a token sees only those before it; None takes the module's own word.
        sliding_window: Tokens at this distance or farther are not seen; None sees all.
        packing: The texts of the row.
        more: What models pass to other implementations.

    Returns:
        (1, T, H, D), and no weights.
    """
    if packing is None:
        found, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **more
        )
        return found, None
    kind = query.device.type
    if torch.is_autocast_enabled(kind):
        lower = torch.get_autocast_dtype(kind)
        query, key, value = query.to(lower), key.to(lower), value.to(lower)
    causal = bool(getattr(module, "is_causal", False)) if is_causal is None else is_causal
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    with torch.autocast(kind, enabled=False):
        if kind == "cuda" and _has_kernel(q.dtype, dropout, sliding_window):
            return _flash(q, k, v, packing, factor, dropout, causal, sliding_window)[None], None
        parts = []
        for number in range(packing.long):
            part = slice(int(packing.starts[number]), int(packing.starts[number + 1]))
            parts.append(_alone(q[part], k[part], v[part], factor, dropout, causal, sliding_window))
        if packing.buckets:
            rest = slice(int(packing.starts[packing.long]), None)
            short = (tensor[rest].contiguous() for tensor in (q, k, v))
            found = _Grouped.apply(*short, packing, factor, dropout, causal, sliding_window)  # type: ignore[no-untyped-call]
            parts.append(found)
        return torch.cat(parts)[None] if len(parts) > 1 else parts[0][None], None


def _has_kernel(dtype: torch.dtype, p: float, window: int | None) -> bool:
    """Tell whether torch has a variable-length kernel for this on CUDA."""
    if dtype not in (torch.float16, torch.bfloat16):
        return False
    return window is None if p else varlen_attn is not None


def _alone(q: Tensor, k: Tensor, v: Tensor, scaling: float, p: float, causal: bool, window: int | None) -> Tensor:
    """Return (L, H, D), the attention of one long text, by torch's own kernel."""
    band = _band(len(q), causal, window, q.device) if window is not None and len(q) > window else None
    query, key, value = (tensor.transpose(0, 1)[None] for tensor in (q, k, v))
    return functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=None if band is None else band.to(q.dtype),
        dropout_p=p,
        is_causal=causal and band is None,
        scale=scaling,
        enable_gqa=q.shape[1] != k.shape[1],
    )[0].transpose(0, 1)


def _flash(
    q: Tensor, k: Tensor, v: Tensor, packing: Packing, scaling: float, p: float, causal: bool, window: int | None
) -> Tensor:
    """Return (T, H, D) by torch's variable-length kernels on CUDA (Dao et al. 2022, arXiv 2205.14135)."""
    longest, gqa = packing.lengths[0], q.shape[1] != k.shape[1]
    if not p:
        before = -1 if window is None else window - 1
        found = varlen_attn(
            q, k, v, packing.starts, packing.starts, longest, longest,
            scale=scaling, window_size=(before, 0 if causal else before), enable_gqa=gqa,
        )  # fmt: skip
        assert isinstance(found, Tensor)
        return found
    # That kernel has no dropout; the one behind nested tensors has.
    offsets = packing.starts.long()
    query, key, value = (
        torch.nested.nested_tensor_from_jagged(tensor, offsets, max_seqlen=longest).transpose(1, 2)
        for tensor in (q, k, v)
    )
    out = functional.scaled_dot_product_attention(
        query, key, value, dropout_p=p, is_causal=causal, scale=scaling, enable_gqa=gqa
    )
    values: Tensor = out.transpose(1, 2).values()
    return values


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
