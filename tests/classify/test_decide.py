import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from classify.decide import FILE, Decisions, check_config, plain
from classify.decisions.config import DecideConfig
from classify.decisions.measured import measured
from finewise.errors import InputError

NAMES = ("a", "b", "c", "d")


def drawn(rows, multi, seed=0):
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(rows, 4))
    if multi:
        return 3 * logits, rng.random(logits.shape) < expit(logits - 1)
    cumulative = np.cumsum(softmax(logits, axis=1), axis=1)
    return 3 * logits, np.minimum((rng.random((rows, 1)) > cumulative).sum(axis=1), 3)


CONFIGS = st.builds(
    lambda calibration, goal, target, sets, per_class: DecideConfig(
        calibration=calibration,
        thresholds=goal,
        precision=0.7 if goal == "precision" else None,
        costs="given" if goal == "cost" else None,
        sets=sets,
        sets_per_class=per_class and sets != "none",
        **target,
    ),
    st.sampled_from(["auto", "none", "temperature", "vector", "isotonic"]),
    st.sampled_from(["auto", "none", "f1", "precision", "cost"]),
    st.sampled_from([{}, {"target_accuracy": 0.9}, {"target_accuracy": 0.999999}, {"target_coverage": 0.7}]),
    st.sampled_from(["none", "lac", "aps", "raps"]),
    st.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(config=CONFIGS, multi=st.booleans(), seed=st.integers(0, 99))
def test_what_is_saved_decides_the_very_same(config, multi, seed):
    if multi and config.sets in ("aps", "raps"):
        config.sets = "lac"
    kind = "multi" if multi else "single"
    costs = None
    if config.thresholds == "cost":
        costs = {"a": {"miss": 3.0, "false_alarm": 0.7}} if multi else {"a": {"b": 7.1}, "c": {"a": 0.3}}
    raw, gold = drawn(100, multi, seed)
    one = Decisions.fit(raw, gold, kind, NAMES, config, costs=costs)
    two = Decisions.from_json(json.loads(json.dumps(one.to_json())), NAMES)
    assert two.to_json() == one.to_json()
    new, _ = drawn(50, multi, seed + 100)
    first, second = one.probabilities(new), two.probabilities(new)
    assert (first == second).all()
    assert (one.decide(first) == two.decide(second)).all()
    assert (one.abstains(first) == two.abstains(second)).all()
    if config.sets != "none":
        assert all(
            (one.sets(first, level) == two.sets(second, level)).all()
            for level in (config.levels or one.conformal.levels)
        )


def test_probabilities_in_place_of_logits_decide_the_same():
    raw, gold = drawn(400, False)
    config = DecideConfig(target_coverage=0.8)
    one = Decisions.fit(raw, gold, "single", NAMES, config)
    two = Decisions.fit(softmax(raw, axis=1), gold, "single", NAMES, config, inputs="probabilities")
    np.testing.assert_allclose(one.probabilities(raw), two.probabilities(softmax(raw, axis=1)), atol=1e-4)


def test_abstention_reaches_its_target_on_new_rows():
    raw, gold = drawn(2000, False)
    new, truth = drawn(2000, False, 1)
    sure = Decisions.fit(raw, gold, "single", NAMES, DecideConfig(target_accuracy=0.9))
    found = measured(sure, (raw, gold), (new, truth))["abstention"]["test"]
    assert found["accuracy"] == pytest.approx(0.92, abs=0.03)
    assert found["low"] < found["accuracy"] < found["high"]
    assert "dev reaches it with 95% confidence" in sure.notes[-1]
    assert found["accuracy_of_all"] < 0.8
    most = Decisions.fit(raw, gold, "single", NAMES, DecideConfig(target_coverage=0.7))
    assert measured(most, (raw, gold), (new, truth))["abstention"]["test"]["coverage"] == pytest.approx(0.7, abs=0.04)


def test_a_precision_for_one_label_leaves_unsure_texts_undecided():
    raw, gold = drawn(3000, False)
    new, truth = drawn(3000, False, 1)
    fitted = Decisions.fit(raw, gold, "single", NAMES, DecideConfig(thresholds="precision", precision=0.9))
    probabilities = fitted.probabilities(new)
    kept = ~fitted.abstains(probabilities)
    assert (fitted.decide(probabilities) == truth)[kept].mean() == pytest.approx(0.93, abs=0.03)
    assert kept.mean() < 0.9


def test_what_is_out_of_reach_is_told_and_not_decided():
    rng = np.random.default_rng(0)
    raw, gold = rng.normal(size=(500, 4)), rng.integers(0, 4, 500)
    fitted = Decisions.fit(raw, gold, "single", NAMES, DecideConfig(target_accuracy=0.99))
    assert fitted.abstains(fitted.probabilities(raw)).mean() > 0.99
    fitted = Decisions.fit(raw, gold, "single", NAMES, DecideConfig(thresholds="precision", precision=0.99))
    assert "do not reach a precision of 0.99 on dev" in fitted.notes[0]


@pytest.mark.parametrize("multi", [False, True])
def test_calibration_and_sets_are_measured(multi):
    raw, gold = drawn(1500, multi)
    new, truth = drawn(1500, multi, 1)
    fitted = Decisions.fit(raw, gold, "multi" if multi else "single", NAMES, DecideConfig())
    found = measured(fitted, (raw, gold), (new, truth))
    for split in ("dev", "test"):
        before, after = found["calibration"][split]["before"], found["calibration"][split]["after"]
        assert all(after[key] < before[key] for key in ("ece", "brier", "log_loss"))
    assert [row["level"] for row in found["sets"]["test"]] == [0.8, 0.9, 0.95]
    assert all(row["measured"] > row["level"] - 0.04 for row in found["sets"]["test"])
    if multi:
        assert found["decisions"]["test"]["after"]["f1_macro"] > found["decisions"]["test"]["before"]["f1_macro"]
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 9}, "version must be 1; got 9"),
        ({"names": ["a", "b", "c", "x"]}, "label 3 is 'x' there and 'd' in the model"),
        ({"names": ["a", "b"]}, "2 labels instead of 4"),
        ({"thresholds": [0.5]}, r"4 labels, and numbers for 1"),
        ({"thresholds": ["much"]}, "is damaged"),
        ({"calibration": {}}, "is damaged"),
        ({"inputs": "words"}, "unknown 'words'"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(tmp_path, change, message):
    raw, gold = drawn(100, False)
    content = Decisions.fit(raw, gold, "single", NAMES, DecideConfig()).to_json() | change
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as caught:
        Decisions.load(tmp_path, NAMES)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_cut_off_or_missing(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Decisions.load(tmp_path)
    plain("single", NAMES).save(tmp_path)
    assert Decisions.load(tmp_path, NAMES).names == NAMES
    whole = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is cut off or damaged"):
        Decisions.load(tmp_path)


def test_mistakes_before_training(tmp_path):
    path = tmp_path / "costs.csv"
    path.write_text("true,a,bb\na,0,1\n")
    with pytest.raises(InputError, match="unknown label 'bb'; did you mean 'b'"):
        check_config(DecideConfig(thresholds="cost", costs=str(path)), "single", NAMES)
    with pytest.raises(InputError, match="at least 19 dev rows, and dev has 12"):
        check_config(DecideConfig(levels=[0.8, 0.95]), "single", NAMES, rows=12)
    with pytest.raises(InputError, match=r"decide.sets=aps is for one right label"):
        check_config(DecideConfig(sets="aps"), "multi", NAMES)
    raw, gold = drawn(50, False)
    raw[2, 1] = np.nan
    with pytest.raises(InputError, match="row 3 is not finite"):
        Decisions.fit(raw, gold, "single", NAMES, DecideConfig())


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"precision": 0.9}, "read with decide.thresholds=precision alone"),
        ({"thresholds": "cost"}, "needs decide.costs"),
        ({"precision": 1.5, "thresholds": "precision"}, "between 0 and 1; got 1.5"),
        ({"target_accuracy": 0.9, "target_coverage": 0.9}, "both set"),
        ({"levels": [90.0]}, "between 0 and 1"),
        ({"levels": [0.9], "sets": "none"}, "levels has no effect"),
        ({"sets": "none", "sets_per_class": True}, "no effect"),
    ],
)
def test_settings_that_contradict_each_other(settings_, message):
    with pytest.raises(ValueError, match=message):
        DecideConfig(**settings_)


def test_no_torch_is_imported():
    code = (
        "import sys, classify.decide, classify.plots, classify.decisions.measured, classify.predict_config;"
        "sys.exit(bool({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
