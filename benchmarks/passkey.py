"""Passkey and needle retrieval: whether the one vector of a long document still holds a small fact that stands in it.

LongEmbed's synthetic tasks (Zhu et al. 2024, arXiv 2404.12096, section 3): at every length so many documents of that many
tokens, each with a fact of its own hidden in it, and queries that ask for one of the facts. Only documents of the same length
compete. The score is the accuracy of the first rank by cosine; a document that is only as close as another one counts as not
found. Texts and facts are our own.

- passkey: "The pass key of Ada Brook is 48213." in sentences that are the same over and over;
- needle: a made-up fact in the text of novels.

Shapes: N documents, Q queries, D dimensions.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain, cycle, islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from benchmarks.by_length import ByLength
from benchmarks.needle.config import PasskeyConfig
from benchmarks.needle.haystacks import NOISE, split_sentences
from finewise.console import progress
from finewise.data.documents import Documents, read_documents
from finewise.data.keys import combine
from finewise.device import autocast
from finewise.errors import InputError

Encode = Callable[[Sequence[str], bool], NDArray[np.float32]]
"""Texts, and whether they are queries -> their vectors (N, D)."""

TIE = 1e-6
"""Cosines that differ by less are equal: equal texts in different batches differ in the last digits."""

FIRST = (
    "Ada", "Basil", "Clara", "Dorian", "Edith", "Felix", "Greta", "Hugo", "Ines", "Jonas", "Karin", "Leo", "Mabel", "Nils",
    "Olive", "Percy", "Quentin", "Rosa", "Silas", "Thea", "Ulrich", "Vera", "Walter", "Yvonne",
)  # fmt: skip
LAST = (
    "Abbott", "Brook", "Carver", "Dale", "Ember", "Fisher", "Grove", "Hayes", "Irwin", "Jarvis", "Keller", "Lowe", "Marsh",
    "North", "Orchard", "Pike", "Quill", "Rivers", "Stone", "Thorne", "Underhill", "Vance", "Wells", "York",
)  # fmt: skip
FACTS = (  # what is said of somebody, what is asked, and of what kind the answer is
    ("{} keeps the key of the boathouse under a {} stone.", "Where does {} keep the key of the boathouse?", "colour"),
    ("The password of {} for the garden is the word {}.", "What is the password of {} for the garden?", "thing"),
    ("On the first page of the diary of {} is a {}.", "What is on the first page of the diary of {}?", "thing"),
    (
        "The door of the house of {} was painted {}.",
        "In which colour was the door of the house of {} painted?",
        "colour",
    ),
)
WORDS = {
    "colour": ("green", "yellow", "purple", "grey", "orange", "crimson", "white", "black", "brown", "turquoise"),
    "thing": ("walnut", "lantern", "compass", "heron", "teapot", "anchor", "violin", "beetle", "ladder", "pigeon"),
}


class PasskeyWording(Protocol):
    """How facts are hidden and asked for."""

    name: str

    def keys(self, rng: np.random.Generator, count: int) -> list[str]:
        """Return different keys, one for each document."""
        ...

    def document(
        self, rng: np.random.Generator, key: str, tokens: int, tokenizer: PreTrainedTokenizerBase
    ) -> tuple[str, float]:
        """Return a document of at most `tokens` tokens, special ones included, and where in it (0 to 1) the key's fact stands.

        Raises:
            InputError: The fact alone is longer.
        """
        ...

    def query(self, key: str) -> str:
        """Return the query that asks for the key's fact."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PasskeySet:
    """The documents and queries of one kind and length; query n asks for document n.

    Attributes:
        kind: "passkey", "needle" or the wording's name.
        length: Tokens of a document.
        documents: (N,) texts.
        depths: (N,) where the fact stands.
        queries: (Q,) texts, Q <= N.
    """

    kind: str
    length: int
    documents: tuple[str, ...]
    depths: tuple[float, ...]
    queries: tuple[str, ...]


def passkey(
    encode: Encode,
    system: str,
    lengths: Sequence[int],
    config: PasskeyConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    seed: int,
    group: int = 0,
    wording: PasskeyWording | None = None,
    split: str = "test",
    sets: Sequence[PasskeySet] | None = None,
) -> list[ByLength]:
    """Search for each hidden fact at every length.

    Args:
        encode: The model, see `encoding_of`.
        system: What records call it.
        lengths: Tokens of the documents, where the settings name none.
        config: How many documents and queries.
        tokenizer: Which counts the tokens.
        seed: Draws facts, texts and depths; equal for all systems that are compared.
        group: Which of several models (seeds) it is.
        wording: What is hidden how; None: each of `config.kinds`.
        split: What records call it; dev and test must have different seeds.
        sets: What `passkey_sets` gave for the same arguments, so that several systems need not make the texts again.

    Returns:
        One result per kind, called "passkey retrieval" or "needle retrieval".

    Raises:
        InputError: A length is too short for what is hidden, or a vector is not finite.
    """
    if sets is None:
        sets = passkey_sets(lengths, config, tokenizer, seed=seed, wording=wording)
    found = []
    with progress(f"{system}: passkey", sum(len(one.documents) + len(one.queries) for one in sets)) as advance:
        values = {}
        for number, one in enumerate(sets):
            values[number] = _accuracy(encode, one, system)
            advance(len(one.documents) + len(one.queries))
    for kind in dict.fromkeys(one.kind for one in sets):
        mine = [(number, one) for number, one in enumerate(sets) if one.kind == kind]
        every = [(one.length, place) for _, one in mine for place in range(len(one.queries))]
        found.append(
            ByLength(
                system=system,
                benchmark=f"{kind} retrieval",
                split=split,
                data_revision=combine("passkey", *(repr(one) for _, one in mine)),
                metric="accuracy",
                ids=tuple(f"{kind} {place}" for _, place in every),
                lengths=np.array([length for length, _ in every], np.int64),
                depths=np.array([depth for _, one in mine for depth in one.depths[: len(one.queries)]], np.float64),
                groups=np.full(len(every), group, np.int64),
                values=np.concatenate([values[number] for number, _ in mine]),
                weights=np.ones(len(every)),
            )
        )
    return found


def passkey_sets(
    lengths: Sequence[int],
    config: PasskeyConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    seed: int,
    wording: PasskeyWording | None = None,
    prompt: str = "",
) -> list[PasskeySet]:
    """Make documents and queries: for each kind and length. Arguments as `passkey`'s; `prompt` is read before a document.

    A document and the prompt before it have the length together.
    """
    before = len(tokenizer(prompt, add_special_tokens=False)["input_ids"]) if prompt else 0
    wordings = [wording] if wording is not None else [KINDS[kind]() for kind in config.kinds]
    wanted = sorted({*(config.lengths or lengths)})
    made = []
    with progress("passkey: texts", len(wordings) * len(wanted) * config.documents) as advance:
        for number, each in enumerate(wordings):
            for length in wanted:
                rng = np.random.default_rng([seed, number, length])
                keys = each.keys(rng, config.documents)
                documents = []
                for key in keys:
                    documents.append(each.document(rng, key, length - before, tokenizer))
                    advance()
                made.append(
                    PasskeySet(
                        kind=each.name,
                        length=length,
                        documents=tuple(text for text, _ in documents),
                        depths=tuple(depth for _, depth in documents),
                        queries=tuple(each.query(key) for key in keys[: config.queries]),
                    )
                )
    return made


def encoding_of(model: Any, *, bf16: bool = False) -> Encode:
    """Return how a SentenceTransformer, or one of benchmarks.chunked, encodes queries and documents, with its own prompts."""

    def encode(texts: Sequence[str], is_query: bool) -> NDArray[np.float32]:
        name = "encode_query" if is_query else "encode_document"
        with autocast(True, str(model.device)) if bf16 else nullcontext():
            found = getattr(model, name)(list(texts), show_progress_bar=False)
        return np.asarray(found, dtype=np.float32)

    return encode


def _accuracy(encode: Encode, one: PasskeySet, system: str) -> NDArray[np.float64]:
    """Return (Q,) whether each query's own document is closer than every other one."""
    queries, documents = _unit(encode(one.queries, True)), _unit(encode(one.documents, False))
    if not (np.isfinite(queries).all() and np.isfinite(documents).all()):
        raise InputError(
            f"{system}: an embedding at {one.length} tokens is not finite; the weights are damaged, or it needs "
            "run.precision=fp32"
        )
    similar = queries @ documents.T
    own = np.diagonal(similar).copy()
    np.fill_diagonal(similar, -np.inf)
    closer: NDArray[np.float64] = (own > similar.max(axis=1) + TIE).astype(np.float64)
    return closer


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the vectors at length 1."""
    doubles = vectors.astype(np.float64)
    unit: NDArray[np.float64] = doubles / np.maximum(np.linalg.norm(doubles, axis=1, keepdims=True), 1e-12)
    return unit


class Passkey:
    """A number that belongs to a name, in noise."""

    name = "passkey"

    def keys(self, rng: np.random.Generator, count: int) -> list[str]:
        """Return different names."""
        return names(rng, count)

    def document(
        self, rng: np.random.Generator, key: str, tokens: int, tokenizer: PreTrainedTokenizerBase
    ) -> tuple[str, float]:
        """Return noise with the name's pass key in it."""
        digits = int(rng.integers(10_000, 100_000))
        fact = f"The pass key of {key} is {digits}. Remember it. {digits} is the pass key of {key}."
        return hidden(fact, cycle(NOISE), float(rng.random()), tokens, tokenizer)

    def query(self, key: str) -> str:
        """Return the question for it."""
        return f"What is the pass key of {key}?"


class Needle:
    """A made-up fact about somebody, in the text of a novel."""

    name = "needle"

    def __init__(self, reference: str = "novels") -> None:
        self._reference = reference
        self._documents: Documents | None = None

    def keys(self, rng: np.random.Generator, count: int) -> list[str]:
        """Return different names, each with the number of a kind of fact."""
        return [f"{int(rng.integers(len(FACTS)))} {name}" for name in names(rng, count)]

    def document(
        self, rng: np.random.Generator, key: str, tokens: int, tokenizer: PreTrainedTokenizerBase
    ) -> tuple[str, float]:
        """Return sentences of a novel, from a random place on, with the fact between two of them."""
        number, _, who = key.partition(" ")
        said, _, kind = FACTS[int(number)]
        fact = said.format(who, WORDS[kind][int(rng.integers(len(WORDS[kind])))])
        if self._documents is None:
            self._documents = read_documents(self._reference, "text", "test")
        novel = self._documents.texts[int(rng.integers(len(self._documents)))]
        # A token is rarely longer than 8 characters on average; a novel that is too short is begun again.
        most = len(novel) - 8 * tokens
        start = int(rng.integers(most if most > 0 else len(novel)))
        filler = chain(islice(split_sentences(novel[start:]), 1, None), _again(novel))
        return hidden(fact, filler, float(rng.random()), tokens, tokenizer)

    def query(self, key: str) -> str:
        """Return the question for it."""
        number, _, who = key.partition(" ")
        return FACTS[int(number)][1].format(who)


def _again(text: str) -> Iterator[str]:
    """Give the sentences of a text, over and over."""
    while True:
        yield from split_sentences(text)


KINDS: dict[str, Callable[[], PasskeyWording]] = {"passkey": Passkey, "needle": Needle}


def names(rng: np.random.Generator, count: int) -> list[str]:
    """Return different names of people.

    Raises:
        InputError: There are not so many.
    """
    most = len(FIRST) * len(LAST)
    if count > most:
        raise InputError(f"passkey.documents must be at most {most}, as many as there are names; got {count}")
    return [
        f"{FIRST[place // len(LAST)]} {LAST[place % len(LAST)]}" for place in rng.permutation(most)[:count].tolist()
    ]


def hidden(
    fact: str, filler: Iterator[str], depth: float, tokens: int, tokenizer: PreTrainedTokenizerBase
) -> tuple[str, float]:
    """Return a text of at most `tokens` tokens, special ones included, with a fact between two sentences of filler.

    Args:
        fact: What is hidden.
        filler: Sentences; as many are taken as fit, and the first words of the next one.
        depth: Where the fact shall stand, from 0 (the beginning) to 1 (the end).
        tokens: Of the whole.
        tokenizer: Which counts them.

    Returns:
        The text, and the share of its filler (in letters) before the fact.

    Raises:
        InputError: The fact alone is longer.
    """

    def count(text: str) -> int:
        return len(tokenizer(text, verbose=False)["input_ids"])

    if count(fact) > tokens:
        raise InputError(
            f"passkey.lengths: {tokens} tokens are too few: what is hidden takes {count(fact)}; set at least {count(fact)}"
        )
    taken: list[str] = []
    sizes: dict[str, int] = {}
    room = tokens - count(fact)
    while room > 0 and (batch := list(islice(filler, 64))):
        new = [sentence for sentence in dict.fromkeys(batch) if sentence not in sizes]
        if new:
            ids = tokenizer(new, add_special_tokens=False, verbose=False)["input_ids"]
            sizes.update(zip(new, map(len, ids), strict=True))
        for sentence in batch:
            if sizes[sentence] > room:
                begun = _beginning(sentence, room, tokenizer)
                taken += [begun] if begun else []
                room = 0
                break
            taken.append(sentence)
            room -= sizes[sentence]
    while True:
        place = round(depth * len(taken))
        text = " ".join([*taken[:place], fact, *taken[place:]])
        if not taken or count(text) <= tokens:
            break
        # Joined, the sentences can have some tokens more than one by one.
        shorter = taken.pop().split()[:-1]
        taken += [" ".join(shorter)] if shorter else []
    letters = [len(sentence) for sentence in taken]
    return text, sum(letters[:place]) / max(1, sum(letters))


def _beginning(sentence: str, room: int, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return as many of a sentence's first words as have at most `room` tokens."""
    words = sentence.split()
    while words and len(tokenizer(" ".join(words), add_special_tokens=False, verbose=False)["input_ids"]) > room:
        words.pop()
    return " ".join(words)
