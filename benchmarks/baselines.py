"""The classical baseline of retrieval: BM25."""

from typing import Any

import numpy as np

from benchmarks.text.language import Reader, reading
from benchmarks.topk import Ranking, TopK
from finewise.console import progress
from finewise.data.retrieval import RetrievalSet


class BM25:
    """BM25 as Lucene computes it (Robertson & Zaragoza 2009; Kamphuis et al. 2020), by the library bm25s.

    Texts are lower-cased and cut into words of two or more characters, freed of stop words and stemmed (Snowball) in their
    language; where words have no blanks between them, into pairs of characters (`benchmarks.text.language`). A baseline that is
    weaker than it need be flatters the model beside it: on `debian` the stemming is worth .03 nDCG@10. k1 and b are Anserini's
    defaults, which also came out best of three pairs on debian's dev split. As in Lucene, a
    document that shares no word with the query is not found; a query without any known word finds nothing.
    """

    name = "bm25"

    def __init__(self, k1: float = 0.9, b: float = 0.4, *, stem: bool = True, language: str = "auto") -> None:
        """Make a searcher.

        Args:
            k1: How slowly a repeated word stops to count, above 0.
            b: How much long documents are held back, from 0 to 1.
            stem: Reduce words to their stems.
            language: As Snowball calls it; "none": neither stop words nor stems; "auto": as the texts are.
        """
        self.k1 = k1
        self.b = b
        self.stem = stem
        self.language = language

    def reading(self, task: RetrievalSet) -> dict[str, Any]:
        """Return what a record says of how the texts are read, see `benchmarks.text.language.reading`."""
        return reading(task.corpus, task.queries, self.language)

    def search(self, task: RetrievalSet, depth: int) -> Ranking:
        """Return the `depth` documents of highest BM25 score for every query."""
        import bm25s

        words = Reader(self.reading(task)["language"], self.stem).terms
        top = TopK(task, depth)
        ranking = top.empty()
        corpus = words(task.corpus)
        if not any(corpus):
            return ranking
        index = bm25s.BM25(k1=self.k1, b=self.b, method="lucene")
        index.index(corpus, create_empty_token=False, show_progress=False)
        with progress(f"{self.name}: search {task.name}", top.queries) as advance:
            for query, tokens in enumerate(words(task.queries)):
                known = index.get_tokens_ids(tokens)
                if known:
                    scores = index.get_scores_from_ids(known)
                    found = np.flatnonzero(scores > 0)
                    top.add_row(ranking, query, found, scores[found])
                advance()
        return ranking
