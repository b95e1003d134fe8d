"""What a tagger says of texts: a tag per word, computed window by window."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks.metrics.entities import Entity
from classify.spans.align import IGNORED, Ints, Windows
from classify.spans.rows import Tagged
from finewise.batching import longest_first
from finewise.device import autocast
from finewise.fused import fused

UNREAD = -1
"""The tag of a word of which no piece was read."""

TOKENS = 16_384
"""About so many padded tokens are computed at a time: a few micro-batches."""


def padded(ids: Sequence[Ints], pad: int, tags: Sequence[Ints] | None = None) -> dict[str, Tensor]:
    """Return input_ids, attention_mask and, if given, labels (B, t), filled up on the right."""
    width = max(len(one) for one in ids)
    made = {"input_ids": np.full((len(ids), width), pad), "attention_mask": np.zeros((len(ids), width), dtype=np.int64)}
    if tags is not None:
        made["labels"] = np.full((len(ids), width), IGNORED)
    for row, one in enumerate(ids):
        made["input_ids"][row, : len(one)] = one
        made["attention_mask"][row, : len(one)] = 1
        if tags is not None:
            made["labels"][row, : len(one)] = tags[row]
    return {key: torch.from_numpy(value.astype(np.int64)) for key, value in made.items()}


def tag(
    model: PreTrainedModel,
    pad: int,
    found: Windows,
    rows: Tagged,
    *,
    bf16: bool,
    advance: Callable[[int], None] = lambda count: None,
) -> list[NDArray[np.int64]]:
    """Return N times (W,) the likeliest tag of each word's first piece; a word that has none goes on with a span.

    Args:
        model: From `classify.spans.model.load_tagger`.
        pad: Its padding token.
        found: The windows of the texts.
        rows: The texts.
        bf16: Whether the body computes in bf16; the head does not.
        advance: Called with the number of windows that are done.
    """
    tags = [np.full(len(words), UNREAD, dtype=np.int64) for words in rows.words]
    training = model.training
    model.train(False)
    order = longest_first([len(ids) for ids in found.ids])
    try:
        with torch.inference_mode(), autocast(bf16, str(model.device)), fused(model.base_model):
            while order:
                size = max(1, TOKENS // len(found.ids[order[0]]))
                some, order = order[:size], order[size:]
                batch = {
                    key: value.to(model.device) for key, value in padded([found.ids[one] for one in some], pad).items()
                }
                best = model(**batch).logits.argmax(dim=-1).cpu().numpy()
                for place, one in enumerate(some):
                    first = found.first[one]
                    tags[found.rows[one]][found.words[one][first]] = best[place, : len(first)][first]
                advance(len(some))
    finally:
        model.train(training)
    for row in tags:
        fill_unread(row)
    return tags


def fill_unread(tags: NDArray[np.int64]) -> None:
    """Tag the words (W,) that are UNREAD, in place: as inside of the span that goes on behind them, else as O.

    >>> tags = np.array([UNREAD, 1, UNREAD, 2, UNREAD, 0])  # O is 0, B- odd, and the I- of a type follows its B-
    >>> fill_unread(tags)
    >>> tags.tolist()
    [0, 1, 2, 2, 0, 0]
    """
    for place in np.flatnonzero(tags == UNREAD):
        before = int(tags[place - 1]) if place else 0
        inside = before + before % 2
        behind = tags[place + 1 :]
        known = behind[behind != UNREAD]
        tags[place] = inside if inside and len(known) and known[0] == inside else 0


def entities(rows: Tagged, tags: Sequence[NDArray[np.int64]]) -> list[tuple[Entity, ...]]:
    """Return N times the spans that the tags of words mean."""
    return [rows.read(row, found) for row, found in enumerate(tags)]
