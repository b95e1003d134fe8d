"""How far a model reads, by both rules."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.by_length import ByLength
from benchmarks.needle.effective import effective_length, relative_effective_length


def result(*means: float) -> ByLength:
    count = len(means)
    return ByLength(
        system="s", benchmark="b", split="test", data_revision="r", metric="m", ids=tuple(map(str, range(count))),
        lengths=np.array([1024 * 2**n for n in range(count)]), depths=np.full(count, np.nan),
        groups=np.zeros(count, np.int64), values=np.array(means), weights=np.ones(count),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("means", "reached"),
    [((0.9, 0.856, 0.8), 2048), ((0.9, 0.5, 0.9), 1024), ((0.5, 0.9), None), ((0.9, 0.9, 0.9), 4096)],
)
def test_the_longest_length_up_to_which_all_hold(means: tuple[float, ...], reached: int | None) -> None:
    assert effective_length(result(*means), threshold=0.856) == reached


def test_a_share_of_its_own_base() -> None:
    assert relative_effective_length(result(0.4, 0.35, 0.3), 0.4) == 2048
    assert relative_effective_length(result(0.0, 0.0), 0.0) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0, 1), st.floats(0, 1))
def test_all_lengths_up_to_it_hold_and_the_next_one_does_not(means: list[float], a: float, b: float) -> None:
    low, high = sorted((a, b))
    found = result(*means)
    reached = effective_length(found, threshold=high)
    held = 0 if reached is None else int(np.log2(reached // 1024)) + 1
    assert all(mean >= high for mean in means[:held])
    assert held == len(means) or means[held] < high
    # A lower threshold never shortens it.
    assert (effective_length(found, threshold=low) or 0) >= (reached or 0)


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=6), st.floats(0.01, 1), st.floats(0.125, 1))
def test_the_relative_length_is_that_of_the_base_s_share(means: list[float], base: float, share: float) -> None:
    found = result(*means)
    assert relative_effective_length(found, base, share) == effective_length(found, threshold=share * base)
    # Its own shortest length always reaches a share of itself.
    assert relative_effective_length(found, means[0], share) is not None


def test_several_samples_of_a_length_count_by_their_mean() -> None:
    one = result(1.0, 1.0, 1.0, 0.0)
    two = replace(one, lengths=np.array([1024, 2048, 4096, 4096]))
    assert effective_length(two, threshold=0.5) == 4096
    assert effective_length(two, threshold=0.51) == 2048
