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


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=30))
def test_an_interval_stays_between_0_and_1(values: list[float]) -> None:
    _, low, high = interval(result(values))
    assert low is not None
    assert high is not None
    assert 0 <= low <= high <= 1


def test_an_interval_is_the_normal_one_for_many_examples() -> None:
    values = np.random.default_rng(0).random(400)
    mean, low, high = interval(result(values))
    error = values.std() / 20
    assert low == pytest.approx(mean - 1.96 * error, abs=error / 10)
    assert high == pytest.approx(mean + 1.96 * error, abs=error / 10)


def test_what_varies_with_the_seed_widens_the_interval() -> None:
    values = [1.0] * 40 + [0.0] * 40
    alone = interval(result(values))
    seeds = interval(result(values, ids=tuple(f"p{n % 40}" for n in range(80)), groups=[0] * 40 + [1] * 40))
    assert alone.low is not None
    assert seeds.low is not None
    assert alone.low > 0.35
    assert seeds.low < 0.05


def test_depths_of_one_sample_are_one_cluster() -> None:
    values = np.repeat(np.random.default_rng(0).integers(0, 2, 60).astype(float), 5)
    alone, tied = interval(result(values)), interval(result(values, clusters=np.repeat(np.arange(60), 5)))
    assert tied.high - tied.low > 2 * (alone.high - alone.low)  # type: ignore[operator]
    (score,) = scores(result(values, clusters=np.repeat(np.arange(60), 5)))
    assert (score.n, score.clusters) == (300, 60)


def test_every_task_of_an_average_counts_the_same() -> None:
    found = result([1.0] * 90 + [0.0] * 10, strata=np.array(["a"] * 90 + ["b"] * 10), metric="mean")
    assert found.mean() == 0.5


def test_systems_are_compared_prompt_by_prompt_at_each_length() -> None:
    lengths = [64] * 60 + [128] * 60
    one = result([1] * 120, lengths=lengths)
    other = result([1] * 60 + [0] * 20 + [1] * 40, lengths=lengths, system="b")
    same, far = compare(one, other)
    assert (same.metric, same.difference, same.p) == ("exact@64", 0, 1)
    assert (far.metric, far.a, far.b) == ("exact@128", "a", "b")
    assert far.difference == pytest.approx(1 / 3)
    assert far.p is not None
    assert far.p < 1e-4


def test_two_pieces_of_text_are_too_few_to_test() -> None:
    one, other = (result(values, metric="perplexity", weights=[9, 9]) for values in ([3.0, 3.1], [5.0, 5.2]))
    (found,) = compare(one, replace(other, system="b"))
    assert found.p is None
    assert found.test.startswith("too few to test")


def test_a_difference_that_one_seed_makes_alone_is_not_shown() -> None:
    more = {"groups": np.repeat([0, 1, 2], 60), "ids": tuple(f"p{n % 60}" for n in range(180))}
    better, worse = result(np.repeat([1, 0, 0], 60), **more), result(np.zeros(180), system="b", **more)
    (found,) = compare(better, worse)
    assert found.p is not None
    assert found.p > 0.05
    almost = result(np.r_[np.ones(58), 0, 0, np.ones(59), 0, np.ones(60)], **more)
    (clear,) = compare(almost, worse)
    assert clear.p is not None
    assert clear.p < 0.01


def test_three_seeds_without_a_difference_are_rarely_called_different() -> None:
    rng = np.random.default_rng(0)
    more = {"groups": np.repeat([0, 1, 2], 100), "ids": tuple(f"p{n % 100}" for n in range(300))}
    hits = 0
    for _ in range(200):
        rates = np.clip(0.5 + rng.normal(0, 0.1, (2, 3)), 0, 1)
        a, b = (result((rng.random((3, 100)) < rate[:, None]).ravel(), **more) for rate in rates)
        (found,) = compare(a, replace(b, system="b"))
        hits += found.p is not None and found.p < 0.05
    assert hits <= 14


def test_only_equal_prompts_are_compared() -> None:
    one = result([1, 0])
    with pytest.raises(InputError, match="different examples"):
        compare(one, replace(one, system="b", ids=("x", "y")))
    with pytest.raises(InputError, match="different data"):
        compare(one, replace(one, system="b", data_revision="other"))
    assert compare(one, replace(one, system="b", lengths=np.array([128, 128]))) == []


def test_an_example_that_stands_twice_is_refused() -> None:
    twice = result([1, 0, 1], ids=("x", "y", "x"))
    for found in (lambda: scores(twice), lambda: compare(twice, replace(twice, system="b"))):
        with pytest.raises(InputError, match="example 'x' stands twice"):
            found()


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
