"""From the settings to audited labelled rows: read, understand, split, audit, cut to size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from finewise.config import LabelAuditConfig, LabelDataConfig
from finewise.data.keys import combine
from finewise.data.labels.audited import audited_labels
from finewise.data.labels.repeats import conflicting
from finewise.data.labels.rows import Labelled
from finewise.data.labels.space import LabelSpace
from finewise.data.labels.splits import sample, shared_rows, split_labels
from finewise.data.labels.stored import Stored, read_stored
from finewise.data.labels.suspects import Suspects, suspects
from finewise.data.labels.understand import labelled, space_of, understand
from finewise.data.report import AuditReport
from finewise.data.sources import builtin, splits
from finewise.data.tokens import TokenLimit
from finewise.errors import InputError

Part = Literal["dev", "test"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledData:
    """What a run trains on, chooses by and is proved on.

    Attributes:
        train: The training rows.
        audited: All rows of the training split, before rows were dropped or drawn: those that report and suspects speak of.
        split: The same without the dropped ones, of which data.max_train_rows drew `train`.
        dev: The rows that choose the checkpoint, already cut to data.max_dev_rows.
        test: The rows that are read once, at the end.
        space: The classes.
        report: What the audit found, before rows were dropped or drawn.
        suspects: Training rows by how likely their label is wrong, before rows were dropped; None without
            audit.label_errors, or where they were not looked for (the report says why).
        revision: sha256 over train, dev and test as they are here.
        rows: Split -> rows.
        dropped: Training rows that were left out for leaks and conflicts.
    """

    train: Labelled
    audited: Labelled
    split: Labelled
    dev: Labelled
    test: Labelled
    space: LabelSpace
    report: AuditReport
    suspects: Suspects | None
    revision: str
    rows: Mapping[str, int]
    dropped: int


def load_labels(
    config: LabelDataConfig, audit: LabelAuditConfig, seed: int, *, limit: TokenLimit | str | None = None
) -> LabelledData:
    """Read, split and audit labelled data; refuse what the audit refuses.

    Args:
        config: The data.
        audit: What is looked for, and what a leak leads to.
        seed: Of the samples; `config.split_seed` is that of the splits.
        limit: How tokens are counted, see finewise.data.tokens; None leaves the ledger of cut texts out.

    Raises:
        InputError: The data is wrong, or leaks and audit.leakage is refuse.
    """
    data = prepare_labels(config, audit, seed, limit=limit)
    data.report.check()
    return data


def prepare_labels(
    config: LabelDataConfig, audit: LabelAuditConfig, seed: int, *, limit: TokenLimit | str | None = None
) -> LabelledData:
    """Do all that `load_labels` does, but leave it to the caller to obey the report's refusals."""
    stored = {"train": read_stored(config.train, config.columns)}
    named: dict[Part, str | None] = {"dev": config.dev, "test": config.test}
    own = splits(config.train)
    for part, reference in named.items():
        if reference is None and part in own:
            reference = config.train
        if reference is not None:
            stored[part] = read_stored(reference, config.columns, split=part)
    cells = {part: understand(one, config, train=part == "train") for part, one in stored.items()}
    space = space_of(stored["train"], cells["train"], config)
    parts = {
        part: labelled(one, cells[part], space, config, part, stored["train"].reference) for part, one in stored.items()
    }
    missing = [part for part in named if part not in parts]
    if missing:
        cut = split_labels(
            parts["train"],
            config.dev_size if "dev" in missing else None,
            config.test_size if "test" in missing else None,
            config.split_seed,
            apart=shared_rows(parts["train"], [one for part, one in parts.items() if part != "train"]),
        )
        parts |= {
            part: one for part, one in (("train", cut.train), ("dev", cut.dev), ("test", cut.test)) if one is not None
        }
    train, dev, test = parts["train"], parts["dev"], parts["test"]
    found = partial(suspects, train, seed, most=audit.max_rows) if audit.label_errors else None
    report = audited_labels(
        train, dev, test, audit, limit=limit, seed=seed, read=_read(stored, config, audit), suspects=found
    )
    whole = _without(train, _left_out(train, report, audit), config)
    report = replace(report, dropped=len(report.leaked) if audit.leakage == "drop" else 0)
    train = whole if config.max_train_rows is None else sample(whole, config.max_train_rows, seed)
    dev = dev if config.max_dev_rows is None else sample(dev, config.max_dev_rows, config.split_seed)
    final = {"train": train, "dev": dev, "test": test}
    return LabelledData(
        train=train,
        audited=parts["train"],
        split=whole,
        dev=dev,
        test=test,
        space=space,
        report=report,
        suspects=found() if found is not None else None,
        revision=combine(*(f"{part}={one.revision}" for part, one in final.items())),
        rows={part: len(one) for part, one in final.items()},
        dropped=len(parts["train"]) - len(whole),
    )


def _read(stored: Mapping[str, Stored], config: LabelDataConfig, audit: LabelAuditConfig) -> Sequence[str]:
    """Return what reading left out or found odd."""
    told: list[str] = []
    for part, one in stored.items():
        left = one.read - len(one.numbers)
        if left:
            first = ", ".join(map(str, one.empty_at[: max(audit.examples, 1)]))
            told.append(
                f"{one.reference}: {left} of {one.read} rows with an empty text were left out ({one.unit} {first})"
            )
        told += one.remarks
        if part == "train" and one.spare and config.train not in builtin(labelled=True):
            told.append(f"{one.reference}: columns that play no role: {', '.join(one.spare)}")
        if one.unused:
            told.append(f"{one.reference}: columns of lists, objects or bytes are not kept: {', '.join(one.unused)}")
    return told


def _left_out(train: Labelled, report: AuditReport, audit: LabelAuditConfig) -> NDArray[np.int64]:
    leaked = report.leaked if audit.leakage == "drop" else np.zeros(0, dtype=np.int64)
    clash = conflicting(train) if audit.conflicts == "drop" else np.zeros(0, dtype=np.int64)
    return np.union1d(leaked, clash)


def _without(train: Labelled, rows: NDArray[np.int64], config: LabelDataConfig) -> Labelled:
    """Return the training rows without some.

    Raises:
        InputError: A class, or nearly everything, would go with them.
    """
    if not len(rows):
        return train
    kept = train.select(np.setdiff1d(np.arange(len(train)), rows, assume_unique=True))
    lost = [train.space.names[k] for k in np.flatnonzero((kept.counts == 0) & (train.counts > 0))]
    if len(kept) < 2 or lost:
        what = f"every row of {len(lost)} classes ({', '.join(lost[:5])})" if len(kept) >= 2 else "nearly all rows"
        raise InputError(
            f"{config.train}: audit.leakage=drop and audit.conflicts=drop would remove {len(rows)} of {len(train)} training "
            f"rows, and with them {what}; give other data.dev and data.test files, or correct these rows"
        )
    return kept
