"""The exact ranks of the relevant documents, by counting what stands before each of them; no ranking is built.

A document's rank is one more than the number of documents with a higher cosine, or with the same cosine and a higher id:
trec_eval's order. An approximate product in bf16, where the processor has it, tells nearly all documents apart; only those
that come too close to a relevant one are scored exactly. So the ranks are those of the exact scores, in about half the time.

Why this is exact. Let u and v be a query and a document of norm 1 in fp32, s their exact score, and u', v' the same rounded to
the product's type, with relative rounding error r (2^-9 for bf16, 0 for fp32). By Cauchy-Schwarz

    |u'v' - uv|  <=  |u' - u| |v'| + |u| |v' - v|  <=  r (1 + r) + r

and adding up D products in fp32, in any order, is wrong by at most about D 2^-24 (Higham 2002, section 3.1), in the approximate
score and in the exact one. With e the sum of these errors, and because rounding the result to the product's type is monotone,
an approximate score below round(s - e) or above round(s + e) belongs to a score below or above s for certain.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.relevant import Ranks, Relevant
from benchmarks.topk import places, queries_in_corpus
from finewise.data.retrieval import RetrievalSet

if TYPE_CHECKING:
    import torch

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

BLOCK = 2048
"""Queries and documents of one product, which then stays in the processor's cache."""

_PAIRS = 2048  # scored exactly at a time


class RankCounter:
    """Counts, chunk by chunk of the corpus, how many documents stand before each relevant one.

    Q queries, D dimensions, P pairs of a query and a relevant document. Every query has a slot for each of its relevant
    documents, lowest first, and one slot above them all: P + Q slots, query by query. A document is counted once per query,
    in the first slot that it does not stand before; so it stands before the documents of all the query's lower slots.
    """

    def __init__(
        self,
        task: RetrievalSet,
        relevant: Relevant,
        depth: int,
        queries: Vectors,
        documents: Vectors,
        *,
        bf16: bool | None = None,
        block: int = BLOCK,
    ) -> None:
        """Score the relevant documents exactly.

        Args:
            task: Whose ids break ties; a document that is the query itself (`topk.queries_in_corpus`) is left out.
            relevant: Whose ranks are wanted.
            depth: The deepest rank that is told.
            queries: (Q, D) embeddings of any norm.
            documents: (U, D) embeddings of `relevant.documents`.
            bf16: Whether the approximate product is bf16; None: where the processor computes it fast.
            block: Queries, and documents, of one product.
        """
        import torch

        from finewise.device import fast_bf16

        self._ids = task.corpus_ids
        self._depth = depth
        self._block = block
        self._itself = queries_in_corpus(task)
        self._has_itself = bool((self._itself >= 0).any())
        bf16 = fast_bf16("cpu") if bf16 is None else bf16
        self._type, self._integer = (torch.bfloat16, torch.int16) if bf16 else (torch.float32, torch.int32)
        self._queries = _unit(torch.from_numpy(queries))
        self._rounded = self._queries.to(self._type)

        row = np.searchsorted(relevant.documents, relevant.document)
        score = _cosines(self._queries, _unit(torch.from_numpy(documents)), relevant.query, row)
        by_id = places([self._ids[position] for position in relevant.documents.tolist()])
        order = np.lexsort((by_id[row], score, relevant.query))
        slots = len(order) + relevant.queries
        count = np.bincount(relevant.query, minlength=relevant.queries) + 1
        self._above = np.cumsum(count) - 1  # (Q,) each query's slot above all
        self._first = self._above - count + 1  # (Q,) and its lowest
        self._query = np.repeat(np.arange(relevant.queries), count)
        self._slot = np.empty(len(order), np.int64)  # (P,) of each pair
        self._slot[order] = np.arange(len(order)) + relevant.query
        self._left_out = self._itself[relevant.query] == relevant.document
        self._document = np.full(slots, -1, np.int64)
        self._document[self._slot] = relevant.document
        self._score = np.full(slots, np.inf, np.float32)
        self._score[self._slot] = score
        rounding = 2.0**-9 if bf16 else 0.0
        error = 1.01 * (rounding * (2 + rounding) + (2 * queries.shape[1] + 16) * 2.0**-24)
        exact = torch.from_numpy(self._score)
        self._low, high = ((exact + far).to(self._type).float().numpy() for far in (-error, error))
        # Cosines lie far within (-2, 2): four times the query's row plus a cosine sorts by query, then by cosine.
        self._key = 4.0 * self._query + self._score.clip(max=2)
        self._high_key = 4.0 * self._query + high.clip(max=2)
        self._counted = np.zeros(slots, np.int64)
        self._threshold = self._next_threshold()

    def count(self, positions: Rows, chunk: Vectors) -> None:
        """Count the documents of one chunk: (N,) positions in the corpus and (N, D) embeddings of any norm."""
        import torch

        size = min(self._block, len(self._queries)) * min(self._block, len(chunk))
        products, passed = torch.empty(size, dtype=self._type), np.empty(size, np.bool_)
        for start in range(0, len(chunk), self._block):
            documents = _unit(torch.from_numpy(chunk[start : start + self._block]))
            rounded = documents.to(self._type).T
            for first in range(0, len(self._queries), self._block):
                block = slice(first, first + self._block)
                shape = len(self._rounded[block]), len(documents)
                size = shape[0] * shape[1]
                product = torch.mm(self._rounded[block], rounded, out=products[:size].view(shape))
                # Compared as integers, which is several times faster: equal order from 0 up, and below 0 smaller than 0.
                integers = product.view(self._integer).numpy()
                np.greater_equal(integers, self._threshold[block, None], out=passed[:size].reshape(shape))
                at = np.flatnonzero(passed[:size])
                query, document = np.divmod(at, len(documents))
                query += first
                approximate = product.view(-1)[torch.from_numpy(at)].float().numpy()
                if self._has_itself:
                    keep = positions[start + document] != self._itself[query]
                    query, document, approximate = query[keep], document[keep], approximate[keep]
                self._count(query, document, approximate, documents, positions[start : start + self._block])
            self._threshold = self._next_threshold()

    def ranks(self) -> Ranks:
        """Return the rank of each relevant document (P,), from 1; 0: it is the query itself, or deeper than `depth`."""
        before = self._before()[self._slot]
        return np.where((before < self._depth) & ~self._left_out, before + 1, 0)

    def _count(
        self, query: Rows, document: Rows, approximate: Vectors, documents: torch.Tensor, positions: Rows
    ) -> None:
        """Count (C,) pairs of a query and a row of `documents`, whose positions in the corpus are `positions`."""
        slot = np.searchsorted(self._high_key, 4.0 * query + approximate)
        near = np.flatnonzero(self._low[slot] <= approximate)
        query, document = query[near], document[near]
        score = _cosines(self._queries, documents, query, document)
        slot[near] = self._exact_slot(query, positions[document], score)
        self._counted += np.bincount(slot, minlength=len(self._counted))

    def _exact_slot(self, query: Rows, position: Rows, score: Vectors) -> Rows:
        """Return the first slot of the query that a document of this exact score does not stand before; all are (C,)."""
        slot = np.searchsorted(self._key, 4.0 * query + score)
        rest = np.flatnonzero((self._score[slot] <= score) & (self._document[slot] != position))
        while len(rest):  # where scores are equal, the ids decide
            here, equal = slot[rest], self._score[slot[rest]] == score[rest]
            lower = ~equal
            lower[equal] = self._place[self._document[here[equal]]] < self._place[position[rest[equal]]]
            rest = rest[lower]
            slot[rest] += 1
            rest = rest[self._score[slot[rest]] <= score[rest]]
        return slot

    @cached_property
    def _place(self) -> Rows:
        """The place of each document when ids are sorted; needed only if two scores are equal."""
        return places(self._ids)

    def _before(self) -> Rows:
        """Return for every slot how many documents were counted in the higher slots of its query."""
        up_to = np.cumsum(self._counted)
        return up_to[self._above][self._query] - up_to

    def _next_threshold(self) -> NDArray[np.signedinteger]:
        """Return per query the least approximate score that still matters, as the integer that its bits make.

        That is the lower bound of the lowest relevant document that does not have `depth` documents before it already.
        """
        import torch

        settled = np.add.reduceat((self._before() >= self._depth).astype(np.int64), self._first)
        lowest = (
            self._first + settled
        )  # those with fewer before them stand higher; nothing stands before the slot above all
        bound = self._low[lowest]
        threshold = torch.from_numpy(bound).to(self._type).view(self._integer).numpy()
        return np.where(bound > 0, threshold, np.iinfo(threshold.dtype).min).astype(threshold.dtype)


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    """Return the rows with L2 norm 1; a vector of zeros stays zero."""
    import torch

    norm = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    result: torch.Tensor = vectors / norm.clamp_min(torch.finfo(torch.float32).tiny)
    return result


def _cosines(queries: torch.Tensor, documents: torch.Tensor, query: Rows, document: Rows) -> Vectors:
    """Return the fp32 dot product of each pair of rows, (C,): the same for equal vectors, wherever they stand."""
    import torch

    pairs = torch.from_numpy(query), torch.from_numpy(document)
    result = torch.empty(len(query))
    size = min(_PAIRS, len(query)), queries.shape[1]
    left, right = torch.empty(size), torch.empty(size)
    for start in range(0, len(query), _PAIRS):
        rows, columns = (side[start : start + _PAIRS] for side in pairs)
        u, v = left[: len(rows)], right[: len(rows)]
        torch.index_select(queries, 0, rows, out=u)
        torch.index_select(documents, 0, columns, out=v)
        torch.sum(u.mul_(v), dim=1, out=result[start : start + len(rows)])
    return result.numpy()
