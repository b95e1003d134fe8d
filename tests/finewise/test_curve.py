"""The learning curve: which rows, that a killed one goes on, what it predicts and what it advises."""

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finewise.config import ExperimentConfig, OptimConfig
from finewise.curves.advise import Baseline, advice
from finewise.curves.draw import curve_svg
from finewise.curves.extrapolate import Extrapolation, Forecast, extrapolate
from finewise.curves.points import Point, learning_curve, read
from finewise.curves.sizes import epochs_for, nested, nested_by_class, subset_sizes
from finewise.errors import InputError
from finewise.fit import total_steps

SIZES = (1000, 2000, 4000, 8000, 16000)


def points(curve: Callable[[float], float], error: float = 0.005, noise: float = 0.0, seed: int = 0) -> list[Point]:
    """Points on a curve; `error` is the standard error that their intervals claim, `noise` what they really have."""
    rng = np.random.default_rng(seed)
    scores = [curve(size) + noise * rng.standard_normal() for size in SIZES]
    return [
        Point(rows=size, score=score, low=score - 1.96 * error, high=score + 1.96 * error, seconds=size / 100)
        for size, score in zip(SIZES, scores, strict=True)
    ]


def power(rows: float) -> float:
    return float(0.9 - 0.25 * (rows / 1000) ** -0.35)


@given(rows=st.integers(1, 100_000), minimum=st.integers(1, 1000))
def test_the_last_size_is_all_rows_and_none_is_below_the_minimum(rows: int, minimum: int) -> None:
    sizes = subset_sizes(rows, minimum=minimum)
    assert sizes[-1] == rows
    assert sizes == sorted(set(sizes))
    assert all(size >= min(minimum, rows) for size in sizes)


def test_a_share_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"curve\.fractions must be above 0 and at most 1"):
        subset_sizes(100, [0.5, 2])


@given(labels=st.lists(st.integers(0, 5), min_size=1, max_size=300), seed=st.integers(0, 3))
def test_every_beginning_of_the_order_by_class_has_all_classes_in_their_shares(labels: list[int], seed: int) -> None:
    given_labels = np.array(labels, np.int64)
    order = nested_by_class(given_labels, seed)
    assert sorted(order) == list(range(len(labels)))
    classes, counts = np.unique(given_labels, return_counts=True)
    assert set(given_labels[order[: len(classes)]]) == set(classes)
    half = given_labels[order[: len(labels) // 2]]
    if len(half) >= len(classes):
        found = np.array([(half == label).sum() for label in classes])
        assert np.abs(found - counts / 2).max() <= len(classes) + 1


def test_orders_follow_the_seed() -> None:
    assert sorted(nested(50, 1)) == list(range(50))
    assert list(nested(50, 1)) == list(nested(50, 1)) != list(nested(50, 2))


def test_a_killed_curve_goes_on_with_the_next_point(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, file = points(power), tmp_path / "curve.json"
    trained: list[int] = []

    def measure(rows: int) -> Point:
        if rows == 8000 and 8000 not in trained:
            trained.append(rows)
            raise KeyboardInterrupt
        trained.append(rows)
        return next(point for point in whole if point.rows == rows)

    with pytest.raises(KeyboardInterrupt):
        learning_curve(SIZES, measure, file)
    assert read(file) == whole[:3]
    capsys.readouterr()
    assert learning_curve(SIZES, measure, file) == whole
    assert trained == [1000, 2000, 4000, 8000, 8000, 16000]
    assert json.loads(file.read_text())[-1]["rows"] == 16000
    said = capsys.readouterr().err
    assert "learning curve: point 4 of 5, 8,000 rows, about 4 min left" in said
    assert "learning curve: point 5 of 5, 16,000 rows, about 3 min left" in said


def test_a_part_that_cannot_be_trained_on_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = points(power)

    def measure(rows: int) -> Point:
        if rows == 1000:
            raise InputError("method.k=50 is more than the 30 rows")
        return whole[SIZES.index(rows)]

    assert learning_curve(SIZES, measure, tmp_path / "curve.json") == whole[1:]
    assert "1,000 rows are left out: method.k=50" in capsys.readouterr().err


def test_a_point_that_the_run_has_anyway_is_not_measured(tmp_path: Path) -> None:
    whole = points(power)
    found = learning_curve(
        SIZES,
        lambda rows: whole[SIZES.index(rows)] if rows < 16000 else pytest.fail("trained again"),
        tmp_path / "c",
        known=whole[-1:],
    )
    assert found == whole


def test_a_clean_power_law_is_foreseen() -> None:
    found = extrapolate(points(power))
    assert [forecast.rows for forecast in found.forecasts] == [32000, 64000]
    for forecast in found.forecasts:
        assert forecast.score == pytest.approx(power(forecast.rows), abs=0.005)
        assert forecast.gain_low < power(forecast.rows) - power(16000) < forecast.gain_high


@pytest.mark.parametrize(
    "curve",
    [
        power,
        lambda rows: 0.4 + 0.04 * np.log(rows / 1000),
        lambda rows: 0.85 - 0.4 * np.exp(-rows / 6000),
        lambda rows: 0.9 - 0.6 / (1 + rows / 2000),
        lambda rows: 0.8,
    ],
    ids=["power", "logarithm", "exponential", "mmf", "flat"],
)
def test_the_band_holds_the_truth_of_every_family(curve: Callable[[float], float]) -> None:
    inside = []
    for seed in range(40):
        measured = points(curve, error=0.0075, noise=0.003, seed=seed)
        for forecast in extrapolate(measured).forecasts:
            inside.append(forecast.gain_low <= curve(forecast.rows) - measured[-1].score <= forecast.gain_high)
    assert np.mean(inside) >= 0.9


def test_a_falling_metric_is_the_mirror_of_a_rising_one() -> None:
    rising = points(power)
    falling = [
        Point(rows=point.rows, score=1 - point.score, low=1 - point.high, high=1 - point.low, seconds=1)
        for point in rising
    ]
    for up, down in zip(
        extrapolate(rising).forecasts, extrapolate(falling, higher=False, best=0.0).forecasts, strict=True
    ):
        assert down.score == pytest.approx(1 - up.score)
        assert (down.low, down.high) == pytest.approx((1 - up.high, 1 - up.low))
        assert (down.gain, down.gain_low, down.gain_high) == pytest.approx((up.gain, up.gain_low, up.gain_high))


@given(
    scores=st.lists(st.floats(0, 1), min_size=3, max_size=6),
    error=st.sampled_from([0.0, 0.01, 0.2]),
    higher=st.booleans(),
)
def test_any_curve_gets_a_band_within_bounds_or_a_reason(scores: list[float], error: float, higher: bool) -> None:
    measured = [
        Point(rows=100 * 2**at, score=score, low=max(score - error, 0), high=min(score + error, 1), seconds=1)
        for at, score in enumerate(scores)
    ]
    best = 1.0 if higher else 0.0
    found = extrapolate(measured, higher=higher, best=best)
    assert bool(found.forecasts) == (found.reason is None)
    last = measured[-1]
    for forecast in found.path:
        assert forecast.low <= forecast.score <= forecast.high
        assert forecast.gain_low <= forecast.gain <= forecast.gain_high
        assert forecast.high <= 1 if higher else forecast.low >= 0
        # Never narrower than the last point's own interval, up to where the best score cuts it off.
        assert forecast.score - forecast.low >= last.score - last.low - 1e-9 or forecast.low == best
        assert forecast.high - forecast.score >= last.high - last.score - 1e-9 or forecast.high == best


def test_noise_widens_the_band() -> None:
    smooth = extrapolate(points(power)).forecasts[-1]
    rough = extrapolate(points(lambda rows: power(rows) + 0.02 * (-1) ** SIZES.index(int(rows)))).forecasts[-1]
    assert rough.gain_high - rough.gain_low > 2 * (smooth.gain_high - smooth.gain_low)


def test_two_points_or_a_fall_are_no_curve() -> None:
    assert "at least 3" in str(extrapolate(points(power)[:2]).reason)
    fallen = extrapolate(points(lambda rows: 0.8 if rows < 16000 else 0.7))
    assert not fallen.forecasts
    assert "16,000 rows score worse than" in str(fallen.reason)


def rival(difference: float, low: float, high: float, score: float = 0.75) -> Baseline:
    return Baseline(
        name="tf-idf + logistic regression",
        score=score,
        low=score - 0.02,
        high=score + 0.02,
        difference=difference,
        difference_low=low,
        difference_high=high,
    )


def expected(*gains: tuple[float, float, float]) -> Extrapolation:
    return Extrapolation(
        forecasts=tuple(
            Forecast(
                factor=factor,
                rows=int(16000 * factor),
                score=0.8 + gain,
                low=0.7,
                high=0.9,
                gain=gain,
                gain_low=low,
                gain_high=high,
            )
            for factor, (gain, low, high) in zip((2.0, 4.0), gains, strict=True)
        )
    )


GROWS = expected((0.03, 0.02, 0.05), (0.05, 0.03, 0.08))
DONE = expected((0.002, -0.002, 0.005), (0.003, -0.003, 0.008))


@pytest.mark.parametrize(
    ("baseline", "extrapolation", "text"),
    [
        (
            rival(0.0, -0.01, 0.01),
            DONE,
            "do not fine-tune on these 16,000 rows: tf-idf + logistic regression is as good (difference in macro-F1 +0.000 "
            "[-0.010, +0.010])",
        ),
        (
            rival(-0.05, -0.07, -0.03),
            GROWS,
            "do not fine-tune on these 16,000 rows: tf-idf + logistic regression is better (difference in macro-F1 -0.050 "
            "[-0.070, -0.030]); twice the data (32,000 rows) is expected to improve the fine-tuned model by +0.030 [+0.020, "
            "+0.050]: with more labels, compare both again",
        ),
        (
            rival(0.05, 0.03, 0.07),
            DONE,
            "stop: four times the data (64,000 rows) would improve macro-F1 by at most +0.008",
        ),
        (
            rival(0.05, 0.03, 0.07),
            GROWS,
            "label more: twice the data (32,000 rows) is expected to improve macro-F1 by +0.030 [+0.020, +0.050]",
        ),
        (
            rival(0.01, -0.01, 0.03),
            GROWS,
            "label more: twice the data (32,000 rows) is expected to improve macro-F1 by +0.030 [+0.020, +0.050]; the model is "
            "not shown to be better than tf-idf + logistic regression yet (difference +0.010 [-0.010, +0.030])",
        ),
        (
            rival(0.05, 0.03, 0.07),
            expected((0.006, 0.001, 0.01), (0.015, 0.002, 0.03)),
            "label more: four times the data (64,000 rows) is expected to improve macro-F1 by +0.015 [+0.002, +0.030]",
        ),
        (
            rival(0.05, 0.03, 0.07),
            expected((0.01, -0.02, 0.04), (0.015, -0.03, 0.06)),
            "unclear: four times the data (64,000 rows) is expected to improve macro-F1 by +0.015 [-0.030, +0.060], which may "
            "or may not be the 0.01 worth having",
        ),
        (rival(0.05, 0.03, 0.07), Extrapolation(reason="why"), "unclear whether more data would help: why"),
    ],
)
def test_advice(baseline: Baseline, extrapolation: Extrapolation, text: str) -> None:
    found = advice(points(power), [rival(0.5, 0.4, 0.6, score=0.2), baseline], extrapolation, metric="macro-F1")
    assert found.text == text
    assert text.startswith(found.verdict)


def test_advice_where_less_is_better() -> None:
    found = advice(
        points(lambda rows: 1 - power(rows)),
        [rival(-0.2, -0.3, -0.1, score=0.9), rival(0.05, 0.03, 0.07, score=0.3)],
        DONE,
        metric="log loss",
        higher=False,
    )
    assert found.verdict == "do not fine-tune"
    assert "is better (difference in log loss +0.050 [+0.030, +0.070])" in found.text


@pytest.mark.parametrize("own", [False, True])
def test_the_drawing_says_what_was_not_measured(own: bool) -> None:
    measured, baseline = points(power), rival(0.05, 0.03, 0.07)
    drawing = curve_svg(
        measured,
        [baseline],
        extrapolate(measured),
        metric="macro-F1",
        curves={baseline.name: measured} if own else None,
    )
    ET.fromstring(drawing)
    for text in ("not measured", "tf-idf + logistic regression: 0.750", "64,000", "1,000", "macro-F1"):
        assert f"<!-- {text}" in drawing
    assert "not measured" not in curve_svg(measured[:2], [], extrapolate(measured[:2]), metric="macro-F1")


@given(st.integers(1, 5000), st.integers(1, 64), st.integers(1, 4), st.floats(0.1, 10), st.data())
def test_a_part_is_trained_for_as_many_steps_as_all_rows(rows, batch, accumulation, epochs, data):
    part = data.draw(st.integers(1, rows))

    def steps(count: int, passes: float) -> int:
        optim = OptimConfig(epochs=passes, gradient_accumulation_steps=accumulation)
        return total_steps(ExperimentConfig(optim=optim), -(-count // batch))

    assert steps(part, epochs_for(epochs, part, rows, batch, accumulation)) == steps(rows, epochs)
