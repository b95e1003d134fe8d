"""From row numbers to a batch: tokens are looked up where they are known, and texts are tokenised where not."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator

from finewise.contrastive.negatives import KnownPositives
from finewise.contrastive.rows import TrainingRows
from finewise.encoder import Encoder
from finewise.features import ROW, Features, features_of


def cached_features(model: Encoder, train: TrainingRows, prompts: Mapping[str, str]) -> dict[str, Features] | None:
    """Return the features of every text column from the cache of tokens; None if the library must tokenise.

    Raises:
        InputError: The cache folder cannot be written.
    """
    found = {}
    for column in train.texts:
        features = features_of(model, train.tokenised, column, prompts.get(column, ""))
        if features is None:
            return None
        found[column] = features
    return found


class RowCollator:
    """Makes the batch that the library's collator would make of the texts of some rows.

    With known positives, the labels are the ids of the texts, for the mask of the loss.
    """

    def __init__(
        self,
        library: SentenceTransformerDataCollator,
        train: TrainingRows,
        features: Mapping[str, Features] | None,
        known: KnownPositives | None,
    ) -> None:
        self.valid_label_columns = library.valid_label_columns
        self._library = library
        self._rows = train.rows
        self._features = features
        self._places = train.pairs.places_in(train.tokenised)
        self._labels = train.rows.select_columns(["label"]) if "label" in train.rows.column_names else None
        self._known = known

    def __call__(self, batch: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        """Make a batch of the rows of these numbers."""
        numbers = np.array([row[ROW] for row in batch], dtype=np.int64)
        made = self._tokenised(numbers) if self._features is None else self._looked_up(numbers, self._features)
        return made if self._known is None else {**made, "label": torch.from_numpy(self._known.ids(numbers))}

    def _tokenised(self, numbers: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, Any]:
        columns = self._rows[numbers]
        made: dict[str, Any] = self._library(
            [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        )
        return made

    def _looked_up(
        self, numbers: np.ndarray[Any, np.dtype[np.int64]], features: Mapping[str, Features]
    ) -> dict[str, Any]:
        labels = {} if self._labels is None else {"label": torch.tensor(list(self._labels[numbers]["label"]))}
        places = self._places[numbers]
        return labels | {
            f"{column}_{key}": value for column, each in features.items() for key, value in each(places).items()
        }
