"""What the audit finds between rows: repeated texts, equal texts with different labels, leaks into dev and test.

A leak, which refuses by default, is a training row whose text is in dev or test, up to case and white space, or whose group
is. Near duplicates are estimates: a warning, and audit.leakage=drop removes them too.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from finewise.config import LabelAuditConfig
from finewise.data.keys import mix
from finewise.data.labels.findings import finding, partner
from finewise.data.labels.rows import Labelled
from finewise.data.near import matches, sketch
from finewise.data.report import Finding, Severity, sampled

Rows = NDArray[np.int64]


def conflicting(data: Labelled) -> Rows:
    """Return the rows whose text another row has with different labels, equal texts together."""
    labels = data.label_keys()
    order = np.lexsort((np.arange(len(data)), data.keys))
    keys = data.keys[order]
    start = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    unit = np.repeat(np.arange(len(start)), np.diff(np.append(start, len(keys))))
    differs = labels[order] != labels[order][start][unit]
    rows: Rows = order[np.bincount(unit, differs, len(start))[unit] > 0]
    return rows


def repeats(data: Labelled, config: LabelAuditConfig) -> Iterator[Finding]:
    """Yield rows whose text occurs before, with the same labels and with others."""
    both = mix(data.keys) ^ mix(data.label_keys() + np.uint64(0x9E3779B97F4A7C15))
    _, first, code = np.unique(both, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[code] != np.arange(len(data)))
    if len(again):
        partners = [partner(data, int(first[code[row]]), "=") for row in again[: config.examples]]
        message = "rows repeat the text and label of an earlier row; remove them"
        yield finding("duplicate_rows", "warn", data, again, message, config.examples, partners)
    rows = conflicting(data)
    if len(rows):
        fate = (
            "left out (audit.conflicts=drop)" if config.conflicts == "drop" else "audit.conflicts=drop leaves them out"
        )
        if data.split != "train":
            fate = "no model can get all of them right"
        texts = len(np.unique(data.keys[rows]))
        message = f"rows have conflicting labels: {texts:,} texts occur with different ones; {fate}"
        # Two of each text show the conflict best.
        shown = rows[_first_two(data.keys[rows], data.label_keys()[rows])]
        rest = np.setdiff1d(rows, shown, assume_unique=True)
        yield finding(
            "conflicting_labels", "warn", data, np.concatenate([shown, rest]), message, max(config.examples // 2 * 2, 2)
            if config.examples
            else 0,
        )  # fmt: skip


def _first_two(keys: NDArray[np.uint64], labels: NDArray[np.uint64]) -> Rows:
    """Return, of each run of equal keys, the places of the first row and of the first with another label."""
    start = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    unit = np.repeat(np.arange(len(start)), np.diff(np.append(start, len(keys))))
    other = np.flatnonzero(labels != labels[start][unit])
    _, first = np.unique(unit[other], return_index=True)
    pairs: Rows = np.column_stack([start, other[first]]).reshape(-1)
    return pairs


def leaks(train: Labelled, held: Labelled, config: LabelAuditConfig, leaked: NDArray[np.bool_]) -> Iterator[Finding]:
    """Yield training rows whose text or group is in a held-out set; mark them."""
    fates: dict[str, tuple[Severity, str]] = {
        "refuse": ("refuse", "audit.leakage=drop removes these rows, =allow keeps them"),
        "drop": ("warn", "removed (audit.leakage=drop)"),
        "allow": ("warn", "kept (audit.leakage=allow): scores are too good"),
    }
    severity, fate = fates[config.leakage]
    checks = [("leaked_text", train.keys, held.keys, f"texts are in {held.split}")]
    if train.groups is not None and held.groups is not None:
        checks.append(("leaked_group", train.groups, held.groups, f"rows have a group that is in {held.split}"))  # type: ignore[arg-type]
    for kind, mine, theirs, message in checks:
        rows = np.flatnonzero(np.isin(mine, theirs) & (mine >= 0))
        if len(rows):
            leaked[rows] = True
            partners = [
                partner(held, int(np.flatnonzero(theirs == mine[row])[0]), "=") for row in rows[: config.examples]
            ]
            yield finding(kind, severity, train, rows, f"{message}: {fate}", config.examples, partners)


def between(dev: Labelled, test: Labelled, config: LabelAuditConfig) -> Iterator[Finding]:
    """Yield texts that dev and test share."""
    rows = np.flatnonzero(np.isin(dev.keys, test.keys))
    if len(rows):
        message = "dev texts are test texts too: the checkpoint is chosen on the test; give them different texts"
        yield finding("dev_is_test", "warn", dev, rows, message, config.examples)


def near(
    train: Labelled,
    held: list[Labelled],
    config: LabelAuditConfig,
    seed: int,
    leaked: NDArray[np.bool_],
    advance: Callable[[int], None],
) -> Iterator[Finding]:
    """Yield near duplicates within train and across; mark the leaked rows when they are to be dropped."""
    unique = np.sort(np.unique(train.keys, return_index=True)[1])
    rows = sampled(unique, config.max_rows, seed)
    looked = f" (looked at {len(rows):,} of {len(unique):,} different texts)" if len(rows) < len(unique) else ""
    mine = sketch(iter(train.select(rows).texts), advance)
    twin = matches(mine, None, config.near_duplicate_threshold)
    labels = train.label_keys()[rows]
    found = np.flatnonzero(twin >= 0)
    clash = found[labels[found] != labels[twin[found]]]
    for kind, severity, places, message in (
        (
            "near_duplicate_texts",
            "note",
            np.setdiff1d(found, clash),
            "texts nearly equal an earlier one of the same label",
        ),
        (
            "near_conflicts",
            "warn",
            clash,
            "texts nearly equal an earlier one with another label: is one of them wrong?",
        ),
    ):
        if len(places):
            partners = [partner(train, int(rows[twin[place]]), "≈") for place in places[: config.examples]]
            yield finding(kind, severity, train, rows[places], message + looked, config.examples, partners)  # type: ignore[arg-type]
    for one in held:
        theirs = sampled(np.arange(len(one)), config.max_rows, seed)
        close = matches(mine, sketch(iter(one.select(theirs).texts)), config.near_duplicate_threshold)
        close[np.isin(train.keys[rows], one.keys)] = -1  # equal texts are told elsewhere
        found = np.flatnonzero(close >= 0)
        if not len(found):
            continue
        affected = np.isin(train.keys, train.keys[rows[found]])
        fate = "audit.leakage=drop removes them"
        if config.leakage == "drop":
            leaked |= affected
            fate = "removed (audit.leakage=drop)"
        partners = [partner(one, int(theirs[close[place]]), "≈") for place in found[: config.examples]]
        message = f"texts nearly equal a {one.split} text: {fate}{looked}"
        shown = np.concatenate([rows[found], np.setdiff1d(np.flatnonzero(affected), rows[found])])
        yield finding("near_text", "warn", train, shown, message, config.examples, partners)
