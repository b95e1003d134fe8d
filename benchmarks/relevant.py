"""Which documents are relevant to which query, and the grades that stand at the ranks where they were found. Pure NumPy.

Metrics look only at the places of relevant documents. So a search may answer with a whole ranking, or with the rank of each
relevant document alone (benchmarks.exact); both are graded here in the same way.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.topk import Ranking
from finewise.data.retrieval import RetrievalSet

Ranks = NDArray[np.int64]
Grades = NDArray[np.int32]

_BLOCK = 4_000_000  # ranks that are looked through at a time: bounds the memory


@dataclass(frozen=True, slots=True, eq=False)
class Relevant:
    """All pairs of a query and a document with a positive grade, by query. P pairs.

    Attributes:
        query: (P,) rows of the queries, ascending.
        document: (P,) positions in the corpus.
        grade: (P,) above 0.
        queries: How many queries there are, those without any relevant document included.
    """

    query: NDArray[np.int64]
    document: NDArray[np.int64]
    grade: Grades
    queries: int

    @classmethod
    def of(cls, task: RetrievalSet) -> "Relevant":
        """Collect the pairs of a retrieval set."""
        pairs = [
            (row, document, grade)
            for row, query in enumerate(task.query_ids)
            for document, grade in task.qrels.get(query, {}).items()
            if grade > 0
        ]
        wanted = {document for _, document, _ in pairs}
        position = {document: index for index, document in enumerate(task.corpus_ids) if document in wanted}
        return cls(
            query=np.array([row for row, _, _ in pairs], np.int64),
            document=np.array([position[document] for _, document, _ in pairs], np.int64),
            grade=np.array([grade for _, _, grade in pairs], np.int32),
            queries=len(task.query_ids),
        )

    @property
    def documents(self) -> NDArray[np.int64]:
        """The positions in the corpus of all relevant documents, each once, ascending: (U,)."""
        return np.unique(self.document)

    def ranks(self, ranking: Ranking) -> Ranks:
        """Return at which rank (from 1) of its query's ranking each document stands, (P,); 0: it was not found."""
        found = np.zeros(len(self.query), np.int64)
        step = max(1, _BLOCK // max(ranking.depth, 1))
        for start in range(0, len(found), step):
            block = slice(start, start + step)
            pair, column = np.nonzero(ranking.indices[self.query[block]] == self.document[block, None])
            found[start + pair] = column + 1
        return found

    def graded(self, ranks: Ranks) -> tuple[Grades, Grades]:
        """Return what metrics take (benchmarks.metrics.ranking).

        Args:
            ranks: (P,) rank of each document, from 1; 0: it was not found.

        Returns:
            The grades of the ranked documents (Q, deepest rank) and each query's positive grades (Q, J), highest first.
        """
        grades = np.zeros((self.queries, int(ranks.max(initial=0))), np.int32)
        found = ranks > 0
        grades[self.query[found], ranks[found] - 1] = self.grade[found]
        order = np.lexsort((-self.grade, self.query))
        count = np.bincount(self.query, minlength=self.queries)
        nth = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
        ideal = np.zeros((self.queries, int(count.max(initial=0))), np.int32)
        ideal[self.query, nth] = self.grade[order]
        return grades, ideal
