"""What needles lie in: endless sentences."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import cycle, pairwise

import numpy as np
import pyarrow.parquet as pq

from finewise.data.sources import labelled_file

NOISE = (
    "The meadow is wet.",
    "A cart goes by.",
    "The clock on the wall is slow.",
    "Somebody closes a window.",
    "It will rain again.",
)
"""Said again and again, as in RULER's noise; the sentences are our own."""

SPLITS = ("dev", "test")
"""Of the built-in texts: models are adapted to the others."""

_MARK = r"""[.!?]["'”’)_]*"""
_END = re.compile(rf"""(?<!\bMr)(?<!\bMrs)(?<!\bDr)(?<!\bSt)(?<!\b[A-Z]){_MARK}(?=\s+["'“‘(_]*[A-Z])""")
_ENDED = re.compile(rf"{_MARK}$")


def sentences(haystack: str, rng: np.random.Generator) -> Iterator[str]:
    """Yield the sentences of noise, novels or bible without end: in their order, text from a random one on."""
    if haystack == "noise":
        yield from cycle(NOISE)
    told = text_sentences(haystack)
    start = int(rng.integers(len(told)))
    yield from told[start:]
    yield from cycle(told)


@cache
def text_sentences(name: str) -> Sequence[str]:
    """Return the sentences of a built-in text."""
    return tuple(
        sentence
        for split in SPLITS
        for text in pq.read_table(labelled_file(name, split), columns=["text"])["text"].to_pylist()
        for sentence in split_sentences(text)
    )


def split_sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a text, their marks included and blanks run together; none is empty.

    A sentence ends in a full stop, exclamation or question mark before a capital, and where such a mark ends a paragraph (an
    empty line is behind it): a paragraph that ends otherwise, such as a letter's head, goes on in the next one.
    """
    begun = ""
    for paragraph in text.split("\n\n"):
        begun = f"{begun} {paragraph}".strip()
        if _ENDED.search(begun):
            yield from _split(begun)
            begun = ""
    yield from _split(begun)


def _split(told: str) -> Iterator[str]:
    places = [0, *(found.end() for found in _END.finditer(told)), len(told)]
    for start, end in pairwise(places):
        if sentence := " ".join(told[start:end].split()):
            yield sentence
