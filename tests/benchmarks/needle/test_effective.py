"""How far a model reads, by both rules."""

import numpy as np
import pytest

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
