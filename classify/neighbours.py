"""A text classifier that was not trained: an encoder, and labelled rows of which the nearest vote. Needs transformers alone.

Shapes: B texts, M stored rows, D dimensions, K labels, k neighbours.
"""

from typing import Any

import torch
from torch import Tensor, nn

from .pooled import PooledConfig, PooledForSequenceClassification  # relative: then pooled.py is saved beside this file

TINY = 1e-12
"""Probabilities are never nearer to 0 or 1, so that a logit is a number."""

ROWS_AT_A_TIME = 8192


class NeighboursConfig(PooledConfig):  # type: ignore[no-untyped-call]
    """Configuration of the encoder, its pooling, and how the stored rows vote."""

    model_type = "neighbours-classifier"

    def __init__(self, rows: int = 1, k: int = 1, vote_temperature: float = 1.0, **kwargs: Any) -> None:
        self.rows = rows
        self.k = k
        self.vote_temperature = vote_temperature  # transformers takes `temperature` for one of generation
        super().__init__(**kwargs)


class Votes(nn.Module):
    """Log probabilities (B, K) of unit vectors (B, D), or log odds where any number of labels is right.

    A label's probability is the share of the votes of the k nearest rows that have it; a vote weighs
    exp(cosine / temperature) (Wu et al. 2018, arXiv 1805.01978), and the share of all rows that have it counts as one
    neighbour more. Computed in fp32 under autocast too.

    Attributes:
        vectors: (M, D) unit vectors of the stored rows.
        labels: (M,) int64 class numbers, or (M, K) bool.
        prior: (K,) share of the rows that have each label.
    """

    vectors: Tensor
    labels: Tensor
    prior: Tensor

    def __init__(self, config: NeighboursConfig) -> None:
        super().__init__()
        self.k, self.temperature, self.classes = config.k, config.vote_temperature, int(config.num_labels or 0)
        several = config.problem_type == "multi_label_classification"
        labels = (
            torch.zeros((config.rows, self.classes), dtype=torch.bool) if several else torch.zeros(config.rows).long()
        )
        self.register_buffer("vectors", torch.zeros(config.rows, config.body.hidden_size))
        self.register_buffer("labels", labels)
        self.register_buffer("prior", torch.zeros(self.classes))

    def forward(self, features: Tensor) -> Tensor:
        """Return what the nearest rows say."""
        with torch.autocast(features.device.type, enabled=False):
            nearest, cosines = self.nearest(features.float())
            weights = (cosines / self.temperature).softmax(1)
            prior = self.prior.float()
            none = weights.new_zeros(weights.shape[0], self.classes)
            if self.labels.dim() == 1:
                given = none.scatter_add(1, self.labels[nearest], weights)
                return ((self.k * given + prior) / (self.k + 1)).clamp_min(TINY).log()
            given = missing = none
            for place in range(self.k):  # all at once would take k times the memory
                has, weight = self.labels[nearest[:, place]], weights[:, place : place + 1]
                given, missing = given + weight * has, missing + weight * ~has
            for_it, against = self.k * given + prior, self.k * missing + 1 - prior
            return for_it.clamp_min(TINY).log() - against.clamp_min(TINY).log()

    def nearest(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the k nearest rows and their cosines, both (B, k), nearest first."""
        rows, cosines = [], []
        for start in range(0, self.vectors.shape[0], ROWS_AT_A_TIME):
            part = self.vectors[start : start + ROWS_AT_A_TIME].float()
            best = (features @ part.T).topk(min(self.k, part.shape[0]))
            rows.append(best.indices + start)
            cosines.append(best.values)
        found, places = torch.cat(cosines, 1).topk(self.k)
        return torch.cat(rows, 1).gather(1, places), found


class NeighboursForSequenceClassification(PooledForSequenceClassification):  # type: ignore[no-untyped-call]
    """Logits (B, K) whose softmax (sigmoid, where any number of labels is right) is the shares of the votes."""

    config_class = NeighboursConfig  # type: ignore[assignment]

    def __init__(self, config: NeighboursConfig) -> None:
        super().__init__(config)
        self.classifier = Votes(config)  # type: ignore[assignment]  # in place of a linear layer
