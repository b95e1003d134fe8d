"""Intervals and tests of one jackknife agree with textbook formulas and with each other, and say when there is too little."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from scipy import stats

from benchmarks.stats.design import Design
from benchmarks.stats.inference import UNIT, intervals, paired_tests
from benchmarks.stats.jackknife import jackknife


def mean(values):
    return lambda weights: (values @ weights / weights.sum(axis=0))[None]


def interval(values, bounds=(None, None), **design):
    return intervals(jackknife(mean(values), Design.of(len(values), **design), biased=False), [bounds])[0]


def difference(values, bounds=(None, None), **design):
    return paired_tests(jackknife(mean(values), Design.of(len(values), **design), biased=False), [bounds])[0]


differences = arrays(np.float64, st.integers(50, 80), elements=st.sampled_from([-1.0, -0.3, 0.0, 0.1, 0.5, 1.0]))


def test_the_interval_and_p_of_a_mean_are_students():
    values = np.random.default_rng(0).normal(0.02, 0.1, 200)
    found, known = difference(values), stats.ttest_1samp(values, 0)
    assert (found.low, found.high) == pytest.approx(tuple(known.confidence_interval()), rel=2e-2)
    assert found.p == pytest.approx(known.pvalue, rel=0.05)
    assert found.test == "paired jackknife t over 200 rows"


def test_a_share_of_independent_rows_has_clopper_and_pearsons_interval():
    values = np.r_[np.ones(430), np.zeros(70)]
    found = interval(values, UNIT)
    known = stats.binomtest(430, 500).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=2e-3)


@pytest.mark.parametrize(("value", "low", "high"), [(0.0, 0.0, 0.38), (1.0, 0.62, 1.0)])
def test_none_of_ten_is_not_certain(value, low, high):
    found = interval(np.full(10, value), UNIT)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)


@given(differences)
@settings(deadline=None)
def test_p_is_below_5_percent_exactly_if_the_interval_excludes_0(values):
    found = difference(values, UNIT)
    assert (found.p < 0.05) == (not found.low <= 0 <= found.high)


@given(differences, st.integers(0, 5))
@settings(deadline=None)
def test_swapping_the_systems_turns_the_sign_only(values, seed):
    there, back = difference(values, UNIT), difference(-values, UNIT)
    assert (there.difference, there.low, there.high) == pytest.approx((-back.difference, -back.high, -back.low))
    assert there.p == pytest.approx(back.p)


def test_systems_that_never_differ_are_not_shown_to_differ():
    found = difference(np.zeros(100), UNIT)
    assert (found.difference, found.p) == (0, 1)
    assert found.high == pytest.approx(3 / 100, rel=0.01)


def test_few_differing_rows_show_no_more_than_their_signs_could():
    values = np.zeros(1000)
    for differing in range(1, 5):  # at best 2 / 2^4 = .125 by sign flips
        values[:differing] = 1
        assert difference(values, UNIT).p > 0.05


def test_rows_of_one_cluster_are_not_counted_as_independent():
    alone = np.random.default_rng(0).normal(0.1, 0.5, 60)
    fourfold = np.repeat(alone, 4)
    tied = difference(fourfold, clusters=np.repeat(np.arange(60), 4))
    assert (tied.low, tied.high) == pytest.approx((difference(alone).low, difference(alone).high))
    assert tied.test == "paired jackknife t over 60 clusters"
    naive = difference(fourfold)
    assert naive.high - naive.low < 0.6 * (tied.high - tied.low)


@pytest.mark.parametrize(
    ("rows", "clusters", "words"),
    [(49, None, "too few to test: 49 rows, 50 are needed"), (90, 9, "too few to test: 9 clusters, 10 are needed")],
)
def test_too_few_are_not_tested(rows, clusters, words):
    found = difference(np.ones(rows), UNIT, clusters=None if clusters is None else np.arange(rows) % clusters)
    assert (found.p, found.test) == (None, words)


def test_a_shared_cluster_does_not_make_a_small_sample_testable():
    found = difference(np.r_[np.ones(9), np.zeros(3)], UNIT, clusters=[0, 0, *range(1, 11)])
    assert (found.p, found.test) == (None, "too few to test: 12 rows, 50 are needed")


def test_one_cluster_that_holds_nearly_all_rows_is_not_ten_clusters():
    found = difference(np.random.default_rng(0).normal(size=1000), clusters=np.minimum(np.arange(1000) // 10, 9)[::-1])
    assert found.p is None
    assert "count as" in found.test


def test_a_stratum_of_one_row_says_nothing_of_its_variation():
    strata = np.r_[np.zeros(99), 1]
    found = difference(np.random.default_rng(0).integers(0, 2, 100).astype(float), UNIT, strata=strata)
    words = "too few to test: the smallest of 2 strata, which count the same, has 1 of the 100 units"
    assert (found.low, found.p, found.test) == (None, None, words)


def test_an_average_that_rests_on_few_rows_of_one_task_is_not_tested():
    values = np.random.default_rng(0).normal(size=100)
    strata = np.r_[np.zeros(90), np.ones(10)]
    few = difference(values, strata=strata)
    assert (few.low, few.p) == (None, None)
    assert "has 10 of the 100 units" in few.test
    assert interval(values > 0, UNIT, strata=strata).low is None
    assert difference(values, strata=np.r_[np.zeros(70), np.ones(30)]).p is not None
    assert difference(values[:52], strata=np.arange(52) % 13).p is not None


def test_a_small_stratum_is_deleted_unit_by_unit():
    """With more rows than deletions, the small task's part of the variance must not rest on two groups of its rows."""
    values, small = np.random.default_rng(0).normal(size=5000), np.arange(5000) < 40
    means = [mean(np.where(part, values, 0)) for part in (small, ~small)]
    shares = [mean(part.astype(float)) for part in (small, ~small)]

    def average(weights):
        return sum(total(weights) / share(weights) for total, share in zip(means, shares, strict=True)) / 2

    found = jackknife(average, Design.of(5000, strata=small), biased=False)
    exact = sum(values[part].var(ddof=1) / part.sum() for part in (small, ~small)) / 4
    assert found.errors[0] ** 2 == pytest.approx(exact, rel=0.01)
    assert found.freedom[0] > 15


def test_clusters_of_unequal_sizes_count_as_fewer():
    values = np.random.default_rng(0).normal(size=1000)
    sizes = [240, *[40] * 19]
    equal, unequal = (np.repeat(np.arange(20), each) for each in (50, sizes))
    free = [jackknife(mean(values), Design.of(1000, clusters=of), biased=False).freedom[0] for of in (equal, unequal)]
    assert free[1] <= 1000**2 / np.square(sizes).sum() - 1 < free[0] <= 19


def test_the_interval_of_a_score_over_few_clusters_is_wider_than_students():
    values = np.random.default_rng(0).normal(5, 1, 400)
    for count, few in ((10, True), (40, False)):
        clusters = np.arange(400) % count
        found, plain = interval(values, clusters=clusters), difference(values, clusters=clusters)
        assert (found.high - found.low > 1.1 * (plain.high - plain.low)) == few


@pytest.mark.parametrize("count", [1, 3, 7])
def test_rounding_is_no_variation(count):
    values = np.full(90, 0.7)
    found = interval(values, UNIT, strata=np.arange(90) % count)
    assert found.low < 0.7 < found.high
    assert difference(values - 0.7, UNIT, strata=np.arange(90) % count).p == 1


def test_strata_are_left_out_from_one_by_one():
    rng = np.random.default_rng(0)
    tasks = np.repeat([0, 1], 100)
    values = rng.normal(0, 0.1, 200) + np.where(tasks, 1.0, -1.0)

    def average(weights):
        return np.mean(
            [values[tasks == one] @ weights[tasks == one] / weights[tasks == one].sum(0) for one in (0, 1)], axis=0
        )[None]

    (found,) = intervals(jackknife(average, Design.of(200, strata=tasks)), [(None, None)])
    expected = np.sqrt(sum(values[tasks == one].var(ddof=1) / 100 for one in (0, 1))) / 2
    assert found.high - found.low == pytest.approx(2 * 1.97 * expected, rel=0.02)


def test_seeds_that_read_the_same_rows_are_crossed_with_them():
    rng = np.random.default_rng(0)
    seeds, rows = np.repeat(np.arange(3), 200), np.tile(np.arange(200), 3)
    same = np.tile(rng.normal(0.1, 0.3, 200), 3)
    by_seed = np.repeat([0.3, 0.0, -0.1], 200) + rng.normal(0, 0.01, 600)
    for values, least in ((same, 0.3 / np.sqrt(200)), (by_seed, np.std([0.3, 0, -0.1], ddof=1) / np.sqrt(3))):
        found = difference(values, seeds=seeds, examples=rows)
        assert (found.high - found.low) / 2 == pytest.approx(stats.t.ppf(0.975, 2) * least, rel=0.15)
        assert found.test == "paired jackknife t over 3 seeds x 200 rows"
    assert difference(by_seed, seeds=seeds, examples=rows).p > 0.5


def test_rows_of_one_kind_may_be_left_out_once_for_all():
    values = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], 3000, p=[0.1, 0.7, 0.2])
    every = jackknife(mean(values), Design.of(3000), most=3000)
    kinds = jackknife(mean(values), Design.of(3000), alike=values.astype(int) + 1)
    together = jackknife(mean(values), Design.of(3000), most=500)
    assert kinds.errors == pytest.approx(every.errors)
    assert kinds.freedom == pytest.approx(every.freedom)
    assert together.errors == pytest.approx(every.errors, rel=0.15)


def test_the_smallest_difference_that_shows_shows_in_four_of_five_samples():
    rng = np.random.default_rng(0)
    detectable = difference(rng.normal(0, 0.5, 400)).detectable
    hits = [difference(rng.normal(detectable, 0.5, 400)).p < 0.05 for _ in range(400)]
    assert 0.72 < np.mean(hits) < 0.88


def test_a_sample_without_rows_is_a_mistake():
    with pytest.raises(ValueError, match="at least one row"):
        Design.of(0)
