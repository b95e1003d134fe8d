"""The built-in classification set as shipped, its splits, its reference figures and its command."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks import datasets
from benchmarks.datasets import build_debian
from benchmarks.datasets.debian_classifiers import Labelled, majority, scores, tfidf_logistic_regression
from benchmarks.datasets.debian_sections import MIN_TRAIN_ROWS, section_text, split_sections
from benchmarks.datasets.debian_split import CORPUS_END, DEV_END, HeldOut, fold, split_position
from benchmarks.datasets.debian_text import Package
from finewise.references import package_path

FOLDER = Path(str(datasets.__file__)).parent
PARTS = ("train", "dev", "test")

Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def parts() -> dict[str, Rows]:
    return {name: pq.read_table(FOLDER / "debian-sections" / f"{name}.parquet").to_pylist() for name in PARTS}


# What is shipped


def test_files_are_found_as_package_data() -> None:
    assert package_path("package:benchmarks/datasets/debian-sections/train.parquet").is_file()


def test_columns_and_counts_are_those_of_the_card(parts: dict[str, Rows]) -> None:
    card = (FOLDER / "debian-sections" / "README.md").read_text(encoding="utf-8")
    assert {name: len(part) for name, part in parts.items()} == {"train": 24_065, "dev": 2_106, "test": 3_656}
    classes = {name: Counter(row["label"] for row in part) for name, part in parts.items()}
    for name, part in parts.items():
        assert list(part[0]) == ["id", "text", "label", "source"]
        assert f"| `{name}.parquet` | {len(part):,} | {len(classes[name])} |" in card
    for label in classes["train"]:
        counts = " | ".join(f"{classes[name][label]:,}" for name in PARTS)
        assert f"| `{label}` | {counts} |\n" in card


def test_no_source_id_or_text_is_there_twice(parts: dict[str, Rows]) -> None:
    every = [row for part in parts.values() for row in part]
    for column in ("source", "id", "text"):
        assert len({fold(row[column]) for row in every}) == len(every)


def test_no_short_or_long_text_is_in_two_parts(parts: dict[str, Rows]) -> None:
    halves = [{fold(half) for row in part for half in row["text"].split("\n", 1)} for part in parts.values()]
    assert len(set().union(*halves)) == sum(map(len, halves))


def test_every_class_can_be_learnt(parts: dict[str, Rows]) -> None:
    train = Counter(row["label"] for row in parts["train"])
    assert min(train.values()) >= MIN_TRAIN_ROWS
    assert {row["label"] for row in parts["test"]} == set(train)
    assert {row["label"] for row in parts["dev"]} <= set(train)


def test_texts_and_labels_are_clean(parts: dict[str, Rows]) -> None:
    for row in (row for part in parts.values() for row in part):
        assert re.fullmatch(r"[a-z0-9-]+", row["label"])
        assert row["id"]
        short, newline, long = row["text"].partition("\n")
        assert newline
        assert short == short.strip() != ""
        assert long == long.strip() != ""


def test_the_split_is_that_of_the_pairs(parts: dict[str, Rows]) -> None:
    pairs = pq.read_table(FOLDER / "debian" / "train.parquet").to_pylist()
    corpus = pq.read_table(FOLDER / "debian" / "corpus.parquet").to_pylist()
    sources = {name: {row["source"] for row in part} for name, part in parts.items()}
    assert not sources["train"] & {row["source"] for row in corpus}
    assert not (sources["dev"] | sources["test"]) & {row["source"] for row in pairs}
    assert max(map(split_position, sources["dev"])) < DEV_END <= min(map(split_position, sources["test"]))
    assert max(map(split_position, sources["test"])) < CORPUS_END <= min(map(split_position, sources["train"]))
    text_of = {row["package"]: f"{row['anchor']}\n{row['positive']}" for row in pairs}
    label_of = {row["package"]: row["section"] for row in pairs}
    same = [row for row in parts["train"] if row["id"] in text_of]
    assert len(same) > 23_900
    assert all((row["text"], row["label"]) == (text_of[row["id"]], label_of[row["id"]]) for row in same)


# What the builder does


def package(name: str, section: str = "utils", long: str = "") -> Package:
    words = long or " ".join(f"{word}{name}" for word in "abcdefghijklmno")
    return Package(name=name, source=name, section=section, tags=frozenset(), short=f"tool {name}", paragraphs=(words,))


def names(*, least: float, below: float, count: int) -> list[str]:
    """Names of sources that stand in this range of the split."""
    every = (f"s{number}" for number in range(100_000))
    return [name for name in every if least <= split_position(name) < below][:count]


DEV, TEST, TRAIN = (
    names(least=least, below=below, count=20) for least, below in ((0, DEV_END), (DEV_END, CORPUS_END), (CORPUS_END, 1))
)


def held_out(packages: list[Package]) -> HeldOut:
    return HeldOut(
        train=[each for each in packages if split_position(each.source) >= CORPUS_END],
        corpus=[each for each in packages if split_position(each.source) < CORPUS_END],
        dropped={"before": 7},
    )


def test_text_is_the_short_and_the_long_description() -> None:
    assert section_text(package("a", long="Does it.")) == "tool a\nDoes it."


def test_parts_follow_the_position_of_the_source() -> None:
    splits = split_sections(held_out([package(name) for name in [*DEV, *TEST, *TRAIN]]))
    assert {name: [each.name for each in part] for name, part in splits.parts.items()} == {
        "train": TRAIN,
        "dev": DEV,
        "test": TEST,
    }
    assert sum(splits.dropped.values()) == splits.dropped["before"] == 7


def test_near_duplicates_of_test_leave_dev_and_of_both_leave_train() -> None:
    long = " ".join(f"w{number}" for number in range(40))
    twins = {DEV[0]: f"{long} x", TEST[0]: long, TRAIN[0]: f"{long} y"}
    packages = [package(name, long=twins.get(name, "")) for name in [*DEV, *TEST, *TRAIN]]
    splits = split_sections(held_out(packages))
    assert [each.name for each in splits.parts["train"]] == TRAIN[1:]
    assert [each.name for each in splits.parts["dev"]] == DEV[1:]
    assert [each.name for each in splits.parts["test"]] == TEST
    assert sorted(splits.dropped.values()) == [0, 1, 1, 7]


def test_a_class_with_too_few_training_rows_is_left_out_everywhere() -> None:
    rare = {*TRAIN[: MIN_TRAIN_ROWS - 1], DEV[0], TEST[0], TEST[1]}
    packages = [package(name, "zope" if name in rare else "utils") for name in [*DEV, *TEST, *TRAIN]]
    splits = split_sections(held_out(packages))
    assert {each.section for part in splits.parts.values() for each in part} == {"utils"}
    assert sorted(splits.dropped.values()) == [0, 0, 7, MIN_TRAIN_ROWS + 2]


def test_macro_f1_is_over_the_classes_of_the_part() -> None:
    found = scores(["a", "a", "b", "b"], ["a", "a", "b", "c"])  # F1 of a is 1, of b 2/3; c is not asked for
    assert found.accuracy == 0.75
    assert found.macro_f1 == pytest.approx((1 + 2 / 3) / 2)


def test_reference_classifiers() -> None:
    train = Labelled(texts=["red apple"] * 6 + ["green pear"] * 3, labels=["a"] * 6 + ["p"] * 3)
    test = Labelled(texts=["an apple", "a pear"], labels=["a", "p"])
    assert majority(train, test).accuracy == 0.5
    for balanced in (False, True):
        (found,) = tfidf_logistic_regression(train, [test], balanced=balanced, min_texts=1)
        assert found.accuracy == found.macro_f1 == 1


def test_unknown_set_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_debian.main(["--sets", "debian-section"])
    assert "debian-sections" in capsys.readouterr().err
