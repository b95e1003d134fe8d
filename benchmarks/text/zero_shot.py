"""Classes by what they are called: no label of a row is read.

Shapes: N texts, K labels, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.text.logistic import probabilities
from benchmarks.text.neighbours import Embed
from finewise.errors import InputError
from finewise.names import unknown

if TYPE_CHECKING:
    from finewise.data.labels.rows import Labelled

TEMPERATURE = 0.05
"""Models trained with a contrastive loss at scale 20, as most of sentence-transformers' are, mean their cosines so."""

RARE = 2.0
"""Multi-label: a label is said to be there from so many standard deviations above its mean similarity on."""


class ZeroShot:
    """Compares texts with the labels' descriptions by the cosine of their embeddings.

    One label per text: softmax of cosine / temperature. Multi-label: some labels are similar to everything, so each is
    compared with its own mean and spread over the training texts, whose labels are not read:
    logistic((cosine - mean - 2 spread) / temperature).
    """

    name = "zero_shot"

    def __init__(
        self, embed: Embed, descriptions: Mapping[str, str] | None = None, *, temperature: float = TEMPERATURE
    ) -> None:
        """Make one.

        Args:
            embed: Gives unit vectors.
            descriptions: Label -> what it means, in words; a label without one is read as it is named.
            temperature: Above 0; small is sure of itself.
        """
        self.embed = embed
        self.descriptions = dict(descriptions or {})
        self.temperature = temperature

    def fit(self, data: Labelled) -> ZeroShot:
        """Embed the descriptions of the data's labels, and for multi-label data its texts.

        Raises:
            InputError: There is a description of a label that the data does not have.
        """
        for label in self.descriptions:
            if label not in data.space.label2id:
                raise InputError(unknown("label with a description", label, data.space.names))
        self.multi = data.space.kind == "multi"
        levels = data.space.separator if data.space.kind == "hierarchical" else None
        self.labels = self.embed([self.descriptions.get(name) or readable(name, levels) for name in data.space.names])
        self.centre = np.zeros(len(self.labels))
        if self.multi:
            similar = self._similarity(data.texts)
            self.centre = similar.mean(axis=0) + RARE * similar.std(axis=0)
        return self

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probabilities (N, K)."""
        return probabilities((self._similarity(texts) - self.centre) / self.temperature, self.multi)

    def _similarity(self, texts: Sequence[str]) -> NDArray[np.float64]:
        return np.asarray(self.embed(texts) @ self.labels.T, np.float64)


def readable(name: str, separator: str | None = None) -> str:
    """Return a label's name as words.

    Args:
        name: Of the label.
        separator: What is between the levels of a hierarchical label.

    >>> readable("field::biology"), readable("science/physics", "/"), readable("not_spam"), readable("libdevel")
    ('field: biology', 'science: physics', 'not spam', 'libdevel')
    """
    words = name.replace(separator, ": ") if separator else name
    return " ".join(words.replace("::", ": ").replace("_", " ").split()) or name
