"""The tokens that end an answer: generation stops at them, so the saved model has to name them."""

from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finewise.console import say
from longctx.sft.render import special_tokens
from longctx.sft.rows import ChatRows

ROWS = 1000
"""Rows that are looked at."""


def learnt_ends(rows: ChatRows, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the special tokens with which the answers of rows end, sorted."""
    found = set()
    for row in range(min(len(rows), ROWS)):
        ids, learnt = rows.tokens(row)
        # Where a run of learnt tokens ends, an answer does; a chat that was cut ends with any token.
        last = np.flatnonzero(learnt & ~np.append(learnt[1:], False))
        found |= set(ids[last].tolist())
    return sorted(found & set(special_tokens(tokenizer)))


def name_ends(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: ChatRows, before: int | list[int] | None
) -> None:
    """Let the model's generation_config name the tokens that it stopped at before its training, and those that it learnt.

    Args:
        model: Trained on the rows.
        tokenizer: Its tokenizer.
        rows: What it was trained on.
        before: The eos_token_id of its generation_config before the training; the library's trainer replaces it.
    """
    config: Any = model.generation_config
    named = list(before) if isinstance(before, list) else [] if before is None else [before]
    ends = learnt_ends(rows, tokenizer)
    if not ends:
        say("note: the answers end with no special token: the model does not learn where to stop when it generates")
    missing = [token for token in ends if token not in named]
    if missing and named:
        words = ", ".join(str(tokenizer.convert_ids_to_tokens(token)) for token in missing)
        say(f"note: {words} ends the answers: added to eos_token_id of generation_config")
    if named or missing:
        config.eos_token_id = [*named, *missing]
