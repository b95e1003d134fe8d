"""The set `debian-sections`: a package's description as text, its archive section as label.

The packages, and which of them are held out, are those of `debian`: a text that trains on one set is never a query, a
document or a test text of the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.datasets.debian_classifiers import Labelled, majority, tfidf_logistic_regression
from benchmarks.datasets.debian_fetch import Snapshot
from benchmarks.datasets.debian_files import write_parquet, write_sums
from benchmarks.datasets.debian_sections_card import sections_card
from benchmarks.datasets.debian_split import DEV_END, HeldOut, near_duplicates, split_position
from benchmarks.datasets.debian_text import Package, word_count

MIN_TRAIN_ROWS = 10  # of a class; below that there is too little to learn from


@dataclass(slots=True, kw_only=True)
class Parts:
    """The packages of each part, and how many were left out on the way."""

    parts: dict[str, list[Package]]  # train, dev, test -> packages
    dropped: dict[str, int]  # reason -> number of packages


def section_text(package: Package) -> str:
    """The short and the long description, a newline between.

    >>> section_text(Package(name="a", source="a", section="s", tags=frozenset(), short="a tool", paragraphs=("It",)))
    'a tool\\nIt'
    """
    return f"{package.short}\n{package.long}"


def three_parts(packages: HeldOut) -> Parts:
    """Train, dev and test without near duplicates of one another, whatever their labels are.

    Dev is where the dev queries of `debian` come from; test is where its test queries and its distractors come from,
    which no training may see either and which give the rare classes more test rows.
    """
    corpus = packages.corpus
    test = [package for package in corpus if split_position(package.source) >= DEV_END]
    dev, near_test = _apart([package for package in corpus if split_position(package.source) < DEV_END], test)
    train, near_held_out = _apart(packages.train, corpus)
    return Parts(
        parts={"train": train, "dev": dev, "test": test},
        dropped=packages.dropped
        | {
            "train row whose short and long text together nearly equal a held-out row's": near_held_out,
            "dev row that nearly equals a test row": near_test,
        },
    )


def split_sections(packages: HeldOut) -> Parts:
    """The three parts; each class has rows enough in train."""
    every = three_parts(packages)
    rows = Counter(package.section for package in every.parts["train"])
    parts = {
        name: [package for package in part if rows[package.section] >= MIN_TRAIN_ROWS]
        for name, part in every.parts.items()
    }
    rare = sum(len(part) for part in every.parts.values()) - sum(len(part) for part in parts.values())
    return Parts(
        parts=parts,
        dropped=every.dropped | {f"row of a class with fewer than {MIN_TRAIN_ROWS} training rows": rare},
    )


def _apart(packages: list[Package], others: list[Package]) -> tuple[list[Package], int]:
    """The packages whose whole text is no near duplicate of one of the others', and how many were."""
    near = near_duplicates([section_text(package) for package in packages], [section_text(other) for other in others])
    return [package for place, package in enumerate(packages) if place not in near], len(near)


def write_sections(folder: Path, snapshot: Snapshot, selection: Mapping[str, int], splits: Parts) -> None:
    """The set `debian-sections`: the three parts, checksums and card."""
    data: dict[str, Labelled] = {}
    for name, part in splits.parts.items():
        data[name] = Labelled(
            texts=[section_text(package) for package in part], labels=[package.section for package in part]
        )
        write_parquet(
            folder / f"{name}.parquet",
            {
                "id": [package.name for package in part],
                "text": data[name].texts,
                "label": data[name].labels,
                "source": [package.source for package in part],
            },
            dictionary=["label"],
        )
    held_out = {name: data[name] for name in ("dev", "test")}
    figures = {"most frequent class": [majority(data["train"], part) for part in held_out.values()]}
    for weights, balanced in (("no class weights", False), ("balanced class weights", True)):
        figures[f"TF-IDF + logistic regression, {weights}"] = tfidf_logistic_regression(
            data["train"], list(held_out.values()), balanced=balanced
        )
    card = sections_card(
        snapshot=snapshot,
        selection=selection,
        dropped=splits.dropped,
        min_train_rows=MIN_TRAIN_ROWS,
        classes={name: Counter(part.labels) for name, part in data.items()},
        lengths={name: [word_count(text) for text in part.texts] for name, part in data.items()},
        figures=figures,
        sums=write_sums(folder),
    )
    (folder / "README.md").write_text(card, encoding="utf-8", newline="\n")
