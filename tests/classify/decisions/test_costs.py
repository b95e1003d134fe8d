import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classify.decisions.costs import cost_matrix, cost_thresholds, least_cost, mean_cost, read_costs
from finewise.errors import InputError

NAMES = ("ham", "spam", "virus")


@given(st.integers(0, 10_000))
def test_least_cost_equals_trying_every_label(seed):
    rng = np.random.default_rng(seed)
    probabilities, costs = rng.dirichlet(np.ones(4), 10), rng.random((4, 4))
    found = least_cost(probabilities, costs)
    for row, label in zip(probabilities, found, strict=True):
        expected = [sum(row[true] * costs[true, given_] for true in range(4)) for given_ in range(4)]
        assert expected[label] == pytest.approx(min(expected))


@given(st.floats(0.01, 0.99), st.floats(0.1, 10), st.floats(0.1, 10))
def test_cost_thresholds_equal_expected_cost(probability, miss, alarm):
    (threshold,) = cost_thresholds(np.array([[miss, alarm]]))
    cheaper_given = (1 - probability) * alarm < probability * miss
    if probability != pytest.approx(threshold):
        assert (probability >= threshold) == cheaper_given


def test_a_file_and_what_it_leaves_out(tmp_path):
    path = tmp_path / "costs.csv"
    path.write_text("true,ham,spam\nham,0,10\nvirus,50,2\n")
    costs = cost_matrix(read_costs(str(path), multi=False), NAMES, multi=False)
    assert costs.tolist() == [[0, 10, 1], [1, 0, 1], [50, 2, 0]]
    path.write_text("label,miss,false_alarm\nspam,1,9\n")
    costs = cost_matrix(read_costs(str(path), multi=True), NAMES, multi=True)
    assert cost_thresholds(costs).tolist() == [0.5, 0.9, 0.5]


def test_mean_cost():
    costs = np.array([[0.0, 4], [2, 0]])
    assert mean_cost(np.array([0, 1, 1]), np.array([0, 0, 1]), costs) == pytest.approx(4 / 3)
    truth = np.array([[True, False], [False, True]])
    assert mean_cost(~truth, truth, np.array([[1.0, 2], [3, 4]])) == pytest.approx((1 + 4 + 3 + 2) / 2)


@pytest.mark.parametrize(
    ("table", "multi", "message"),
    [
        ({"spma": {"ham": 1}}, False, "unknown label 'spma'; did you mean 'spam'?"),
        ({"spam": {"hma": 1}}, False, "label 'spam': unknown label 'hma'; did you mean 'ham'?"),
        ({"spam": {"ham": float("nan")}}, False, "must be a finite number; got nan"),
        ({"spam": {"spam": 5}}, False, "a mistake must not be cheaper"),
        ({"spam": {"mis": 5}}, True, "unknown column 'mis'; did you mean 'miss'?"),
        ({"spam": {"miss": 0}}, True, "miss must cost more than 0; got 0"),
    ],
)
def test_mistakes_are_named(table, multi, message):
    with pytest.raises(InputError, match=message.replace("?", r"\?")) as caught:
        cost_matrix(table, NAMES, multi)
    assert "\n" not in str(caught.value)


def test_broken_files(tmp_path):
    path = tmp_path / "costs.csv"
    with pytest.raises(InputError, match="no such CSV file"):
        read_costs(str(path), multi=False)
    path.write_text("true,ham\nham,0\nham,1\n")
    with pytest.raises(InputError, match="line 3: the label 'ham' has a row already"):
        read_costs(str(path), multi=False)
    path.write_text("true,ham\nham,cheap\n")
    with pytest.raises(InputError, match="line 2: 'ham' must be a number"):
        read_costs(str(path), multi=False)
    path.write_text("ham\nspam\n")
    with pytest.raises(InputError, match="has one column"):
        read_costs(str(path), multi=False)
