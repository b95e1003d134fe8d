"""Common and frequent words: RULER's aggregation tasks (Hsieh et al. 2024, arXiv 2404.06654, section 3.3, appendix B).

There is no depth: the answer is spread over the whole text. RULER's worked example before the list of `cwe` is left out.
"""

import math
import re
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import zeta

from benchmarks.needle.haystacks import text_sentences
from benchmarks.needle.sketch import Sketch
from benchmarks.needle.wording import Wording

LETTERS = "abcdefghijklmnopqrstuvwxyz"
CODED = 6  # letters of a coded word
RANKS = 2000  # coded words; whatever is rarer is left out
DOTS = "..."


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonWords:
    """A numbered list in random order, in which some words stand far more often than all others.

    Attributes:
        common: How many words are asked for.
        often: How often each of them stands in the list.
        seldom: How often each of the others does.
        long: Below so many tokens the list is short, as in RULER's code: `often_short` and `seldom_short` hold.
    """

    common: int = 10
    often: int = 30
    seldom: int = 3
    long: int = 4096
    often_short: int = 6
    seldom_short: int = 1
    metric: str = "substring_recall"
    new_tokens: int = 120
    has_depth: bool = False
    haystacks: tuple[str, ...] = ()
    takes_wording: bool = False

    def draw(self, rng: np.random.Generator, wording: Wording | None, haystack: str | None, length: int) -> Sketch:
        """Draw the words."""
        words = [str(word) for word in rng.permutation(vocabulary())]
        answers, others = words[: self.common], words[self.common :]
        often, seldom = (self.often, self.seldom) if length >= self.long else (self.often_short, self.seldom_short)
        order = int(rng.integers(2**32))

        def items(count: int) -> list[str]:
            told = answers * often + [*others[:count], *_coded(order, count - len(others))] * seldom
            mixed = np.random.default_rng(order).permutation(len(told))
            return [f"{number}. {told[place]}" for number, place in enumerate(mixed, start=1)]

        return Sketch(
            intro="Below is a numbered list of words. Some stand in it more often than the others. Remember those.",
            items=items,
            least=self.common,
            question=f"Which {self.common} words stand most often in the list above?",
            begun=f"The {self.common} words that stand most often in the list are",
            answers=tuple(answers),
            as_told=True,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FrequentWords:
    """Coded words in random order, with frequencies of a zeta distribution; the most frequent are asked for.

    In a text of N words the one of rank k stands floor(N k^-alpha / zeta(alpha)) times. The most frequent of all is replaced by
    dots, which do not count.

    Attributes:
        alpha: Of the zeta distribution.
        top: How many are asked for.
    """

    alpha: float = 2.0
    top: int = 3
    metric: str = "substring_recall"
    new_tokens: int = 50
    has_depth: bool = False
    haystacks: tuple[str, ...] = ()
    takes_wording: bool = False

    def draw(self, rng: np.random.Generator, wording: Wording | None, haystack: str | None, length: int) -> Sketch:
        """Draw the coded words."""
        words = [DOTS, *_coded(int(rng.integers(2**32)), RANKS - 1)]
        shares = np.arange(1, RANKS + 1) ** -self.alpha / zeta(self.alpha)
        order = int(rng.integers(2**32))

        def items(count: int) -> list[str]:
            told = np.repeat(np.arange(RANKS), np.floor(count * shares).astype(np.int64))
            return [words[rank] for rank in np.random.default_rng(order).permutation(told)]

        return Sketch(
            intro="Below is a coded text without meaning. Remember which words are frequent in it; the dots do not count.",
            items=items,
            # From here on no word that is not asked for can be as frequent as the last one that is.
            least=math.ceil(1 / (shares[self.top] - shares[self.top + 1])),
            question=f"Which {self.top} coded words are the most frequent in the text above? The dots do not count.",
            begun=f"The {self.top} most frequent words are",
            answers=tuple(words[1 : self.top + 1]),
        )


@cache
def vocabulary() -> tuple[str, ...]:
    """Return words of five to ten letters from the novels, none within another one (answers are looked for as substrings)."""
    found = {word for told in text_sentences("novels") for word in re.findall(r"\b[a-z]{5,10}\b", told)}
    parts = {
        word[i:j] for word in found for i in range(len(word)) for j in range(i + 5, len(word) + 1) if j - i < len(word)
    }
    return tuple(sorted(found - parts))


def _coded(seed: int, count: int) -> list[str]:
    """Return different made-up words, the first ones the same for every count; none for a count below 1."""
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        for word in rng.integers(len(LETTERS), size=(256, CODED)):
            found["".join(LETTERS[letter] for letter in word)] = None
    return list(found)[: max(count, 0)]
