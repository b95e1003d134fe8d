"""The settings of `python -m benchmarks.stats.calibrate`."""

from dataclasses import dataclass

from finewise.config import at_least, setting


@dataclass(slots=True, kw_only=True)
class CalibrateConfig:
    """Simulations with known truth: how often intervals hold it, and how often tests find a difference that is not there."""

    only: str | None = setting(None, "only statistics whose name holds this text, such as f1_macro (null: all)")
    sizes: list[int] = setting(lambda: [50, 200, 1000, 5000], "rows of a sample")
    trials: int = setting(2000, "samples per cell; cells that are slow at 1,000 rows or more take a part of them")
    processes: int = setting(2, "cells simulated at a time")
    output: str | None = setting(None, "write the rows to this JSON file as well")
    seed: int = setting(42, "seed of the samples")

    def __post_init__(self) -> None:
        at_least("trials", self.trials, 20)
        at_least("processes", self.processes, 1)
        if not self.sizes or min(self.sizes) < 50:
            raise ValueError(f"sizes must be 50 rows or more, below which nothing is tested; got {self.sizes}")
