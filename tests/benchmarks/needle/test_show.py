"""How far a model reads is told by its own score where length is no difficulty."""

import numpy as np
import pytest

from benchmarks.by_length import ByLength
from benchmarks.needle.show import base_score, reach


def result(means: dict[int, float]) -> ByLength:
    count = len(means)
    return ByLength(
        system="s", benchmark="b", split="test", data_revision="r", metric="m", ids=tuple(map(str, range(count))),
        lengths=np.array(list(means)), depths=np.full(count, np.nan), groups=np.zeros(count, np.int64),
        values=np.array(list(means.values())), weights=np.ones(count),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("means", "base"),
    [
        ({256: 0.7, 512: 0.8, 1024: 0.6, 2048: 0.9}, 0.8),  # the best up to 1K
        ({2048: 0.8, 4096: 0.2}, 0.8),  # all are longer: the shortest
        ({64: 0.9}, 0.9),
    ],
)
def test_the_base_score_is_that_of_the_short_lengths(means: dict[int, float], base: float) -> None:
    assert base_score(result(means), 4096) == pytest.approx(base)


def test_lengths_beyond_the_trained_window_do_not_lower_the_base_score() -> None:
    means = {64: 0.97, 128: 0.85, 256: 0.53, 512: 0.15, 1024: 0.03}
    assert base_score(result(means), 64) == pytest.approx(0.97)
    assert reach(result(means), 64)["nolima"] == 128


def test_beyond_the_trained_window_there_is_no_base_score() -> None:
    assert reach(result({2048: 0.9, 4096: 0.9}), 1024) == {"ruler": 4096, "nolima": None}


def test_failing_within_the_short_lengths_does_not_lower_what_is_asked() -> None:
    assert reach(result({256: 1.0, 512: 0.7, 1024: 0.65, 2048: 0.6}), 2048)["nolima"] == 256


def test_a_luckless_shortest_length_does_not_lower_what_is_asked_of_the_others() -> None:
    assert reach(result({256: 0.9, 512: 1.0, 1024: 1.0, 2048: 0.8}), 4096) == {"ruler": 1024, "nolima": 1024}
