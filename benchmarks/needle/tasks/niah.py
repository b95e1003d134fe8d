"""Needles in a haystack: RULER's eight retrieval tasks (Hsieh et al. 2024, arXiv 2404.06654, section 3.1, appendix B)."""

from dataclasses import dataclass

import numpy as np

from benchmarks.needle.prompts import Sketch
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

    def draw(self, rng: np.random.Generator, wording: Wording | None, haystack: str | None) -> Sketch:
        """Draw keys, values and places."""
        said = wording or English(self.values, self.keys)
        keys: list[str] = []
        while len(keys) < self.needles:
            if (key := said.key(rng)) not in keys:
                keys.append(key)
        places: list[float | None] = [None, *rng.random(self.needles * self.per_key)]
        facts: list[tuple[float | None, str]] = []
        answers: list[str] = []
        for number, key in enumerate(keys):
            for _ in range(self.per_key if number < self.asked else 1):
                value = said.value(rng, self.values)
                facts.append((places[len(facts)], said.needle(key, value)))
                if number < self.asked:
                    answers.append(value)
        question, _, begun = said.question(keys[: self.asked]).partition("\n")
        filler = (one for one in said.sentences(rng, haystack or self.haystack) if not any(key in one for key in keys))
        return Sketch(
            intro=INTRO, filler=filler, facts=tuple(facts), question=question, begun=begun, answers=tuple(answers)
        )
