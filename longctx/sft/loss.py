"""How well a model says the held-out answers: the mean negative log-likelihood of their tokens."""

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from transformers import PreTrainedModel

from benchmarks.by_length import PERPLEXITY, ByLength, doublings
from benchmarks.needle.prefix_cache import rope_types
from benchmarks.needle.reader import settle_frequencies
from finewise.batching import micro_batches
from finewise.features import ROW
from longctx.cross_entropy import nll_sum
from longctx.sft.packed import IGNORED, Collator
from longctx.sft.rows import ChatRows

BATCH_TOKENS = 8192
LOGITS = 2**27
"""Numbers of logits that exist at a time: 0.5 GB in fp32."""


def dev_loss(model: PreTrainedModel | PeftModel, rows: ChatRows, *, bf16: bool = False) -> float:
    """Return the mean negative log-likelihood in nats of the assistant's tokens, each counted once, whatever row it is in.

    Args:
        model: A causal language model, with LoRA or without.
        rows: Held-out chats.
        bf16: Whether to compute in bf16, as the training does.
    """
    sums, counts = row_losses(model, rows, bf16=bf16)
    return float(sums.sum() / counts.sum())


@torch.no_grad()
def row_losses(
    model: PreTrainedModel | PeftModel, rows: ChatRows, *, bf16: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return for each row the sum of its answers' negative log-likelihoods in nats, and how many tokens these are, both (N,).

    Arguments as `dev_loss`.
    """
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(inner, PreTrainedModel)
    inner.eval()  # type: ignore[no-untyped-call]
    collator = Collator(rows, [[row] for row in range(len(rows))])
    chunk = max(1, LOGITS // inner.config.get_text_config().vocab_size)
    sums, counts = np.zeros(len(rows)), np.zeros(len(rows), np.int64)
    kinds = rope_types(inner.config)
    by_length = bool(kinds & {"dynamic", "longrope"})  # the longest text of a batch decides how all are read
    for batch in micro_batches(rows.lengths.tolist(), 1 if by_length else BATCH_TOKENS):
        if "dynamic" in kinds:
            settle_frequencies(inner, int(rows.lengths[batch[0]]))
        made = collator([{ROW: row} for row in batch])
        ids, targets = made["input_ids"].to(inner.device), made["labels"][:, 1:].to(inner.device)
        with torch.autocast(inner.device.type, dtype=torch.bfloat16, enabled=bf16):
            hidden = inner.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
            for place, row in enumerate(batch):
                sums[row] = float(nll_sum(inner, hidden[place : place + 1], targets[place : place + 1], chunk))
        counts[batch] = (targets != IGNORED).sum(dim=1).cpu().numpy()
    return sums, counts


def answers(
    model: PreTrainedModel,
    rows: ChatRows,
    system: str,
    name: str,
    original: int,
    window: int,
    *,
    bf16: bool,
    group: int,
) -> ByLength:
    """Score held-out chats: the perplexity of their answers, by the length of the chat.

    Args:
        model: A causal language model.
        rows: Chats of the test split.
        system: What records call it.
        name: What records call the data.
        original: The trained window; lengths are it, twice, four times, ... of it.
        window: The new one.
        bf16: Whether to compute under autocast.
        group: Which of several models (seeds) it is.
    """
    sums, counts = row_losses(model, rows, bf16=bf16)
    buckets = np.array(doublings(original, window))
    return ByLength(
        system=system,
        benchmark=f"answers {name}",
        split=rows.split,
        data_revision=rows.revision,
        metric=PERPLEXITY,
        ids=tuple(rows.where(row) for row in range(len(rows))),
        lengths=buckets[np.searchsorted(buckets, rows.lengths)],
        depths=np.full(len(rows), np.nan),
        groups=np.full(len(rows), group, np.int64),
        values=sums / counts,
        weights=counts.astype(np.float64),
    )
