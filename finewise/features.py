"""Features of texts that were tokenised before: what a batch needs is looked up and padded, not tokenised again."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import tokenizers
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from torch import Tensor

from finewise.data.pairs import Pairs
from finewise.data.tokenised import TextTokenizer, Tokenised, tokenise_column

NO_LIMIT = 10**12
"""Tokenizers without a limit state a huge one."""

PROBE = 6

ROW = "row"


def numbered(count: int) -> Dataset:
    """Return what a trainer draws its batches from: the numbers of the rows, and nothing else."""
    return Dataset(pa.table({ROW: np.arange(count)}))


class Features:
    """The features of a column of texts, exactly as the model's own preprocessing makes them.

    Attributes:
        tokens: The ids of all texts.
        pad: The id that fills up.
        left: Whether it does so on the left.
        like: What the model's own preprocessing gave for some of them: which keys there are, in which order, and the values of
            those that are no tensors.
    """

    def __init__(self, tokens: Tokenised, pad: int, left: bool, like: Mapping[str, Any]) -> None:
        self.tokens = tokens
        self.pad = pad
        self.left = left
        self.like = like

    def __call__(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        """Return the features of some texts: input_ids and attention_mask (B, T), and what else the model's own have."""
        texts = self.tokens.rows(rows)
        width = max(len(ids) for ids in texts)
        ids = np.full((len(texts), width), self.pad, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, found in enumerate(texts):
            span = slice(width - len(found), width) if self.left else slice(0, len(found))
            ids[row, span] = found
            mask[row, span] = 1
        made = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return {key: torch.from_numpy(made[key]) if key in made else value for key, value in self.like.items()}


def features_of(model: SentenceTransformer, pairs: Pairs, column: str, prompt: str) -> Features | None:
    """Return the features of a column of training pairs, tokenising it if that was not done before.

    Args:
        model: Whose tokenizer, limit and padding count.
        pairs: The rows; the features' rows are theirs.
        column: Such as "anchor".
        prompt: Put before each text.

    Returns:
        None where the model's own preprocessing must be used: its tokenizer is no fast one, its first module is no plain text
        transformer, or a trial on some of the texts gave other features.

    Raises:
        InputError: The cache folder cannot be written.
    """
    tokenizer = text_tokenizer(model)
    if tokenizer is None or not len(pairs):
        return None
    tokens = tokenise_column(pairs, column, tokenizer, prompt, title=f"tokenise {column}")
    probe = np.unique([*range(min(PROBE, len(pairs))), int(tokens.whole.argmax()), int(tokens.whole.argmin())])
    pad, left = model.tokenizer.pad_token_id, model.tokenizer.padding_side == "left"
    for rows in (probe, probe[:1]):
        expected = dict(model.preprocess(pairs.texts(column, rows), prompt=prompt or None, task=None))
        features = Features(tokens, 0 if pad is None else pad, left, expected)
        if not {"input_ids", "attention_mask"} <= set(expected) or not _same(features(rows), expected):
            return None
    return features


def text_tokenizer(model: SentenceTransformer) -> TextTokenizer | None:
    """Return the tokenizer of a model whose first module is a plain text transformer with a fast one; else None."""
    first: Any = model[0]
    if type(first) is not Transformer or first.modalities != ["text"]:
        return None
    backend = getattr(first.tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, tokenizers.Tokenizer):
        return None
    limit = first.max_seq_length
    return TextTokenizer(backend, None if limit is None or limit > NO_LIMIT else limit, first.tokenizer.truncation_side)


def _same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    def equal(one: Any, other: Any) -> bool:
        if isinstance(one, Tensor) and isinstance(other, Tensor):
            return one.dtype == other.dtype and torch.equal(one, other)
        return not isinstance(one, Tensor) and not isinstance(other, Tensor) and bool(one == other)

    return set(found) == set(expected) and all(equal(found[key], expected[key]) for key in expected)
