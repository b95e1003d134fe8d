"""Held-out sets by their content keys, for the audit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finewise.data.keys import Keys, pair_keys, text_keys
from finewise.data.retrieval import RetrievalSet


@dataclass(frozen=True, slots=True)
class Held:
    """The content keys of a held-out set."""

    label: str
    task: RetrievalSet
    queries: Keys
    corpus: Keys
    relevant: NDArray[np.int64]
    pairs: Keys
    pair_queries: NDArray[np.int64]

    @classmethod
    def of(cls, label: str, task: RetrievalSet) -> "Held":
        """Compute the keys of a set, which messages call by the label."""
        queries, corpus = text_keys(task.queries), text_keys(task.corpus)
        wanted = {document for grades in task.qrels.values() for document, grade in grades.items() if grade > 0}
        place = {document: number for number, document in enumerate(task.corpus_ids) if document in wanted}
        links = [
            (number, place[document])
            for number, query in enumerate(task.query_ids)
            for document, grade in task.qrels.get(query, {}).items()
            if grade > 0 and document in place
        ]
        ends = np.array(links, dtype=np.int64).reshape(-1, 2)
        return cls(
            label=label,
            task=task,
            queries=queries,
            corpus=corpus,
            relevant=np.array(sorted(place.values()), dtype=np.int64),
            pairs=pair_keys(queries[ends[:, 0]], corpus[ends[:, 1]]),
            pair_queries=ends[:, 0],
        )

    @property
    def twins(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Queries whose text is a document that nobody judged for them: under another id, and under their own.

        A ranking leaves the latter out, as it is the query itself; the former comes first in it and counts as wrong.
        """
        documents = dict[int, list[str]]()
        wanted = np.isin(self.corpus, self.queries)
        for place in np.flatnonzero(wanted).tolist():
            documents.setdefault(int(self.corpus[place]), []).append(self.task.corpus_ids[place])
        other, own = [], []
        for number, (key, name) in enumerate(zip(self.queries.tolist(), self.task.query_ids, strict=True)):
            grades = self.task.qrels.get(name)
            if grades is None:
                continue
            unjudged = [document for document in documents.get(key, []) if document not in grades]
            if any(document != name for document in unjudged):
                other.append(number)
            elif unjudged:
                own.append(number)
        return np.array(other, dtype=np.int64), np.array(own, dtype=np.int64)

    def query(self, number: int) -> str:
        """Name a query in a message."""
        return f"{self.label} query {self.task.query_ids[number]}"

    def document(self, number: int) -> str:
        """Name a document in a message."""
        return f"{self.label} document {self.task.corpus_ids[number]}"
