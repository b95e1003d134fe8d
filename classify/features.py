"""From row numbers to a training batch: tokens are looked up, padded, and put beside their labels."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from classify.heads import encode
from classify.reading import Reader
from finewise.data.keys import combine
from finewise.data.labels.rows import Labelled
from finewise.data.tokenised import TextTokenizer, tokenise
from finewise.features import NO_LIMIT, ROW, Features


class RowCollator:
    """Makes the batch of some rows of the training data: the model's features and `labels`, (B,) int64 or (B, K) float32.

    With reading.how=chunks the features have a row per window, and the labels still one per text.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, train: Labelled) -> None:
        """Tokenise the rows, or find their tokens in the cache.

        Raises:
            InputError: The cache folder cannot be written.
        """
        self._model, self._tokenizer, self._train = model, tokenizer, train
        self._features = _cached(model, tokenizer, train)
        self._labels = torch.from_numpy(
            train.labels.astype(np.float32) if train.space.kind == "multi" else train.labels
        )

    def __call__(self, batch: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        """Make a batch of the rows of these numbers."""
        rows = np.array([row[ROW] for row in batch], dtype=np.int64)
        if self._features is not None:
            made = self._features(rows)
        else:
            texts = [self._train.texts[int(row)] for row in rows]
            made = dict(self._tokenizer.pad(encode(self._model, self._tokenizer, texts), return_tensors="pt"))
        return {**made, "labels": self._labels[rows]}


def _cached(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, train: Labelled
) -> Callable[[NDArray[np.int64]], dict[str, Any]] | None:
    """Return what makes features of rows from the cache of tokens; None where the tokenizer is no fast one."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, tokenizers.Tokenizer):
        return None
    reader = Reader.of(model, tokenizer)
    # A reader takes its pieces from anywhere in a text.
    limit = tokenizer.model_max_length if reader is None else NO_LIMIT
    tokens = tokenise(
        combine(train.revision, "text"),
        lambda: iter(train.texts),
        len(train),
        TextTokenizer(backend, limit if limit < NO_LIMIT else None, tokenizer.truncation_side),
        prompt=getattr(model.config, "prompt", ""),
        title="tokenise",
    )
    some = list(range(min(4, len(train))))
    probe = encode(model, tokenizer, [train.texts[row] for row in some])
    if reader is not None:
        names = tokenizer.model_input_names

        def read(rows: NDArray[np.int64]) -> dict[str, Any]:
            return dict(tokenizer.pad(reader.rows(tokens.rows(rows), names), return_tensors="pt"))

        return read if reader.rows(tokens.rows(some), names) == probe else None
    if any(list(tokens.rows([row])[0]) != ids for row, ids in enumerate(probe["input_ids"])):
        return None
    like = dict(tokenizer.pad(probe, return_tensors="pt"))
    return Features(tokens, tokenizer.pad_token_id or 0, tokenizer.padding_side == "left", like)
