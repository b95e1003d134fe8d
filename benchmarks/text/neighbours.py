"""Nearest neighbours by cosine similarity of embeddings.

Shapes: N texts, M training texts, D dimensions, K classes or labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.text.folds import quality

if TYPE_CHECKING:
    from finewise.data.labels.rows import Labelled

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts -> unit vectors (N, D)."""

NEIGHBOURS = (1, 3, 5, 10, 20, 50)
TEMPERATURE = 0.07
CHOICE_ROWS = 5000
_BLOCK = 1 << 25  # similarities computed at a time: 128 MiB


class NearestNeighbours:
    """Votes of the k nearest training texts, a vote weighing exp(cosine / 0.07) (Wu et al. 2018, arXiv 1805.01978).

    The share of the training rows that have a label counts as one neighbour more: a label without a vote is rare, not
    impossible, as calibration would else have to make up for.

    k is chosen on train: each row (of 5,000 drawn by the seed) is judged by all other rows, those of its own group left out.

    Attributes:
        k: What was chosen.
    """

    name = "knn"

    def __init__(self, embed: Embed, *, metric: str = "f1_macro", seed: int = 42) -> None:
        """Make one that has learnt nothing.

        Args:
            embed: Gives unit vectors.
            metric: What k is chosen by.
            seed: Of the draw.
        """
        self.embed = embed
        self.metric = metric
        self.seed = seed

    def fit(self, data: Labelled) -> NearestNeighbours:
        """Embed the rows and choose k."""
        self.vectors = self.embed(data.texts)
        self.labels, self.classes = data.labels, len(data.space.names)
        self.prior = data.counts / len(data)
        rows = np.arange(len(data))
        if len(data) > CHOICE_ROWS:
            rows = np.sort(np.random.default_rng(self.seed).choice(rows, CHOICE_ROWS, replace=False))
        groups = np.arange(len(data)) if data.groups is None else data.groups
        ks = [k for k in NEIGHBOURS if k < len(data)] or [1]
        nearest, similarity = self._nearest(self.vectors[rows], max(ks), groups[rows], groups)
        scores = {
            k: quality(data.labels[rows], self._votes(nearest[:, :k], similarity[:, :k]), data.space, self.metric)
            for k in ks
        }
        self.k = max(ks, key=lambda k: scores[k])
        self.chosen: dict[str, Any] = {"k": self.k}
        return self

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probabilities (N, K)."""
        return self._votes(*self._nearest(self.embed(texts), self.k))

    def _nearest(
        self,
        queries: NDArray[np.float32],
        k: int,
        own: NDArray[np.int64] | None = None,
        groups: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the k nearest training rows and their cosines, both (N, k), nearest first.

        Args:
            queries: (N, D).
            k: How many.
            own: (N,) group of each query, of which no row is taken (its cosine is -inf); None takes all.
            groups: (M,) group of each training row.
        """
        k = min(k, len(self.vectors))
        nearest = np.empty((len(queries), k), np.int64)
        similarity = np.empty((len(queries), k), np.float32)
        step = max(1, _BLOCK // len(self.vectors))
        for start in range(0, len(queries), step):
            block = slice(start, start + step)
            cosines = queries[block] @ self.vectors.T
            if own is not None and groups is not None:
                cosines[own[block, None] == groups] = -np.inf
            best = np.argpartition(cosines, -k, axis=1)[:, -k:]
            found = np.take_along_axis(cosines, best, axis=1)
            order = np.argsort(-found, axis=1, kind="stable")
            nearest[block] = np.take_along_axis(best, order, axis=1)
            similarity[block] = np.take_along_axis(found, order, axis=1)
        return nearest, similarity

    def _votes(self, nearest: NDArray[np.int64], similarity: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the weighed shares of the neighbours (N, k), and the prior's, that have each class (N, K)."""
        known = np.isfinite(similarity)
        top = np.where(known[:, :1], similarity[:, :1], 0)
        weights = np.where(known, np.exp((np.where(known, similarity, 0) - top) / TEMPERATURE), 0).astype(np.float64)
        # a row whose whole neighbourhood is its own group is told nothing: every neighbour counts alike
        weights[~known.any(axis=1)] = 1
        weights /= weights.sum(axis=1, keepdims=True)
        votes = np.zeros((len(nearest), self.classes))
        for place in range(nearest.shape[1]):
            if self.labels.ndim == 2:
                votes += weights[:, place, None] * self.labels[nearest[:, place]]
            else:
                votes[np.arange(len(votes)), self.labels[nearest[:, place]]] += weights[:, place]
        k = nearest.shape[1]
        return np.asarray((k * votes + self.prior) / (k + 1))
