"""The built-in multi-label set as shipped, which rows and labels it takes, and its reference figures."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks import datasets
from benchmarks.datasets.debian_classifiers import Tagged, label_shares, tagged_scores, tfidf_one_vs_rest
from benchmarks.datasets.debian_files import write_parquet
from benchmarks.datasets.debian_split import CORPUS_END, DEV_END, HeldOut, fold, split_position
from benchmarks.datasets.debian_tagged import FACETS, MIN_TRAIN_ROWS, carried, split_tagged
from benchmarks.datasets.debian_tags import tag_descriptions
from benchmarks.datasets.debian_text import Package
from finewise.references import package_path

FOLDER = Path(str(datasets.__file__)).parent
PARTS = ("train", "dev", "test")

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def parts() -> dict[str, Rows]:
    return {name: pq.read_table(FOLDER / "debian-tags" / f"{name}.parquet").to_pylist() for name in PARTS}


# What is shipped


def test_files_are_found_as_package_data() -> None:
    assert package_path("package:benchmarks/datasets/debian-tags/labels.tsv").is_file()


def test_columns_and_counts_are_those_of_the_card(parts: dict[str, Rows]) -> None:
    card = (FOLDER / "debian-tags" / "README.md").read_text(encoding="utf-8")
    labels = {name: Counter(label for row in part for label in row["labels"]) for name, part in parts.items()}
    for name, part in parts.items():
        assert list(part[0]) == ["id", "text", "labels", "source"]
        assert f"| `{name}.parquet` | {len(part):,} | {len(labels[name])} |" in card
    for label in labels["train"]:
        counts = " | ".join(f"{labels[name][label]:,}" for name in PARTS)
        assert f"| `{label}` | {counts} |\n" in card


def test_no_source_id_or_text_is_there_twice(parts: dict[str, Rows]) -> None:
    every = [row for part in parts.values() for row in part]
    for column in ("source", "id", "text"):
        assert len({fold(row[column]) for row in every}) == len(every)


def test_every_label_can_be_learnt_and_is_put_in_words(parts: dict[str, Rows]) -> None:
    train = Counter(label for row in parts["train"] for label in row["labels"])
    assert min(train.values()) >= MIN_TRAIN_ROWS
    assert {label for name in ("dev", "test") for row in parts[name] for label in row["labels"]} <= set(train)
    header, *lines = (FOLDER / "debian-tags" / "labels.tsv").read_text(encoding="utf-8").splitlines()
    assert header == "label\tdescription"
    assert [line.split("\t")[0] for line in lines] == sorted(train)
    assert all(line.split("\t")[1].strip() for line in lines)


def test_labels_are_sorted_tags_of_the_facets_that_the_card_names(parts: dict[str, Rows]) -> None:
    for row in (row for part in parts.values() for row in part):
        assert row["labels"] == sorted(set(row["labels"])) != []
        for label in row["labels"]:
            assert re.fullmatch(r"[a-z0-9-]+::[a-z0-9+:-]+", label)
            assert label.partition("::")[0] in FACETS


def test_the_split_is_that_of_the_sections_and_of_the_pairs(parts: dict[str, Rows]) -> None:
    sections = {
        name: {row["id"]: row["text"] for row in pq.read_table(FOLDER / "debian-sections" / f"{name}.parquet").to_pylist()}
        for name in PARTS
    }  # fmt: skip
    for name, part in parts.items():
        known = [row for row in part if row["id"] in sections[name]]
        assert len(known) > 0.99 * len(part)
        assert all(row["text"] == sections[name][row["id"]] for row in known)
    sources = {name: {row["source"] for row in part} for name, part in parts.items()}
    pairs = set(pq.read_table(FOLDER / "debian" / "train.parquet", columns=["source"])["source"].to_pylist())
    assert not (sources["dev"] | sources["test"]) & pairs
    assert max(map(split_position, sources["dev"])) < DEV_END <= min(map(split_position, sources["test"]))
    assert max(map(split_position, sources["test"])) < CORPUS_END <= min(map(split_position, sources["train"]))


# What the builder does

VOCABULARY = {tag: tag for tag in ("use::editing", "game::board", "game::board:chess", "role::program", "role::TODO")}


def package(name: str, *tags: str) -> Package:
    words = " ".join(f"{word}{name}" for word in "abcdefghijklmno")
    return Package(name=name, source=name, section="x", tags=frozenset(tags), short=f"tool {name}", paragraphs=(words,))


def names(*, least: float, below: float, count: int) -> list[str]:
    """Names of sources that stand in this range of the split."""
    every = (f"s{number}" for number in range(100_000))
    return [name for name in every if least <= split_position(name) < below][:count]


DEV, TEST = names(least=0, below=DEV_END, count=3), names(least=DEV_END, below=CORPUS_END, count=3)
TRAIN = names(least=CORPUS_END, below=1, count=MIN_TRAIN_ROWS + 3)


def test_carried_tags_are_the_vocabularys_and_those_that_they_extend() -> None:
    found = carried(package("a", "game::board:chess", "role::TODO", "role::unheard-of"), VOCABULARY)
    assert found == {"game::board", "game::board:chess"}


def test_only_described_packages_and_frequent_labels_are_in() -> None:
    full = [package(name, "use::editing", "role::program") for name in [*TRAIN[:MIN_TRAIN_ROWS], *DEV[:2], TEST[0]]]
    rare = package(TRAIN[-1], "game::board:chess")
    by_script = [package(name, "role::program") for name in (TRAIN[-2], DEV[2])]
    untagged = [package(TEST[1])]
    every = [*full, rare, *by_script, *untagged]
    train = [each for each in every if split_position(each.source) >= CORPUS_END]
    corpus = [each for each in every if split_position(each.source) < CORPUS_END]
    found = split_tagged(HeldOut(train=train, corpus=corpus, dropped={"before": 7}), VOCABULARY)
    assert {name: [each.name for each in part] for name, part in found.parts.items()} == {
        "train": TRAIN[:MIN_TRAIN_ROWS],
        "dev": DEV[:2],
        "test": TEST[:1],
    }
    # role::program and use::editing are on the same rows: one of the two is enough
    assert found.labels[TRAIN[0]] == ["role::program"]
    assert found.same == {"use::editing": "role::program"}
    assert found.rare == 2
    assert list(found.dropped.values()) == [7, 0, 0, 3, 1]


def test_a_tag_is_put_in_words_with_its_facet() -> None:
    vocabulary = "Facet: role\nDescription: Role\n\nTag: role::program\nDescription: Program\n Runs.\n"
    assert tag_descriptions(vocabulary) == {"role::program": "Role: Program. Runs."}


def test_scores_leave_out_labels_that_do_not_occur() -> None:
    truth = np.array([[True, False, False], [True, True, False]])
    found = tagged_scores(truth, np.array([[0.9, 0.6, 0.9], [0.8, 0.7, 0.1]]))
    assert found.average_precision == 1
    assert found.macro_f1 == pytest.approx((1 + 2 / 3) / 2)
    assert found.micro_f1 == pytest.approx(2 * 3 / (2 * 3 + 2))


def test_reference_classifiers() -> None:
    train = Tagged(texts=["red apple", "green pear", "red plum"] * 4, labels=[["a", "r"], ["p"], ["r"]] * 4)
    test = Tagged(texts=["an apple red", "a pear"], labels=[["a", "r"], ["p"]])
    (share,) = label_shares(train, [test])
    assert share.macro_f1 == pytest.approx(2 / 3 / 3)  # "r" is on two of three rows, so every text gets it
    (found,) = tfidf_one_vs_rest(train, [test], balanced=True, min_texts=1)
    assert found.macro_f1 == found.average_precision == 1


def test_lists_are_written_as_lists(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a", {"labels": [["x", "y"], []], "text": ["a", "b"]}, dictionary=["labels.list.element"])
    assert pq.read_table(tmp_path / "a").to_pylist() == [
        {"labels": ["x", "y"], "text": "a"},
        {"labels": [], "text": "b"},
    ]
