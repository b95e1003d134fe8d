"""Linear probe: logistic regression on the embeddings of an encoder that stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.text.logistic import probabilities
from benchmarks.text.neighbours import Embed
from benchmarks.text.tuning import Grid, tuned

if TYPE_CHECKING:
    from finewise.data.labels.rows import Labelled

GRID = Grid(C=(0.001, 0.01, 0.03, 0.1, 0.3, 1), default=0.01, solver="lbfgs")


class LinearProbe:
    """Logistic regression on unit embeddings, C and class weights chosen on train.

    The dimensions are brought to mean 0 and spread 1 for the solver, which is then several times as fast; that scaling is
    folded into the weights, so that `embeddings @ coef_.T + intercept_` are the logits, ready to start a linear layer with
    (LP-FT, Kumar et al. 2022, arXiv 2202.10054).

    Attributes:
        coef_: (K, D).
        intercept_: (K,).
        chosen: What cross-validation chose.
    """

    name = "linear_probe"

    def __init__(self, embed: Embed, *, metric: str = "f1_macro", seed: int = 42) -> None:
        """Make one that has learnt nothing.

        Args:
            embed: Gives unit vectors.
            metric: What C and the class weights are chosen by.
            seed: Of the folds.
        """
        self.embed = embed
        self.metric = metric
        self.seed = seed

    def fit(self, data: Labelled) -> LinearProbe:
        """Embed the rows, choose, and learn from all of them."""
        vectors = self.embed(data.texts)
        mean, spread = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
        spread[spread < 1e-6] = 1  # a dimension that is the same everywhere
        features = ((vectors - mean) / spread).astype(np.float32)
        model, self.chosen = tuned(self.name, features, data, GRID, self.metric, self.seed)
        self.multi = model.multi
        self.coef_ = model.coef / spread
        self.intercept_ = model.intercept - self.coef_ @ mean
        return self

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probabilities (N, K)."""
        return probabilities(self.embed(texts) @ self.coef_.T + self.intercept_, self.multi)
