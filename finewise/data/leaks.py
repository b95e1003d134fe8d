"""What the audit finds between the splits: leaked rows and near duplicates.

Leakage, which refuses by default, is a training row that shares, up to case, white space and Unicode form, its anchor with a
held-out query, both texts (in either order) with a held-out pair, or its group with one (`data.columns.group`). A document
may be relevant to a training query and to a held-out one, as in every collection with one corpus; that is a warning, since
the model has seen the text, and so is a text that stands in the other role, or as a hard negative. A training positive that
is only one of the documents searched among gives nothing away and is a note. Near duplicates across the splits are a warning:
they are estimates, and whether they leak is for people to judge; audit.leakage=drop removes them too.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from finewise.config import AuditConfig
from finewise.data.held import Held
from finewise.data.keys import pair_keys
from finewise.data.near import matches, sketch
from finewise.data.pairs import Pairs
from finewise.data.report import Example, Finding, Severity, rows_shown, sampled, shorten
from finewise.data.splits import group_keys


def leaks(train: Pairs, held: Held, config: AuditConfig, leaked: NDArray[np.bool_]) -> Iterator[Finding]:
    """Yield exact overlaps of train and one held-out set; mark the leaked rows."""
    split = held.label
    fates: dict[str, tuple[Severity, str]] = {
        "refuse": ("refuse", "audit.leakage=drop removes these rows, =allow keeps them"),
        "drop": ("warn", "removed (audit.leakage=drop)"),
        "allow": ("warn", "kept (audit.leakage=allow): scores are too good"),
    }
    severity, fate = fates[config.leakage]
    relevant = held.corpus[held.relevant]
    checks = [
        ("leaked_query", train.anchor_keys, held.queries, "anchor", f"anchors equal a {split} query", held.query),
        (
            *("leaked_pair", pair_keys(train.anchor_keys, train.positive_keys), held.pairs, "anchor"),
            f"pairs equal a {split} pair",
            lambda number: held.query(int(held.pair_queries[number])),
        ),
    ]
    for kind, mine, theirs, column, message, name in checks:
        rows = np.flatnonzero(np.isin(mine, theirs))
        if len(rows):
            leaked[rows] = True
            shown = rows[: config.examples]
            partners = [int(np.flatnonzero(theirs == mine[row])[0]) for row in shown]
            examples = tuple(
                Example(where=train.where(int(row)), text=f"{shorten(text)} = {name(partner)}")
                for row, text, partner in zip(shown, train.texts(column, shown), partners, strict=True)
            )
            yield Finding(
                kind=kind,
                severity=severity,
                split="train",
                count=len(rows),
                of=len(train),
                message=f"{message}: {fate}",
                examples=examples,
            )
    groups = group_keys(train) if held.task.groups else None
    if groups is not None and held.task.groups:
        rows = np.flatnonzero(np.isin(groups, np.fromiter(held.task.groups, dtype=np.uint64)))
        if len(rows):
            leaked[rows] = True
            yield Finding(
                kind="leaked_group",
                severity=severity,
                split="train",
                count=len(rows),
                of=len(train),
                message=f"rows have a group that is in {split}: {fate}",
                examples=rows_shown(train, rows[: config.examples], ["group"]),
            )
    answers, questions = np.isin(train.positive_keys, relevant), np.isin(train.anchor_keys, relevant)
    elsewhere = np.isin(train.positive_keys, held.corpus) & ~answers
    searched = f"documents that {split} searches among"
    swapped = "the model is trained on the text in the other role"
    shared = "the model has seen the text, with another query"
    answer = f"a document relevant to a {split} query"
    is_query = np.isin(train.positive_keys, held.queries)
    is_document = np.isin(train.anchor_keys, held.corpus) & ~questions
    remarks: list[tuple[str, Severity, NDArray[np.bool_], str, str]] = [
        ("shared_document", "warn", answers, "positive", f"positives equal {answer}: {shared}"),
        ("anchor_is_answer", "warn", questions, "anchor", f"anchors equal {answer}: {swapped}"),
        ("positive_is_query", "warn", is_query, "positive", f"positives are {split} queries: {swapped}"),
        (
            "corpus_overlap",
            "note",
            elsewhere,
            "positive",
            f"positives are {searched}, relevant to no {split} query: no leak",
        ),
        ("anchor_in_corpus", "note", is_document, "anchor", f"anchors are {searched}"),
    ]
    for column in train.negatives:
        pushed = np.isin(train.keys(column), relevant)
        away = f"{column.replace('_', ' ')} texts equal {answer}: training pushes it away from another query"
        remarks.append(("negative_is_answer", "warn", pushed, column, away))
    for kind, severity, mask, column, message in remarks:
        rows = np.flatnonzero(mask)
        if len(rows):
            yield Finding(
                kind=kind,
                severity=severity,
                split="train",
                count=len(rows),
                of=len(train),
                message=message,
                examples=rows_shown(train, rows[: config.examples], [column]),
            )


def searched_for_itself(held: Held, config: AuditConfig) -> Iterator[Finding]:
    """Yield judged queries whose own text is among the documents, judged by nobody."""
    other, own = held.twins
    fates: list[tuple[str, Severity, NDArray[np.int64], str]] = [
        (
            "unjudged_query_in_corpus",
            "warn",
            other,
            "queries are documents too, which nobody judged for them: they are found first and count as wrong; judge them, "
            "give them the queries' ids (they are left out then), or remove them",
        ),
        (
            "query_in_corpus",
            "note",
            own,
            "queries are documents of the same id, which nobody judged for them: left out of their ranking",
        ),
    ]
    for kind, severity, rows, message in fates:
        if len(rows):
            yield Finding(
                kind=kind,
                severity=severity,
                split=held.label,
                count=len(rows),
                of=len(held.queries),
                message=message,
                examples=tuple(
                    Example(where=held.query(int(row)), text=shorten(held.task.queries[int(row)]))
                    for row in rows[: config.examples]
                ),
            )


def between(dev: Held, test: Held, config: AuditConfig) -> Iterator[Finding]:
    """Yield queries that dev and test share."""
    rows = np.flatnonzero(np.isin(dev.queries, test.queries))
    if len(rows):
        yield Finding(
            kind="dev_is_test",
            severity="warn",
            split="dev",
            count=len(rows),
            of=len(dev.queries),
            message="dev queries are test queries too: the checkpoint is chosen on the test; give them different "
            "queries",
            examples=tuple(
                Example(where=dev.query(int(row)), text=shorten(dev.task.queries[int(row)]))
                for row in rows[: config.examples]
            ),
        )


def near(
    train: Pairs,
    held: list[Held],
    config: AuditConfig,
    seed: int,
    leaked: NDArray[np.bool_],
    advance: Callable[[int], None],
) -> Iterator[Finding]:
    """Yield near duplicates within train and across; mark the leaked rows when they are to be dropped."""
    for column, keys in (("anchor", train.anchor_keys), ("positive", train.positive_keys)):
        unique = np.sort(np.unique(keys, return_index=True)[1])
        rows = sampled(unique, config.max_rows, seed)
        looked = f" (looked at {len(rows)} of {len(unique)} different texts)" if len(rows) < len(unique) else ""
        mine = sketch(_train_texts(train, column, rows), advance)
        twin = matches(mine, None, config.near_duplicate_threshold)
        found = np.flatnonzero(twin >= 0)
        if len(found):
            shown = found[: config.examples]
            others = [train.where(int(rows[twin[place]])) for place in shown]
            yield Finding(
                kind=f"near_duplicate_{column}s",
                severity="note",
                split="train",
                count=len(found),
                of=len(rows),
                message=f"{column}s nearly equal an earlier {column}{looked}",
                examples=tuple(
                    replace(example, text=f"{example.text} ≈ {other}")
                    for example, other in zip(rows_shown(train, rows[shown], [column]), others, strict=True)
                ),
            )
        for one in held:
            if column == "anchor":
                kind, theirs, name = "near_query", np.arange(len(one.queries)), one.query
                texts: Sequence[str] = one.task.queries
                there, what = one.queries, f"a {one.label} query"
            else:
                kind, theirs, name = "near_document", one.relevant, one.document
                texts = one.task.corpus
                there, what = one.corpus, f"a document relevant to a {one.label} query"
            theirs = sampled(theirs, config.max_rows, seed)
            base = sketch(texts[int(number)] for number in theirs)
            close = matches(mine, base, config.near_duplicate_threshold)
            close[np.isin(keys[rows], there[theirs])] = -1  # equal texts are told elsewhere
            found = np.flatnonzero(close >= 0)
            if not len(found):
                continue
            affected = np.isin(keys, keys[rows[found]])
            fate = "audit.leakage=drop removes them"
            if config.leakage == "drop":
                leaked |= affected
                fate = "removed (audit.leakage=drop)"
            shown = found[: config.examples]
            partners = [int(theirs[close[place]]) for place in shown]
            yield Finding(
                kind=kind,
                severity="warn",
                split="train",
                count=int(affected.sum()),
                of=len(train),
                message=f"{column}s nearly equal {what}: {fate}{looked}",
                examples=tuple(
                    replace(example, text=f"{example.text} ≈ {name(partner)} '{shorten(texts[partner], 60)}'")
                    for example, partner in zip(rows_shown(train, rows[shown], [column]), partners, strict=True)
                ),
            )


def _train_texts(train: Pairs, column: str, rows: NDArray[np.int64]) -> Iterator[str]:
    for start, table in train.batches([column]):
        low, high = np.searchsorted(rows, [start, start + table.num_rows])
        yield from table.column(column).take(pa.array(rows[low:high] - start)).to_pylist()
