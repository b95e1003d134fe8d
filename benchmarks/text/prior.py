"""The least that a classifier must beat: the shares of the classes in train, whatever the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from finewise.data.labels.rows import Labelled


class Majority:
    """Gives every text the share of each class (or label) in train; the decision is the most frequent class."""

    name = "majority"

    def fit(self, data: Labelled) -> Majority:
        """Count."""
        self.share: NDArray[np.float64] = data.counts / len(data)
        return self

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probabilities (N, K)."""
        return np.tile(self.share, (len(texts), 1))
