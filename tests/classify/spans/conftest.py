"""Sentences whose spans can be learnt from the words: made-up names and places."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

Sentence = tuple[list[str], list[str]]


def sentences(vocabulary: Sequence[str], count: int, seed: int = 0) -> list[Sentence]:
    """A first word and a second one are a person, some others a place, all the rest nothing."""
    rng = random.Random(seed)
    first, second, places, others = vocabulary[:8], vocabulary[8:16], vocabulary[16:24], vocabulary[24:]
    made = []
    for _ in range(count):
        words: list[str] = []
        tags: list[str] = []
        for _ in range(rng.randint(2, 4)):
            extra = [rng.choice(others) for _ in range(rng.randint(1, 3))]
            words, tags = words + extra, tags + ["O"] * len(extra)
            if (kind := rng.random()) < 0.5:
                words, tags = [*words, rng.choice(first), rng.choice(second)], [*tags, "B-PER", "I-PER"]
            elif kind < 0.8:
                words, tags = [*words, rng.choice(places)], [*tags, "B-LOC"]
        made.append((words, tags))
    return made


@pytest.fixture(scope="session")
def learnable(vocabulary: list[str]) -> Callable[..., list[Sentence]]:
    """Makes sentences that a tiny model can learn to tag."""
    return lambda count, seed=0: sentences(vocabulary, count, seed)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Writes rows as JSON lines, or a text as it is; returns the path."""

    def make(name: str, content: str | Sequence[dict[str, Any]]) -> str:
        path = tmp_path / name
        text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
        path.write_text(text, encoding="utf-8")
        return str(path)

    return make
