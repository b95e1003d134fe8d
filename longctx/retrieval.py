"""Retrieval among the data's own long documents, those held back for the test: nDCG@10 by the relevant document's length."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from benchmarks.baselines import BM25
from benchmarks.by_length import ByLength
from benchmarks.long_retrieval import HEADLINE, by_bucket, document_lengths
from benchmarks.retrieval import EncoderSearcher, Searcher, evaluate_retrieval
from finewise.data.retrieval import RetrievalSet

DEPTH = 10
"""Documents per query that HEADLINE looks at."""


@dataclass(frozen=True, kw_only=True)
class LongRetrieval:
    """The test split of pairs with long documents.

    Attributes:
        task: Queries, documents and which belong together.
        tokenizer: Counts the documents' tokens.
        buckets: Upper ends of the buckets of lengths, in tokens; documents beyond the last get its doublings.
        bf16: Whether models compute under autocast.
        group: Which of several models (seeds) reads it.
    """

    task: RetrievalSet
    tokenizer: PreTrainedTokenizerBase
    buckets: Sequence[int]
    bf16: bool
    group: int

    def read(self, model: Any, system: str) -> ByLength:
        """Search with an embedding model, or with what stands in for one (`benchmarks.chunked`).

        Raises:
            InputError: An embedding is not finite.
        """
        return self._by_length(EncoderSearcher(system, model, autocast=torch.bfloat16 if self.bf16 else None))

    def bm25(self) -> ByLength:
        """Search with the classical baseline, which reads documents of any length."""
        return self._by_length(BM25())

    @cached_property
    def _lengths(self) -> NDArray[np.int64]:
        return document_lengths(self.task, self.tokenizer)

    def _by_length(self, searcher: Searcher) -> ByLength:
        found = evaluate_retrieval(self.task, searcher, [HEADLINE], DEPTH)
        result = by_bucket(found, self.task, self._lengths, self.buckets, group=self.group)
        return replace(result, benchmark=f"retrieval {self.task.name}")
