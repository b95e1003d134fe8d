"""Retrieval of long documents: nDCG@10 by how long the relevant document is, and pairs with long documents from plain text.

The pairs are those of the inverse cloze task (Lee, Chang & Toutanova 2019, arXiv 1906.00300): a query is a sentence that was
taken out of its passage, and the passage without it is the one relevant document. The text is real, who is relevant is nobody's
judgement: other passages of the same book can answer as well, and a passage shares names and words with its sentence. So it
compares systems; it does not say how good search would be.

Shapes: N documents, Q queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from benchmarks.by_length import ByLength
from benchmarks.needle.haystacks import split_sentences
from benchmarks.retrieval import Result
from finewise.console import progress
from finewise.data.keys import combine
from finewise.data.retrieval import RetrievalSet

HEADLINE = "ndcg@10"
SHORTEST = 512
"""Upper end of the first bucket, where none are given."""

QUERY_WORDS = (8, 40)
"""A sentence of so many words can be a query."""


def by_bucket(
    result: Result,
    task: RetrievalSet,
    lengths: NDArray[np.int64],
    buckets: Sequence[int] = (),
    *,
    group: int = 0,
    metric: str = HEADLINE,
) -> ByLength:
    """Return a retrieval result by the length of each query's relevant document; of several relevant ones, the longest.

    Args:
        result: Of a system on this task.
        task: Queries, corpus and judgements.
        lengths: (N,) tokens of the documents, see `document_lengths`.
        buckets: Upper ends, ascending; documents beyond the last get its doublings. Empty: 512, 1024, 2048, ...
        group: Which of several models (seeds) it is.
        metric: One of the result's.

    Returns:
        A value per judged query that has a relevant document; `lengths` are the buckets' upper ends.
    """
    place = dict(zip(task.corpus_ids, lengths.tolist(), strict=True))
    rows, longest = [], []
    for row, query in enumerate(result.query_ids):
        relevant = [place[document] for document, grade in task.qrels[query].items() if grade > 0]
        if relevant:
            rows.append(row)
            longest.append(max(relevant))
    ends = sorted({*buckets}) or [SHORTEST]
    while longest and ends[-1] < max(longest):
        ends.append(2 * ends[-1])
    return ByLength(
        system=result.system,
        benchmark=result.benchmark,
        split=result.split,
        data_revision=combine(result.data_revision, "by length"),
        metric=metric,
        ids=tuple(result.query_ids[row] for row in rows),
        lengths=np.array(ends, np.int64)[np.searchsorted(ends, longest)] if rows else np.zeros(0, np.int64),
        depths=np.full(len(rows), np.nan),
        groups=np.full(len(rows), group, np.int64),
        values=result.per_query[metric][rows].astype(np.float64),
        weights=np.ones(len(rows)),
    )


def document_lengths(task: RetrievalSet, tokenizer: PreTrainedTokenizerBase) -> NDArray[np.int64]:
    """Return the number of tokens of each document, special ones included, (N,)."""
    found: list[int] = []
    with progress(f"{task.name}: count tokens", len(task.corpus_ids)) as advance:
        for start in range(0, len(task.corpus_ids), 256):
            ids = tokenizer(list(task.corpus[start : start + 256]), truncation=False, verbose=False)["input_ids"]
            found += [len(row) for row in ids]
            advance(len(ids))
    return np.array(found, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A passage of a document without one of its sentences, and that sentence.

    Attributes:
        length: Tokens of the passage at most: one of the lengths asked for.
        query: The sentence.
        passage: The others, with blanks between them.
    """

    length: int
    query: str
    passage: str


def inverse_cloze(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    lengths: Sequence[int],
    seed: int,
    *,
    prompt: str = "",
    most: int | None = None,
    title: str = "cut passages",
) -> list[Cut]:
    """Cut texts into passages without overlap: of each length equally many, as far as the texts are long enough.

    What is left of a text that is shorter than the shortest length is not read.

    Args:
        texts: Long texts.
        tokenizer: Which counts.
        lengths: Tokens of a passage at most, its prompt and special tokens included; it ends with a sentence.
        seed: Draws the order of the texts and the sentences.
        prompt: What the model reads before each passage.
        most: Passages; None for all that the texts give.
        title: Of the bar that shows the progress.
    """
    rng = np.random.default_rng(seed)
    before = len(tokenizer(prompt)["input_ids"])
    counts = dict.fromkeys(sorted({*lengths}, reverse=True), 0)
    found: list[Cut] = []
    with progress(title, len(texts)) as advance:
        for row in rng.permutation(len(texts)).tolist():
            every = list(split_sentences(texts[row]))
            ids = tokenizer(every, add_special_tokens=False, verbose=False)["input_ids"]
            sums = np.cumsum([0, *map(len, ids)])
            start = 0
            while len(found) != most:
                # One sentence more than fits: one is taken out.
                ends = {one: int(np.searchsorted(sums, sums[start] + one - before, side="right")) for one in counts}
                able = [one for one in counts if start < ends[one] <= len(every)]
                if not able:
                    break
                length = min(able, key=lambda one: counts[one])  # of equal counts the longest
                counts[length] += 1  # tried: one that no sentences fill must not keep the others from theirs
                cut = _taken_out(every[start : ends[length]], rng)
                start = ends[length]
                if cut is None:
                    continue
                query, passage = cut
                while passage and len(tokenizer(prompt + " ".join(passage), verbose=False)["input_ids"]) > length:
                    passage = passage[:-1]
                if passage:
                    found.append(Cut(length=length, query=query, passage=" ".join(passage)))
            advance()
    return found


def _taken_out(passage: list[str], rng: np.random.Generator) -> tuple[str, list[str]] | None:
    """Return a sentence that stands in the passage once, and the passage without it; None if none is of a query's size."""
    low, high = QUERY_WORDS
    able = [place for place, one in enumerate(passage) if low <= len(one.split()) <= high and passage.count(one) == 1]
    if not able or len(passage) == 1:
        return None
    place = able[int(rng.integers(len(able)))]
    return passage[place], passage[:place] + passage[place + 1 :]
