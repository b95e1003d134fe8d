"""Measuring a learning curve: one point after the other, each kept on the disk as soon as it is there.

Imports nothing heavy; what trains and scores is the branch's.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from finewise import processes, record
from finewise.console import say, spoken
from finewise.errors import InputError
from finewise.record import Score

FILE = "curve.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The score on the held-out set after training on `rows` rows, with its 95% interval and the seconds it all took."""

    rows: int
    score: float
    low: float
    high: float
    seconds: float

    @classmethod
    def of(cls, rows: int, score: Score, seconds: float) -> Self:
        """Return the point of a score from the record; one without an interval is a point."""
        low, high = (score.value if end is None else end for end in (score.low, score.high))
        return cls(rows=rows, score=score.value, low=low, high=high, seconds=round(seconds, 3))


def learning_curve(
    sizes: Sequence[int],
    measure: Callable[[int], Point],
    file: Path,
    *,
    known: Iterable[Point] = (),
    what: str = "learning curve",
) -> list[Point]:
    """Measure the points that are not there yet, smallest first, and return all of them.

    Every finished point is written to `file` before the next one begins: the same call in the same run folder goes on
    with the next point. The folder must belong to one state of settings and data, as a run's folder does.

    Args:
        sizes: Numbers of rows.
        measure: Trains on the first n rows of the nested order, and scores on the held-out set. A rerun gives it only
            the sizes that are missing, so it must not depend on what was trained before.
        file: Where the points are kept, such as RUN/curve.json; the folder is there. With several processes all of them
            read it, and the first one writes it.
        known: Points that are there anyway, such as the run's own model on all rows.
        what: What the progress lines call it.
    """
    points = {point.rows: point for point in (*read(file), *known) if point.rows in set(sizes)}
    missing = [size for size in sorted(sizes) if size not in points]
    for number, size in enumerate(missing):
        at = len(sizes) - len(missing) + number + 1
        say(f"{what}: point {at} of {len(sizes)}, {size:,} rows{_left(points.values(), missing[number:])}")
        start = time.perf_counter()
        try:
            points[size] = measure(size)
        except InputError as error:  # what fits all rows need not fit few of them
            say(f"{what}: {size:,} rows are left out: {error}")
            continue
        ordered = [points[rows] for rows in sorted(points)]
        if processes.is_first():
            record.write_json(file, [asdict(point) for point in ordered])
        score, took = points[size].score, spoken(time.perf_counter() - start)
        say(f"{what}: {size:,} rows score {score:.4f} after {took}")
    return [points[size] for size in sorted(points)]


def read(file: Path) -> list[Point]:
    """Return the points that a file holds; none if it is not there."""
    if not file.exists():
        return []
    return [Point(**point) for point in json.loads(file.read_text(encoding="utf-8"))]


def _left(done: Iterable[Point], missing: Sequence[int]) -> str:
    """Return ", about 3 min left": training takes time in proportion to its rows, as the finished points show."""
    finished = list(done)
    if not finished:
        return ""
    per_row = sum(point.seconds for point in finished) / sum(point.rows for point in finished)
    return f", about {spoken(per_row * sum(missing))} left"
