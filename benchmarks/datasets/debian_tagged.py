"""The set `debian-tags`: a package's description as text, the debtags that people gave it as labels.

Packages, text and split are those of `debian-sections`; what is decided here is which rows and which tags are in.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.datasets.debian_classifiers import Tagged, label_shares, tfidf_one_vs_rest
from benchmarks.datasets.debian_fetch import Snapshot
from benchmarks.datasets.debian_files import write_parquet, write_sums
from benchmarks.datasets.debian_sections import section_text, three_parts
from benchmarks.datasets.debian_split import HeldOut, implied_tags
from benchmarks.datasets.debian_tagged_card import tagged_card
from benchmarks.datasets.debian_tags import TOPICAL_FACETS, is_topical, tag_descriptions
from benchmarks.datasets.debian_text import Package, word_count

MIN_TRAIN_ROWS = 30  # of a label; debian-sections has the longer tail

# Besides the topical facets: what a package is, and what it belongs to, where the description tells it. Left out are
# implemented-in and uitoolkit (scripts set them from dependencies, and few texts tell C from C++ or Xlib from Motif),
# scope (utility or application: a matter of taste), system (only the OpenStack family has it), iso15924 (too few), and
# housekeeping (special, secteam, privacy).
FACETS = (*TOPICAL_FACETS, "interface", "made-of", "role", "suite", "x11")


@dataclass(slots=True, kw_only=True)
class TaggedSplits:
    """The packages of each part, the labels of each package, and how many packages were left out on the way."""

    parts: dict[str, list[Package]]  # train, dev, test -> packages
    labels: dict[str, list[str]]  # package -> its labels, sorted
    dropped: dict[str, int]  # reason -> number of packages
    rare: int  # tags with too few training rows
    same: dict[str, str]  # tag that was left out -> the label that is on the same training rows


def carried(package: Package, vocabulary: Mapping[str, str]) -> set[str]:
    """The tags of a package and those that their names extend, as far as the vocabulary has them; no ::TODO."""
    found = {implied for tag in package.tags for implied in implied_tags(tag)}
    return {tag for tag in found if tag in vocabulary and not tag.endswith("::TODO")}


def split_tagged(packages: HeldOut, vocabulary: Mapping[str, str]) -> TaggedSplits:
    """The three parts of `debian-sections`, less the packages that nobody described with tags.

    A package is in when one of its tags is topical. Whole families carry the tags of a script and no others
    (role::shared-lib alone: 1,700 packages), which says nothing about the tags that they lack.

    Args:
        packages: Those that may train and those that may not.
        vocabulary: Tag -> its description.
    """
    every = three_parts(packages)
    tags = {package.name: carried(package, vocabulary) for part in every.parts.values() for package in part}
    topical = {
        name: [package for package in part if any(map(is_topical, tags[package.name]))]
        for name, part in every.parts.items()
    }
    rows: dict[str, list[str]] = defaultdict(list)
    for package in topical["train"]:
        for tag in tags[package.name]:
            if tag.partition("::")[0] in FACETS:
                rows[tag].append(package.name)
    first: dict[tuple[str, ...], str] = {}
    same: dict[str, str] = {}
    for tag in sorted(rows):
        if len(rows[tag]) >= MIN_TRAIN_ROWS and first.setdefault(tuple(rows[tag]), tag) != tag:
            same[tag] = first[tuple(rows[tag])]
    names = set(first.values())
    labels = {name: sorted(found & names) for name, found in tags.items()}
    parts = {name: [package for package in part if labels[package.name]] for name, part in topical.items()}
    return TaggedSplits(
        parts=parts,
        labels={package.name: labels[package.name] for part in parts.values() for package in part},
        dropped=every.dropped
        | {
            "no tag that says what the package is about or for": _rows(every.parts) - _rows(topical),
            "only tags that are no labels": _rows(topical) - _rows(parts),
        },
        rare=sum(1 for found in rows.values() if len(found) < MIN_TRAIN_ROWS),
        same=same,
    )


def _rows(parts: Mapping[str, Sequence[Package]]) -> int:
    return sum(len(part) for part in parts.values())


def write_tagged(folder: Path, snapshot: Snapshot, selection: Mapping[str, int], packages: HeldOut) -> None:
    """The set `debian-tags`: the three parts, the labels in words, checksums and card."""
    descriptions = tag_descriptions(snapshot.vocabulary)
    splits = split_tagged(packages, descriptions)
    data: dict[str, Tagged] = {}
    for name, part in splits.parts.items():
        data[name] = Tagged(
            texts=[section_text(package) for package in part],
            labels=[splits.labels[package.name] for package in part],
        )
        write_parquet(
            folder / f"{name}.parquet",
            {
                "id": [package.name for package in part],
                "text": data[name].texts,
                "labels": data[name].labels,
                "source": [package.source for package in part],
            },
            dictionary=["labels.list.element"],
        )
    names = sorted({label for labels in data["train"].labels for label in labels})
    lines = [f"{label}\t{descriptions[label]}\n" for label in names]
    (folder / "labels.tsv").write_text("label\tdescription\n" + "".join(lines), encoding="utf-8", newline="\n")

    held_out = [data["dev"], data["test"]]
    figures = {"each label with its share of train": label_shares(data["train"], held_out)}
    for weights, balanced in (("no class weights", False), ("balanced class weights", True)):
        figures[f"TF-IDF + logistic regression, {weights}"] = tfidf_one_vs_rest(
            data["train"], held_out, balanced=balanced
        )
    card = tagged_card(
        snapshot=snapshot,
        selection=selection,
        dropped=splits.dropped,
        min_train_rows=MIN_TRAIN_ROWS,
        facets=FACETS,
        rare=splits.rare,
        same=splits.same,
        per_row={name: [len(labels) for labels in part.labels] for name, part in data.items()},
        labels={name: Counter(label for labels in part.labels for label in labels) for name, part in data.items()},
        lengths={name: [word_count(text) for text in part.texts] for name, part in data.items()},
        figures=figures,
        sums=write_sums(folder),
    )
    (folder / "README.md").write_text(card, encoding="utf-8", newline="\n")
