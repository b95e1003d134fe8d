"""Search with an embedding model by its own similarity, exact, in bounded memory. FAISS finds the best documents of a query."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.config import ScoringConfig
from benchmarks.exact import RankCounter
from benchmarks.relevant import Ranks, Relevant
from benchmarks.topk import Ranking, TopK
from finewise.console import Advance, progress
from finewise.data.retrieval import RetrievalSet
from finewise.errors import InputError

if TYPE_CHECKING:
    import torch

Embeddings = NDArray[np.float32]

_SLICE = 1024  # texts between two steps of the progress bar
_SPARE = 8  # documents fetched beyond the depth, so that short ties at the cut need no second look


class EncoderSearcher:
    """Searches with a sentence-transformers model.

    The corpus is encoded and searched in chunks, so that memory is bounded by the chunk and not by the corpus.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        *,
        batch_size: int = 128,
        corpus_chunk: int = 50_000,
        autocast: torch.dtype | None = None,
        query_prompt: str = "",
        document_prompt: str = "",
        truncate_dim: int | None = None,
        similarity: str | None = None,
    ) -> None:
        """Make a searcher.

        Args:
            name: What records and tables call it: "tuned", "untuned" or a model's name.
            model: A SentenceTransformer, or anything with its `encode`.
            batch_size: Texts encoded at a time by a model that computes padded batches; others go by their tokens.
            corpus_chunk: Documents encoded and searched at a time.
            autocast: Precision of the computation, such as torch.bfloat16; None computes in the model's own.
            query_prompt: Text put before every query; empty takes the model's own "query" prompt, if it has one.
            document_prompt: Likewise for documents.
            truncate_dim: Use only this many leading dimensions; None uses all.
            similarity: "cosine", "dot", "euclidean" or "manhattan"; None takes the model's own, or cosine if it names none.
        """
        self.name = name
        self.model = model
        self.batch_size = batch_size
        self.corpus_chunk = corpus_chunk
        self.autocast = autocast
        self.query_prompt = query_prompt
        self.document_prompt = document_prompt
        self.truncate_dim = truncate_dim
        self.similarity = similarity or str(getattr(model, "similarity_fn_name", None) or "cosine")

    @classmethod
    def of(cls, name: str, model: Any, scoring: ScoringConfig, precision: str) -> EncoderSearcher:
        """Make a searcher from the settings.

        Args:
            name: See above.
            model: See above; its own prompts are used.
            scoring: The size of a chunk.
            precision: `run.precision`.
        """
        import torch

        from finewise.device import use_bf16

        bf16 = use_bf16(precision, str(model.device))
        return cls(
            name,
            model,
            corpus_chunk=scoring.corpus_chunk,
            autocast=torch.bfloat16 if bf16 else None,
        )

    def search(self, task: RetrievalSet, depth: int) -> Ranking:
        """Return the `depth` most similar documents for every query."""
        return self._search(task, depth, [self.truncate_dim])[0]

    def search_dims(self, task: RetrievalSet, depth: int, dims: Sequence[int]) -> dict[int, Ranking]:
        """Search with several numbers of leading dimensions (Matryoshka), encoding every text once."""
        return dict(zip(dims, self._search(task, depth, list(dims)), strict=True))

    def ranks(self, task: RetrievalSet, relevant: Relevant, depth: int, dims: Sequence[int | None]) -> list[Ranks]:
        """Return the rank of every relevant document, with each of several numbers of leading dimensions.

        They are the ranks that `search` gives, found without a ranking (benchmarks.exact), which is faster.

        Args:
            task: The queries and the corpus.
            relevant: Of this task. P pairs of a query and a document.
            depth: The deepest rank that is told.
            dims: Numbers of dimensions; None: all.

        Returns:
            For each of `dims` the ranks (P,), from 1; 0: not within the depth.
        """
        known = relevant.documents
        if not len(known):
            return [np.empty(0, np.int64) for _ in dims]
        # Counting takes unit vectors for granted, and cannot keep more relevant documents than fit into a chunk.
        if self.similarity != "cosine" or len(known) > self.corpus_chunk:
            return [relevant.ranks(ranking) for ranking in self._search(task, depth, dims)]
        counters: list[RankCounter] = []
        with progress(f"{self.name}: encode {task.name}", len(task.query_ids) + len(task.corpus_ids)) as advance:
            queries = self._queries(task, advance)
            for positions, vectors in self._known_first(task, known, advance):
                if not counters:
                    scored = vectors[np.searchsorted(positions, known)]
                    counters = [
                        RankCounter(task, relevant, depth, _leading(queries, dim), _leading(scored, dim))
                        for dim in dims
                    ]
                for dim, counter in zip(dims, counters, strict=True):
                    counter.count(positions, _leading(vectors, dim))
        return [counter.ranks() for counter in counters]

    def _known_first(
        self, task: RetrievalSet, known: NDArray[np.int64], advance: Advance
    ) -> Iterator[tuple[NDArray[np.int64], Embeddings]]:
        """Yield positions in the corpus and their embeddings, a chunk at a time, the known documents in the first one."""
        total = len(task.corpus_ids)
        chunks = list(_chunks(total, self.corpus_chunk))
        others = np.ones(total, np.bool_)
        if len(chunks) > 1:
            others[known] = False
            yield known, self._documents(task, known, [task.corpus[row] for row in known.tolist()], advance)
        for start, end in chunks:
            mine = np.flatnonzero(others[start:end])
            texts = list(task.corpus[start:end])
            if len(mine):
                yield start + mine, self._documents(task, start + mine, [texts[row] for row in mine.tolist()], advance)

    def _search(self, task: RetrievalSet, depth: int, dims: Sequence[int | None]) -> list[Ranking]:
        top = TopK(task, depth)
        rankings = [top.empty() for _ in dims]
        with progress(f"{self.name}: encode {task.name}", top.queries + top.documents) as advance:
            queries = self._queries(task, advance)
            by_dim = [_comparable(queries, dim, self.similarity) for dim in dims]
            for start, end in _chunks(top.documents, self.corpus_chunk):
                chunk = self._documents(task, np.arange(start, end), list(task.corpus[start:end]), advance)
                for dim, vectors, ranking in zip(dims, by_dim, rankings, strict=True):
                    found = _comparable(chunk, dim, self.similarity)
                    _search_chunk(top, ranking, vectors, found, start, self.similarity)
        return rankings

    def _queries(self, task: RetrievalSet, advance: Advance) -> Embeddings:
        """Return the embeddings (Q, D) of the queries."""
        encode = getattr(self.model, "encode_query", self.model.encode)
        return self._encode(encode, self.query_prompt, list(task.queries), task.query_ids, "query", advance)

    def _documents(
        self, task: RetrievalSet, positions: NDArray[np.int64], texts: list[str], advance: Advance
    ) -> Embeddings:
        """Return the embeddings (N, D) of the documents at these positions, whose texts are given."""
        encode = getattr(self.model, "encode_document", self.model.encode)
        ids = [task.corpus_ids[row] for row in positions.tolist()]
        return self._encode(encode, self.document_prompt, texts, ids, "document", advance)

    def _encode(
        self,
        encode: Callable[..., Any],
        prompt: str,
        texts: Sequence[str],
        ids: Sequence[str],
        kind: str,
        advance: Advance,
    ) -> Embeddings:
        """Return the embeddings (N, D) of the texts, in their order.

        Raises:
            InputError: The model gave NaN or infinity for a text.
        """
        if not texts:
            return np.empty((0, 0), np.float32)
        more: dict[str, Any] = {"prompt": prompt} if prompt else {}
        with self._precision():
            if getattr(self.model, "reports_progress", False):
                result = np.asarray(encode(list(texts), advance=advance, **more), dtype=np.float32)
            else:
                result = self._in_slices(encode, texts, advance, more)
        bad = ~np.isfinite(result).all(axis=1)
        if bad.any():
            raise InputError(
                f"{self.name}: the embedding of {kind} '{ids[int(bad.argmax())]}' is not finite ({int(bad.sum())} of "
                f"{len(texts)} texts); the model's weights are damaged, or it needs run.precision=fp32"
            )
        return result

    def _in_slices(
        self, encode: Callable[..., Any], texts: Sequence[str], advance: Advance, more: dict[str, Any]
    ) -> Embeddings:
        """Return the embeddings by a library's model, which tells nothing while it works."""
        # Texts of similar length go together: less padding.
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        parts = []
        for start in range(0, len(order), _SLICE):
            rows = order[start : start + _SLICE]
            part = encode(
                [texts[row] for row in rows],
                batch_size=self.batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
                **more,
            )
            parts.append(np.asarray(part, dtype=np.float32))
            advance(len(rows))
        found = np.concatenate(parts)
        result = np.empty_like(found)
        result[order] = found
        return result

    def _precision(self) -> AbstractContextManager[Any]:
        if self.autocast is None:
            return nullcontext()
        import torch

        return torch.autocast(torch.device(self.model.device).type, dtype=self.autocast)


def _chunks(total: int, size: int) -> Iterator[tuple[int, int]]:
    for start in range(0, total, size):
        yield start, min(start + size, total)


def _leading(vectors: Embeddings, dim: int | None) -> Embeddings:
    """Return the leading `dim` dimensions (N, dim); None: all of them.

    Raises:
        InputError: The model has fewer dimensions.
    """
    if dim is not None and not 1 <= dim <= vectors.shape[1]:
        raise InputError(f"the number of dimensions must be from 1 to the model's {vectors.shape[1]}; got {dim}")
    return vectors[:, :dim]


def _comparable(vectors: Embeddings, dim: int | None, similarity: str) -> Embeddings:
    """Return the leading `dim` dimensions (N, dim); for cosines with L2 norm 1, where a vector of zeros stays zero."""
    cut = _leading(vectors, dim)
    if similarity != "cosine":
        return np.ascontiguousarray(cut)
    norm = np.linalg.norm(cut, axis=1, keepdims=True)
    return np.ascontiguousarray(cut / np.maximum(norm, np.finfo(np.float32).tiny))


def _search_chunk(
    top: TopK, ranking: Ranking, queries: Embeddings, chunk: Embeddings, start: int, similarity: str
) -> None:
    """Merge the best documents of one chunk, whose first has position `start` in the corpus, into the ranking."""
    import faiss

    needed = top.depth + 1  # one of them may be the query itself
    fetched = min(needed + _SPARE, len(chunk))
    distances = {"euclidean": faiss.METRIC_L2, "manhattan": faiss.METRIC_L1}
    metric = distances.get(similarity, faiss.METRIC_INNER_PRODUCT)
    scores, indices = faiss.knn(queries, chunk, fetched, metric=metric)
    scores = -scores if similarity in distances else scores
    indices = indices.astype(np.int64) + start
    # FAISS breaks ties as it likes. Where a tie reaches over the last document fetched, look at all of the chunk.
    if fetched < len(chunk):
        tied = np.flatnonzero(scores[:, needed - 1] == scores[:, -1])
        indices[tied] = -1
    else:
        tied = np.empty(0, np.int64)
    top.add(ranking, indices, scores)
    everything = np.arange(start, start + len(chunk))
    for query in tied:
        top.add_row(ranking, int(query), everything, _scores(queries[query], chunk, similarity))


def _scores(query: Embeddings, documents: Embeddings, similarity: str) -> Embeddings:
    """Return how similar a query (D,) is to each document (N, D), as FAISS computes it: (N,)."""
    if similarity == "euclidean":
        return -np.square(documents - query).sum(axis=1)
    if similarity == "manhattan":
        return -np.abs(documents - query).sum(axis=1)
    return documents @ query
