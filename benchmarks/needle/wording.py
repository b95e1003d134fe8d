"""How needles are said: in English, or in whatever language a caller brings."""

import uuid
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from benchmarks.needle.haystacks import sentences

FIRST = (
    "amber", "ancient", "azure", "bashful", "bitter", "blissful", "bold", "brisk", "bronze", "calm", "candid",
    "cheerful", "clever", "cosmic", "crimson", "curious", "daring", "dusty", "eager", "earnest", "elegant", "faint",
    "fearless", "festive", "fierce", "foggy", "frosty", "gentle", "giddy", "gleaming", "golden", "graceful", "hollow",
    "humble", "icy", "ivory", "jolly", "keen", "lavish", "lively", "lucid", "mellow", "misty", "modest", "mossy",
    "nimble", "noble", "opaque", "patient", "placid", "proud", "purple", "quaint", "quiet", "radiant", "rustic",
    "scarlet", "silent", "solemn", "sturdy", "subtle", "sunny", "swift", "tidy", "timid", "tranquil", "upright",
    "vast", "velvet", "vivid", "wary", "wistful", "witty", "wooden", "wry", "young", "zealous", "zesty",
)  # fmt: skip
SECOND = (
    "acorn", "anchor", "anvil", "apron", "badger", "barrel", "basket", "beacon", "blanket", "bramble", "bridge",
    "bucket", "candle", "canyon", "carpet", "castle", "cedar", "cellar", "chimney", "cobbler", "compass", "copper",
    "cottage", "cradle", "dolphin", "dragon", "ember", "engine", "falcon", "feather", "fiddle", "forest", "fountain",
    "garden", "glacier", "goblet", "hammer", "harbour", "helmet", "island", "jackal", "jungle", "kettle", "kitten",
    "ladder", "lagoon", "lantern", "lemon", "lizard", "magnet", "mantle", "marble", "meadow", "mirror", "mitten",
    "nutmeg", "oasis", "orchid", "otter", "paddle", "pebble", "pepper", "pigeon", "pillow", "pocket", "quarry",
    "rabbit", "raven", "ribbon", "rocket", "saddle", "sparrow", "temple", "thimble", "tunnel", "turnip", "umbrella",
    "valley", "violin", "walnut", "willow", "window", "yarrow",
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

    def __init__(self, values: str = "numbers", keys: str = "words", per_key: int = 1) -> None:
        """Choose what is said.

        Args:
            values: One of KINDS.
            keys: words or uuids.
            per_key: Values that a key that is asked for has.
        """
        self.values, self.keys, self.per_key = values, keys, per_key

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
        if self.per_key > 1:
            codes = f"{self.per_key} secret codes of {named}"
            return f"What are all {codes} in the text above?\nThe {codes} are"
        codes, verb = ("secret codes", "are") if len(keys) > 1 else ("secret code", "is")
        return f"What {verb} the {codes} of {named} in the text above?\nThe {codes} of {named} {verb}"

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
