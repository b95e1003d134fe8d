import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from classify.decisions.thresholds import (
    HALF,
    NEVER,
    best_f1,
    f1_thresholds,
    precision_thresholds,
    prior_correction,
    sweep,
)

ROWS = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.7, 0.9, 1.0]), st.booleans()), min_size=1, max_size=25)


@given(ROWS)
def test_sweep_counts_what_each_threshold_gives(rows):
    scores, truth = np.array([s for s, _ in rows]), np.array([t for _, t in rows])
    cuts, given_, right = sweep(scores, truth)
    assert len(cuts) == len(set(scores))
    for cut, count, hits in zip(cuts, given_, right, strict=True):
        assert count == (scores >= cut).sum()
        assert hits == (truth & (scores >= cut)).sum()


@given(ROWS)
@settings(deadline=None)
def test_best_f1_equals_trying_every_threshold(rows):
    scores, truth = np.array([s for s, _ in rows]), np.array([t for _, t in rows])
    found = best_f1(scores, truth)
    if found is None:
        assert not truth.any()
        return
    best = max(f1_score(truth, scores >= cut, zero_division=0) for cut in scores)
    assert f1_score(truth, scores >= found, zero_division=0) == pytest.approx(best)


def test_precision_is_reached_by_its_lower_bound():
    scores = np.linspace(1, 0, 400)
    truth = (np.arange(400) < 200) & (np.arange(400) % 20 != 19)
    (found,) = precision_thresholds(scores[:, None], truth[:, None], 0.9)
    given_ = scores >= found
    bound = binomtest(int(truth[given_].sum()), int(given_.sum())).proportion_ci(0.9, "exact").low
    assert 0.9 <= bound < truth[given_].mean()
    assert given_.sum() > 150
    assert truth[given_][-1]


def test_one_right_row_of_one_is_no_precision():
    scores = np.linspace(1, 0, 50)
    truth = np.arange(50) == 0
    assert precision_thresholds(scores[:, None], truth[:, None], 0.9).tolist() == [NEVER]
    assert precision_thresholds(np.zeros((0, 1)), np.zeros((0, 1), bool), 0.9).tolist() == [NEVER]


def test_neighbouring_floats_are_parted():
    high = np.nextafter(0.5, 1)
    cuts, given_, _ = sweep(np.array([high, 0.5]), np.array([True, False]))
    assert (np.array([high, 0.5]) >= cuts[0]).sum() == given_[0] == 1


def test_a_rare_label_stays_near_the_threshold_of_all():
    rng = np.random.default_rng(0)
    truth = rng.random((500, 3)) < [0.5, 0.3, 0.0]
    truth[0, 2] = True
    probabilities = np.clip(0.3 * truth + 0.5 * rng.random((500, 3)), 0, 1)
    probabilities[0, 2] = 0.99
    shared = best_f1(probabilities.ravel(), truth.ravel())
    free = f1_thresholds(probabilities, truth, trusted=0)
    held = f1_thresholds(probabilities, truth)
    assert abs(held[2] - shared) < abs(free[2] - shared)
    assert f1_thresholds(probabilities, np.zeros_like(truth)).tolist() == [HALF] * 3


def test_prior_correction_raises_macro_f1_of_a_long_tail():
    rng = np.random.default_rng(1)
    share = np.array([0.8, 0.15, 0.05])
    gold = rng.choice(3, 4000, p=share)
    seen = np.eye(3)[gold] * 1.5 + rng.normal(size=(4000, 3))
    logits = 1.5 * seen + np.log(share)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    offsets = prior_correction(probabilities[:2000], gold[:2000])
    before = f1_score(gold[2000:], probabilities[2000:].argmax(axis=1), average="macro")
    after = f1_score(gold[2000:], (np.log(probabilities[2000:]) + offsets).argmax(axis=1), average="macro")
    assert after > before
    assert (np.diff(offsets[np.argsort(-share)]) >= 0).all()
