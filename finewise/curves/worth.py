"""Is it worth it? The measured curve beside the baselines, what lies ahead, and what to do: for the record and the report."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from finewise.curves.advise import Advice, Baseline, advice
from finewise.curves.draw import curve_svg
from finewise.curves.extrapolate import Extrapolation, extrapolate
from finewise.curves.points import Point


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """A learning curve and what follows from it.

    Attributes:
        metric: Its name for people.
        points: Measured, the smallest first; the last one was trained on all rows.
        baselines: On the same held-out rows.
        ahead: Twice and four times the rows.
        said: What to do.
    """

    metric: str
    points: tuple[Point, ...]
    baselines: tuple[Baseline, ...]
    ahead: Extrapolation
    said: Advice

    @classmethod
    def of(
        cls,
        points: Sequence[Point],
        baselines: Sequence[Baseline],
        *,
        metric: str,
        smallest_gain: float,
        higher: bool = True,
        best: float | None = 1.0,
    ) -> "Worth":
        """Extrapolate the curve and draw the conclusion.

        Args:
            points: Measured, the smallest first.
            baselines: On the same held-out rows.
            metric: Its name for people.
            smallest_gain: The smallest improvement that is worth its price.
            higher: Whether a higher score is better.
            best: The best score there can be; None if there is no such.
        """
        ahead = extrapolate(points, higher=higher, best=best)
        said = advice(points, baselines, ahead, metric=metric, higher=higher, smallest_gain=smallest_gain)
        return cls(metric=metric, points=tuple(points), baselines=tuple(baselines), ahead=ahead, said=said)

    def summary(self) -> dict[str, Any]:
        """Return plain JSON for the record."""
        return {
            "metric": self.metric,
            "split": "dev",
            "points": [asdict(point) for point in self.points],
            "forecasts": [asdict(forecast) for forecast in self.ahead.forecasts],
            "baselines": [asdict(baseline) for baseline in self.baselines],
            "verdict": self.said.verdict,
            "advice": self.said.text,
        }

    def svg(self) -> str:
        """Return the drawing."""
        return curve_svg(self.points, self.baselines, self.ahead, metric=f"{self.metric} on dev")
