"""Scores by length: means, intervals that hold what varies with the seed, paired comparisons, and what is saved."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import by_length
from benchmarks.by_length import ByLength, compare, doublings, interval, joined, load, save, scores
from finewise.errors import InputError


def result(values: Any, *, lengths: Any = None, groups: Any = None, weights: Any = None, **more: Any) -> ByLength:
    count = len(values)
    given = {
        "system": "a", "benchmark": "needle vt", "split": "test", "data_revision": "r", "metric": "exact",
        "ids": tuple(f"p{number}" for number in range(count)),
        "lengths": np.array([64] * count if lengths is None else lengths), "depths": np.full(count, np.nan),
        "groups": np.array([0] * count if groups is None else groups), "values": np.array(values, float),
        "weights": np.ones(count) if weights is None else np.array(weights, float),
    }  # fmt: skip
    return ByLength(**{**given, **more})


def test_each_length_has_its_own_score() -> None:
    found = scores(result([1, 0, 1, 1], lengths=[64, 64, 128, 128]))
    assert [(score.metric, score.value, score.n) for score in found] == [("exact@64", 0.5, 2), ("exact@128", 1.0, 2)]
    assert all(score.low <= score.value <= score.high for score in found)


def test_perplexity_is_the_exponential_of_the_mean_over_tokens() -> None:
    found = result([1.0, 2.0], weights=[30, 10], metric="perplexity")
    assert found.mean() == pytest.approx(np.exp(1.25))


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=30), st.integers(0, 5))
def test_an_interval_holds_the_mean_and_stays_within_the_values(values: list[float], seed: int) -> None:
    mean, low, high = interval(result(values), 200, seed)
    assert min(values) - 1e-12 <= low <= mean + 1e-12
    assert mean - 1e-12 <= high <= max(values) + 1e-12


def test_an_interval_is_the_bootstraps_normal_one_for_many_examples() -> None:
    rng = np.random.default_rng(0)
    values = rng.random(400)
    mean, low, high = interval(result(values), 4000)
    error = values.std() / 20
    assert low == pytest.approx(mean - 1.96 * error, abs=error / 5)
    assert high == pytest.approx(mean + 1.96 * error, abs=error / 5)


def test_what_varies_with_the_seed_widens_the_interval() -> None:
    values = [1.0] * 40 + [0.0] * 40
    alone = interval(result(values))
    seeds = interval(result(values, groups=[0] * 40 + [1] * 40))
    assert seeds.high - seeds.low > 2 * (alone.high - alone.low)
    assert (seeds.low, seeds.high) == (0, 1)


def test_systems_are_compared_prompt_by_prompt_at_each_length() -> None:
    lengths = [64] * 10 + [128] * 10
    one = result([1] * 20, lengths=lengths)
    other = result([1] * 10 + [0] * 9 + [1], lengths=lengths, system="b")
    same, far = compare(one, other)
    assert (same.metric, same.difference, same.p) == ("exact@64", 0, 1)
    assert (far.metric, far.a, far.b) == ("exact@128", "a", "b")
    assert far.difference == pytest.approx(0.9)
    assert far.p == pytest.approx(2 / 2**9)
    assert far.low <= far.difference <= far.high


def test_a_difference_that_one_seed_makes_alone_is_not_shown() -> None:
    groups = np.repeat([0, 1, 2], 40)
    better, worse = result(np.repeat([1, 0, 0], 40), groups=groups), result(np.zeros(120), groups=groups, system="b")
    (found,) = compare(better, worse)
    assert found.low == 0
    assert found.p > 0.05
    (clear,) = compare(result(np.ones(120), groups=groups), worse)
    assert clear.p < 0.01


def test_only_equal_prompts_are_compared() -> None:
    one = result([1, 0])
    with pytest.raises(InputError, match="different examples"):
        compare(one, replace(one, system="b", ids=("x", "y")))
    with pytest.raises(InputError, match="different data"):
        compare(one, replace(one, system="b", data_revision="other"))
    assert compare(one, replace(one, system="b", lengths=np.array([128, 128]))) == []


def test_results_of_seeds_are_joined() -> None:
    both = joined([result([1, 0]), result([1, 1], groups=[1, 1])])
    assert both.mean() == 0.75
    assert list(both.groups) == [0, 0, 1, 1]


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    kept = [result([1, 0], lengths=[64, 128]), result([2.5], metric="perplexity", weights=[7])]
    save(tmp_path / by_length.FILE, kept)
    again = load(tmp_path / by_length.FILE)
    for one, other in zip(kept, again, strict=True):
        assert (one.system, one.benchmark, one.metric, one.ids) == (
            other.system,
            other.benchmark,
            other.metric,
            other.ids,
        )
        for name in ("lengths", "depths", "groups", "values", "weights"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert [path.name for path in tmp_path.iterdir()] == [by_length.FILE]


@given(st.integers(1, 5000), st.integers(1, 100_000))
def test_doublings_go_from_the_trained_window_to_the_new(original: int, target: int) -> None:
    lengths = doublings(original, target)
    assert lengths[0] == original
    assert lengths[-1] == max(original, target)
    assert all(one < other <= 2 * one for one, other in pairwise(lengths))
