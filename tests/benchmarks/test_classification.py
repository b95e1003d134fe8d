"""What a classifier said is scored, compared, sliced, drawn and kept, and what makes no sense is refused."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_rel

from benchmarks.classification import (
    Classified,
    compare,
    confusion_svg,
    evaluate,
    load_per_example,
    mistakes,
    per_class,
    save_per_example,
    scores,
    slices,
    value,
)
from finewise.data.labels.rows import Labelled
from finewise.data.labels.space import LabelSpace
from finewise.errors import InputError


def labelled(kind="single", rows=60, classes=3, groups=None, **columns):
    rng = np.random.default_rng(0)
    labels = rng.random((rows, classes)) < 0.4 if kind == "multi" else rng.integers(0, classes, rows)
    return Labelled(
        name="pets", split="test", reference="pets.csv", unit="line", numbers=np.arange(2, rows + 2),
        texts=["x" * (1 + row % 40) for row in range(rows)], labels=labels,
        space=LabelSpace(kind=kind, names=tuple(f"animal/{number}" for number in range(classes))),
        groups=groups, columns=columns, keys=np.arange(rows, dtype=np.uint64), revision="r1",
    )  # fmt: skip


def said(data, noise, seed=1):
    rng = np.random.default_rng(seed)
    truth = data.labels if data.space.kind == "multi" else data.labels[:, None] == np.arange(len(data.space.names))
    raw = truth + rng.gumbel(0, noise, truth.shape)
    if data.space.kind == "multi":
        return 1 / (1 + np.exp(-4 * (raw - 0.5)))
    return np.exp(3 * raw) / np.exp(3 * raw).sum(axis=1, keepdims=True)


def test_scores_have_intervals_and_the_expected_calibration_error_has_none():
    data = labelled()
    result = evaluate(data, "tuned", said(data, 0.3))
    found = scores(result, ["f1_macro", "accuracy", "roc_auc", "ece"])
    assert [(score.metric, score.system, score.n) for score in found][:2] == [
        ("f1_macro", "tuned", 60), ("accuracy", "tuned", 60)
    ]  # fmt: skip
    assert all(0 <= score.low <= score.high <= 1 for score in found[:3])
    assert (found[3].low, found[3].high) == (None, None)
    assert found[0].value == value(result, "f1_macro")
    assert found == scores(result, ["f1_macro", "accuracy", "roc_auc", "ece"])
    # the interval of a share is close to the binomial one
    right = int((result.predicted == result.gold).sum())
    known = binomtest(right, 60).proportion_ci(method="wilson")
    assert (found[1].low, found[1].high) == pytest.approx((known.low, known.high), abs=0.02)


def test_rows_of_one_group_are_not_counted_as_independent():
    once = evaluate(labelled(rows=40), "tuned", said(labelled(rows=40), 0.5))
    twice = once.select(np.repeat(np.arange(40), 4))
    grouped = replace(twice, groups=np.repeat(np.arange(40), 4))
    alone, tied, naive = (scores(result, ["f1_macro"])[0] for result in (once, grouped, twice))
    assert tied.high - tied.low == pytest.approx(alone.high - alone.low, rel=0.1)
    assert naive.high - naive.low < 0.7 * (alone.high - alone.low)
    assert (tied.n, tied.clusters, alone.clusters) == (160, 40, None)


def test_a_better_system_is_told_from_a_worse_one():
    data = labelled(rows=300)
    a, b = evaluate(data, "tuned", said(data, 0.2)), evaluate(data, "tfidf_lr", said(data, 0.6, seed=2))
    found = {item.metric: item for item in compare(a, b, ["accuracy", "f1_macro", "log_loss", "ece"])}
    assert sorted(found) == ["accuracy", "f1_macro", "log_loss"]
    right_a, right_b = a.predicted == a.gold, b.predicted == b.gold
    known = ttest_rel(right_a.astype(float), right_b.astype(float)).confidence_interval()
    assert (found["accuracy"].low, found["accuracy"].high) == pytest.approx((known.low, known.high), rel=0.02)
    assert found["accuracy"].test == "paired jackknife t over 300 rows"
    assert found["f1_macro"].p < 0.01
    assert 0 < found["f1_macro"].low < found["f1_macro"].difference < found["f1_macro"].high
    assert found["log_loss"].difference < 0
    grouped = [replace(result, groups=np.arange(300) // 3) for result in (a, b)]
    assert {item.test for item in compare(*grouped, ["accuracy"])} == {"paired jackknife t over 100 clusters"}


def test_a_system_does_not_differ_from_itself():
    data = labelled()
    a = evaluate(data, "tuned", said(data, 0.3))
    for item in compare(a, replace(a, system="same"), ["accuracy", "f1_macro", "roc_auc"]):
        assert (item.difference, item.p) == (0, 1)


def test_p_values_of_macro_f1_are_calibrated():
    data = labelled(rows=80)
    p = [
        compare(
            evaluate(data, "a", said(data, 0.5, seed)), evaluate(data, "b", said(data, 0.5, seed + 1000)), ["f1_macro"]
        )[0].p
        for seed in range(200)
    ]
    for alpha in (0.1, 0.5):
        assert abs(np.mean(np.array(p) <= alpha) - alpha) < 3.5 * np.sqrt(alpha * (1 - alpha) / 200)


def test_a_long_tail_of_classes_is_covered_for_a_system_that_predicts_no_rare_one():
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, 41) ** 1.2
    share /= share.sum()
    common = 12  # what the system predicts; it is right on 80% of these
    predicted = np.where(np.arange(40) < common, share, 0) / share[:common].sum()
    joint = share[:, None] * (0.2 * predicted + 0.8 * np.eye(40) * (np.arange(40) < common))
    joint[common:] += 0.8 * share[common:, None] * predicted
    hits = 2 * np.diag(joint) / (joint.sum(axis=0) + joint.sum(axis=1))
    covered = 0
    for _ in range(150):
        gold, said_ = np.divmod(rng.choice(1600, 800, p=joint.ravel()), 40)
        found = Classified(
            system="a", benchmark="b", split="test", data_revision="r", ids=tuple(map(str, range(800))), kind="single",
            names=tuple(map(str, range(40))), gold=gold, predicted=said_, probabilities=np.zeros((800, 40), np.float32),
        )  # fmt: skip
        (score,) = scores(found, ["f1_macro"])
        covered += score.low <= hits[np.unique(gold)].mean() <= score.high
    assert covered >= 0.91 * 150


def test_mistakes_are_the_surest_first_with_place_and_text():
    data = labelled()
    result = evaluate(data, "tuned", said(data, 0.6))
    found = mistakes(result, data, 5)
    assert len(found) == 5
    assert [row["probability"] for row in found] == sorted((row["probability"] for row in found), reverse=True)
    assert all(row["gold"] != row["predicted"] and row["where"] and row["text"] for row in found)
    several = labelled("multi")
    found = mistakes(evaluate(several, "tuned", said(several, 0.6)), several, 3)
    assert all(row["gold"] != row["predicted"] for row in found)


def test_slices_cover_all_rows_and_mark_small_ones():
    data = labelled(source=["a"] * 50 + ["b"] * 9 + [None], year=list(range(60)))
    result = evaluate(data, "tuned", said(data, 0.5))
    for by in ("length", "source", "year", "class"):
        found = slices(result, data, by, "accuracy")
        assert sum(row["n"] for row in found) == 60
        assert all(0 <= row["low"] <= row["high"] <= 1 for row in found if row["n"] > 1)
        assert all(row["small"] == (row["n"] < 30) for row in found)
    assert [row["slice"] for row in slices(result, data, "source", "f1_macro")] == ["a", "b", "empty"]
    classes = slices(result, data, "class", "f1_macro")
    assert [row["value"] for row in classes] == pytest.approx([row["f1"] for row in per_class(result)])
    assert slices(result, data, "year", "roc_auc")
    with pytest.raises(InputError, match="unknown slice 'sorce'; did you mean 'source'"):
        slices(result, data, "sorce", "accuracy")


def test_a_file_gives_the_same_scores(tmp_path):
    data = labelled("multi", groups=np.arange(60) // 2)
    tuned = evaluate(data, "tuned", said(data, 0.4))
    path = tmp_path / "per_example.npz"
    save_per_example(path, [tuned, evaluate(labelled("hierarchical"), "knn", said(labelled("hierarchical"), 0.4))])
    again, other = load_per_example(path)
    assert scores(again, ["f1_macro", "ece"]) == scores(tuned, ["f1_macro", "ece"])
    assert scores(other, ["f1_hierarchical"])[0].n == 60
    path.write_text("nothing")
    with pytest.raises(InputError, match="not a file of per-example results"):
        load_per_example(path)


@pytest.mark.parametrize(
    ("kind", "classes"), [("single", 2), ("single", 20), ("ordinal", 5), ("multi", 4), ("single", 90)]
)
def test_every_picture_is_svg_with_the_names(kind, classes):
    data = labelled(kind, rows=400, classes=classes)
    result = evaluate(data, "tuned", said(data, 0.6))
    drawing = confusion_svg(replace(result, names=tuple(f"$x_{k} & <b>" for k in range(classes))))
    assert ET.fromstring(drawing).tag.endswith("svg")
    assert "$x_1 &amp; &lt;b&gt;" in drawing
    assert drawing == confusion_svg(replace(result, names=tuple(f"$x_{k} & <b>" for k in range(classes))))


def test_what_makes_no_sense_is_refused_in_one_line():
    data = labelled()
    probabilities = said(data, 0.3)
    broken = probabilities.copy()
    broken[3, 1] = np.nan
    with pytest.raises(InputError, match=r"tuned on pets.csv line 5: probabilities must .*has diverged"):
        evaluate(data, "tuned", broken)
    with pytest.raises(InputError, match="sum to 1"):
        evaluate(data, "tuned", probabilities * 0.5)
    a = evaluate(data, "tuned", probabilities)
    with pytest.raises(InputError, match="'exact_match' is for multi labels"):
        scores(a, ["exact_match"])
    with pytest.raises(InputError, match="different rows"):
        compare(a, replace(a.select(np.arange(9)), system="b"), ["accuracy"])
    with pytest.raises(InputError, match="data revision r1 and r2"):
        compare(a, replace(a, data_revision="r2"), ["accuracy"])
    with pytest.raises(InputError, match="roc_auc needs a class that some rows have and others do not"):
        scores(replace(a, gold=np.zeros(60, int)), ["roc_auc"])
