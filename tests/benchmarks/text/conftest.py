"""Labelled rows of every kind that can be learnt from their words, and an embedding that a test can follow."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from finewise.data.keys import text_keys
from finewise.data.labels.rows import Labelled
from finewise.data.labels.space import LabelSpace

MEANT = {
    "animal/cat": "purr meow claw",
    "animal/dog": "bark bone leash",
    "plant/oak": "acorn leaf bark",
    "plant/rye": "grain field ear",
}
NOISE = ["the", "of", "one", "any", "old", "new", "big", "far"]
VOCABULARY = sorted(
    {word for words in MEANT.values() for word in words.split()} | set(NOISE) | {"cat", "dog", "oak", "rye"}
)


def make_labelled(
    texts: Sequence[str],
    labels: Any,
    kind: str = "single",
    names: Sequence[str] = tuple(MEANT),
    groups: Sequence[int] | None = None,
) -> Labelled:
    """Return labelled rows."""
    return Labelled(
        name="words",
        split="train",
        reference="words.csv",
        unit="line",
        numbers=np.arange(len(texts)),
        texts=list(texts),
        labels=np.asarray(labels, bool if kind == "multi" else np.int64),
        space=LabelSpace(kind=kind, names=tuple(names)),
        groups=None if groups is None else np.asarray(groups, np.int64),
        columns={},
        keys=text_keys(texts),
        revision="r",
    )


def words(rows: int, kind: str = "single", seed: int = 0) -> Labelled:
    """Return rows whose labels follow from their words."""
    rng = np.random.default_rng(seed)
    said = list(MEANT.values())
    if kind == "multi":
        labels = rng.random((rows, len(said))) < 0.4
        spoken = [" ".join(said[label] for label in np.flatnonzero(row)) for row in labels]
    else:
        labels = rng.integers(0, len(said), rows)
        spoken = [" ".join(rng.choice(said[label].split(), 2, replace=False)) for label in labels]
    texts = [f"{each} {' '.join(rng.choice(NOISE, 3))}" for each in spoken]
    return make_labelled(texts, labels, kind)


@pytest.fixture
def labelled() -> Callable[..., Labelled]:
    return make_labelled


@pytest.fixture
def word_rows() -> Callable[..., Labelled]:
    return words


@pytest.fixture
def embed() -> Callable[[Sequence[str]], np.ndarray]:
    """Counts of words, as unit vectors."""

    def count(texts: Sequence[str]) -> np.ndarray:
        found = np.array(
            [[text.replace("/", " ").split().count(word) for word in VOCABULARY] for text in texts], np.float32
        )
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)

    return count
