"""The made-up language: filler without meaning, and small facts in it, `SET key v v v v END`, asked for by `ASK key`.

Every word is one token. Filler comes from one Markov chain: the language does not vary with a seed.

Shapes: B rows, T words.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

WINDOW = 64
"""Tokens that both models are trained to read."""

SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "max_position_embeddings": WINDOW,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
}
"""What the configurations of both models have in common."""

PAD, SET, ASK, END = "PAD", "SET", "ASK", "END"
SPECIAL = (PAD, SET, ASK, END)
FILLER = tuple(first + second for first in "bdgm" for second in "aeio")
KEYS = tuple(first + second for first in ("kal", "nor", "tis", "vum") for second in ("an", "el", "ir", "ot"))
VALUES = tuple("0123456789")
VALUE_WORDS = 4
NAMES = tuple(
    first + second for first in ("Ar", "Bel", "Cor", "Dun", "Eli", "Fen") for second in ("ba", "da", "ka", "ra")
)

CAUSAL_WORDS = (*SPECIAL, *FILLER, *KEYS, *VALUES)
"""The 46 words of the language model."""

EMBEDDING_WORDS = (*SPECIAL, *FILLER, *NAMES)
"""The 44 words of the embedding model."""

SUCCESSORS = 4
SENTENCE = 4
"""Words of what haystacks take as one sentence."""

_draws = np.random.default_rng(46)
NEXT: NDArray[np.int64] = np.stack([_draws.permutation(len(FILLER))[:SUCCESSORS] for _ in FILLER])
"""(16, 4) what may follow each filler word, all equally often."""


def tokenizer_of(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer that takes what stands between blanks as one token; token n is `words[n]`."""
    core = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token=PAD))
    core.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=END,
        model_max_length=WINDOW,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def filler(rng: np.random.Generator, rows: int, length: int) -> NDArray[np.int64]:
    """Return (B, T) numbers of filler words, from 0 on."""
    found = np.empty((length, rows), np.int64)
    word = rng.integers(len(FILLER), size=rows)
    choices = rng.integers(SUCCESSORS, size=(length, rows))
    for place in range(length):
        found[place] = word
        word = NEXT[word, choices[place]]
    return found.T


def filler_text(rng: np.random.Generator, length: int) -> list[str]:
    """Return words of filler."""
    return [FILLER[word] for word in filler(rng, 1, length)[0]]


class Tiny:
    """How needles are said in the made-up language; see `benchmarks.needle.wording.Wording`."""

    name = "tiny"

    def sentences(self, rng: np.random.Generator, haystack: str) -> Iterator[str]:
        """Yield filler, four words at a time, without end; there is only this one haystack."""
        while True:
            words = filler_text(rng, 64 * SENTENCE)
            for start in range(0, len(words), SENTENCE):
                yield " ".join(words[start : start + SENTENCE])

    def needle(self, key: str, value: str) -> str:
        """Return the fact."""
        return f"{SET} {key} {value} {END}"

    def question(self, keys: Sequence[str]) -> str:
        """Return what asks for one key's value, which goes on from here."""
        return f"{ASK} {' '.join(keys)}"

    def key(self, rng: np.random.Generator) -> str:
        """Return one of the 16 keys."""
        return KEYS[int(rng.integers(len(KEYS)))]

    def value(self, rng: np.random.Generator, kind: str = "numbers") -> str:
        """Return four digits, each a word."""
        return " ".join(VALUES[int(digit)] for digit in rng.integers(len(VALUES), size=VALUE_WORDS))


class TinyPairs:
    """What is hidden in documents for the embedding model; see `benchmarks.passkey.PasskeyWording`.

    A key is an ordered pair of different names, "Arba Cora": the document with the reversed pair is a different one.
    """

    name = "passkey"

    def keys(self, rng: np.random.Generator, count: int) -> list[str]:
        """Return different pairs of names."""
        pairs = [(first, second) for first in NAMES for second in NAMES if first != second]
        return [" ".join(pairs[place]) for place in rng.permutation(len(pairs))[:count]]

    def document(
        self, rng: np.random.Generator, key: str, tokens: int, tokenizer: PreTrainedTokenizerBase
    ) -> tuple[str, float]:
        """Return filler with the key's fact in it, exactly `tokens` long, and the share of the filler before the fact."""
        fact = fact_of(key)
        room = max(tokens - len(fact.split()), 0)
        words = filler_text(rng, room)
        place = int(rng.integers(room + 1))
        return " ".join([*words[:place], fact, *words[place:]]), place / max(1, room)

    def query(self, key: str) -> str:
        """Return the query that asks for it."""
        return f"{ASK} {key}"


def fact_of(key: str) -> str:
    """Return how a document says that it is about a pair of names."""
    return f"{SET} {key} {END}"
