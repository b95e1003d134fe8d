"""Known positives never meet as negatives."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finewise.config import AuditConfig, ColumnsConfig, DataConfig
from finewise.contrastive.config import MultipleNegativesRanking, Triplet
from finewise.contrastive.negatives import KnownPositives, NoKnownPositives
from finewise.contrastive.rows import TrainingRows, training_rows
from finewise.data.sources import read_pairs

ids = st.integers(0, 12)


def known_of(rows: list[tuple[int, int, int]]) -> KnownPositives:
    table = np.array(rows, dtype=np.uint64)
    return KnownPositives.from_hashes(table[:, 0], table[:, 1:])


def positives_of(rows: list[tuple[int, int, int]]) -> dict[int, set[int]]:
    """Text -> the text itself and all that stand with it in a row as anchor and positive, in either role."""
    found: dict[int, set[int]] = {}
    for anchor, positive, _ in rows:
        found.setdefault(anchor, {anchor}).add(positive)
        found.setdefault(positive, {positive}).add(anchor)
    return found


def conflicts(rows: list[tuple[int, int, int]], batch: list[int]) -> list[tuple[int, int]]:
    """Pairs of rows of which one's document is a known positive of the other's anchor, found the slow way."""
    positives = positives_of(rows)
    return [
        (one, other)
        for one in batch
        for other in batch
        if one != other and positives[rows[one][0]] & set(rows[other][1:])
    ]


@settings(deadline=None)
@given(
    st.lists(st.tuples(ids, ids, st.integers(13, 30)), min_size=1, max_size=80),
    st.integers(2, 8),
    st.sampled_from([1, 2, 4]),
    st.integers(0, 3),
)
def test_no_gathered_batch_holds_a_known_positive(
    rows: list[tuple[int, int, int]], size: int, world: int, epoch: int
) -> None:
    sampler = NoKnownPositives(known_of(rows), size, seed=7, world=world)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert len(batches) % world == 0
    for start in range(0, len(batches), world):
        gathered = batches[start : start + world]
        assert len({len(batch) for batch in gathered}) == 1
        merged = [row for batch in gathered for row in batch]
        assert 2 <= len(merged) == len(set(merged)) <= size * world
        assert conflicts(rows, merged) == []
    if epoch == 0:
        seen = {row for batch in batches for row in batch}
        assert sum(map(len, batches)) == len(seen) == len(rows) - sampler.plan.left_out


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(ids, ids, st.integers(13, 30)), min_size=2, max_size=60), st.integers(2, 8))
def test_only_rows_without_a_partner_among_them_are_left_out(rows: list[tuple[int, int, int]], size: int) -> None:
    seen = {row for batch in NoKnownPositives(known_of(rows), size, seed=3) for row in batch}
    left = [row for row in range(len(rows)) if row not in seen]
    for one in left:
        for other in left:
            assert one == other or conflicts(rows, [one, other])


def test_an_anchor_of_many_rows_costs_no_other_row_and_little_time() -> None:
    rows = [(0 if index % 10 == 0 else index, 1_000_000 + index, 2_000_000 + index) for index in range(100_000)]
    start = time.process_time()
    plan = NoKnownPositives(known_of(rows), 64, seed=0).plan
    assert time.process_time() - start < 20
    # 90,000 rows of 63 to a batch, and in each batch one of the anchor's 10,000
    assert plan.left_out == pytest.approx(10_000 - 90_000 / 63, abs=5)


def test_without_shared_texts_every_row_comes_once_per_epoch_in_a_new_order() -> None:
    rows = [(index, 100 + index, 300 + index) for index in range(50)]
    sampler = NoKnownPositives(known_of(rows), 8, seed=1)
    first = list(sampler)
    assert len(first) == len(sampler) == 7
    assert sorted(row for batch in first for row in batch) == list(range(50))
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first


def test_rows_of_few_anchors_make_more_and_smaller_batches_and_are_all_used() -> None:
    rows = [(index % 10, 100 + index, 1000 + index) for index in range(400)]
    sampler = NoKnownPositives(known_of(rows), 16, seed=0)
    assert sampler.plan.left_out <= 5
    assert sampler.plan.mean_rows == pytest.approx(10, abs=0.5)
    assert 40 <= len(sampler) <= 45
    for epoch in range(5):
        sampler.set_epoch(epoch)
        assert len(list(sampler)) == len(sampler)


def test_no_epoch_reads_a_row_twice() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.integers([0, 100], [40, 140], (401, 2))
    sampler = NoKnownPositives(known_of([(int(a), int(p), 1000 + n) for n, (a, p) in enumerate(drawn)]), 8, seed=0)
    unread = []
    for epoch in range(8):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        read = [row for batch in batches for row in batch]
        assert len(read) == len({*read})
        unread.append({*range(401)} - {*read})
    assert len(unread[0]) == sampler.plan.left_out
    assert max(map(len, unread)) <= sampler.plan.left_out + 8
    assert not set.intersection(*unread)


def test_a_hard_negative_that_is_another_anchors_positive_is_kept_apart() -> None:
    rows = [(0, 10, 11), (1, 11, 12), (2, 13, 14), (3, 15, 16)]
    for batch in NoKnownPositives(known_of(rows), 2, seed=0):
        assert not {0, 1} <= set(batch)


def test_what_would_be_alone_is_counted() -> None:
    rows = [(0, 200 + index, 100 + index) for index in range(20)] + [(1, 50, 150)]
    sampler = NoKnownPositives(known_of(rows), 5, seed=0)
    assert [len(batch) for batch in sampler] == [2]
    assert sampler.plan.left_out == 19


@settings(deadline=None)
@given(st.lists(st.tuples(ids, ids, ids), min_size=2, max_size=30), st.data())
def test_the_mask_marks_known_positives_and_never_the_own_one(rows: list[tuple[int, int, int]], data: Any) -> None:
    batch = data.draw(st.lists(st.sampled_from(range(len(rows))), min_size=1, max_size=10, unique=True))
    known = known_of(rows)
    mask = known.mask(np.column_stack([known.anchors, known.documents])[batch])
    positives = positives_of(rows)
    candidates = [rows[row][1] for row in batch] + [rows[row][2] for row in batch]
    for place, row in enumerate(batch):
        for column, document in enumerate(candidates):
            assert mask[place, column] == (column != place and document in positives[rows[row][0]])


def rows_of(jsonl: Path, table: list[dict[str, Any]]) -> TrainingRows:
    jsonl.write_text("".join(json.dumps(row) + "\n" for row in table))
    split = read_pairs(str(jsonl), ColumnsConfig())
    return training_rows(split, split, MultipleNegativesRanking(), DataConfig(train=str(jsonl)), AuditConfig())


def test_texts_are_compared_across_columns_and_but_for_case_and_blanks(tmp_path: Path) -> None:
    table = [
        {"anchor": "a", "positive": "x", "negative": "y"},
        {"anchor": "b", "positive": "Y ", "negative": "n"},
        {"anchor": "A", "positive": "z", "negative": "n"},
    ]
    known = KnownPositives.of(rows_of(tmp_path / "rows.jsonl", table))
    assert known.anchors[0] == known.anchors[2] != known.anchors[1]
    assert known.documents[0, 1] == known.documents[1, 0]
    assert known.documents.shape == (3, 2)
    assert len(known.of_anchor(int(known.anchors[0]))) == 2
    ids = known.ids(np.array([2, 0]))
    assert ids.tolist() == [[known.anchors[2], *known.documents[2]], [known.anchors[0], *known.documents[0]]]


def test_pairs_that_were_not_drawn_are_known_all_the_same(tmp_path: Path) -> None:
    table = [{"anchor": anchor, "positive": positive} for anchor, positive in ("ax", "by", "ay", "cz", "dw")]
    split = rows_of(tmp_path / "rows.jsonl", table)
    drawn = replace(split, pairs=split.pairs.select(np.array([0, 1, 3])))
    known = KnownPositives.of(drawn)
    # Row 2 says that y answers a as well; it was not drawn, but y must not become a negative of a.
    assert known.mask(known.ids(np.array([0, 1, 2])))[0].tolist() == [False, True, False]
    assert all(not {0, 1} <= set(batch) for batch in NoKnownPositives(known, 3, seed=0))


def test_rows_below_the_score_are_no_known_positives(tmp_path: Path) -> None:
    table = [
        {"anchor": "a", "positive": "x", "score": 0.9},
        {"anchor": "b", "positive": "y", "score": 0.8},
        {"anchor": "a", "positive": "y", "score": 0.1},
    ]
    train = rows_of(tmp_path / "rows.jsonl", table)
    assert len(train.rows) == 2
    known = KnownPositives.of(train)
    assert not known.mask(known.ids(np.array([0, 1]))).any()


def test_a_hard_negative_that_is_a_known_positive_is_dropped_where_the_loss_has_no_mask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = [
        {"anchor": "a", "positive": "x", "negative": "Y"},
        {"anchor": "a", "positive": "y", "negative": "n"},
        {"anchor": "x", "positive": "z", "negative": "a"},
        {"anchor": "b", "positive": "w", "negative": "b "},
        {"anchor": "b", "positive": "w", "negative": "n"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    split = read_pairs(str(path), ColumnsConfig())
    train = training_rows(split, split, Triplet(), DataConfig(train=str(path)), AuditConfig())
    assert [(row["anchor"], row["positive"]) for row in train.rows] == [("a", "y"), ("b", "w")]
    assert "3 of 5 rows are dropped" in capsys.readouterr().err
