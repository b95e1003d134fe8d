"""Every metric agrees with scikit-learn where it has it, for missing classes, ties, one row, all one class, and weights."""

import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings

from benchmarks.metrics.calibration import BINS
from benchmarks.metrics.classes import METRICS, check_metric, evaluated, measure
from benchmarks.metrics.outcome import Outcome
from benchmarks.metrics.ranked import left_out

SINGLE = [name for name, metric in METRICS.items() if "single" in metric.kinds]
MULTI = [name for name, metric in METRICS.items() if "multi" in metric.kinds]
# Eighths are exact in binary, so that scikit-learn's own tests for 0 hold with weights too.
WEIGHTS = st.integers(1, 24).map(lambda eighths: eighths / 8)


def probabilities_of(draw, rows, classes):
    """Few different values, so that ties are common; certain ones too."""
    raw = draw(st.lists(st.integers(0, 4), min_size=rows * classes, max_size=rows * classes))
    return np.array(raw, np.float64).reshape(rows, classes)


@st.composite
def one_label(draw, kinds=(2, 6)):
    classes, rows = draw(st.integers(*kinds)), draw(st.integers(1, 25))
    some = st.integers(0, draw(st.integers(0, classes - 1)))  # often not all classes are there
    gold, predicted = (np.array(draw(st.lists(some, min_size=rows, max_size=rows))) for _ in range(2))
    raw = probabilities_of(draw, rows, classes) + 1e-12
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    weights = np.array(draw(st.lists(WEIGHTS, min_size=rows, max_size=rows) | st.just([1.0] * rows)))
    return Outcome(gold=gold, predicted=predicted, probabilities=probabilities, classes=classes), weights


@st.composite
def many_labels(draw):
    classes, rows = draw(st.integers(1, 5)), draw(st.integers(1, 25))
    probabilities = probabilities_of(draw, rows, classes) / 4
    raw = draw(st.lists(st.booleans(), min_size=rows * classes, max_size=rows * classes))
    gold = np.array(raw).reshape(rows, classes)
    weights = np.array(draw(st.lists(WEIGHTS, min_size=rows, max_size=rows) | st.just([1.0] * rows)))
    return Outcome(gold=gold, predicted=probabilities >= 0.5, probabilities=probabilities, classes=classes), weights


def of_the_classes_with_both_values(function, outcome, weights):
    indicators = outcome.indicators()
    found = [
        function(indicators[:, k], outcome.probabilities[:, k], sample_weight=weights)
        for k in range(outcome.classes)
        if 0 < indicators[:, k].sum() < len(indicators)
    ]
    return np.mean(found) if found else np.nan


def error_of_one_column(confidence, right, weights):
    """ECE in plain loops: equal confidences together, in the bin that the middle of their mass falls into."""
    total, below, bins = weights.sum(), 0.0, [0.0] * BINS
    for value in sorted(set(confidence.tolist())):
        here = confidence == value
        mass = weights[here].sum()
        bins[min(int((below + mass / 2) * BINS / total), BINS - 1)] += (weights * (confidence - right))[here].sum()
        below += mass
    return sum(map(abs, bins)) / total


def expected_of_one_label(name, outcome, weights):
    gold, predicted, probabilities = outcome.gold, outcome.predicted, outcome.probabilities
    every = list(range(outcome.classes))
    weigh = {"sample_weight": weights}
    match name:
        case "accuracy":
            return reference.accuracy_score(gold, predicted, **weigh)
        case "balanced_accuracy":
            return reference.balanced_accuracy_score(gold, predicted, **weigh)
        case "f1_macro" | "f1_micro" | "f1_weighted":
            labels = np.unique(gold) if name == "f1_macro" else None
            return reference.f1_score(gold, predicted, labels=labels, average=name[3:], zero_division=0, **weigh)
        case "mcc":
            return reference.matthews_corrcoef(gold, predicted, **weigh)
        case "roc_auc":
            return of_the_classes_with_both_values(reference.roc_auc_score, outcome, weights)
        case "average_precision":
            return of_the_classes_with_both_values(reference.average_precision_score, outcome, weights)
        case "log_loss":
            return reference.log_loss(gold, probabilities, labels=every, **weigh)
        case "brier":
            return reference.brier_score_loss(gold, probabilities, labels=every, **weigh)
        case "ece":
            top = probabilities.argmax(axis=1)
            return error_of_one_column(probabilities.max(axis=1), top == gold, weights)


def expected_of_many_labels(name, outcome, weights):
    gold, predicted, probabilities = outcome.gold, outcome.predicted, outcome.probabilities
    columns = range(outcome.classes)
    match name:
        case "exact_match":
            return reference.accuracy_score(gold, predicted, sample_weight=weights)
        case "f1_macro" | "f1_micro" | "f1_weighted":
            if outcome.classes == 1:  # scikit-learn takes one column for one label per row
                return reference.f1_score(gold[:, 0], predicted[:, 0], sample_weight=weights, zero_division=0)
            return reference.f1_score(gold, predicted, average=name[3:], sample_weight=weights, zero_division=0)
        case "roc_auc":
            return of_the_classes_with_both_values(reference.roc_auc_score, outcome, weights)
        case "average_precision":
            return of_the_classes_with_both_values(reference.average_precision_score, outcome, weights)
        case "log_loss":
            each = [
                reference.log_loss(gold[:, k], probabilities[:, k], labels=[False, True], sample_weight=weights)
                for k in columns
            ]
            return np.mean(each)
        case "brier":
            return np.average(np.square(probabilities - gold).mean(axis=1), weights=weights)
        case "ece":
            return np.mean([error_of_one_column(probabilities[:, k], gold[:, k], weights) for k in columns])


def close(found, expected, name):
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True), name


@given(one_label())
@settings(deadline=None, max_examples=100)
def test_metrics_of_one_label_agree_with_scikit_learn(case):
    outcome, weights = case
    found = measure(outcome, SINGLE)(weights[:, None])[:, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn tells of classes that are missing
        for name, value in zip(SINGLE, found, strict=True):
            close(value, expected_of_one_label(name, outcome, weights), name)


@given(many_labels())
@settings(deadline=None, max_examples=100)
def test_metrics_of_many_labels_agree_with_scikit_learn(case):
    outcome, weights = case
    found = measure(outcome, MULTI)(weights[:, None])[:, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, value in zip(MULTI, found, strict=True):
            close(value, expected_of_many_labels(name, outcome, weights), name)


@given(one_label())
@settings(deadline=None)
def test_ordinal_metrics_agree_with_scikit_learn(case):
    outcome, weights = case
    distance, kappa = measure(outcome, ["mean_absolute_error", "quadratic_kappa"])(weights[:, None])[:, 0]
    close(distance, reference.mean_absolute_error(outcome.gold, outcome.predicted, sample_weight=weights), "MAE")
    if len({*outcome.gold.tolist(), *outcome.predicted.tolist()}) > 1:
        every = list(range(outcome.classes))
        expected = reference.cohen_kappa_score(
            outcome.gold, outcome.predicted, labels=every, weights="quadratic", sample_weight=weights
        )
        close(kappa, expected, "QWK")
    else:
        assert kappa == 0


@given(one_label() | many_labels(), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_whole_weights_are_repeated_rows_and_the_order_of_rows_does_not_matter(case, seed):
    outcome, _ = case
    names = MULTI if outcome.multi else SINGLE
    rng = np.random.default_rng(seed)
    times = rng.integers(1, 4, len(outcome.gold))  # no class may go missing: macro means keep their classes
    rows = rng.permutation(np.repeat(np.arange(len(times)), times))
    repeated = Outcome(
        gold=outcome.gold[rows], predicted=outcome.predicted[rows], probabilities=outcome.probabilities[rows],
        classes=outcome.classes,
    )  # fmt: skip
    found = measure(outcome, names)(times[:, None].astype(float))[:, 0]
    for name, value, expected in zip(names, found, evaluated(repeated, names).values(), strict=True):
        close(value, expected, name)


def test_many_weightings_at_once_are_each_alone():
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(4), 60)
    outcome = Outcome(gold=rng.integers(0, 4, 60), predicted=probabilities.argmax(1), probabilities=probabilities,
                      classes=4)  # fmt: skip
    weights = rng.integers(0, 4, (60, 7)).astype(float)
    together = measure(outcome, SINGLE)(weights)
    for column in range(7):
        alone = measure(outcome, SINGLE)(weights[:, [column]])[:, 0]
        np.testing.assert_allclose(together[:, column], alone, atol=1e-12)


def test_hierarchical_f1_counts_shared_ancestors():
    # nodes: animal, animal/cat, animal/dog, plant, plant/tree; classes: cat, dog, tree
    ancestors = np.array([[1, 1, 0, 0, 0], [1, 0, 1, 0, 0], [0, 0, 0, 1, 1]], bool)
    outcome = Outcome(gold=np.array([0, 0, 2]), predicted=np.array([1, 2, 2]), probabilities=None, classes=3,
                      ancestors=ancestors)  # fmt: skip
    # shared: animal; none; both of tree's. Each set has two nodes.
    assert evaluated(outcome, ["f1_hierarchical"])["f1_hierarchical"] == pytest.approx(2 * 3 / (6 + 6))


def test_classes_without_both_values_are_left_out_and_counted():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.6, 0.3, 0.1]])
    outcome = Outcome(gold=np.array([0, 1, 1]), predicted=probabilities.argmax(1), probabilities=probabilities,
                      classes=3)  # fmt: skip
    assert left_out(outcome) == 1
    assert evaluated(outcome, ["roc_auc"])["roc_auc"] == pytest.approx(1.0)
    alone = Outcome(gold=np.zeros(3, int), predicted=np.zeros(3, int), probabilities=probabilities, classes=3)
    assert left_out(alone) == 3
    assert np.isnan(evaluated(alone, ["roc_auc"])["roc_auc"])


def test_a_class_whose_rows_are_left_out_stays_in_the_macro_mean():
    outcome = Outcome(gold=np.array([0, 0, 1]), predicted=np.array([0, 0, 1]), probabilities=None, classes=3)
    found = measure(outcome, ["f1_macro", "balanced_accuracy"])(np.array([[1, 1], [1, 1], [0, 1e-9]]))
    np.testing.assert_allclose(found, [[0.5, 1], [0.5, 1]])


def test_a_class_that_only_one_system_predicts_does_not_change_over_which_classes_the_mean_is():
    gold = np.array([0, 0, 1, 1])
    for predicted, expected in (([0, 0, 1, 1], 1.0), ([0, 2, 1, 1], (2 / 3 + 1) / 2)):
        outcome = Outcome(gold=gold, predicted=np.array(predicted), probabilities=None, classes=3)
        assert evaluated(outcome, ["f1_macro"])["f1_macro"] == pytest.approx(expected)


def test_what_cannot_be_computed_says_why():
    alone = Outcome(gold=np.zeros(3, int), predicted=np.zeros(3, int), probabilities=None, classes=1)
    with pytest.raises(ValueError, match="needs probabilities"):
        evaluated(alone, ["ece"])
    with pytest.raises(ValueError, match=r"data\.kind=hierarchical"):
        evaluated(alone, ["f1_hierarchical"])


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("f1", "single", "unknown metric 'f1'"),
        ("macro_f1", None, "did you mean"),
        ("mcc", "multi", "'mcc' is for single, ordinal, hierarchical labels; the data is multi. For it: average_precision"),
        ("f1_hierarchical", "single", "is for hierarchical labels; the data is single"),
        ("accuracy", "multi", "exact_match"),
    ],
)  # fmt: skip
def test_a_name_that_is_no_metric_of_this_kind_is_refused(name, kind, message):
    with pytest.raises(ValueError, match="metric") as error:
        check_metric(name, kind)
    assert message in str(error.value)


def test_names_are_accepted_for_their_kinds():
    for name, metric in METRICS.items():
        for kind in (*metric.kinds, None, "auto"):
            check_metric(name, kind)
