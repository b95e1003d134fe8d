"""What the audit finds about the classes: too few rows, imbalance, classes that a split lacks."""

import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from finewise.config import LabelAuditConfig
from finewise.data.labels.findings import finding, named
from finewise.data.labels.rows import Labelled
from finewise.data.report import Example, Finding, Severity

UNEVEN = 10.0
"""Ratio of the largest to the smallest class from which imbalance is a warning, not a note."""


def classes(train: Labelled, held: list[Labelled], config: LabelAuditConfig) -> Iterator[Finding]:
    """Yield what is wrong with the sizes of the classes."""
    counts, names = train.counts, train.space.names

    def about(kind: str, severity: Severity, split: str, which: NDArray[np.int64], message: str) -> Finding:
        examples = tuple(
            Example(where=names[k], text=f"{counts[k]:,} training rows") for k in which[: max(config.examples, 0)]
        )
        return Finding(
            kind=kind,
            severity=severity,
            split=split,
            count=len(which),
            of=len(names),
            message=message,
            examples=examples,
        )

    absent = np.flatnonzero(counts == 0)
    if len(absent):
        message = f"classes have no training row and cannot be learnt: {named([names[k] for k in absent])}"
        yield about("empty_classes", "warn", "train", absent, message)
    rare = np.flatnonzero((counts > 0) & (counts < config.min_rows))
    rare = rare[np.argsort(counts[rare], kind="stable")]
    if len(rare):
        most = (
            "; most classes have very few rows: merge classes, or expect macro-F1 near 0"
            if 2 * len(rare) > len(names)
            else ""
        )
        message = (
            f"classes have fewer than audit.min_rows={config.min_rows} training rows: "
            f"{named([f'{names[k]} ({counts[k]})' for k in rare])}{most}"
        )
        yield about("rare_classes", "warn", "train", rare, message)
    yield from class_names(names, counts)
    yield from _imbalance(train)
    for one in held:
        lacking = np.flatnonzero((one.counts == 0) & (counts > 0))
        if len(lacking):
            which = named([names[k] for k in lacking])
            message = f"classes have no {one.split} row, so {one.split} says nothing of them: {which}"
            yield about("untested_classes", "note", one.split, lacking, message)
    if train.labels.ndim == 2:
        none = np.flatnonzero(~train.labels.any(axis=1))
        if len(none):
            severity: Severity = "warn" if 2 * len(none) > len(train) else "note"
            message = "rows have no label at all: right only if somebody looked and found none fitting"
            yield finding("unlabelled_rows", severity, train, none, message, config.examples)


GAPS = {"", "-", "--", "?", "n/a", "na", "nan", "nil", "none", "null", "unknown", "-1", "-100"}
"""Names, case-folded, that files write where a label is missing."""


def class_names(names: Sequence[str], counts: NDArray[np.int64], what: str = "training rows") -> Iterator[Finding]:
    """Yield what is odd about the names of the classes: spelt alike, gaps, lists, several in one.

    Args:
        names: The names.
        counts: (K,) how often each occurs in the training data.
        what: What they count.
    """
    alike: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        alike.setdefault(_spelling(name), []).append(place)
    several = [places for places in alike.values() if len(places) > 1]
    gaps = [place for place, name in enumerate(names) if name.strip().casefold() in GAPS]
    lists = [place for place, name in enumerate(names) if name[:1] + name[-1:] in ("[]", "()", "{}")]
    joined = [
        place
        for place, name in enumerate(names)
        if any(sign in name and set(name.split(sign)) <= set(names) for sign in ",;|")
    ]

    def about(kind: str, places: list[int], message: str) -> Finding:
        shown = tuple(Example(where=names[k], text=f"{counts[k]:,} {what}") for k in places[:5])
        return Finding(
            kind=kind, severity="warn", split="train", count=len(places), of=len(names), message=message, examples=shown
        )

    if several:
        pairs = named([" = ".join(repr(names[k]) for k in places) for places in several])
        message = (
            f"class names differ only in case, Unicode form, white space or the way a number is written: {pairs}; "
            "give each class one spelling"
        )
        yield about("alike_classes", [place for places in several for place in places], message)
    if gaps:
        found = named([repr(names[k]) for k in gaps])
        message = f"class names look like missing labels: {found}; remove these rows, or rename the class"
        yield about("gap_classes", gaps, message)
    if lists:
        message = (
            f"class names look like lists: {named([repr(names[k]) for k in lists])}; write jsonl or parquet with real "
            "lists, or join the labels with a sign and name it in data.columns.delimiter"
        )
        yield about("list_classes", lists, message)
    if joined:
        message = (
            f"class names look like several labels in one: {named([repr(names[k]) for k in joined])}; if they are, "
            "name the sign in data.columns.delimiter"
        )
        yield about("joined_classes", joined, message)


def _spelling(name: str) -> str:
    """Return what names that people would take for one share.

    >>> _spelling("1.0") == _spelling("1"), _spelling("a B") == _spelling("A  b")
    (True, True)
    """
    plain = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    try:
        return repr(float(plain))
    except ValueError:
        return plain


def _imbalance(train: Labelled) -> Iterator[Finding]:
    counts = train.counts
    here = counts[counts > 0]
    ratio = float(here.max() / here.min())
    if ratio < 2:
        return
    share = here / here.sum()
    # exp(entropy): Hill, Diversity and Evenness, Ecology 1973
    even = float(np.exp(-(share * np.log(share)).sum()))
    large, small = (train.space.names[np.flatnonzero(counts == size)[0]] for size in (here.max(), here.min()))
    yield Finding(
        kind="imbalance",
        severity="warn" if ratio >= UNEVEN else "note",
        split="train",
        count=int(here.max()),
        of=len(train),
        message=(
            f"rows are of the largest class, {large}; the smallest, {small}, has {here.min():,} (ratio {ratio:,.0f}); the "
            f"{len(here)} classes are as even as {even:.1f} equal ones: judge by macro-F1, not accuracy"
        ),
    )
