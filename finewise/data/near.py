"""Near duplicates: MinHash signatures of word 3-grams (rensa), candidates by banding, then the estimated Jaccard."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import xxhash
from numpy.typing import NDArray

from finewise.data.keys import mix

PERMUTATIONS = 128
WORDS = re.compile(r"\w+")
CHUNK_TEXTS, CHUNK_CHARACTERS = 5_000, 8_000_000
NEIGHBOURS = 8
"""Texts of one bucket that a text is compared with; a bucket of many is boilerplate, and one match is enough."""

Digests = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Sketches:
    """Signatures of n texts.

    Attributes:
        digests: (n, 128) minimal hash values; the share of equal ones estimates the Jaccard similarity.
        usable: (n,) False for texts without a single word, which match nothing.
    """

    digests: Digests
    usable: NDArray[np.bool_]


class _Vocabulary(dict[str, int]):
    """Word -> 64-bit number; a word is hashed once."""

    def __missing__(self, word: str) -> int:
        number = self[word] = xxhash.xxh3_64_intdigest(word.encode("utf-8", "surrogatepass"))
        return number


def sketch(texts: Iterable[str], advance: Callable[[int], None] = lambda count: None) -> Sketches:
    """Compute the signatures of texts.

    The set of a text is its word 3-grams, case-folded, without punctuation; of a text under three words, its words as
    one. A script without blanks (Chinese, Japanese, Thai) counts characters as words.

    Args:
        texts: The texts.
        advance: Told how many more texts are done.
    """
    from rensa import RMinHash

    digests, usable = [], []
    vocabulary = _Vocabulary()
    for chunk in chunks(texts):
        flat: list[int] = []
        lengths = []
        for text in chunk:
            words = WORDS.findall(text.casefold())
            if words and len(text) > 20 * len(words):
                words = [letter for word in words for letter in word]
            lengths.append(len(words))
            words += [""] * (3 - len(words))
            flat.extend(map(vocabulary.__getitem__, words))
        if len(vocabulary) > 2_000_000:
            vocabulary.clear()
        counts = np.array(lengths)
        hashes = np.array(flat, dtype=np.uint64)
        grams = mix(hashes[:-2] + mix(hashes[1:-1] + mix(hashes[2:])))
        ends = np.cumsum(np.maximum(counts, 3))
        inside = np.ones(len(hashes), dtype=bool)
        inside[ends - 1] = inside[ends - 2] = False
        offsets = np.concatenate([[0], ends - 2 * np.arange(1, len(ends) + 1)]).astype(np.uint64)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(grams[inside[:-2]], offsets, PERMUTATIONS, 42)
        digests.append(np.array(matrix.to_rows(), dtype=np.uint32))
        usable.append(counts > 0)
        advance(len(chunk))
    if not digests:
        return Sketches(np.zeros((0, PERMUTATIONS), dtype=np.uint32), np.zeros(0, dtype=bool))
    return Sketches(np.concatenate(digests), np.concatenate(usable))


def matches(these: Sketches, those: Sketches | None, threshold: float) -> NDArray[np.int64]:
    """Find, for each text, a similar one.

    Args:
        these: n texts.
        those: The texts to look among; None looks among the earlier of `these` themselves.
        threshold: Least estimated Jaccard similarity.

    Returns:
        (n,) the index of a similar text, or -1.
    """
    base = these if those is None else those
    found = np.full(len(these.digests), -1, dtype=np.int64)
    if not len(found) or not len(base.digests):
        return found
    rows = _rows_per_band(threshold)
    for band in range(PERMUTATIONS // rows):
        columns = slice(band * rows, (band + 1) * rows)
        keys = _bucket(base.digests[:, columns])
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        wanted = keys if those is None else _bucket(these.digests[:, columns])
        asked = order if those is None else np.argsort(wanted, kind="stable")
        low, high = np.empty_like(found), np.empty_like(found)
        low[asked] = np.searchsorted(ordered, wanted[asked], side="left")  # sorted needles keep the search in the cache
        high[asked] = np.searchsorted(ordered, wanted[asked], side="right")
        for step in range(NEIGHBOURS):
            open_ = np.flatnonzero((found < 0) & these.usable & (low + step < high))
            other = order[low[open_] + step]
            allowed = base.usable[other]
            if those is None:
                allowed &= other < open_
            open_, other = open_[allowed], other[allowed]
            if not len(open_):
                if not (low + step < high).any():
                    break
                continue
            alike = (these.digests[open_] == base.digests[other]).mean(axis=1) >= threshold
            found[open_[alike]] = other[alike]
    return found


def _rows_per_band(threshold: float) -> int:
    """Return the most selective banding that still finds 99% of the pairs at the threshold."""
    for rows in (32, 16, 8, 4, 2):
        if (1 - threshold**rows) ** (PERMUTATIONS // rows) <= 0.01:
            return rows
    return 1


def _bucket(digests: Digests) -> NDArray[np.uint64]:
    key = np.zeros(len(digests), dtype=np.uint64)
    for column in digests.T:
        key = mix(key ^ column.astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
    return key


def chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Cut texts into lists that are bounded in number and in characters."""
    chunk: list[str] = []
    characters = 0
    for text in texts:
        chunk.append(text)
        characters += len(text)
        if len(chunk) == CHUNK_TEXTS or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
