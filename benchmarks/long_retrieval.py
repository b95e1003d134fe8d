"""Retrieval of long documents: nDCG@10 by how long the relevant document is, and a set of long documents from plain text.

The set is the inverse cloze task (Lee, Chang & Toutanova 2019, arXiv 1906.00300): a query is a sentence that was taken out of
its passage, and the passage without it is the one relevant document. The text is real, who is relevant is nobody's judgement:
other passages of the same book can answer as well, and a passage shares names and words with its sentence. So it compares
systems; it does not say how good search would be.

Shapes: N documents, Q queries.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from benchmarks.by_length import ByLength
from benchmarks.needle.haystacks import split_sentences
from benchmarks.retrieval import Result
from finewise.console import progress
from finewise.data.documents import Documents
from finewise.data.keys import combine, digest_texts
from finewise.data.retrieval import RetrievalSet
from finewise.errors import InputError

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


def inverse_cloze(
    documents: Documents,
    tokenizer: PreTrainedTokenizerBase,
    lengths: Sequence[int],
    queries: int,
    seed: int,
    *,
    name: str = "inverse cloze",
    split: str = "test",
) -> RetrievalSet:
    """Make a retrieval set of long passages: `queries` of each length, without overlap, all in one corpus.

    Args:
        documents: Long texts.
        tokenizer: Which counts.
        lengths: Tokens of a passage at most; it ends with a sentence.
        queries: Passages per length, each with one query.
        seed: Draws passages and sentences.
        name: What records call the set.
        split: What records call the split.

    Raises:
        InputError: The documents are too short for so many passages.
    """
    rng = np.random.default_rng(seed)
    wanted = [length for length in sorted({*lengths}, reverse=True) for _ in range(queries)]
    rng.shuffle(wanted)
    special = len(tokenizer("")["input_ids"])
    found: list[tuple[int, str, str]] = []
    with progress(f"{name}: passages", len(wanted)) as advance:
        for row in rng.permutation(len(documents)).tolist():
            every = list(split_sentences(documents.texts[row]))
            ids = tokenizer(every, add_special_tokens=False, verbose=False)["input_ids"]
            sizes = np.array([len(each) for each in ids], np.int64)
            start = 0
            while len(found) < len(wanted):
                length = wanted[len(found)]
                # One sentence more than fits: one is taken out.
                room = length - special
                stop = start + int(np.searchsorted(np.cumsum(sizes[start:]), room, side="right")) + 1
                if stop > len(every):
                    break
                cut = _taken_out(every[start:stop], rng)
                start = stop
                if cut is None:
                    continue
                query, passage = cut
                while passage and len(tokenizer(" ".join(passage), verbose=False)["input_ids"]) > length:
                    passage = passage[:-1]
                if not passage:
                    continue
                found.append((length, query, " ".join(passage)))
                advance()
    if len(found) < len(wanted):
        raise InputError(
            f"{documents.reference}: the documents give {len(found)} of {len(wanted)} passages of {min(lengths):,} to "
            f"{max(lengths):,} tokens; ask for fewer queries, or name longer documents"
        )
    # A document with its query's own id would be left out of the ranking, as the query itself.
    query_ids = [f"query {number} of {length}" for number, (length, _, _) in enumerate(found)]
    corpus_ids = [f"passage {number} of {length}" for number, (length, _, _) in enumerate(found)]
    texts, passages = [query for _, query, _ in found], [passage for _, _, passage in found]
    return RetrievalSet(
        name=name,
        split=split,
        query_ids=query_ids,
        queries=texts,
        corpus_ids=corpus_ids,
        corpus=passages,
        qrels={query: {document: 1} for query, document in zip(query_ids, corpus_ids, strict=True)},
        revision=combine("inverse cloze", digest_texts(texts), digest_texts(passages)),
    )


def _taken_out(passage: list[str], rng: np.random.Generator) -> tuple[str, list[str]] | None:
    """Return a sentence that stands in the passage once, and the passage without it; None if none is of a query's size."""
    low, high = QUERY_WORDS
    able = [place for place, one in enumerate(passage) if low <= len(one.split()) <= high and passage.count(one) == 1]
    if not able or len(passage) == 1:
        return None
    place = able[int(rng.integers(len(able)))]
    return passage[place], passage[:place] + passage[place + 1 :]
