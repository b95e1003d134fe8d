"""TF-IDF of words and pairs of words with logistic regression: what a careful colleague would try first.

Where words have no blanks between them, one to three characters stand for them (`benchmarks.text.language`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from benchmarks.text.language import grams, unread
from benchmarks.text.tuning import Grid, tuned
from finewise.errors import InputError

if TYPE_CHECKING:
    from finewise.data.labels.rows import Labelled

GRID = Grid(C=(3, 10, 30, 100), default=10, solver="newton-cg")

MOST_WEIGHTS = 10_000_000
"""Classes times words: beyond it, the rarest words are left out."""


class TfidfLogistic:
    """Words and pairs of words (sublinear TF-IDF), logistic regression with C and class weights chosen on train.

    Attributes:
        chosen: What cross-validation chose.
    """

    name = "tfidf_lr"

    def __init__(self, *, metric: str = "f1_macro", seed: int = 42) -> None:
        """Make one that has learnt nothing.

        Args:
            metric: What C and the class weights are chosen by.
            seed: Of the folds.
        """
        self.metric = metric
        self.seed = seed

    def fit(self, data: Labelled) -> TfidfLogistic:
        """Read the words of train, choose, and learn from all rows.

        Raises:
            InputError: There is not one word in train.
        """
        # A word in fewer than 5 texts helped nothing on debian-sections, and took four times as long; few rows need all words.
        rare = 1 if len(data) < 1000 else 2 if len(data) < 5000 else 5
        most = max(1000, MOST_WEIGHTS // len(data.space.names))
        self.words = TfidfVectorizer(
            analyzer=grams, min_df=rare, max_features=most, sublinear_tf=True, dtype=np.float32
        )
        try:
            features = self.words.fit_transform(data.texts)
        except ValueError:
            raise InputError(
                f"{data.reference}: no text of train holds a word that counts; look at column 'text'"
            ) from None
        self.texts = data.texts
        self.model, self.chosen = tuned(self.name, features, data, GRID, self.metric, self.seed)
        return self

    def unread(self, texts: Sequence[str]) -> str | None:
        """Return why words tell nothing of these texts, or None if they can, see `benchmarks.text.language.unread`."""
        return unread(self.texts, texts, grams)

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probabilities (N, K)."""
        return self.model.predict_proba(self.words.transform(texts))
