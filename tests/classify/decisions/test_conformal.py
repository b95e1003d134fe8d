import numpy as np
import pytest
from scipy.special import expit, softmax
from scipy.stats import binom

from classify.decisions.conformal import check_rows, coverage, fit, rows_needed, scores
from finewise.errors import InputError

LEVELS = [0.8, 0.9, 0.95]


def drawn(rows, labels, rng, steep=1.0):
    """Probabilities that are overconfident, and gold."""
    logits = steep * rng.normal(size=(rows, labels))
    cumulative = np.cumsum(softmax(logits, axis=1), axis=1)
    gold = np.minimum((rng.random((rows, 1)) > cumulative).sum(axis=1), labels - 1)
    return softmax(2 * logits, axis=1), gold


@pytest.mark.parametrize("score", ["lac", "aps", "raps"])
def test_promises_are_kept_over_many_draws(score):
    rng = np.random.default_rng(0)
    draws, rows = 150, 99
    kept = dict.fromkeys(LEVELS, 0)
    for _ in range(draws):
        probabilities, gold = drawn(rows, 8, rng)
        fitted = fit(score, LEVELS, False, probabilities, gold)
        new, truth = drawn(20, 8, rng)
        for level in LEVELS:
            kept[level] += int(fitted.sets(new, level)[0, truth[0]])
    for level in LEVELS:
        # The most probable label is always in the set, so more than promised may be kept, never less.
        assert kept[level] >= binom.ppf(1e-4, draws, level)
    assert kept[0.8] <= binom.ppf(1 - 1e-4, draws, 0.8)


def test_each_class_keeps_its_own_promise():
    rng = np.random.default_rng(1)
    probabilities, gold = drawn(4000, 4, rng)
    # One class is mostly taken for another: a common limit lets it down.
    probabilities[gold == 0] = probabilities[gold == 0][:, [1, 0, 2, 3]]
    half = slice(0, 2000), slice(2000, None)
    share = {}
    for per_class in (False, True):
        fitted = fit("lac", [0.9], per_class, probabilities[half[0]], gold[half[0]])
        inside = fitted.sets(probabilities[half[1]], 0.9)
        mine = gold[half[1]] == 0
        share[per_class] = inside[mine, 0].mean()
    assert share[False] < 0.85 < share[True]


def test_rare_classes_share_a_limit():
    rng = np.random.default_rng(2)
    probabilities, gold = drawn(300, 4, rng)
    gold[gold == 3] = 0
    gold[:3] = 3
    fitted = fit("lac", [0.9], True, probabilities, gold)
    assert fitted.pooled == (3,)


def test_multi_label_sets_hold_the_promised_share_of_labels():
    rng = np.random.default_rng(3)
    found = []
    for _ in range(60):
        logits = 2 * rng.normal(size=(300, 6)) - 2
        truth = rng.random(logits.shape) < expit(logits)
        fitted = fit("lac", [0.9], False, expit(3 * logits[:150]), truth[:150])
        found.append(coverage(fitted.sets(expit(3 * logits[150:]), 0.9), truth[150:], 0.9).measured)
    assert 0.89 < np.mean(found) < 0.93


def test_risk_limit_equals_trying_every_limit():
    rng = np.random.default_rng(4)
    for _ in range(20):
        probabilities = rng.random((40, 5)).round(1)
        truth = rng.random((40, 5)) < 0.4
        limit = fit("lac", [0.8], False, probabilities, truth).limits[0][0]
        has = truth.any(axis=1)
        n = has.sum()

        def bound(tried, probabilities=probabilities, truth=truth, has=has, n=n):
            missed = truth[has] & (1 - probabilities[has] > tried)
            return ((missed.sum(axis=1) / truth[has].sum(axis=1)).sum() + 1) / (n + 1)

        assert bound(limit) <= 0.2 + 1e-9
        lower = [1 - p for p in np.unique(probabilities) if 1 - p < limit - 1e-9]
        assert all(bound(tried) > 0.2 for tried in lower)


def test_aps_scores_by_hand():
    found = scores(np.array([[0.2, 0.5, 0.3]]), "aps")
    np.testing.assert_allclose(found, [[1.0, 0.5, 0.8]])


def test_sets_are_never_empty_and_grow_with_the_level():
    rng = np.random.default_rng(5)
    probabilities, gold = drawn(500, 5, rng, steep=6)
    for score in ("lac", "aps", "raps"):
        fitted = fit(score, LEVELS, False, probabilities, gold)
        small, middle, large = (fitted.sets(probabilities, level) for level in LEVELS)
        assert small.any(axis=1).all()
        assert (small <= middle).all()
        assert (middle <= large).all()
        assert fitted.sets(probabilities, 0.8)[np.arange(500), probabilities.argmax(axis=1)].all()


def test_coverage_interval_is_clopper_pearson():
    from scipy.stats import binomtest

    sets = np.zeros((50, 2), dtype=bool)
    sets[:45, 0] = True
    found = coverage(sets, np.zeros(50, dtype=np.int64), 0.9)
    expected = binomtest(45, 50).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert coverage(sets[:45], np.zeros(45, dtype=np.int64), 0.9).high == 1.0


def test_too_few_rows_and_unknown_levels():
    assert [rows_needed(level) for level in (0.5, 0.8, 0.9, 0.95, 0.99)] == [1, 4, 9, 19, 99]
    with pytest.raises(InputError, match=r"level 0.95 need at least 19 dev rows, and dev has 18"):
        check_rows([0.95], 18)
    rng = np.random.default_rng(6)
    fitted = fit("lac", [0.9], False, *drawn(30, 3, rng))
    with pytest.raises(InputError, match=r"fitted for the levels 0.9; got 0.5"):
        fitted.sets(np.ones((1, 3)) / 3, 0.5)
