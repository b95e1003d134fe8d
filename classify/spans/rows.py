"""Texts with labelled spans, as every file format gives them: words by their characters, a BIO tag each."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.entities import Entity, chunks
from classify.spans.schemes import OUTSIDE
from finewise.data.keys import Keys, combine
from finewise.data.labels.space import LabelSpace

Words = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tagged:
    """Texts of one split.

    Shapes: N texts, of W words each, T types of spans.

    Attributes:
        name: What tables call the data.
        split: "train", "dev" or "test".
        reference: What the user named.
        unit: "line", "row" or "item": what `numbers` count.
        numbers: (N,) where each row starts in the file, from 1.
        texts: N texts.
        words: N times (W, 2), start and end of each word in the text.
        tags: N times (W,) numbers of tags, of `tag_names(types)`.
        entities: N times the spans in characters. One that ends inside a word is not what the tags say.
        types: The types of spans, sorted.
        groups: (N,) equal for rows that must stay in one split; None without them.
        keys: (N,) content keys of the texts, see finewise.data.keys.
        revision: sha256 of texts, words, tags and spans.
    """

    name: str
    split: str
    reference: str
    unit: str
    numbers: NDArray[np.int64]
    texts: Sequence[str]
    words: Sequence[Words]
    tags: Sequence[NDArray[np.int64]]
    entities: Sequence[tuple[Entity, ...]]
    types: tuple[str, ...]
    groups: NDArray[np.int64] | None
    keys: Keys
    revision: str
    labels: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        found = np.zeros((len(self.numbers), len(self.types)), dtype=bool)
        for row, entities in enumerate(self.entities):
            found[row, [kind for kind, *_ in entities]] = True
        object.__setattr__(self, "labels", found)  # (N, T) which types are in a text: what splits are stratified by

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def space(self) -> LabelSpace:
        """The tags."""
        return LabelSpace(kind="tokens", names=tag_names(self.types))

    @property
    def counts(self) -> NDArray[np.int64]:
        """(K,) how many words have each tag."""
        return np.bincount(np.concatenate(self.tags), minlength=2 * len(self.types) + 1).astype(np.int64)

    def where(self, row: int) -> str:
        """Return where a row stands in the user's file, such as "news.conll line 731"."""
        return f"{self.reference} {self.unit} {self.numbers[row]}"

    def select(self, rows: NDArray[np.int64]) -> "Tagged":
        """Return these rows, in this order."""
        return replace(
            self,
            numbers=self.numbers[rows],
            texts=[self.texts[row] for row in rows],
            words=[self.words[row] for row in rows],
            tags=[self.tags[row] for row in rows],
            entities=[self.entities[row] for row in rows],
            groups=None if self.groups is None else self.groups[rows],
            keys=self.keys[rows],
            revision=combine(self.revision, np.asarray(rows, dtype="<i8").tobytes().hex()),
        )

    def read(self, row: int, tags: NDArray[np.int64]) -> tuple[Entity, ...]:
        """Return the spans in characters that tags (W,) of a row's words mean."""
        return entities_of(self.words[row], tags, self.types)


def tag_names(types: Sequence[str]) -> tuple[str, ...]:
    """Return the tags of some types: O, then B- and I- of each.

    >>> tag_names(["LOC", "PER"])
    ('O', 'B-LOC', 'I-LOC', 'B-PER', 'I-PER')
    """
    return (OUTSIDE, *(f"{prefix}-{kind}" for kind in types for prefix in "BI"))


def entities_of(words: Words, tags: NDArray[np.int64], types: Sequence[str]) -> tuple[Entity, ...]:
    """Return the spans in characters that the tags (W,) of words (W, 2) mean, as conlleval reads them."""
    names, place = tag_names(types), {kind: number for number, kind in enumerate(types)}
    return tuple(
        (place[kind], int(words[first, 0]), int(words[end - 1, 1]))
        for kind, first, end in chunks([names[tag] for tag in tags])
    )
