"""Intervals cover, p-values are calibrated, and only comparable results are compared."""

import time
from dataclasses import replace
from itertools import product

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from benchmarks.retrieval import Result
from benchmarks.significance import compare, interval, paired_test, scores
from finewise.errors import InputError

values = arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1, width=16))


@given(values)
@settings(deadline=None)
def test_an_interval_holds_its_mean_and_stays_within_the_values(given_values):
    mean, low, high = interval(given_values, resamples=200)
    assert mean == pytest.approx(given_values.mean())
    assert given_values.min() - 1e-12 <= low <= mean <= high <= given_values.max() + 1e-12


def test_equal_seeds_give_equal_results_and_other_seeds_others():
    sample = np.random.default_rng(0).random(100)
    assert interval(sample, seed=1) == interval(sample, seed=1)
    assert interval(sample, seed=1) != interval(sample, seed=2)


def test_equal_values_give_a_point():
    assert interval(np.full(30, 0.3)) == pytest.approx((0.3, 0.3, 0.3))


@pytest.mark.parametrize("size", [50, 200])
def test_an_interval_covers_the_true_mean_in_about_95_of_100_cases(size):
    rng = np.random.default_rng(7)
    trials = 600
    found = [interval(rng.beta(2, 1, size), 500, seed) for seed in range(trials)]
    covered = sum(low <= 2 / 3 <= high for _, low, high in found)
    assert 0.92 <= covered / trials <= 0.975


def test_p_values_are_calibrated_where_there_is_no_difference():
    rng = np.random.default_rng(3)
    trials = 600
    p = np.array([
        paired_test(rng.random(40), rng.random(40), resamples=400, seed=seed).p for seed in range(trials)
    ])  # fmt: skip
    for alpha in (0.05, 0.2, 0.5):
        assert abs((p <= alpha).mean() - alpha) < 3 * np.sqrt(alpha * (1 - alpha) / trials) + 0.005


def test_a_real_difference_is_found():
    rng = np.random.default_rng(0)
    base = rng.random(500)
    found = paired_test(base + 0.02 + rng.normal(0, 0.1, 500), base)
    assert found.p < 0.01
    assert 0 < found.low < found.difference < found.high


@given(arrays(np.float64, st.integers(1, 9), elements=st.sampled_from([-1.0, -0.5, 0.0, 0.1, 0.3])))
@settings(deadline=None)
def test_few_queries_are_tested_exactly(differences):
    found = paired_test(differences, np.zeros_like(differences), resamples=100)
    sums = [abs(np.dot(signs, differences)) for signs in product([-1, 1], repeat=len(differences))]
    assert found.p == pytest.approx(np.mean(np.array(sums) >= abs(differences.sum()) - 1e-9))
    assert found.test == "paired sign flips (exact)"


def test_sign_flips_approach_the_exact_p_value():
    differences = np.random.default_rng(5).normal(0.1, 0.25, 16)
    signs = np.array(list(product([-1, 1], repeat=16)))
    exact = (np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12).mean()
    assert paired_test(differences, np.zeros(16), resamples=20_000).p == pytest.approx(exact, abs=0.01)


@given(values, st.integers(0, 5))
@settings(deadline=None)
def test_swapping_the_systems_turns_the_sign_only(a, seed):
    b = np.random.default_rng(seed).random(len(a))
    there, back = paired_test(a, b, 200), paired_test(b, a, 200)
    assert there.difference == pytest.approx(-back.difference)
    assert there.p == pytest.approx(back.p)


def test_the_smallest_p_value_is_never_zero():
    assert paired_test(np.ones(100), np.zeros(100), resamples=999).p == pytest.approx(1 / 1000)
    assert paired_test(np.ones(3), np.zeros(3)).p == 0.25
    assert paired_test(np.ones(30), np.ones(30)).p == 1


def test_two_thousand_queries_take_less_than_half_a_second():
    rng = np.random.default_rng(0)
    a, b = rng.random(2000), rng.random(2000)
    start = time.process_time()
    paired_test(a, b, 2000)
    assert time.process_time() - start < 0.5


def result_of(system, **metrics):
    count = len(next(iter(metrics.values())))
    return Result(
        system=system, benchmark="pets", split="test", data_revision="r1",
        query_ids=tuple(f"q{number}" for number in range(count)),
        per_query={name.replace("_", "@"): np.asarray(row, float) for name, row in metrics.items()},
        unjudged=0, depth=10,
    )  # fmt: skip


def test_scores_and_comparisons_of_results():
    rng = np.random.default_rng(0)
    a = result_of("tuned", ndcg_10=rng.random(50), map=rng.random(50))
    b = result_of("bm25", ndcg_10=rng.random(50), map=rng.random(50))
    scored = scores(a, 500, seed=3)
    assert [(score.metric, score.system, score.n, score.data_revision) for score in scored] == [
        ("ndcg@10", "tuned", 50, "r1"),
        ("map", "tuned", 50, "r1"),
    ]
    assert (scored[1].value, scored[1].low, scored[1].high) == pytest.approx(interval(a.per_query["map"], 500, seed=3))
    compared = compare(a, b, 500, seed=3)
    assert [(item.metric, item.a, item.b) for item in compared] == [
        ("ndcg@10", "tuned", "bm25"),
        ("map", "tuned", "bm25"),
    ]
    alone = paired_test(a.per_query["map"], b.per_query["map"], 500, seed=3)
    assert (compared[1].difference, compared[1].low, compared[1].p) == pytest.approx(
        (alone.difference, alone.low, alone.p)
    )
    assert compared[0].difference == pytest.approx(a.mean("ndcg@10") - b.mean("ndcg@10"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_revision": "r2"}, r"cannot compare tuned with bm25: .*data revision r1 and r2"),
        ({"benchmark": "cars"}, r"benchmark pets and cars"),
        ({"split": "dev"}, r"split test and dev"),
        ({"query_ids": ("x", "y")}, r"different queries"),
    ],
)
def test_results_that_do_not_belong_together_are_refused(change, message):
    a, b = result_of("tuned", map=[1, 0]), result_of("bm25", map=[1, 0])
    with pytest.raises(InputError, match=message):
        compare(a, replace(b, **change))
