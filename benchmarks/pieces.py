"""Pieces of documents for language models to read: as long as the longest window, each within one document.

Shapes: P pieces, T tokens of a piece.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from benchmarks.perplexity_config import PerplexityConfig
from finewise.console import progress, say
from finewise.data.documents import Documents, read_documents
from finewise.data.keys import combine
from finewise.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pieces:
    """What is read: stretches of documents.

    Attributes:
        tokens: (P, T) without special tokens.
        before: Special tokens that stand before each window.
        ids: (P,) document and first token.
        lengths: Windows, ascending; the longest is T and the special tokens.
        split: "test" or "dev".
        revision: sha256 of what is read and how.
    """

    tokens: NDArray[np.int64]
    before: tuple[int, ...]
    ids: tuple[str, ...]
    documents: tuple[str, ...]
    lengths: tuple[int, ...]
    split: str
    revision: str


class Names(NamedTuple):
    """What messages call the settings that decide the pieces."""

    lengths: str = "perplexity.lengths"
    data: str = "perplexity.data"
    number: str = "perplexity.documents"


def read_pieces(
    config: PerplexityConfig,
    tokenizer: PreTrainedTokenizerBase,
    lengths: Sequence[int],
    original: int,
    seed: int,
    *,
    split: str = "test",
    documents: Documents | None = None,
    names: Names | None = None,
) -> Pieces:
    """Draw stretches of the documents, as long as the longest window, from as many documents as possible, without overlap.

    Args:
        config: The documents, and how many pieces are drawn.
        tokenizer: The model's.
        lengths: Windows, where the settings name none; `original` is added if none is within it.
        original: The window that the model was trained with.
        seed: Draws the pieces.
        split: Which file of a folder, or split of a hub data set.
        documents: Read instead of those of the settings.
        names: What messages call the settings (None: as here).

    Raises:
        InputError: No document is long enough, or what is wrong with the file.
    """
    wanted = sorted({*(config.lengths or lengths)})
    if wanted[0] > original:
        wanted.insert(0, original)
    before = tuple(special_tokens(tokenizer)[0])
    size = wanted[-1] - len(before)
    if documents is None:
        assert config.data is not None
        documents = read_documents(config.data, config.text, split)
    cut = _cut(documents, tokenizer, size, config.documents, np.random.default_rng(seed), wanted[-1], names or Names())
    tokens = np.stack([piece for _, _, piece in cut])
    revision = combine("perplexity", tokens.tobytes().hex(), before, wanted, config.stride)
    return Pieces(
        tokens=tokens,
        before=before,
        ids=tuple(f"{document}, token {start}" for document, start, _ in cut),
        documents=tuple(document for document, _, _ in cut),
        lengths=tuple(wanted),
        split=split,
        revision=revision,
    )


def _cut(
    documents: Documents,
    tokenizer: PreTrainedTokenizerBase,
    size: int,
    most: int,
    rng: np.random.Generator,
    longest: int,
    names: Names,
) -> list[tuple[str, int, NDArray[np.int64]]]:
    """Return document, first token and tokens (size,) of up to `most` pieces: one of each document first, then a second, ..."""
    before = special_tokens(tokenizer)[0]
    slots: list[tuple[int, int, str, int, NDArray[np.int64]]] = []
    seen = (0, 0)
    short = enough = 0
    with progress(f"tokenise {documents.reference}", len(documents)) as advance:
        for row in rng.permutation(len(documents)).tolist():
            ids = tokenizer(documents.texts[row], add_special_tokens=False, verbose=False)["input_ids"]
            if before and ids[: len(before)] == before:
                ids = ids[len(before) :]  # it brings what is put before every window
            advance()
            seen = max(seen, (len(ids), row))
            if len(ids) < size:
                short += 1
                continue
            count = len(ids) // size
            first = int(rng.integers(len(ids) - count * size + 1))
            for turn, slot in enumerate(rng.permutation(count)[:most].tolist()):
                start = first + slot * size
                piece = np.array(ids[start : start + size], dtype=np.int64)
                slots.append((turn, enough, documents.names[row], start, piece))
            enough += 1
            if enough == most:
                break
    if not slots:
        raise InputError(
            f"{documents.reference}: no document has the {size:,} tokens that a window of {longest:,} takes; the longest has "
            f"{seen[0]:,} ({documents.where(seen[1])}): lower {names.lengths}, or name longer documents ({names.data})"
        )
    if short:
        say(
            f"note: {short} of {short + enough} documents of {documents.reference} are left out: under {longest:,} tokens"
        )
    chosen = sorted(slots, key=lambda slot: slot[:2])[:most]
    if len(chosen) < most:
        say(f"note: {documents.reference} has {len(chosen)} pieces of {longest:,} tokens, not {most} ({names.number})")
    return [(name, start, piece) for _, _, name, start, piece in chosen]


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer puts before and behind a text.

    Raises:
        InputError: It does not keep the text's own tokens between them.
    """
    plain: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole: list[int] = tokenizer("a")["input_ids"]
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start], whole[start + len(plain) :]
    raise InputError(f"the tokenizer {type(tokenizer).__name__} does not keep a text in one piece; give another model")
