"""What stands beside a tagger: nothing is a span, the usual tag of a word, and a linear model of a word and its neighbours."""

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction import FeatureHasher
from sklearn.linear_model import LogisticRegression

from classify.spans.rows import Tagged
from finewise.console import say

WORDS = 200_000
"""Training words that the linear model is fitted on at most; more cost minutes and change little."""

FEATURES = 2**18

Tags = list[NDArray[np.int64]]
Tagger = Callable[[Tagged], Tags]


def majority(train: Tagged) -> Tagger:
    """Return what gives every word the tag that most training words have, which is O in nearly all data."""
    most = int(train.counts.argmax())
    return lambda rows: [np.full(len(words), most, dtype=np.int64) for words in rows.words]


def gazetteer(train: Tagged) -> Tagger:
    """Return what gives every word the tag that it has most often in train, and O to unknown ones."""
    seen: dict[str, Counter[int]] = {}
    for row, tags in enumerate(train.tags):
        for word, tag in zip(_words(train, row), tags.tolist(), strict=True):
            seen.setdefault(word, Counter())[tag] += 1
    usual = {word: max(counter.items(), key=lambda item: (item[1], -item[0]))[0] for word, counter in seen.items()}
    return lambda rows: [
        np.array([usual.get(word, 0) for word in _words(rows, row)], dtype=np.int64) for row in range(len(rows))
    ]


def linear(train: Tagged, seed: int) -> Tagger:
    """Return a logistic regression on the word, its shape, its ends and the two words on each side.

    Features as in Ratinov & Roth (2009, tab. 1), without lists and clusters; each word is judged alone (no CRF).
    """
    order = np.random.default_rng(seed).permutation(len(train))
    sizes = np.cumsum([len(train.words[row]) for row in order])
    rows = np.sort(order[: max(1, int(np.searchsorted(sizes, WORDS, side="right")))])
    if len(rows) < len(train):
        say(f"linear: fitted on {len(rows):,} of {len(train):,} texts ({WORDS:,} words)")
    hasher = FeatureHasher(FEATURES, input_type="string", alternate_sign=False, dtype=np.float32)
    matrix = hasher.transform(features for row in rows for features in _features(_words(train, row)))
    gold = np.concatenate([train.tags[row] for row in rows])
    model = LogisticRegression(C=1.0, tol=1e-3, max_iter=200).fit(matrix, gold)

    def tag(held: Tagged) -> Tags:
        found = []
        for start in range(0, len(held), 1000):
            some = range(start, min(start + 1000, len(held)))
            said = model.predict(hasher.transform(one for row in some for one in _features(_words(held, row))))
            ends = np.cumsum([len(held.words[row]) for row in some])[:-1]
            found += np.split(said.astype(np.int64), ends)
        return found

    return tag


def fit(name: str, train: Tagged, seed: int) -> Tagger:
    """Return the baseline of this name, of `classify.spans.config.BASELINES`."""
    if name == "linear":
        return linear(train, seed)
    return {"majority": majority, "gazetteer": gazetteer}[name](train)


def _words(rows: Tagged, row: int) -> list[str]:
    text = rows.texts[row]
    return [text[start:end] for start, end in rows.words[row].tolist()]


def shape(word: str) -> str:
    """Return a word with its letters and digits by kind, runs shortened.

    >>> shape("GNU/Linux-2.6")
    'X/Xx-d.d'
    """
    found = ""
    for letter in word:
        kind = "X" if letter.isupper() else "x" if letter.islower() else "d" if letter.isdigit() else letter
        if not found.endswith(kind):
            found += kind
    return found


def _features(words: list[str]) -> Iterator[list[str]]:
    lower = ["<s>", "<s>", *(word.casefold() for word in words), "</s>", "</s>"]
    shapes = ["", *(shape(word) for word in words), ""]
    for place, word in enumerate(words):
        two_left, left, here, right, two_right = lower[place : place + 5]
        yield [
            f"w={word}", f"l={here}", f"s={shapes[place + 1]}", f"s-={shapes[place]}", f"s+={shapes[place + 2]}",
            f"l-2={two_left}", f"l-1={left}", f"l+1={right}", f"l+2={two_right}",
            f"l-1,0={left} {here}", f"l0,1={here} {right}", f"l-1,1={left} {right}",
            f"s-1,0,1={' '.join(shapes[place:place + 3])}",
            *(f"p{size}={here[:size]}" for size in (1, 2, 3, 4)), *(f"e{size}={here[-size:]}" for size in (1, 2, 3, 4)),
            *(["first"] if place == 0 else []),
        ]  # fmt: skip
