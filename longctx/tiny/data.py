"""Rows in the made-up language as files, which the stretched tiny models are adapted on.

For the language model {"prompt", "completion"}, one JSON object a line, for objective=sft; for the embedding model {"anchor",
"positive", "negative"} for objective=contrastive.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from longctx.tiny.embedding import documents
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


def write_rows(
    kind: str, folder: Path, lengths: Sequence[int], rows: int, seed: int, *, short_share: float = SHORT_SHARE
) -> Path:
    """Write rows, and return the file.

    Args:
        kind: "tiny:causal" or "tiny:embedding".
        folder: Where `rows.jsonl` is written.
        lengths: Tokens of the long rows (the answer, or the document alone, included), each equally often.
        rows: How many.
        seed: Draws them.
        short_share: Share of the rows that are as long as the trained window instead.
    """
    rng = np.random.default_rng([seed, len(kind)])
    file = folder / "rows.jsonl"
    with file.open("w", encoding="utf-8") as opened:
        for number in range(rows):
            length = WINDOW if rng.random() < short_share else lengths[number % len(lengths)]
            row = _causal(rng, length) if kind == CAUSAL else _embedding(rng, length)
            opened.write(json.dumps(row) + "\n")
    return file


def _causal(rng: np.random.Generator, length: int) -> dict[str, str]:
    """Return 1 to 3 needles and one question; the completion begins with a blank, so that joined they are `length` words."""
    words = [CAUSAL_WORDS[word] for word in needles(rng, 1, length, asked=1)[0][0]]
    answer = VALUE_WORDS + 1
    return {"prompt": " ".join(words[:-answer]), "completion": " " + " ".join(words[-answer:])}


def _embedding(rng: np.random.Generator, length: int) -> dict[str, str]:
    """Return a query, its document, and the document of the reversed pair."""
    pair = rng.permutation(len(NAMES))[None, :2]
    positive, negative = (
        " ".join(EMBEDDING_WORDS[word] for word in documents(rng, one, length)[0]) for one in (pair, pair[:, ::-1])
    )
    return {"anchor": f"{ASK} {NAMES[pair[0, 0]]} {NAMES[pair[0, 1]]}", "positive": positive, "negative": negative}
