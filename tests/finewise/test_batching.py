"""Cutting a batch into micro-batches changes the work, never the set of texts."""

from hypothesis import given
from hypothesis import strategies as st

from finewise.batching import BUCKET, WASTE, buckets, micro_batches, packs, padded_tokens


@given(st.lists(st.integers(0, 300), max_size=200), st.integers(1, 5000))
def test_every_text_once_and_within_the_budget(lengths: list[int], budget: int) -> None:
    groups = micro_batches(lengths, budget)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[index] for index in group) <= max(budget, len(group))


@given(st.lists(st.integers(1, 300), min_size=1, max_size=200), st.integers(1, 5000))
def test_never_more_work_than_one_padded_batch(lengths: list[int], budget: int) -> None:
    assert padded_tokens(lengths, micro_batches(lengths, budget)) <= padded_tokens(lengths, [range(len(lengths))])


def test_a_text_over_the_budget_is_alone() -> None:
    assert micro_batches([10, 500, 10], 100) == [[1], [0, 2]]


@given(st.lists(st.integers(0, 300), max_size=200), st.integers(1, 5000))
def test_packs_hold_every_text_once_and_keep_the_budget(lengths: list[int], budget: int) -> None:
    groups = packs(lengths, budget)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    assert [index for group in groups for index in group] == sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    for group in groups:
        assert len(group) == 1 or sum(lengths[index] for index in group) <= budget


def test_packs_are_of_nearly_equal_size() -> None:
    assert [len(group) for group in packs([10] * 110, 1000)] == [55, 55]


@given(st.lists(st.integers(1, 600), max_size=100))
def test_buckets_are_runs_whose_padding_is_bounded(lengths: list[int]) -> None:
    lengths = sorted(lengths, reverse=True)
    runs = buckets(lengths)
    assert [place for start, end in runs for place in range(start, end)] == list(range(len(lengths)))
    for start, end in runs:
        cells = (end - start) * lengths[start] ** 2
        assert end - start == 1 or cells <= BUCKET
        assert cells - sum(length**2 for length in lengths[start:end]) <= WASTE
