"""What a classifier says of texts: logits, computed in micro-batches of similar length."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from classify.heads import encode
from finewise.batching import longest_first
from finewise.device import autocast
from finewise.fused import fused

CHARACTERS = 60_000
"""About so many characters are tokenised and computed at a time: a few micro-batches."""


def logits(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    bf16: bool,
    advance: Callable[[int], None] = lambda count: None,
) -> NDArray[np.float32]:
    """Return the logits (N, K) of N texts.

    Args:
        model: From `classify.model.load_classifier`; its configuration holds the prompt and how long texts are read.
        tokenizer: Its tokenizer, which knows the limit.
        texts: N of them.
        bf16: Whether the body computes in bf16; the head does not.
        advance: Called with the number of texts that are done.
    """
    found = np.empty((len(texts), int(model.config.num_labels or 0)), dtype=np.float32)
    training = model.training
    model.train(False)
    try:
        with torch.inference_mode(), autocast(bf16, str(model.device)), fused(model.base_model):
            for rows in _chunks(texts):
                features = tokenizer.pad(encode(model, tokenizer, [texts[row] for row in rows]), return_tensors="pt")
                found[rows] = model(**features.to(model.device)).logits.float().cpu().numpy()
                advance(len(rows))
    finally:
        model.train(training)
    return found


def _chunks(texts: Sequence[str]) -> list[list[int]]:
    """Cut texts, longest first, into runs of about CHARACTERS."""
    chunks: list[list[int]] = []
    size = CHARACTERS
    for row in longest_first([len(text) for text in texts]):
        if size >= CHARACTERS:
            chunks.append([])
            size = 0
        chunks[-1].append(row)
        size += len(texts[row]) + 8
    return chunks
