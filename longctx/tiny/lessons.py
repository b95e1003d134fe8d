"""The training rows of the tiny language model: copying, recall, and needles in filler.

Each lesson gives (inputs, targets), both (B, T) token numbers; targets are -100 where nothing is learnt.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from longctx.tiny.language import (
    ASK,
    CAUSAL_WORDS,
    END,
    FILLER,
    KEYS,
    SET,
    SPECIAL,
    VALUE_WORDS,
    VALUES,
    filler,
)

IGNORED = -100
PERIODS = (4, 16)

Lesson = tuple[NDArray[np.int64], NDArray[np.int64]]
Draw = Callable[[np.random.Generator], Lesson]

_SET, _ASK, _END = (CAUSAL_WORDS.index(word) for word in (SET, ASK, END))
_FILLER, _KEYS, _VALUES = (CAUSAL_WORDS.index(words[0]) for words in (FILLER, KEYS, VALUES))
NEEDLE = VALUE_WORDS + 3
"""Words of a needle, and of a question with its answer."""


def copying(rng: np.random.Generator, rows: int, length: int) -> Lesson:
    """Each row repeats different words with a period of its own; to be learnt from the second word of the first repeat on.

    The first word of that repeat cannot be known, and a word that stood twice in the period would make its follower
    ambiguous. (Rows with both, and other batch sizes and rates, took several times as many steps; tried together.)
    """
    low, high = PERIODS
    period = rng.integers(low, high + 1, size=(rows, 1))
    words = rng.random((rows, len(CAUSAL_WORDS) - len(SPECIAL))).argsort(axis=1)[:, :high] + len(SPECIAL)
    place = np.arange(length)[None]
    inputs = np.take_along_axis(words, place % period, axis=1)
    return inputs, np.where(place > period, inputs, IGNORED)


def recall(rng: np.random.Generator, rows: int, length: int, keys: int) -> Lesson:
    """`k v k v ...` with 2 to `keys` keys a row; the value of a key that stood before is to be learnt."""
    count = rng.integers(2, keys + 1, size=(rows, 1))
    names = rng.random((rows, len(KEYS))).argsort(axis=1)
    values = rng.integers(len(VALUES), size=(rows, len(KEYS)))
    drawn = (rng.random((rows, length // 2)) * count).astype(np.int64)
    one_hot = drawn[:, :, None] == np.arange(keys)
    known = np.take_along_axis(one_hot.cumsum(axis=1), drawn[:, :, None], axis=2)[:, :, 0] > 1
    inputs, targets = np.empty((rows, length), np.int64), np.full((rows, length), IGNORED)
    inputs[:, ::2] = np.take_along_axis(names, drawn, axis=1) + _KEYS
    inputs[:, 1::2] = np.take_along_axis(values, drawn, axis=1) + _VALUES
    targets[:, 1::2] = np.where(known, inputs[:, 1::2], IGNORED)
    return inputs, targets


def needles(rng: np.random.Generator, rows: int, length: int, *, most: int = 3, asked: int | None = None) -> Lesson:
    """Filler with 1 to `most` needles in it, and at the end questions for some of them; the answers are to be learnt.

    Args:
        rng: Draws all.
        rows: B.
        length: T.
        most: Needles, at least 1.
        asked: Questions; None draws from 1 to the number of needles.
    """
    inputs, targets = np.empty((rows, length), np.int64), np.full((rows, length), IGNORED)
    hay = filler(rng, rows, length) + _FILLER
    for row in range(rows):
        count = int(rng.integers(1, most + 1))
        questions = asked or int(rng.integers(1, count + 1))
        keys = rng.permutation(len(KEYS))[:count] + _KEYS
        values = rng.integers(len(VALUES), size=(count, VALUE_WORDS)) + _VALUES
        room = length - NEEDLE * (count + questions)
        pieces = []
        past = 0
        for key, value, cut in zip(keys, values, np.sort(rng.integers(room + 1, size=count)), strict=True):
            pieces += [hay[row, past:cut], [_SET, key], value, [_END]]
            past = cut
        pieces.append(hay[row, past:room])
        for one in rng.permutation(count)[:questions]:
            pieces += [[_ASK, keys[one]], values[one], [_END]]
        inputs[row] = np.concatenate(pieces)
        for question in range(questions):
            end = length - NEEDLE * question
            targets[row, end - VALUE_WORDS - 1 : end] = inputs[row, end - VALUE_WORDS - 1 : end]
    return inputs, targets
