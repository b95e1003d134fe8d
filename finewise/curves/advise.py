"""What the learning curve says, in words: stop, label more, or do not fine-tune. Pure Python."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from finewise.curves.extrapolate import Extrapolation, Forecast
from finewise.curves.points import Point
from finewise.record import Comparison, Score

SMALLEST_GAIN = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What the curve is held against: a score on the same held-out rows, after training on all rows, if on any.

    `difference` is the fine-tuned model (the last point) minus this one, paired, with its 95% interval.
    """

    name: str
    score: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float

    @classmethod
    def of(cls, score: Score, comparison: Comparison, name: str | None = None) -> Self:
        """Return a baseline from the record's own rows.

        Args:
            score: Of the baseline.
            comparison: The fine-tuned model (a) minus the baseline (b), on the same metric.
            name: What people call it (None: the system's name).
        """
        return cls(
            name=name or score.system,
            score=score.value,
            low=score.value if score.low is None else score.low,
            high=score.value if score.high is None else score.high,
            difference=comparison.difference,
            difference_low=comparison.difference if comparison.low is None else comparison.low,
            difference_high=comparison.difference if comparison.high is None else comparison.high,
        )


class Advice(NamedTuple):
    """`verdict` is "do not fine-tune", "stop", "label more" or "unclear"; `text` begins with it and gives the numbers."""

    verdict: str
    text: str


def advice(
    points: Sequence[Point],
    baselines: Sequence[Baseline],
    extrapolation: Extrapolation,
    *,
    metric: str,
    higher: bool = True,
    smallest_gain: float = SMALLEST_GAIN,
) -> Advice:
    """Say what to do next. The first rule that holds decides; gains and differences count as above 0 where better.

    1. do not fine-tune: with all rows, the fine-tuned model is better than the best baseline by at most `smallest_gain`:
       the upper end of the 95% interval of the paired difference does not pass it.
    2. unclear, if nothing can be extrapolated.
    3. stop: at the largest factor (four times the data), the upper end of the gain's 95% band does not pass `smallest_gain`.
    4. label more: at the first factor (twice, else four times the data) at which the expected gain is at least
       `smallest_gain` and the lower end of its band is above 0.
    5. unclear otherwise: the band holds both no gain and a gain worth having.

    Where 2 to 5 decide and the best baseline is not shown to be worse, that is said as well.

    Args:
        points: The measured curve; the last one is the model trained on all rows.
        baselines: Any number of them.
        extrapolation: Of these points.
        metric: Its name for people, such as "macro-F1".
        higher: Whether a higher score is better.
        smallest_gain: The smallest improvement of the metric that is worth its price.
    """
    sign = 1 if higher else -1
    rival = max(baselines, key=lambda baseline: sign * baseline.score, default=None)
    caveat = ""
    if rival is not None:
        ends = (sign * rival.difference_low, sign * rival.difference_high)
        interval = f"{rival.difference:+.3f} [{rival.difference_low:+.3f}, {rival.difference_high:+.3f}]"
        if max(ends) <= smallest_gain:
            is_what = "is better" if max(ends) < 0 else "is as good"
            these = f"on these {points[-1].rows:,} rows"
            text = f"do not fine-tune {these}: {rival.name} {is_what} (difference in {metric} {interval})"
            return Advice("do not fine-tune", text + _later(extrapolation, smallest_gain))
        if min(ends) <= 0:
            caveat = f"; the model is not shown to be better than {rival.name} yet (difference {interval})"
    if not extrapolation.forecasts:
        text = f"unclear whether more data would help: {extrapolation.reason}"
        return Advice("unclear", text + caveat)
    far = extrapolation.forecasts[-1]
    if far.gain_high <= smallest_gain:
        at_most = f"at most {max(far.gain_high, 0.0):+.3f}"
        return Advice("stop", f"stop: {_times(far)} would improve {metric} by {at_most}{caveat}")
    for forecast in extrapolation.forecasts:
        if _worth(forecast, smallest_gain):
            return Advice("label more", f"label more: {_expected(forecast)} {metric} by {_gain(forecast)}{caveat}")
    return Advice(
        "unclear",
        f"unclear: {_expected(far)} {metric} by {_gain(far)}, which may or may not be the {smallest_gain:g} worth having"
        f"{caveat}",
    )


def _worth(forecast: Forecast, smallest_gain: float) -> bool:
    return forecast.gain >= smallest_gain and forecast.gain_low > 0


def _later(extrapolation: Extrapolation, smallest_gain: float) -> str:
    """Return what more data would do for a model that does not pay yet."""
    worth = [forecast for forecast in extrapolation.forecasts if _worth(forecast, smallest_gain)]
    if not worth:
        return ""
    return f"; {_expected(worth[0])} the fine-tuned model by {_gain(worth[0])}: with more labels, compare both again"


def _expected(forecast: Forecast) -> str:
    return f"{_times(forecast)} is expected to improve"


def _times(forecast: Forecast) -> str:
    words = {2.0: "twice", 4.0: "four times"}.get(forecast.factor, f"{forecast.factor:g} times")
    return f"{words} the data ({forecast.rows:,} rows)"


def _gain(forecast: Forecast) -> str:
    return f"{forecast.gain:+.3f} [{forecast.gain_low:+.3f}, {forecast.gain_high:+.3f}]"
