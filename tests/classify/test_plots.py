import numpy as np
import pytest
from scipy.special import expit, softmax

from classify.decisions.conformal import Coverage
from classify.plots import nominal_coverage, reliability, risk, threshold_rows


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("rows", [3, 200])
def test_reliability_is_a_drawing(multi, rows):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(rows, 3))
    gold = rng.random(logits.shape) < 0.3 if multi else rng.integers(0, 3, rows)
    probabilities = expit(logits) if multi else softmax(logits, axis=1)
    drawing = reliability(probabilities, probabilities, gold)
    assert drawing.startswith("<svg")
    assert drawing.rstrip().endswith("</svg>")


def test_risk_with_and_without_a_floor():
    sure, right = np.linspace(0, 1, 50), np.arange(50) % 3 > 0
    for floor in (None, 0.5, np.inf):
        assert risk(sure, right, floor).startswith("<svg")


def test_nominal_coverage_is_a_drawing():
    found = [
        Coverage(level=level, measured=level, low=level - 0.02, high=1.0, size=2.0, rows=9) for level in (0.8, 0.9)
    ]
    assert nominal_coverage(found).startswith("<svg")


def test_threshold_rows_by_hand():
    probabilities = np.array([[0.4, 0.9], [0.3, 0.2], [0.1, 0.8]])
    gold = np.array([[True, True], [True, False], [False, False]])
    first, second = threshold_rows(["a", "b"], np.array([0.25, 0.5]), probabilities, gold)
    assert first == {"label": "a", "texts": 2, "threshold": 0.25, "precision": 1, "recall": 1, "F1": 1, "F1 at 0.5": 0}
    assert (second["precision"], second["recall"], second["F1"]) == (0.5, 1, pytest.approx(2 / 3))
