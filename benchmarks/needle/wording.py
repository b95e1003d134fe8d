"""How needles are said: in English, or in whatever language a caller brings."""

import uuid
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from benchmarks.needle.haystacks import sentences

FIRST = (
    "amber", "brisk", "calm", "dusty", "eager", "faint", "gentle", "hollow", "icy", "jolly", "keen", "lucid", "mellow",
    "nimble", "opaque", "proud", "quiet", "rustic", "silent", "tidy", "upright", "velvet", "wry", "young", "zesty",
)  # fmt: skip
SECOND = (
    "anvil", "beacon", "canyon", "dolphin", "ember", "falcon", "glacier", "harbour", "island", "jackal", "kettle", "lagoon",
    "meadow", "nutmeg", "orchid", "pebble", "quarry", "raven", "saddle", "temple", "umbrella", "valley", "willow", "yarrow",
)  # fmt: skip
KINDS = ("numbers", "words", "uuids")


class Wording(Protocol):
    """How needles are said and asked for."""

    name: str

    def sentences(self, rng: np.random.Generator, haystack: str) -> Iterator[str]:
        """Yield the haystack's sentences, without end."""
        ...

    def needle(self, key: str, value: str) -> str:
        """Return the sentence that tells a key's value."""
        ...

    def question(self, keys: Sequence[str]) -> str:
        """Return what asks for the keys' values at the end; the answer goes on from it."""
        ...

    def key(self, rng: np.random.Generator) -> str:
        """Return a key."""
        ...

    def value(self, rng: np.random.Generator, kind: str = "numbers") -> str:
        """Return a value: numbers, words or uuids."""
        ...


class English:
    """Secret numbers (words, codes) of things."""

    name = "english"

    def __init__(self, values: str = "numbers", keys: str = "words") -> None:
        self.values, self.keys = values, keys

    def sentences(self, rng: np.random.Generator, haystack: str) -> Iterator[str]:
        """Yield sentences of a haystack; of needles: other keys' ones."""
        if haystack != "needles":
            yield from sentences(haystack, rng)
        while True:
            yield self.needle(self.key(rng), self.value(rng, self.values))

    def needle(self, key: str, value: str) -> str:
        """Return the sentence."""
        return f"The secret code of {key} is {value}."

    def question(self, keys: Sequence[str]) -> str:
        """Return the question, and behind a line break how the answer begins."""
        named = " and ".join([", ".join(keys[:-1]), keys[-1]] if len(keys) > 1 else keys)
        codes = "codes" if len(keys) > 1 else "code"
        verb = "are" if len(keys) > 1 else "is"
        return f"What {verb} the secret {codes} of {named} in the text above?\nThe secret {codes} of {named} {verb}"

    def key(self, rng: np.random.Generator) -> str:
        """Return two words, or a code."""
        return self.value(rng, self.keys)

    def value(self, rng: np.random.Generator, kind: str = "numbers") -> str:
        """Return seven digits, two words, or a code of 32 digits."""
        if kind == "numbers":
            return str(int(rng.integers(1_000_000, 10_000_000)))
        if kind == "uuids":
            return str(uuid.UUID(bytes=rng.bytes(16), version=4))
        return f"{FIRST[int(rng.integers(len(FIRST)))]}-{SECOND[int(rng.integers(len(SECOND)))]}"
