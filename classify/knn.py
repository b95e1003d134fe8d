"""`method=knn`: the untuned encoder with the training rows inside, of which the nearest vote.

How many vote is the baseline's choice (benchmarks.text.neighbours), and the saved model says what the baseline says.
"""

import copy

import torch

from benchmarks.text.neighbours import TEMPERATURE, Embed, NearestNeighbours
from classify.config import ClassifyExperiment, Neighbours
from classify.neighbours import NeighboursConfig, NeighboursForSequenceClassification
from classify.pooled import PooledForSequenceClassification
from finewise.console import say
from finewise.data.labels.rows import Labelled
from finewise.data.labels.splits import sample
from finewise.errors import InputError

_OWN = ("architectures", "auto_map", "body", "model_type", "transformers_version")
"""Entries of a configuration that belong to its class."""


def with_neighbours(
    model: PooledForSequenceClassification,
    train: Labelled,
    embed: Embed,
    experiment: ClassifyExperiment,
    method: Neighbours,
) -> NeighboursForSequenceClassification:
    """Return a classifier with the same encoder, in which training rows are stored.

    Args:
        model: From `load_classifier(head="pooled")`; its encoder is taken over as it is, its head is not.
        train: The rows.
        embed: Gives the unit vectors that the model compares.
        experiment: The metric that chooses how many vote, and the seed.
        method: How many vote, and how many rows are stored at most.

    Raises:
        InputError: More rows shall vote than are stored.
    """
    rows = sample(train, method.max_rows, experiment.seed)
    if method.k is not None and method.k > len(rows):
        raise InputError(f"method.k must be at most {len(rows)}, the stored training rows; got {method.k}")
    fitted = NearestNeighbours(embed, metric=experiment.selection.metric, seed=experiment.seed).fit(rows)
    values = {key: value for key, value in model.config.to_dict().items() if key not in _OWN}
    values |= {
        "normalize": True,
        "length": 1.0,
        "rows": len(rows),
        "k": method.k or fitted.k,
        "vote_temperature": TEMPERATURE,
    }
    with torch.device("meta"):  # its encoder is replaced
        found = NeighboursForSequenceClassification(NeighboursConfig(body=copy.deepcopy(model.config.body), **values))
    found.body, found.config.body = model.body, model.config.body
    found.classifier.vectors = torch.from_numpy(fitted.vectors).to(model.device)
    found.classifier.labels = torch.from_numpy(rows.labels).to(model.device)
    found.classifier.prior = torch.from_numpy(fitted.prior).float().to(model.device)
    left = f"; {len(train) - len(rows):,} left out (method.max_rows)" if len(rows) < len(train) else ""
    chosen = "" if method.k else f", chosen by {experiment.selection.metric}"
    say(
        f"knn: {len(rows):,} rows stored, {fitted.vectors.nbytes / 1e6:,.1f} MB of embeddings{left}; "
        f"{found.config.k} of them vote{chosen}"
    )
    found.train(model.training)
    return found
