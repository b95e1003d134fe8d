"""Words and the pieces that a tokenizer cuts them into; long texts as overlapping windows, so that no word goes unread.

Every piece of a text counts in one window alone: where windows overlap, the first half of what they share belongs to the
earlier one, so that each piece is read where it has the more text around it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from classify.spans.rows import Words
from finewise.data.scripts import composed
from finewise.errors import InputError

IGNORED = -100
"""What torch's cross entropy takes for "no label"."""

_TEXTS = 1000  # tokenised at a time

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Windows:
    """N texts as M windows, of t pieces each, special tokens included.

    Attributes:
        rows: (M,) the text of each window.
        ids: M times (t,) what the model reads.
        words: M times (t,) the word of each piece that counts in this window; -1 for the others.
        first: M times (t,) bool, whether the piece is the first of its word.
        texts: N.
        long: Texts that took several windows.
        lost: Words without a piece of their own, such as a control character, of which the model says nothing: they go with
            the span that they stand in, else they are O.
    """

    rows: Ints
    ids: Sequence[Ints]
    words: Sequence[Ints]
    first: Sequence[NDArray[np.bool_]]
    texts: int
    long: int
    lost: int

    def __len__(self) -> int:
        return len(self.rows)

    def ledger(self) -> dict[str, int]:
        """Return what a record says."""
        return {
            "texts": self.texts,
            "windows": len(self),
            "texts_in_several_windows": self.long,
            "words_without_a_piece": self.lost,
        }


def windows(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], words: Sequence[Words], overlap: int | None
) -> Windows:
    """Tokenise texts.

    Args:
        tokenizer: A fast one, which knows the limit.
        texts: N texts.
        words: N times (W, 2), start and end of each word.
        overlap: Pieces that neighbouring windows share; None: a quarter of the limit.

    Raises:
        InputError: The tokenizer is no fast one, or the windows would overlap too much.
    """
    if not tokenizer.is_fast:
        raise InputError(
            f"{type(tokenizer).__name__} does not tell which characters a token stands for; token classification needs a model "
            "with a fast tokenizer (tokenizer.json)"
        )
    # A number that no text reaches stands for "no limit" in some tokenizers, and is more than the library can take.
    limit = min(int(tokenizer.model_max_length), 1 << 30)
    room = limit - tokenizer.num_special_tokens_to_add()
    overlap = room // 4 if overlap is None else overlap
    if overlap > room // 2:
        raise InputError(
            f"windows.overlap must be at most {room // 2}, half of the {room} tokens that the model reads at a time; "
            f"got {overlap}"
        )
    rows: list[int] = []
    ids: list[Ints] = []
    inside: list[Ints] = []
    first: list[NDArray[np.bool_]] = []
    lost = 0
    for start in range(0, len(texts), _TEXTS):
        # In form C, which is what models were trained on: e + U+0301 is read as é, in whichever form the text came.
        together = zip(texts[start : start + _TEXTS], words[start : start + _TEXTS], strict=True)
        some, places_of = map(list, zip(*(composed(text, where) for text, where in together), strict=True))
        made = tokenizer(some, truncation=True, max_length=limit, stride=overlap, return_overflowing_tokens=True)
        encodings = made.encodings
        assert encodings is not None
        parts: list[list[int]] = [[] for _ in some]
        for place, row in enumerate(made["overflow_to_sample_mapping"]):
            parts[row].append(place)
        for row, places in enumerate(parts):
            seen = 0
            for turn, place in enumerate(places):
                encoding = encodings[place]
                special = np.array(encoding.special_tokens_mask, dtype=bool)
                own = _words_of(some[row], np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2), places_of[row])
                own[special] = -1
                at = np.flatnonzero(~special)
                half = overlap // 2
                if turn:
                    own[at[:half]] = -1
                if turn < len(places) - 1:
                    own[at[len(at) - (overlap - half) :]] = -1
                rows.append(start + row)
                ids.append(np.array(encoding.ids, dtype=np.int64))
                inside.append(own)
                first.append(_first(own, seen))
                seen = max(seen, int(own.max(initial=-1)) + 1)
            lost += len(words[start + row]) - sum(int(flags.sum()) for flags in first[len(first) - len(places) :])
    numbers = np.array(rows, dtype=np.int64)
    return Windows(
        rows=numbers,
        ids=ids,
        words=inside,
        first=first,
        texts=len(texts),
        long=int((np.bincount(numbers, minlength=len(texts)) > 1).sum()),
        lost=lost,
    )


def labels(found: Windows, tags: Sequence[Ints], pieces: str) -> list[Ints]:
    """Return M times (t,) the tag that each piece is to get, IGNORED where none is.

    Args:
        found: The windows.
        tags: N times (W,) tags of words: 0 is O, odd ones are B-, and the I- of a type follows its B-.
        pieces: "first" labels the first piece of a word alone; with "all" the others of a B- word get I-.
    """
    made = []
    for row, words, first in zip(found.rows, found.words, found.first, strict=True):
        of_word = tags[row][words]
        of_piece = np.where(first | (of_word % 2 == 0), of_word, of_word + 1)
        counts = first if pieces == "first" else words >= 0
        made.append(np.where(counts, of_piece, IGNORED))
    return made


def _words_of(text: str, offsets: Ints, words: Words) -> Ints:
    """Return (t,) the word in which each piece begins, or the one that it runs into; -1 for none."""
    starts, ends = offsets[:, 0].copy(), offsets[:, 1]
    for piece in np.flatnonzero(starts < ends):  # some tokenizers count the blank before a word to its first piece
        while starts[piece] < ends[piece] - 1 and text[starts[piece]].isspace():
            starts[piece] += 1
    begins, stops = words[:, 0], words[:, 1]
    place = np.searchsorted(begins, starts, side="right") - 1
    within = (place >= 0) & (starts < stops[place])
    after = np.minimum(place + 1, len(words) - 1)
    runs_into = (place + 1 < len(words)) & (begins[after] < ends)
    return np.where(starts >= ends, -1, np.where(within, place, np.where(runs_into, after, -1)))


def _first(words: Ints, seen: int) -> NDArray[np.bool_]:
    """Return (t,) which pieces are the first of a word from number `seen` on."""
    before = np.maximum.accumulate(np.concatenate([[seen - 1], words[:-1]]))
    return words > before
