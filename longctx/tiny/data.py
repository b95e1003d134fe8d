"""Rows in the made-up language as files, which the stretched tiny models are adapted on.

One JSON object a line: for the language model {"prompt", "completion"} for objective=sft, or {"text"} for objective=lm; for the
embedding model {"anchor", "positive", "negative"} for objective=contrastive.
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from longctx.tiny.embedding import documents as embedding_documents
from longctx.tiny.language import (
    ASK,
    CAUSAL_WORDS,
    EMBEDDING_WORDS,
    NAMES,
    VALUE_WORDS,
    WINDOW,
)
from longctx.tiny.lessons import needles
from longctx.tiny.models import CAUSAL

SHORT_SHARE = 0.5

PARTS = 8
HELD_OUT = {0: "dev", 1: "test"}
"""Which of PARTS parts of the pairs of names, by the sum of their numbers, belong to other splits than train."""


def write_rows(
    kind: str,
    folder: Path,
    lengths: Sequence[int],
    rows: int,
    seed: int,
    *,
    short_share: float = SHORT_SHARE,
    documents: bool = False,
    split: str = "train",
) -> Path:
    """Write rows, and return the file.

    Args:
        kind: "tiny:causal" or "tiny:embedding".
        folder: Where `rows.jsonl` is written.
        lengths: Tokens of the long rows (the answer, or the document alone, included), each equally often.
        rows: How many.
        seed: Draws them.
        short_share: Share of the rows that are as long as the trained window instead.
        documents: For the language model: whole texts, rather than prompts with completions.
        split: "train", "dev" or "test"; no query of the embedding model is in two of them.
    """
    write = partial(_embedding, split=split) if kind != CAUSAL else _document if documents else _prompt
    rng = np.random.default_rng([seed, len(kind)])
    file = folder / "rows.jsonl"
    with file.open("w", encoding="utf-8") as opened:
        for number in range(rows):
            length = WINDOW if rng.random() < short_share else lengths[number % len(lengths)]
            opened.write(json.dumps(write(rng, length)) + "\n")
    return file


def _prompt(rng: np.random.Generator, length: int) -> dict[str, str]:
    """Return 1 to 3 needles and one question; the completion begins with a blank, so that joined they are `length` words."""
    words = [CAUSAL_WORDS[word] for word in needles(rng, 1, length, asked=1)[0][0]]
    answer = VALUE_WORDS + 1
    return {"prompt": " ".join(words[:-answer]), "completion": " " + " ".join(words[-answer:])}


def _document(rng: np.random.Generator, length: int) -> dict[str, str]:
    """Return 1 to 3 needles, and questions for some of them with their answers."""
    return {"text": " ".join(CAUSAL_WORDS[word] for word in needles(rng, 1, length)[0][0])}


def _embedding(rng: np.random.Generator, length: int, split: str) -> dict[str, str]:
    """Return a query, its document, and the document of the reversed pair."""
    pair = rng.permutation(len(NAMES))[None, :2]
    while HELD_OUT.get(int(pair.sum()) % PARTS, "train") != split:
        pair = rng.permutation(len(NAMES))[None, :2]
    positive, negative = (
        " ".join(EMBEDDING_WORDS[word] for word in embedding_documents(rng, one, length)[0])
        for one in (pair, pair[:, ::-1])
    )
    return {"anchor": f"{ASK} {NAMES[pair[0, 0]]} {NAMES[pair[0, 1]]}", "positive": positive, "negative": negative}
