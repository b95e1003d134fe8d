"""The needle task in a language that the caller brings, such as that of models trained on the spot."""

import numpy as np

from benchmarks.needle.sketch import Sketch
from benchmarks.needle.wording import Wording
from finewise.errors import InputError

MOST = 3


class TinyTask:
    """One to three needles in the language's filler, and one question; the depth is that of the needle that is asked for."""

    metric = "exact"
    new_tokens = 1
    has_depth = True
    haystacks: tuple[str, ...] = ()
    takes_wording = True

    def draw(self, rng: np.random.Generator, wording: Wording | None, haystack: str | None, length: int) -> Sketch:
        """Draw needles.

        Raises:
            InputError: There is no language.
        """
        if wording is None:
            raise InputError(
                "needle.tasks: tiny is the task of model.name=tiny:causal alone; choose another, such as niah_single_2"
            )
        count = int(rng.integers(1, MOST + 1))
        keys: list[str] = []
        while len(keys) < count:
            if (key := wording.key(rng)) not in keys:
                keys.append(key)
        values = [wording.value(rng) for _ in keys]
        places: list[float | None] = [None, *rng.random(count - 1)]
        facts = tuple(
            (place, wording.needle(key, value)) for place, key, value in zip(places, keys, values, strict=True)
        )
        return Sketch(
            intro="",
            filler=wording.sentences(rng, "filler"),
            facts=facts,
            question=wording.question(keys[:1]),
            begun="",
            answers=(values[0],),
        )
