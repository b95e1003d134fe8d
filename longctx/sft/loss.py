"""How well a model says the held-out answers: the mean negative log-likelihood of their tokens."""

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from finewise.batching import micro_batches
from finewise.features import ROW
from longctx.cross_entropy import nll_sum
from longctx.sft.packed import IGNORED, Collator
from longctx.sft.rows import ChatRows

BATCH_TOKENS = 8192
LOGITS = 2**27
"""Numbers of logits that exist at a time: 0.5 GB in fp32."""


@torch.no_grad()
def dev_loss(model: PreTrainedModel | PeftModel, rows: ChatRows, *, bf16: bool = False) -> float:
    """Return the mean negative log-likelihood in nats of the assistant's tokens, each counted once, whatever row it is in.

    Args:
        model: A causal language model, with LoRA or without.
        rows: Held-out chats.
        bf16: Whether to compute in bf16, as the training does.
    """
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(inner, PreTrainedModel)
    inner.eval()  # type: ignore[no-untyped-call]
    collator = Collator(rows, [[row] for row in range(len(rows))])
    chunk = max(1, LOGITS // inner.config.get_text_config().vocab_size)
    total, count = 0.0, 0
    for batch in micro_batches(rows.lengths.tolist(), BATCH_TOKENS):
        made = collator([{ROW: row} for row in batch])
        ids, targets = made["input_ids"].to(inner.device), made["labels"][:, 1:].to(inner.device)
        with torch.autocast(inner.device.type, dtype=torch.bfloat16, enabled=bf16):
            hidden = inner.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
            total += float(nll_sum(inner, hidden, targets, chunk))
        count += int((targets != IGNORED).sum())
    return total / count
