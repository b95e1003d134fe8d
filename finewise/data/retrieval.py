"""A retrieval set: queries, a corpus, and who is relevant to whom. Imports nothing heavy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalSet:
    """Queries, corpus and relevance judgements (qrels) of one split of one benchmark.

    Attributes:
        name: What records and tables call it, such as "debian".
        split: "dev" or "test".
        query_ids: One id per query, unique.
        queries: The texts, in the same order.
        corpus_ids: One id per document, unique.
        corpus: The texts, in the same order (may be a memory-mapped column).
        qrels: query id -> document id -> grade. A grade of 0 is judged and not relevant. A query without an entry has no
            judgement: it is reported, never dropped silently.
        clusters: A number per query, equal for queries that vary together (`data.columns.group`); None: each is alone.
        groups: Content keys of the groups that its pairs are of (`data.columns.group`); None where pairs have none.
        revision: sha256 over all of the above content: two sets with equal revisions give comparable scores.
    """

    name: str
    split: str
    query_ids: Sequence[str]
    queries: Sequence[str]
    corpus_ids: Sequence[str]
    corpus: Sequence[str]
    qrels: Mapping[str, Mapping[str, int]]
    revision: str
    clusters: Sequence[int] | None = None
    groups: frozenset[int] | None = None
