"""Variable tracking: RULER's task of following names through a text (Hsieh et al. 2024, arXiv 2404.06654, section 3.2)."""

from dataclasses import dataclass

import numpy as np

from benchmarks.needle.haystacks import sentences
from benchmarks.needle.names import TEXTS
from benchmarks.needle.sketch import Sketch
from benchmarks.needle.wording import Wording

INTRO = "Variables are assigned in the text below. Follow them; you are asked for them at the end."
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
NAME = 5  # letters


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """Chains of assignments; the names that hold the first chain's value are asked for, `hops + 1` of them.

    Assignments of a chain stand in their order at random places, so there is no depth. RULER's worked example before the
    text is left out.

    Attributes:
        chains: How many, each with a value of its own.
        hops: Assignments of a chain behind its first.
    """

    chains: int = 1
    hops: int = 4
    metric: str = "substring_recall"
    new_tokens: int = 30
    has_depth: bool = False
    haystacks: tuple[str, ...] = TEXTS
    takes_wording: bool = False

    def draw(self, rng: np.random.Generator, wording: Wording | None, haystack: str | None, length: int) -> Sketch:
        """Draw names, values and places."""
        names: list[str] = []
        while len(names) < self.chains * (self.hops + 1):
            name = "".join(LETTERS[letter] for letter in rng.integers(len(LETTERS), size=NAME))
            if name not in names:
                names.append(name)
        values = [int(value) for value in rng.choice(90_000, self.chains, replace=False) + 10_000]
        facts: list[tuple[float | None, str]] = []
        for chain, value in enumerate(values):
            own = names[chain * (self.hops + 1) : (chain + 1) * (self.hops + 1)]
            told = [str(value), *(f"VAR {name}" for name in own[:-1])]
            places = np.sort(rng.random(len(own)))
            facts += [(float(at), f"VAR {name} = {to}.") for at, name, to in zip(places, own, told, strict=True)]
        answers = tuple(names[: self.hops + 1])
        return Sketch(
            intro=INTRO,
            filler=sentences(haystack or "noise", rng),
            facts=tuple(facts),
            question=f"Which variables hold the value {values[0]} in the text above? There are {len(answers)}.",
            begun=f"The variables that hold the value {values[0]} are",
            answers=answers,
        )
