"""Every class has its share of the held-out rows, and no text or group is in two parts."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from finewise.data.labels.load import LabelledData
from finewise.data.labels.rows import Labelled
from finewise.data.labels.splits import sample, split_labels, stratify
from finewise.errors import InputError

Writer = Callable[..., str]
Maker = Callable[..., list[dict[str, Any]]]
Prepare = Callable[..., LabelledData]


def table(labels: list[int] | NDArray[np.int64], classes: int) -> csr_matrix:
    return csr_matrix(np.eye(classes, dtype=np.int64)[np.asarray(labels)])


@given(st.lists(st.integers(1, 60), min_size=2, max_size=12), st.integers(0, 5))
@settings(deadline=None, max_examples=60)
def test_each_class_is_within_one_row_of_its_share(sizes: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    total = len(labels)
    target = total // 10
    units = np.random.default_rng(seed).permutation(total)
    held = stratify(table(labels, len(sizes)), units, [target, target], seed)[units]
    counts = np.array([[((labels == k) & (held == number)).sum() for k in range(len(sizes))] for number in (0, 1, 2)])
    assert (counts[0] >= 1).all()
    assert counts[1:].sum() == 2 * target
    for number in (1, 2):
        assert (np.abs(counts[number] - np.array(sizes) * target / total) < 2).all()


def test_rare_labels_of_multi_label_rows_reach_the_test(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    draw = np.random.default_rng(0)
    chances = {"common": 0.6, "usual": 0.3, "rare": 0.05, "rarer": 0.03}
    given_rows = [
        {"text": row["text"], "labels": [name for name, chance in chances.items() if draw.random() < chance]}
        for row in rows(200)
    ]
    data = prepared(jsonl(given_rows), dev_size=0.1, test_size=0.1, split_seed=0)
    whole = np.sum([part.counts for part in (data.train, data.dev, data.test)], axis=0)
    for part in (data.dev, data.test):
        assert len(part) == 60
        assert (np.abs(part.counts - whole * 0.1) <= np.maximum(1.5, 0.1 * whole * 0.1)).all()


def test_no_group_and_no_text_is_in_two_parts(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    draw = np.random.default_rng(0)
    given_rows = [row | {"user": f"u{draw.integers(60)}"} for row in rows(100)]
    given_rows += [{**row, "text": row["text"].upper(), "user": "another"} for row in given_rows[:5]]
    data = prepared(jsonl(given_rows), columns={"group": "user"}, dev_size=0.1, test_size=0.1)
    parts = (data.train, data.dev, data.test)
    for number, one in enumerate(parts):
        for other in parts[number + 1 :]:
            assert one.groups is not None
            assert other.groups is not None
            assert not set(one.groups.tolist()) & set(other.groups.tolist())
            assert not set(one.keys.tolist()) & set(other.keys.tolist())
    assert abs(len(data.test) - 30) <= 3
    assert data.report.refusals == []


def test_rows_without_a_group_are_groups_of_their_own(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    data = prepared(jsonl([row | {"user": None} for row in rows(50)]), columns={"group": "user"})
    assert (len(data.dev), len(data.test)) == (10, 10)


def test_one_group_for_all_cannot_be_split(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    name = jsonl([row | {"user": "me"} for row in rows(50)])
    with pytest.raises(
        InputError, match=r"test cannot be split off: it should get 10 rows and gets 0, .* data.columns.group"
    ):
        prepared(name, columns={"group": "user"})


def test_the_split_follows_seed_and_content_not_the_order(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    def whole(name: str) -> Labelled:
        return prepared(name).audited

    given_rows = rows(50)
    first, turned = whole(jsonl(given_rows)), whole(jsonl(given_rows[::-1], "turned.jsonl"))

    def test_texts(data: Labelled, seed: int) -> set[str]:
        part = split_labels(data, None, 12, seed).test
        assert part is not None
        return set(part.texts)

    assert test_texts(first, 1) == test_texts(first, 1)
    assert test_texts(first, 1) != test_texts(first, 2)
    assert set(first.texts) == set(turned.texts)
    assert test_texts(first, 1) == test_texts(turned, 1)


def test_samples_are_stratified_and_nested(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    given_rows = [*rows(100, ["pets"]), *rows(50, ["food"]), *rows(4, ["cars"])]
    data = prepared(jsonl(given_rows)).audited
    small, large = sample(data, 27, 5), sample(data, 54, 5)
    assert set(small.numbers.tolist()) < set(large.numbers.tolist())
    assert (np.abs(large.counts - data.counts * 54 / len(data)) <= 1).all()
    assert sample(data, 3, 5).counts.tolist() == [1, 1, 1]
    assert sample(data, 10_000, 5) is data
    assert (np.diff(small.numbers) > 0).all()


def test_samples_of_multi_label_rows_keep_rare_labels(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    labels = [["all", "rare"] if number < 4 else ["all"] if number % 3 else [] for number in range(150)]
    data = prepared(jsonl([row | {"label": some} for row, some in zip(rows(50), labels, strict=True)])).audited
    assert sample(data, 20, 0).counts[data.space.index("rare")] >= 1
