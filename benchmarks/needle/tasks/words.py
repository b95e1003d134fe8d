"""Common and frequent words: RULER's aggregation tasks (Hsieh et al. 2024, arXiv 2404.06654, section 3.3, appendix B).

There is no depth: the answer is spread over the whole text. `needle.haystack` has no meaning here. The words are not numbered,
and RULER's worked example before them is left out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmarks.needle.haystacks import text_sentences
from benchmarks.needle.prompts import Sketch
from benchmarks.needle.wording import Wording

CONSONANTS, VOWELS = "bcdfghjklmnprstvwz", "aeiou"
RANKS = 2000  # coded words; what is rarer counts as the last
GOLDEN = (5**0.5 - 1) / 2
SHUFFLED = 64  # words that change places with each other
UNCOMMON = 16  # uncommon words that are mixed with each other


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonWords:
    """A list of words in which some stand far more often than all others.

    Attributes:
        common: How many words are asked for.
        often: How often each of them stands in the list.
        seldom: How often each of the others does (the last ones at most so often).
    """

    common: int = 10
    often: int = 30
    seldom: int = 3
    metric: str = "substring_recall"
    new_tokens: int = 120
    has_depth: bool = False

    def draw(self, rng: np.random.Generator, wording: Wording | None, haystack: str | None) -> Sketch:
        """Draw the words and their places."""
        words = [str(word) for word in rng.permutation(vocabulary())]
        answers, others = words[: self.common], words[self.common :]
        facts = tuple((float(place), word) for word in answers for place in rng.random(self.often))
        return Sketch(
            intro="Below is a list of words. Some stand in it far more often than the others. Remember them.",
            filler=self._others(rng, others),
            facts=facts,
            question=f"Which {self.common} words stand most often in the list above?",
            begun=f"The {self.common} words that stand most often in the list are",
            answers=tuple(answers),
        )

    def _others(self, rng: np.random.Generator, words: list[str]) -> Iterator[str]:
        """Yield each word `seldom` times, mixed with its neighbours, then coded ones."""
        for start in range(0, len(words), UNCOMMON):
            yield from (str(word) for word in rng.permutation(words[start : start + UNCOMMON] * self.seldom))
        for number in range(10**9):
            coded = [f"{code(rng)}{number}" for _ in range(UNCOMMON)]
            yield from (str(word) for word in rng.permutation(coded * self.seldom))


@dataclass(frozen=True, slots=True, kw_only=True)
class FrequentWords:
    """Coded words with frequencies of a zeta distribution; the three most frequent are asked for.

    The most frequent place of all is taken by dots, as RULER does it. Draws follow a sequence of low discrepancy, so that the
    order of the frequencies holds in short texts too.

    Attributes:
        alpha: Of the zeta distribution: the word of rank k has a share of k^-alpha / zeta(alpha).
        top: How many are asked for.
    """

    alpha: float = 2.0
    top: int = 3
    metric: str = "substring_recall"
    new_tokens: int = 50
    has_depth: bool = False

    def draw(self, rng: np.random.Generator, wording: Wording | None, haystack: str | None) -> Sketch:
        """Draw the coded words and their order."""
        drawn: dict[str, None] = {}
        while len(drawn) < RANKS:
            drawn[code(rng)] = None
        words = ["...", *list(drawn)[1:]]
        return Sketch(
            intro="Below is a coded text without meaning. Remember which words are frequent in it; the dots do not count.",
            filler=self._drawn(rng, words),
            facts=(),
            question=f"Which {self.top} coded words are the most frequent in the text above? The dots do not count.",
            begun=f"The {self.top} most frequent words are",
            answers=tuple(words[1 : self.top + 1]),
        )

    def _drawn(self, rng: np.random.Generator, words: list[str]) -> Iterator[str]:
        shares = np.arange(1, RANKS + 1) ** -self.alpha
        ends = np.cumsum(shares / shares.sum())
        start, number = rng.random(), 0
        while True:
            points = (start + (number + np.arange(SHUFFLED)) * GOLDEN) % 1
            ranks = np.minimum(np.searchsorted(ends, points, side="right"), RANKS - 1)
            yield from (words[int(rank)] for rank in rng.permutation(ranks))
            number += SHUFFLED


def code(rng: np.random.Generator) -> str:
    """Return a made-up word of six letters."""
    picks = rng.integers(len(CONSONANTS) * len(VOWELS), size=3)
    return "".join(CONSONANTS[pick // len(VOWELS)] + VOWELS[pick % len(VOWELS)] for pick in picks)


@cache
def vocabulary() -> tuple[str, ...]:
    """Return words of five to ten letters from the novels, none within another one (answers are looked for as substrings)."""
    found = {word for told in text_sentences("novels") for word in re.findall(r"\b[a-z]{5,10}\b", told)}
    parts = {
        word[i:j] for word in found for i in range(len(word)) for j in range(i + 5, len(word) + 1) if j - i < len(word)
    }
    return tuple(sorted(found - parts))
