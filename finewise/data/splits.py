"""Held-out rows: split off so that nothing they share with training leaks, and made into retrieval sets."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finewise.console import say
from finewise.data.beir import retrieval_set
from finewise.data.keys import Keys, combine, digest_texts, mix, pair_keys, text_keys
from finewise.data.pairs import Pairs, graded
from finewise.data.retrieval import RetrievalSet
from finewise.data.store import entry, made_by
from finewise.errors import InputError

MAX_ROWS = 2_000
"""A share (not a count) of a large file never holds out more rows than this: intervals are narrow enough by then."""
MIN_ROWS = 10
"""A share must come to at least this many rows; fewer tell nothing, unless a count asks for them."""

PARTS = "parts.i1"

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Disjoint parts of the rows; dev or test is None if it was not asked for."""

    train: Pairs
    dev: Pairs | None
    test: Pairs | None


def split(
    pairs: Pairs,
    dev_size: float | None,
    test_size: float | None,
    seed: int,
    *,
    apart: NDArray[np.bool_] | None = None,
    by: str = "linked",
) -> Split:
    """Split dev and test off, keeping rows together that share an anchor, a positive or a group.

    Rows are nodes of a graph, joined when they share an anchor or positive, in whichever of the two columns (by content key:
    case, white space and Unicode form do not count), or when they share a group. Hard negatives join nothing: they often come
    from one corpus, and would chain all rows; the audit tells of those that are answers of a held-out set. Whole connected
    components are sampled, in an order that depends only on the seed and the content, until a part is full; one that no longer
    fits stays in train.

    Args:
        pairs: The rows.
        dev_size: A share of the rows below 1 (at most 2,000 rows are taken), or a number of rows; None for no dev.
        test_size: The same for test.
        seed: Decides which components are sampled.
        apart: (N,) rows that must stay in train with all that are linked to them: they have texts of another held-out set.
        by: What stays in one part, see `components`.

    Raises:
        InputError: There are too few rows, or they hang together too much.
    """
    targets = targets_of(dev_size, test_size, len(pairs), pairs.reference, MAX_ROWS)
    made = made_by(("finewise.data.splits", "finewise.data.keys"), ("numpy", "scipy"))
    kept = b"" if apart is None or not apart.any() else apart.tobytes()
    key = combine("split", made, pairs.revision, *targets.items(), seed, hashlib.sha256(kept).hexdigest(), by)

    def build(folder: Path) -> dict[str, Any]:
        _drawn(pairs, targets, seed, apart, by).tofile(folder / PARTS)
        return {}

    parts = np.fromfile(entry(key, build, kind="splits")[0] / PARTS, dtype=np.int8)
    chosen = {name: pairs.select(np.flatnonzero(parts == number)) for number, name in enumerate(targets, 1)}
    return Split(train=pairs.select(np.flatnonzero(parts == 0)), dev=chosen.get("dev"), test=chosen.get("test"))


def _drawn(
    pairs: Pairs, targets: Mapping[str, int], seed: int, apart: NDArray[np.bool_] | None, by: str
) -> NDArray[np.int8]:
    """Return (N,) 0 for rows of train, 1 for those of the first target, 2 for those of the second."""
    labels = components(pairs, by)
    sizes = np.bincount(labels)
    lowest = np.full(len(sizes), np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(lowest, labels, pairs.anchor_keys)
    order = np.argsort(mix(lowest ^ mix(np.array([seed], dtype=np.uint64) + np.uint64(1))), kind="stable")
    if apart is not None:
        order = order[~np.isin(order, labels[apart])]
        free = int(sizes[order].sum())
        if free < len(pairs) and free < sum(max(1, target // 2) for target in targets.values()):
            raise InputError(
                f"{pairs.reference}: {' and '.join(targets)} cannot be split off: {len(pairs) - free} of {len(pairs)} rows are "
                f"linked to texts of the other held-out file; give {' and '.join(f'data.{name}' for name in targets)} files of "
                "their own"
            )
    part = np.zeros(len(sizes), dtype=np.int8)
    for number, (name, target) in enumerate(targets.items(), 1):
        _fill(part, number, order, sizes, target)
        got = int(sizes[part == number].sum())
        if got < max(1, target // 2):
            raise InputError(_stuck(pairs, labels, sizes, name, target, got, by))
    return part[labels]


def targets_of(
    dev_size: float | None, test_size: float | None, total: int, reference: str, most: int
) -> dict[str, int]:
    """Return how many of `total` rows test and dev are to hold out, those that are asked for.

    Args:
        dev_size: A share below 1, which comes to `most` rows at most, or a number of rows; None for no dev.
        test_size: The same for test.
        total: See above.
        reference: What messages call the data.
        most: See above.

    Raises:
        InputError: A share comes to too few rows, a number is no whole one, or too few rows would be left.
    """
    asked = {name: size for name, size in (("test", test_size), ("dev", dev_size)) if size}
    few = [name for name, size in asked.items() if size < 1 and min(most, round(size * total)) < MIN_ROWS]
    if few:
        raise InputError(_too_few(few, asked, total, reference))
    targets = {name: _target(name, size, total, most) for name, size in asked.items()}
    if sum(targets.values()) > total - 2:
        raise InputError(
            f"{reference}: dev and test would take {sum(targets.values())} of {total} rows; "
            f"{'set ' + ' and '.join(f'data.{name}_size' for name in targets)} lower"
        )
    return targets


def _too_few(few: list[str], asked: Mapping[str, float], total: int, reference: str) -> str:
    """Return what to do where shares come to too few rows: for all parts at once, so that the advice works."""
    if total < 3 * MIN_ROWS:
        own, own_file = " and ".join(asked), " and ".join(f"data.{name}" for name in asked)
        files = "files of their own" if len(asked) > 1 else "a file of its own"
        return f"{reference} has {total} rows, too few to split {own} off; give {own_file} {files}"
    given = " and ".join(f"data.{name}_size={asked[name]:g} holds out {round(asked[name] * total)}" for name in few)
    return (
        f"{reference} has {total} rows, so {given}; at least {MIN_ROWS} are needed: set "
        f"{' '.join(f'data.{name}_size={MIN_ROWS}' for name in few)}, or give "
        f"{' and '.join(f'data.{name}' for name in few)} {'files of their own' if len(few) > 1 else 'a file of its own'}"
    )


def _target(name: str, size: float, total: int, most: int) -> int:
    if size < 1:
        return min(most, round(size * total))
    if size != int(size):
        raise InputError(f"data.{name}_size must be a share below 1 or a whole number of rows; got {size:g}")
    return int(size)


def held_out(
    keys: Keys, targets: Mapping[str, int], seed: int, reference: str, alike: str, apart: Keys | None = None
) -> dict[str, Rows]:
    """Sample rows for each target; rows of equal keys stay together.

    Args:
        keys: (N,) what rows share that belong together.
        targets: Part -> rows, see `targets_of`.
        seed: Draws; the order of the rows does not count.
        reference: What messages call the data.
        alike: Why few could be drawn, for messages: "too many documents are equal".
        apart: Keys of a held-out file of its own: rows that have them stay in train.

    Returns:
        "train" and each target -> its rows, ascending.

    Raises:
        InputError: Rows that belong together leave a part less than half of its target.
    """
    values, code, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    part = np.zeros(len(sizes), dtype=np.int8)
    order = np.random.default_rng(seed).permutation(len(sizes))
    if apart is not None and (taken := np.isin(values, apart)).any():
        order = order[~taken[order]]
        alike = f"{sizes[taken].sum()} of {len(keys)} rows are in the other held-out file"
    for number, (name, target) in enumerate(targets.items(), 1):
        _fill(part, number, order, sizes, target)
        got = int(sizes[part == number].sum())
        if got < target / 2:
            raise InputError(
                f"{reference}: {alike}, so only {got} of {target} rows could be held out for {name}; give data.{name} a file "
                "of its own"
            )
    return {name: np.flatnonzero(part[code] == number) for number, name in enumerate(["train", *targets])}


def components(pairs: Pairs, by: str = "linked") -> NDArray[np.int32]:
    """Return (N,) the number of the connected component that each row belongs to.

    Args:
        pairs: The rows.
        by: "linked": rows are joined by any shared text and by groups; "anchor": by their anchors and groups, and a pair to
            its like, reversed or not.
    """
    texts, nodes = _codes(np.concatenate([pairs.anchor_keys, pairs.positive_keys]))
    anchors, positives = texts[: len(pairs)], texts[len(pairs) :]
    if by == "anchor":
        positives, count = _codes(pair_keys(pairs.anchor_keys, pairs.positive_keys))
        positives += nodes
        nodes += count
    sources, targets = [anchors], [positives]
    groups = group_keys(pairs)
    if groups is not None:
        known = np.flatnonzero(groups != 0)
        codes, count = _codes(groups[known])
        sources.append(anchors[known])
        targets.append(codes + nodes)
        nodes += count
    label = _joined(np.concatenate(sources), np.concatenate(targets), nodes)
    used: NDArray[np.int32] = np.unique(label[anchors], return_inverse=True)[1].astype(np.int32)
    return used


def group_keys(pairs: Pairs) -> Keys | None:
    """Return (N,) a key per row's group, 0 where the row has none; None without a group column."""
    if "group" not in pairs.columns:
        return None
    return pairs.keys("group")


def _codes(keys: Keys) -> tuple[NDArray[np.int64], int]:
    unique, codes = np.unique(keys, return_inverse=True)
    return codes.astype(np.int64), len(unique)


def _fill(part: NDArray[np.int8], number: int, order: Rows, sizes: Rows, target: int) -> None:
    """Give free components, in order, to a part until it has `target` rows."""
    left = target
    for component in order:
        if left == 0:
            return
        if part[component] == 0 and sizes[component] <= left:
            part[component] = number
            left -= int(sizes[component])


def _stuck(pairs: Pairs, labels: NDArray[np.int32], sizes: Rows, name: str, target: int, got: int, by: str) -> str:
    """Say which value holds the largest component together."""
    largest = int(np.argmax(sizes))
    rows = np.flatnonzero(labels == largest)
    columns = {"anchor": pairs.anchor_keys, "positive": pairs.positive_keys}
    groups = group_keys(pairs)
    if groups is not None:
        columns["group"] = groups
    shared = {}
    for column, keys in columns.items():
        values, first, counts = np.unique(keys[rows], return_index=True, return_counts=True)
        counts[values == 0] = 0
        shared[column] = (int(counts.max()), int(rows[first[counts.argmax()]]))
    column = max(shared, key=lambda key: shared[key][0])
    count, row = shared[column]
    value = " ".join(str(pairs.texts(column, [row])[0]).split())[:60]
    why = f"{count} of them share the {column} '{value}' ({pairs.where(row)})"
    if count < len(rows) / 4:
        why = (
            "they are chained by shared texts; the most common is "
            f"the {column} '{value}', {count} rows ({pairs.where(row)})"
        )
    return (
        f"{pairs.reference}: {name} cannot be split off: it should get {target} rows and gets {got}, because "
        f"{len(rows)} of "
        f"{len(pairs)} rows hang together and must stay in one split: {why}; give data.dev and data.test files of "
        "their own, "
        f"or {'name another data.columns.group' if column == 'group' else 'remove that text'}"
        + (
            ", or set data.split_by=anchor: documents may then be in several splits, and scores are higher for it"
            if by == "linked" and column != "group"
            else ""
        )
    )


def to_retrieval(
    pairs: Pairs, name: str, split: str, *, distractors: Sequence[str] = (), relevant_score: float = 0.5
) -> RetrievalSet:
    """Make held-out pairs a retrieval set: unique anchors search unique positives.

    Texts that differ only in case or white space are one (the first spelling is kept). With scores, a pair is relevant
    from `relevant_score` on and judged not relevant below it; an anchor without any relevant text is no query.

    Args:
        pairs: The held-out rows.
        name: What records call the set.
        split: "dev" or "test".
        distractors: More documents to search among; those that are there already are not added twice.
        relevant_score: See above; without a score column every pair is relevant.

    Raises:
        InputError: No pair is relevant, or the scores and `relevant_score` do not fit.
    """
    relevant = _relevant(pairs, split, relevant_score)
    _, document_row, document = np.unique(pairs.positive_keys, return_index=True, return_inverse=True)
    _, query_row, query = np.unique(pairs.anchor_keys, return_index=True, return_inverse=True)
    answered = np.zeros(len(query_row), dtype=bool)
    answered[query[relevant]] = True
    corpus = _texts_by_row(pairs, "positive", document_row)
    queries = _texts_by_row(pairs, "anchor", query_row[answered])
    query_names = [f"q{pairs.numbers[row]}" for row in query_row]
    own = dict(zip(pairs.anchor_keys[query_row].tolist(), query_names, strict=True))  # a query among the documents
    document_names = [own.get(int(pairs.positive_keys[row]), f"d{pairs.numbers[row]}") for row in document_row]
    document_order = np.argsort(document_row, kind="stable")
    query_order = np.argsort(query_row[answered], kind="stable")
    answered_names = [query_names[code] for code in np.flatnonzero(answered)]
    qrels: dict[str, dict[str, int]] = {answered_names[code]: {} for code in query_order}
    for row in np.flatnonzero(answered[query]):
        grades = qrels[query_names[query[row]]]
        key = document_names[document[row]]
        grades[key] = max(grades.get(key, 0), int(relevant[row]))
    known = set(pairs.positive_keys.tolist())
    corpus_ids = [document_names[code] for code in document_order]
    texts = [corpus[code] for code in document_order]
    for text, key in zip(distractors, text_keys(distractors).tolist(), strict=True):
        if key not in known:
            known.add(key)
            corpus_ids.append(own.get(key, f"x{len(corpus_ids)}"))
            texts.append(text)
    return retrieval_set(
        name=name,
        split=split,
        query_ids=tuple(answered_names[code] for code in query_order),
        queries=tuple(queries[code] for code in query_order),
        corpus_ids=tuple(corpus_ids),
        corpus=tuple(texts),
        qrels=qrels,
        corpus_digest=digest_corpus(corpus_ids, texts),
        clusters=_clusters(pairs, query, np.flatnonzero(answered)[query_order]),
        groups=None if (groups := group_keys(pairs)) is None else frozenset(groups[groups != 0].tolist()),
    )


def _clusters(pairs: Pairs, query: Rows, wanted: Rows) -> list[int] | None:
    """Return the number of the cluster of some queries: those that groups join, directly or not; None without groups.

    Args:
        pairs: The rows.
        query: (N,) number of each row's query.
        wanted: The queries.
    """
    groups = group_keys(pairs)
    if groups is None:
        return None
    known = np.flatnonzero(groups != 0)
    codes, count = _codes(groups[known])
    queries = int(query.max()) + 1
    label = _joined(query[known], queries + codes, queries + count)
    return [int(number) for number in np.unique(label[wanted], return_inverse=True)[1]]


def _joined(left: Rows, right: Rows, nodes: int) -> NDArray[np.int32]:
    """Return the connected component of each of (nodes,), with an edge from each of `left` to its like in `right`."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ends = left.astype(np.int32), right.astype(np.int32)
    graph = coo_matrix((np.ones(len(left), dtype=np.int8), ends), shape=(nodes, nodes))
    label: NDArray[np.int32] = connected_components(graph.tocsr(), directed=False)[1]
    return label


def digest_corpus(ids: Sequence[str], texts: Sequence[str]) -> str:
    """Return the digest of a corpus, equal to what `finewise.data.beir` computes for the same in a file."""
    return combine(digest_texts(ids), digest_texts(texts))


def _texts_by_row(pairs: Pairs, column: str, rows: Rows) -> list[str]:
    order = np.argsort(rows, kind="stable")
    texts = np.empty(len(rows), dtype=object)
    texts[order] = pairs.texts(column, rows[order])
    return list(texts)


def _relevant(pairs: Pairs, split: str, threshold: float) -> NDArray[np.bool_]:
    if "score" not in pairs.columns:
        return np.ones(len(pairs), dtype=bool)
    scores = pairs.scores()
    low, high = scores.min(), scores.max()
    relevant: NDArray[np.bool_] = scores >= threshold
    span = f"the scores of {split} in {pairs.reference} go from {low:g} to {high:g}"
    if not relevant.any():
        raise InputError(f"no pair is relevant: {span}, and data.relevant_score={threshold:g} is above; set it lower")
    fractions = bool((scores != np.round(scores)).any())
    if (relevant.all() and low < high) or (fractions and high > 1 >= threshold):
        raise InputError(
            f"data.relevant_score={threshold:g} does not fit: {span}; set data.relevant_score on that scale, such as "
            f"{low + 0.75 * (high - low):.3g}"
        )
    if not fractions and high > 1 >= threshold:
        say(f"note: {graded(scores, threshold, f'of {split} in {pairs.reference}')}")
    return relevant


def subset(task: RetrievalSet, max_queries: int | None, max_corpus: int | None, seed: int) -> RetrievalSet:
    """Return a smaller set, sampled with the seed: fewer queries, and their relevant documents among fewer others.

    Args:
        task: The set.
        max_queries: Keep at most this many of the judged queries; None keeps all queries.
        max_corpus: Keep at most this many documents; None keeps all.
        seed: Decides which.

    Raises:
        InputError: The relevant documents alone are more than `max_corpus`.
    """
    few_queries = max_queries is not None and max_queries < len(task.query_ids)
    few_documents = max_corpus is not None and max_corpus < len(task.corpus_ids)
    if not few_queries and not few_documents:
        return task
    draw = np.random.default_rng(seed)
    places = np.arange(len(task.query_ids))
    if few_queries:
        judged = [place for place, key in enumerate(task.query_ids) if key in task.qrels]
        places = np.sort(draw.permutation(judged)[:max_queries])
    query_ids = tuple(task.query_ids[int(place)] for place in places)
    qrels = {key: dict(task.qrels[key]) for key in query_ids if key in task.qrels}
    corpus_ids: Sequence[str] = task.corpus_ids
    corpus: Sequence[str] = task.corpus
    if few_documents:
        assert max_corpus is not None
        relevant = {document for grades in qrels.values() for document, grade in grades.items() if grade > 0}
        if len(relevant) > max_corpus:
            raise InputError(
                f"data.max_dev_corpus={max_corpus} is below the {len(relevant)} relevant documents of the "
                f"{len(qrels)} dev "
                f"queries, which must stay; set it to at least {len(relevant)}, or lower data.max_dev_queries"
            )
        is_relevant = np.fromiter((key in relevant for key in corpus_ids), dtype=bool, count=len(corpus_ids))
        others = draw.permutation(np.flatnonzero(~is_relevant))[: max_corpus - int(is_relevant.sum())]
        kept = np.sort(np.concatenate([np.flatnonzero(is_relevant), others]))
        corpus_ids = tuple(corpus_ids[int(place)] for place in kept)
        corpus = tuple(corpus[int(place)] for place in kept)
        there = set(corpus_ids)
        qrels = {key: {doc: grade for doc, grade in grades.items() if doc in there} for key, grades in qrels.items()}
    return retrieval_set(
        name=task.name,
        split=task.split,
        query_ids=query_ids,
        queries=tuple(task.queries[int(place)] for place in places),
        corpus_ids=corpus_ids,
        corpus=corpus,
        qrels=qrels,
        corpus_digest=digest_corpus(corpus_ids, corpus),
        clusters=None if task.clusters is None else [task.clusters[int(place)] for place in places],
        groups=task.groups,
    )
