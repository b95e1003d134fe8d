"""From the settings to audited rows: read, split, audit, cut to size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from finewise.config import AuditConfig, DataConfig
from finewise.data.audited import audited
from finewise.data.keys import combine, text_keys
from finewise.data.pairs import Pairs
from finewise.data.report import AuditReport
from finewise.data.retrieval import RetrievalSet
from finewise.data.sources import is_retrieval, read_pairs, read_retrieval, splits
from finewise.data.splits import group_keys, split, subset, to_retrieval
from finewise.data.tokens import TokenLimit
from finewise.errors import InputError

Part = Literal["dev", "test"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedData:
    """What a run trains on, chooses by and is proved on.

    Attributes:
        train: The training rows.
        split: All rows of the training split, of which data.max_train_rows drew `train`.
        dev: The set that chooses the checkpoint, already cut to data.max_dev_queries and data.max_dev_corpus.
        test: The set that is read once, at the end.
        report: What the audit found, before rows were dropped or drawn.
        revision: sha256 over train, dev and test as they are here.
        rows: Split -> training rows, or held-out queries.
    """

    train: Pairs
    split: Pairs
    dev: RetrievalSet | None
    test: RetrievalSet | None
    report: AuditReport
    revision: str
    rows: Mapping[str, int]


def load(
    config: DataConfig,
    audit_config: AuditConfig,
    seed: int,
    *,
    limit: TokenLimit | str | None = None,
    more: Sequence[RetrievalSet] = (),
) -> LoadedData:
    """Read, split and audit the data; refuse what the audit refuses.

    Args:
        config: The data.
        audit_config: What is looked for, and what a leak leads to.
        seed: Of the samples; `config.split_seed` is that of the splits.
        limit: How tokens are counted, see finewise.data.tokens; None leaves the ledger of cut texts out.
        more: Other sets that will be scored, to be audited for leaks as well.

    Raises:
        InputError: The data is wrong, or leaks and audit.leakage is refuse.
    """
    data = prepare(config, audit_config, seed, limit=limit, more=more)
    data.report.check()
    return data


def prepare(
    config: DataConfig,
    audit_config: AuditConfig,
    seed: int,
    *,
    limit: TokenLimit | str | None = None,
    more: Sequence[RetrievalSet] = (),
) -> LoadedData:
    """Do all that `load` does, but leave it to the caller to obey the report's refusals."""
    train = read_pairs(config.train, config.columns)
    named: dict[Part, str | None] = {"dev": config.dev, "test": config.test}
    own = splits(config.train)
    held: dict[Part, RetrievalSet | None] = {}
    remarks: list[str] = []
    for part, reference in named.items():
        if reference is None and part in own:
            reference = config.train
        if reference is not None:
            held[part] = _read_held(reference, part, config, remarks)
    missing = [part for part in named if part not in held]
    if missing:
        cut = split(
            train,
            config.dev_size if "dev" in missing else None,
            config.test_size if "test" in missing else None,
            config.split_seed,
            apart=_shared(train, held),
            by=config.split_by,
        )
        train = cut.train
        pieces = {part: piece for part, piece in (("dev", cut.dev), ("test", cut.test)) if piece is not None}
        for part in missing:
            # Both search the documents of both: twice the corpus, and still no training row in it.
            others = [text for name, piece in pieces.items() if name != part for text in piece.rows["positive"]]
            held[part] = _to_retrieval(pieces[part], part, config, others, remarks)
    report = audited(train, held["dev"], held["test"], audit_config, limit=limit, seed=seed, remarks=remarks, more=more)
    if audit_config.leakage == "drop" and len(report.leaked):
        keep = np.setdiff1d(np.arange(len(train)), report.leaked, assume_unique=True)
        if len(keep) < 2:
            raise InputError(
                f"{config.train}: audit.leakage=drop would leave {len(keep)} of {len(train)} training rows: "
                "nearly all of them "
                "are in the held-out data; give other data.dev and data.test files"
            )
        train, report = train.select(keep), replace(report, dropped=len(report.leaked))
    whole = train
    if config.max_train_rows is not None and config.max_train_rows < len(train):
        train = train.select(np.random.default_rng(seed).permutation(len(train))[: config.max_train_rows])
    dev = held["dev"]
    if dev is not None:
        dev = subset(dev, config.max_dev_queries, config.max_dev_corpus, config.split_seed)
    parts = {"train": train.revision} | {task.split: task.revision for task in (dev, held["test"]) if task is not None}
    rows = {"train": len(train)} | {task.split: len(task.query_ids) for task in (dev, held["test"]) if task is not None}
    revision = combine(*(f"{part}={one}" for part, one in parts.items()))
    return LoadedData(train=train, split=whole, dev=dev, test=held["test"], report=report, revision=revision, rows=rows)


def _shared(train: Pairs, held: Mapping[Part, RetrievalSet | None]) -> NDArray[np.bool_]:
    """Return (N,) which rows have a text or a group of a held-out set: dev, when it is split off, must not be made of these."""
    found = np.zeros(len(train), dtype=bool)
    groups = group_keys(train)
    for task in held.values():
        if task is not None:
            if groups is not None and task.groups:
                found |= np.isin(groups, np.fromiter(task.groups, dtype=np.uint64))
            wanted = {document for grades in task.qrels.values() for document, grade in grades.items() if grade > 0}
            relevant = [text for key, text in zip(task.corpus_ids, task.corpus, strict=True) if key in wanted]
            theirs = text_keys([*task.queries, *relevant])
            found |= np.isin(train.anchor_keys, theirs) | np.isin(train.positive_keys, theirs)
    return found


def _read_held(reference: str, part: Part, config: DataConfig, remarks: list[str]) -> RetrievalSet:
    if is_retrieval(reference):
        return read_retrieval(reference, split=part, name=config.name)
    pairs = read_pairs(reference, config.columns, split=part)
    dropped = sum(pairs.notes.empty.values())
    if dropped:
        remarks.append(f"{reference}: {dropped} rows with an empty text were left out of {part}")
    return _to_retrieval(pairs, part, config, [], remarks)


def _to_retrieval(pairs: Pairs, part: Part, config: DataConfig, others: list[str], remarks: list[str]) -> RetrievalSet:
    task = to_retrieval(pairs, config.name, part, distractors=others, relevant_score=config.relevant_score)
    without = len(np.unique(pairs.anchor_keys)) - len(task.query_ids)
    if without:
        remarks.append(
            f"{without} anchors of {part} have no text with a score of at least "
            f"data.relevant_score={config.relevant_score:g}; "
            f"they are no queries"
        )
    return task
