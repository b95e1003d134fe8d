import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classify.decisions.abstain import NOTHING, floor_for_accuracy, floor_for_coverage, risk_coverage

ROWS = st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.8, 1.0]), st.booleans()), min_size=1, max_size=30)


def arrays(rows):
    return np.array([c for c, _ in rows]), np.array([r for _, r in rows])


@given(ROWS)
def test_curve_is_what_each_floor_gives(rows):
    sure, right = arrays(rows)
    curve = risk_coverage(sure, right)
    for floor, share, risk in zip(curve.confidence, curve.coverage, curve.risk, strict=True):
        kept = sure >= floor
        assert share == pytest.approx(kept.mean())
        assert risk == pytest.approx((~right[kept]).mean())


@given(ROWS, st.randoms())
def test_aurc_does_not_depend_on_the_order_of_the_rows(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert risk_coverage(*arrays(rows)).aurc == pytest.approx(risk_coverage(*arrays(shuffled)).aurc)


def test_aurc_by_hand():
    assert risk_coverage(np.array([0.9, 0.8, 0.7]), np.array([True, False, True])).aurc == pytest.approx(
        (0 + 0.5 + 1 / 3) / 3
    )


def test_a_few_right_rows_do_not_prove_an_accuracy():
    assert floor_for_accuracy(np.linspace(1, 0.5, 28), np.ones(28, bool), 0.9) == NOTHING
    assert floor_for_accuracy(np.linspace(1, 0.5, 29), np.ones(29, bool), 0.9) == 0.5
    assert floor_for_accuracy(np.linspace(1, 0.5, 29), np.arange(29) != 3, 0.9) == NOTHING


@pytest.mark.parametrize("target", [0.8, 0.9])
def test_the_floor_keeps_its_target_on_new_texts_in_95_of_100_samples(target):
    rng = np.random.default_rng(0)
    short = decided = 0
    for _ in range(400):
        sure = rng.random(400)
        floor = floor_for_accuracy(sure, rng.random(400) < 0.5 + 0.5 * sure, target)
        truth = 0.75 + 0.25 * floor if floor != NOTHING else 1.0  # the mean of .5 + .5 c for c from the floor to 1
        short += truth < target
        decided += floor != NOTHING
    assert short / 400 <= 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5
    assert decided > 200


@given(ROWS, st.floats(0.01, 0.99))
def test_floor_for_coverage_keeps_enough(rows, target):
    sure, _ = arrays(rows)
    floor = floor_for_coverage(sure, target)
    assert (sure >= floor).mean() >= target - 1e-9
    assert (sure > floor).mean() < target
