"""Rows of a small labelled data set whose classes can be told by their words."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from finewise.config import LabelAuditConfig, LabelColumnsConfig, LabelDataConfig
from finewise.data.labels.load import LabelledData, prepare_labels

WORDS = {
    "pets": "dog cat tail paw fur bark nose leash",
    "food": "bread soup salt oven dish rice spoon taste",
    "cars": "wheel motor brake road fuel gear tyre seat",
}


@pytest.fixture
def rows() -> Callable[..., list[dict[str, Any]]]:
    """Makes n rows of each class, all texts different."""

    def make(count: int, names: Sequence[str] = tuple(WORDS), seed: int = 0) -> list[dict[str, Any]]:
        draw = np.random.default_rng(seed)
        found = []
        for number in range(count):
            for name in names:
                words = WORDS.get(name, " ".join(f"{name}{letter}" for letter in "abcdefgh")).split()
                text = " ".join([*draw.choice(words, 3), *(f"w{word}" for word in draw.integers(5000, size=6))])
                found.append({"text": f"{text} n{number}", "label": name})
        return found

    return make


@pytest.fixture
def prepared() -> Callable[..., LabelledData]:
    """Reads, splits and audits a file without the slow checks, unless they are asked for."""

    def make(
        train: str, *, columns: dict[str, Any] | None = None, audit: dict[str, Any] | None = None, **data: Any
    ) -> LabelledData:
        sizes = {"dev_size": 10, "test_size": 10}
        config = LabelDataConfig(train=train, columns=LabelColumnsConfig(**columns or {}), **sizes | data)
        checks = LabelAuditConfig(**{"near_duplicates": False, "label_errors": False, **(audit or {})})
        return prepare_labels(config, checks, 0)

    return make
