import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from classify.decisions import calibration
from classify.decisions.calibration import Calibration, choose, cross_fitted, fit, row_loss
from classify.decisions.thresholds import macro_f1

METHODS = ("temperature", "vector", "isotonic")


def drawn(rows, labels, seed, steep=2.0):
    """Logits, and gold drawn from their softmax: calibrated as they are."""
    rng = np.random.default_rng(seed)
    logits = steep * rng.normal(size=(rows, labels))
    cumulative = np.cumsum(softmax(logits, axis=1), axis=1)
    return logits, np.minimum((rng.random((rows, 1)) > cumulative).sum(axis=1), labels - 1)


def drawn_multi(rows, labels, seed):
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(rows, labels)) - 1.5
    return logits, rng.random(logits.shape) < expit(logits)


@pytest.mark.parametrize("seed", range(5))
def test_calibrated_logits_keep_a_temperature_near_one(seed):
    logits, gold = drawn(3000, 6, seed)
    assert fit("temperature", logits, gold).scale[0] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_temperature_undoes_a_factor(factor):
    logits, gold = drawn(4000, 5, 1)
    assert fit("temperature", factor * logits, gold).scale[0] == pytest.approx(1 / factor, rel=0.1)
    multi, truth = drawn_multi(4000, 5, 1)
    assert fit("temperature", factor * multi, truth).scale == pytest.approx([1 / factor] * 5, rel=0.15)


def test_vector_undoes_a_shift_of_each_class():
    logits, gold = drawn(6000, 4, 2)
    shift = np.array([2.0, -1.0, 0.0, -1.0])
    fitted = fit("vector", 3 * (logits + shift), gold)
    assert np.abs(fitted.apply(3 * (logits + shift), False) - softmax(logits, axis=1)).mean() < 0.02
    multi, truth = drawn_multi(6000, 4, 2)
    fitted = fit("vector", 2 * (multi + shift), truth)
    assert np.abs(fitted.apply(2 * (multi + shift), True) - expit(multi)).mean() < 0.02


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), labels=st.integers(2, 6), rows=st.integers(12, 60))
def test_temperature_keeps_the_most_probable_label(seed, labels, rows):
    logits, gold = drawn(rows, labels, seed)
    found = fit("temperature", logits, gold).apply(logits, False)
    assert (found.argmax(axis=1) == logits.argmax(axis=1)).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), method=st.sampled_from(METHODS), multi=st.booleans())
def test_probabilities_are_probabilities_and_no_worse_on_their_own_rows(seed, method, multi):
    logits, gold = (drawn_multi if multi else drawn)(120, 4, seed)
    logits = 3 * logits
    before = Calibration().apply(logits, multi)
    after = fit(method, logits, gold).apply(logits, multi)
    assert (after >= 0).all()
    assert (after <= 1).all()
    if not multi:
        np.testing.assert_allclose(after.sum(axis=1), 1)
    assert row_loss(after, gold).mean() <= row_loss(before, gold).mean() + 1e-9


@pytest.mark.parametrize("method", METHODS)
def test_a_class_without_dev_rows_does_no_harm(method):
    logits, gold = drawn(200, 5, 3)
    kept = gold != 4
    after = fit(method, logits[kept], gold[kept]).apply(logits, False)
    assert np.isfinite(after).all()
    assert np.isfinite(row_loss(after, gold)).all()


def test_separated_rows_have_a_bounded_temperature():
    gold = np.arange(40) % 2
    logits = np.stack([1.0 - gold, gold], axis=1)
    assert 10 < fit("temperature", logits, gold).scale[0] <= 1 / calibration.STEEPEST


def test_auto_takes_temperature_where_rows_are_few_and_vector_where_classes_are_shifted():
    logits, gold = drawn(60, 20, 4)
    assert choose(3 * logits, gold, 0) == "temperature"
    logits, gold = drawn(3000, 4, 4)
    assert choose(3 * logits, gold, 0) == "temperature"
    assert choose(logits + np.array([3.0, 0, 0, -3.0]), gold, 0) in ("vector", "isotonic")


def test_auto_does_not_take_rare_classes_from_the_decisions_for_a_lower_log_loss():
    # As after training with balanced weights: fair decisions for macro-F1, wrong probabilities for the log loss.
    rng = np.random.default_rng(0)
    prior = np.array([0.9, 0.04, 0.03, 0.03])
    gold = rng.choice(4, size=3000, p=prior)
    logits = (gold[:, None] == np.arange(4)) + rng.normal(size=(3000, 4))
    held = cross_fitted("vector", logits, gold, 0)
    assert row_loss(held, gold).mean() < row_loss(cross_fitted("temperature", logits, gold, 0), gold).mean() - 0.1
    assert macro_f1(held.argmax(axis=1), gold, 4) < macro_f1(logits.argmax(axis=1), gold, 4)
    assert choose(logits, gold, 0) == "temperature"


def test_cross_fitted_rows_are_not_calibrated_by_themselves():
    logits, gold = drawn(300, 3, 5)
    one = cross_fitted("vector", logits, gold, 0)
    flipped = gold.copy()
    flipped[7] = (gold[7] + 1) % 3
    assert (cross_fitted("vector", logits, flipped, 0)[7] == one[7]).all()
    assert not (cross_fitted("vector", logits, flipped, 0) == one).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("labels", [2, 3])
def test_no_calibration_turns_a_class_over(method, labels):
    # As with the labels of dev turned round: what speaks for a class speaks against it.
    rng = np.random.default_rng(0)
    gold = rng.integers(labels, size=600)
    logits = 4.0 * (gold[:, None] == np.arange(labels)) + rng.normal(size=(600, labels))
    fitted = fit(method, logits, (gold + 1) % labels)
    after = fitted.apply(logits, False)
    if labels == 2:
        order = np.argsort(logits[:, 1] - logits[:, 0])
        assert (np.diff(after[order, 1]) >= -1e-9).all()
    assert all(scale > 0 for scale in fitted.scale)
