"""Needles in a haystack: RULER's eight retrieval tasks (Hsieh et al. 2024, arXiv 2404.06654, section 3.1, appendix B)."""

from dataclasses import dataclass

import numpy as np

from benchmarks.needle.names import HAYSTACKS
from benchmarks.needle.sketch import Sketch
from benchmarks.needle.wording import English, Wording

INTRO = "Somewhere in the text below some secret codes are told. Remember them; you are asked for them at the end."


@dataclass(frozen=True, slots=True, kw_only=True)
class Niah:
    """Secret codes in a text, and a question for some of them.

    The depth is that of the first needle that is asked for; all others stand at random places.

    Attributes:
        haystack: What the needles lie in.
        needles: Keys that have a needle.
        per_key: Values of each key that is asked for, a needle each.
        asked: Keys that are asked for.
        keys: words or uuids.
        values: numbers, words or uuids.
    """

    haystack: str = "novels"
    needles: int = 1
    per_key: int = 1
    asked: int = 1
    keys: str = "words"
    values: str = "numbers"
    metric: str = "substring_recall"
    new_tokens: int = 128
    has_depth: bool = True
    haystacks: tuple[str, ...] = HAYSTACKS
    takes_wording: bool = True

    def draw(self, rng: np.random.Generator, wording: Wording | None, haystack: str | None, length: int) -> Sketch:
        """Draw keys, values (all different) and places."""
        said = wording or English(self.values, self.keys, self.per_key)
        told = [key for key in range(self.needles) for _ in range(self.per_key if key < self.asked else 1)]
        keys: dict[str, None] = {}
        while len(keys) < self.needles:
            keys[said.key(rng)] = None
        values: dict[str, None] = {}
        while len(values) < len(told):
            values[said.value(rng, self.values)] = None
        names, codes = list(keys), list(values)
        places: list[float | None] = [None, *rng.random(len(told) - 1)]
        question, _, begun = said.question(names[: self.asked]).partition("\n")
        return Sketch(
            intro=INTRO,
            # Neither a key nor a value stands anywhere else.
            filler=(
                one
                for one in said.sentences(rng, haystack or self.haystack)
                if not any(text in one for text in (*names, *codes))
            ),
            facts=tuple(
                (place, said.needle(names[key], code)) for place, key, code in zip(places, told, codes, strict=True)
            ),
            question=question,
            begun=begun,
            answers=tuple(code for key, code in zip(told, codes, strict=True) if key < self.asked),
            as_told=self.per_key > 1,
        )
