"""The tokens that end an answer: generation stops at them, so the saved model has to name them."""

from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finewise.console import say
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
    return sorted(found & set(tokenizer.all_special_ids))


def name_ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: ChatRows) -> None:
    """Add the tokens that the model learnt to end its answers with to those of its generation_config.

    Args:
        model: Trained on the rows.
        tokenizer: Its tokenizer.
        rows: What it was trained on.
    """
    config: Any = model.generation_config
    ends = learnt_ends(rows, tokenizer)
    if not ends:
        say("note: the answers end with no special token: the model does not learn where to stop when it generates")
        return
    own = config.eos_token_id
    named = own if isinstance(own, list) else [] if own is None else [own]
    missing = [token for token in ends if token not in named]
    if missing:
        config.eos_token_id = [*named, *missing]
        words = ", ".join(str(tokenizer.convert_ids_to_tokens(token)) for token in missing)
        say(f"note: {words} ends the answers: added to eos_token_id of generation_config")
