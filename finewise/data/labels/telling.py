"""Label leakage in the text: the label's name in it, and tokens that tell a class alone.

Such rows are easy for a reason that may not hold where the model is used: a template, a signature, a heading with the label.
Everything is counted, nothing is tested: a share, a lift, a precision and a recall over the training rows.
"""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer

from finewise.config import LabelAuditConfig
from finewise.data.labels.findings import finding
from finewise.data.labels.rows import Labelled
from finewise.data.labels.splits import indicators
from finewise.data.report import Finding, sampled

TOKEN = r"\w+"
PRECISION, RECALL, MIN_HITS = 0.98, 0.5, 10
"""A token tells a class alone if it is in this many of its rows, and hardly in others; ten rows at least."""
NAMED_SHARE, LIFT = 0.5, 5.0
"""A label's name in half of the rows of its class, and this many times as often as in others, is a warning."""
LONGEST_NAME = 4


def telling(train: Labelled, config: LabelAuditConfig, seed: int) -> Iterator[Finding]:
    """Yield classes whose texts name them, and classes that one token predicts."""
    rows = sampled(np.arange(len(train)), config.max_rows, seed)
    data = train.select(rows) if len(rows) < len(train) else train
    labels = csr_matrix(indicators(data)[:, : len(data.space)])
    yield from _named(data, labels, config)
    yield from _tokens(data, labels, config)


def _words(name: str, separator: str | None) -> str:
    """Return a label's own words as the vectoriser cuts them; of a path, the last level's."""
    last = name.split(separator)[-1] if separator else name
    return " ".join(re.findall(TOKEN, last.lower().replace("_", " ")))


def _named(data: Labelled, labels: csr_matrix, config: LabelAuditConfig) -> Iterator[Finding]:
    separator = data.space.separator if data.space.kind == "hierarchical" else None
    words = [_words(name, separator) for name in data.space.names]
    usable = [k for k, word in enumerate(words) if re.search(r"[^\W\d]{2}", word) and word.count(" ") < LONGEST_NAME]
    if not usable:
        return
    terms = sorted({words[k] for k in usable})
    longest = max(term.count(" ") for term in terms) + 1
    counter = CountVectorizer(
        vocabulary=terms, ngram_range=(1, longest), token_pattern=TOKEN, binary=True, dtype=np.int32
    )
    found: csr_matrix = counter.transform(data.texts)
    inside = np.asarray((labels.T @ found).todense() if len(terms) * len(words) < 50_000_000 else [])
    if not inside.size:
        return
    place = {term: number for number, term in enumerate(terms)}
    sizes, everywhere = data.counts, np.asarray(found.sum(axis=0)).reshape(-1)
    told = []
    for k in usable:
        column = place[words[k]]
        own = inside[k, column] / max(sizes[k], 1)
        other = (everywhere[column] - inside[k, column]) / max(len(data) - sizes[k], 1)
        if sizes[k] >= config.min_rows and own >= 0.1 and own >= LIFT * other:
            told.append((own, other, k, column))
    told.sort(reverse=True)
    if not told:
        return
    strong = told[0][0] >= NAMED_SHARE
    hit = np.zeros(len(data), dtype=bool)
    for _, _, k, column in told:
        hit |= _both(labels, k, found, column)
    shares = "; ".join(f"{data.space.names[k]} {own:.0%}, {_lift(own, other)}" for own, other, k, _ in told[:5])
    more = f" and {len(told) - 5} more" if len(told) > 5 else ""
    message = (
        f"rows hold the name of their class, in {len(told)} classes far oftener than rows of others ({shares}{more}): was the "
        "label made from the text, or put into it? Right if texts will name it in use too"
    )
    yield finding("label_in_text", "warn" if strong else "note", data, np.flatnonzero(hit), message, config.examples)


def _lift(own: float, other: float) -> str:
    return f"{own / other:.0f} times as often as in others" if other else "in no other class"


def _tokens(data: Labelled, labels: csr_matrix, config: LabelAuditConfig) -> Iterator[Finding]:
    counter = CountVectorizer(token_pattern=TOKEN, binary=True, min_df=MIN_HITS, dtype=np.int32)
    try:
        found: csr_matrix = counter.fit_transform(data.texts)
    except ValueError:  # no token is in ten rows
        return
    both = csr_matrix(labels.T @ found).tocoo()  # (K, V) rows of a class that hold a token
    rows_of, rows_with = data.counts, np.asarray(found.sum(axis=0)).reshape(-1)
    precision, recall = both.data / rows_with[both.col], both.data / rows_of[both.row]
    # A class of nearly all rows is predicted by anything.
    lift = precision / (rows_of[both.row] / len(data))
    telling = (precision >= PRECISION) & (recall >= RECALL) & (both.data >= MIN_HITS) & (lift >= 1.5)
    places = np.flatnonzero(telling)[np.argsort(-both.data[telling], kind="stable")]
    if not len(places):
        return
    tokens = counter.get_feature_names_out()
    best: dict[int, int] = {}
    for place in places:
        best.setdefault(int(both.row[place]), int(place))
    told = "; ".join(
        f"'{tokens[both.col[place]]}' → {data.space.names[k]} (precision {precision[place]:.2f}, recall {recall[place]:.2f})"
        for k, place in list(best.items())[:5]
    )
    more = f" and {len(best) - 5} more classes" if len(best) > 5 else ""
    hit = np.zeros(len(data), dtype=bool)
    for k, place in best.items():
        hit |= _both(labels, k, found, int(both.col[place]))
    message = f"rows hold one token that tells their class alone: {told}{more}; is it there where the model is used?"
    yield finding("telling_token", "warn", data, np.flatnonzero(hit), message, config.examples)


def _both(labels: csr_matrix, label: int, found: csr_matrix, token: int) -> NDArray[np.bool_]:
    """Return (N,) whether a row has both a label and a token."""
    hit: NDArray[np.bool_] = labels[:, [label]].multiply(found[:, [token]]).toarray().reshape(-1) > 0
    return hit
