"""The best documents of each query in one settled order. Pure NumPy.

Documents are ordered as trec_eval orders them: by score (float32), highest first, then by document id, highest string
first. A document that is the query itself (equal ids and texts, as in duplicate-question sets) is left out. BEIR goes by ids
alone, which takes the document 7 for the query 7 where both are merely numbered.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finewise.data.keys import normalise
from finewise.data.retrieval import RetrievalSet

Indices = NDArray[np.int64]
Scores = NDArray[np.float32]

TITLED_WORDS = 4
"""From so many words on, a text that ends with the query is the query behind a title."""

_BLOCK = 4_000_000  # candidates that are sorted at a time: bounds the memory to about 150 MB


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The documents found for each query, best first. Q queries, `depth` ranks.

    Attributes:
        indices: (Q, depth) positions in the corpus; -1 from where fewer documents were found.
        scores: (Q, depth) the searcher's scores; -inf where there is no document.
    """

    indices: Indices
    scores: Scores

    @property
    def depth(self) -> int:
        """How many ranks there are."""
        return int(self.indices.shape[1])


def places(ids: Sequence[str]) -> Indices:
    """Return the place of each id when all are sorted, (N,): what decides between equal scores."""
    result = np.empty(len(ids), np.int64)
    ids = list(ids)
    result[sorted(range(len(ids)), key=ids.__getitem__)] = np.arange(len(ids))
    return result


def queries_in_corpus(task: RetrievalSet) -> Indices:
    """Return for each query the position of the document that is the query itself, (Q,); -1 if there is none.

    That is the document with the query's id, if its text is the query's too, up to case and white space (a title may stand
    before it): equal ids alone may mean only that queries and documents were numbered alike. A document that is judged
    relevant is an answer, and never left out.
    """
    wanted = set(task.query_ids)
    position = {identifier: index for index, identifier in enumerate(task.corpus_ids) if identifier in wanted}

    def itself(query: int) -> int:
        identifier = task.query_ids[query]
        place = position.get(identifier, -1)
        if place < 0 or task.qrels.get(identifier, {}).get(identifier, 0) > 0:
            return -1
        text, own = normalise(task.corpus[place]), normalise(task.queries[query])
        titled = len(own.split()) >= TITLED_WORDS and text.endswith(f" {own}")  # a word or two end many texts
        return place if text == own or titled else -1

    return np.array([itself(query) for query in range(len(task.query_ids))], np.int64)


class TopK:
    """Orders and cuts candidates for the queries and the corpus of one retrieval set."""

    def __init__(self, task: RetrievalSet, depth: int) -> None:
        self.depth = depth
        self.queries = len(task.query_ids)
        self.documents = len(task.corpus_ids)
        self._place = places(task.corpus_ids)
        self._itself = queries_in_corpus(task)

    def empty(self) -> Ranking:
        """Return a ranking that has found nothing yet."""
        shape = (self.queries, self.depth)
        return Ranking(np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32))

    def add(self, ranking: Ranking, indices: Indices, scores: Scores) -> None:
        """Merge candidates into the ranking, in place.

        The candidates of a query must include every document that ties with the last one of them that can still enter
        the ranking; else which of the tied documents enter would be left to chance.

        Args:
            ranking: Of all queries.
            indices: (Q, C) positions in the corpus, none of them in the ranking yet; -1 for no document.
            scores: (Q, C).
        """
        rows = max(1, _BLOCK // (self.depth + indices.shape[1]))
        for start in range(0, self.queries, rows):
            block = slice(start, start + rows)
            self._add_block(ranking, block, indices[block], scores[block])

    def add_row(self, ranking: Ranking, query: int, indices: Indices, scores: Scores) -> None:
        """Merge the candidates of one query; `indices` and `scores` are (C,), in any order, with all ties."""
        if len(scores) > self.depth + 1:  # the document that is the query itself may be among the best
            last = np.partition(scores, -(self.depth + 1))[-(self.depth + 1)]
            keep = scores >= last
            indices, scores = indices[keep], scores[keep]
        self._add_block(ranking, slice(query, query + 1), indices[None], scores[None])

    def _add_block(self, ranking: Ranking, block: slice, indices: Indices, scores: Scores) -> None:
        indices = np.concatenate([ranking.indices[block], indices], axis=1)
        scores = np.concatenate([ranking.scores[block], scores], axis=1)
        none = (indices < 0) | (indices == self._itself[block, None])
        indices = np.where(none, -1, indices)
        scores = np.where(none, np.float32(-np.inf), scores)
        place = np.where(none, -1, self._place[indices])
        order = _order(scores, place)[:, : self.depth]
        ranking.indices[block] = np.take_along_axis(indices, order, axis=1)
        ranking.scores[block] = np.take_along_axis(scores, order, axis=1)


def _order(scores: Scores, places: Indices) -> Indices:
    """Return the columns of each row by score, then by place, highest first; (Q, C) like the arguments.

    Score and place become one integer: sorting that is several times faster than sorting by two keys. As an integer, the
    bits of a float have the order of the float, once the other bits of a negative one are turned around.
    """
    bits = (scores + np.float32(0)).view(np.int32).astype(np.int64)  # + 0 makes -0.0 equal to 0.0
    key = (bits ^ (bits >> 31 & 0x7FFFFFFF)) << 32 | places + 1
    return np.argsort(~key, axis=-1)
