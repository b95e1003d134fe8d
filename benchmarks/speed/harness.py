"""Sides that do the same work, in alternating rounds of one process: medians, ratios, peak memory.

A ratio is the median over the rounds of base seconds / side seconds of the same round, in which every side had the same
texts. The order of the sides is turned around in every second round (A B C, C B A, ...), so that a machine that slowly gets
faster or slower favours none of them. Memory is measured while warming up: to measure it, freed memory is given back first,
and a round would be slower for having to ask for it anew.
"""

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

import torch

from benchmarks.speed.memory import PeakMemory, give_back
from finewise.console import progress, say


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one side did in one round.

    Attributes:
        seconds: Of the work alone, without what was prepared for it.
        items: Pairs, documents or rows.
        tokens: Real tokens, padding not counted; 0 where nobody counts.
        flop: Floating-point operations that the real tokens need (benchmarks.speed.roofline); None where unknown.
        computed: What the proof looks at, such as loss and grad_norm.
    """

    seconds: float
    items: int
    tokens: int = 0
    flop: float | None = None
    computed: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One way to do the work.

    Attributes:
        name: What the table calls it.
        run: Does the round of this number. Equal numbers mean equal texts on every side.
        prepare: Called once, just before the side warms up; neither timed nor counted as memory.
        precision: "fp32" or "bf16": what the matrices are multiplied in.
        warm_up: Rounds before the first that counts, at least one; a compiled model needs more.
        optional: Whether the others go on without it when it fails while warming up (torch.compile does, on some models).
    """

    name: str
    run: Callable[[int], Round]
    prepare: Callable[[], None] = lambda: None
    precision: str = "fp32"
    warm_up: int = 1
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The rounds of one side.

    Attributes:
        name: The side.
        precision: See Side.
        rounds: Those that count, in order.
        warm_up: Seconds of all warm-up rounds together, compilation included.
        memory: Peak of the warm-up in bytes above what was held before it; None where the system does not tell.
    """

    name: str
    precision: str
    rounds: Sequence[Round]
    warm_up: float
    memory: int | None

    @property
    def seconds(self) -> float:
        """Median seconds of a round."""
        return float(median(each.seconds for each in self.rounds))

    def rate(self, what: str) -> float:
        """Return the median of items, tokens or flop per second; NaN where they are not counted."""
        counts = [getattr(each, what) for each in self.rounds]
        if not all(counts):
            return math.nan
        return float(median(count / each.seconds for count, each in zip(counts, self.rounds, strict=True)))

    def ratios(self, base: "Result") -> list[float]:
        """Return round by round how many times faster than `base` this side was."""
        return [other.seconds / own.seconds for other, own in zip(base.rounds, self.rounds, strict=True)]


def alternate(sides: Sequence[Side], rounds: int, device: str, *, title: str) -> list[Result]:
    """Run all sides in alternating rounds.

    Args:
        sides: At least one; names are unique.
        rounds: Rounds that count.
        device: Whose memory is watched.
        title: What the progress bar says.

    Returns:
        One result per side, in the order of `sides`; an optional one that failed is left out.
    """
    assert len({side.name for side in sides}) == len(sides), "two sides of one name"
    found: dict[str, list[Round]] = {side.name: [] for side in sides}
    warm: dict[str, float] = {}
    memory: dict[str, int | None] = {}
    peak = PeakMemory(device)
    with progress(title, sum(side.warm_up for side in sides) + rounds * len(sides)) as advance:
        first = max(side.warm_up for side in sides)
        for side in sides:
            side.prepare()
            gc.collect()
            give_back()
            peak.start()
            start = time.perf_counter()
            try:
                for number in range(side.warm_up):
                    side.run(number)
                    advance()
            except Exception as error:
                if not side.optional:
                    raise
                say(f"note: {side.name} is left out, it fails: {type(error).__name__}: {str(error).splitlines()[0]}")
                sides = [other for other in sides if other is not side]
                continue
            warm[side.name] = time.perf_counter() - start
            memory[side.name] = peak.stop()
        for number in range(rounds):
            for side in sides if number % 2 == 0 else list(reversed(sides)):
                gc.collect()
                found[side.name].append(side.run(first + number))
                advance()
    return [
        Result(
            name=side.name,
            precision=side.precision,
            rounds=found[side.name],
            warm_up=warm[side.name],
            memory=memory[side.name],
        )
        for side in sides
    ]


@dataclass(slots=True)
class Clock:
    """Seconds of a `with timed(device) as clock` block."""

    seconds: float = math.nan


@contextmanager
def timed(device: str) -> Iterator[Clock]:
    """Time a block; on an accelerator, until it has done all that it was given."""
    clock = Clock()
    synchronize(device)
    start = time.perf_counter()
    yield clock
    synchronize(device)
    clock.seconds = time.perf_counter() - start


def synchronize(device: str) -> None:
    """Wait until an accelerator has nothing left to do."""
    if torch.device(device).type != "cpu":
        torch.accelerator.synchronize(torch.device(device))
