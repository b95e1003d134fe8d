"""Show that intervals hold the truth in 95 of 100 samples, and that tests claim nothing in 95 of 100 without a difference.

    python -m benchmarks.stats.calibrate output=calibration.json

Every statistic is computed as everywhere in finewise, on samples of `benchmarks.stats.simulate`, whose truth is known. A cell
passes if coverage is at least 93%, at most 97% unless the procedure is said to be conservative, and false positives are at most
5.5%, each within two Monte-Carlo standard errors.
"""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.stats.config import CalibrateConfig
from finewise.processes import refuse_several
from finewise.settings import entry

CLUSTERS = (None, 10, 50)
SEEDS = (2, 3, 5, 10)
LOWEST, HIGHEST, FALSE = 0.93, 0.97, 0.055

EXACT, LOG = "exact interval with the jackknife's effective size", "jackknife t interval of the logarithm"
POSITIVE = ("log_loss", "mean_absolute_error", "perplexity")
"""Metrics without an upper bound."""

MACRO = ("f1_macro", "balanced_accuracy", "entity_f1_macro")
RARE = ("share .01", "share .99")
SMALL = 200
"""Conservative, besides exact intervals and all over clusters or seeds: means over classes of which some have few rows, tests
of shares near 0 and 1, where few rows differ between two systems, and tests on at most so many rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One world at one size."""

    world: str
    n: int
    clusters: int | None
    seeds: int | None
    trials: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How a statistic did in one cell.

    Attributes:
        statistic: METRIC (WORLD).
        procedure: What computed it.
        kind: "interval" of a score, or "difference" of two systems without one.
        n: Rows.
        clusters: Of which they are; None: each is alone.
        seeds: Training runs that read them; None: one.
        coverage: Share of samples whose interval holds the truth.
        false_positive: Share of samples with p < .05; None for scores.
        se: Monte-Carlo standard error of a share of 95%.
        trials: Samples.
        conservative: Whether the procedure promises at least its level only.
        passed: Whether the cell passes.
    """

    statistic: str
    procedure: str
    kind: str
    n: int
    clusters: int | None
    seeds: int | None
    coverage: float
    false_positive: float | None
    se: float
    trials: int
    conservative: bool
    passed: bool


@entry(
    "calibrate", CalibrateConfig, description="do intervals and tests hold their level? Simulations with known truth"
)
def main(config: CalibrateConfig) -> float:
    """Simulate every cell, print the table; return the share of rows that pass."""
    refuse_several("benchmarks.stats.calibrate")
    from finewise.console import out, progress, say
    from finewise.record import write_json

    cells = list(planned(config))
    rows: list[Row] = []
    start = time.perf_counter()
    for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(threads, "1")  # of the processes below: those of several would wait for one another
    with (
        ProcessPoolExecutor(config.processes, mp_context=get_context("spawn")) as pool,
        progress("calibrate: cells", len(cells)) as advance,
    ):
        for found in pool.map(simulate, cells):
            rows += [row for row in found if config.only is None or config.only in row.statistic]
            advance()
    out.print(table(rows), markup=False)
    passed = sum(row.passed for row in rows)
    say(f"{passed} of {len(rows)} rows pass, {time.perf_counter() - start:.0f} s")
    if config.output is not None:
        write_json(Path(config.output), [asdict(row) for row in rows])
        say(f"wrote {config.output}")
    return passed / len(rows)


def planned(config: CalibrateConfig) -> Iterator[Cell]:
    """Yield the cells, the slowest first.

    Raises:
        InputError: `only` fits no statistic.
    """
    from benchmarks.stats.simulate import WORLDS
    from finewise.errors import InputError

    cells = []
    for name, make in WORLDS.items():
        world = make()
        if config.only is not None and not any(config.only in f"{metric} ({name})" for metric in world.metrics):
            continue
        for size in config.sizes:
            grid: list[tuple[int | None, int | None]] = [
                (clusters, None) for clusters in CLUSTERS if clusters is None or (world.clustered and clusters < size)
            ]
            if name in ("answers", "perplexity") and size <= 1000:
                grid += [(None, seeds) for seeds in SEEDS]
            cells += [
                Cell(
                    world=name,
                    n=size,
                    clusters=clusters,
                    seeds=seeds,
                    trials=_trials(config.trials, size, seeds, costly=world.costly and clusters is None),
                    seed=config.seed,
                )
                for clusters, seeds in grid
            ]
    if not cells:
        raise InputError(f"only={config.only}: no statistic has that in its name; worlds: {', '.join(WORLDS)}")
    return iter(sorted(cells, key=lambda cell: -cell.n * (cell.seeds or 1)))


def _trials(wanted: int, size: int, seeds: int | None, *, costly: bool) -> int:
    """Return how many samples a cell takes: a part of those wanted where each takes long."""
    if size < 1000:
        return wanted
    part = (10 if size > 1000 else 2 if seeds is None else 5) * (2 if costly else 1)
    return max(20, wanted // part)


def simulate(cell: Cell) -> list[Row]:
    """Return a row for the interval, and one for the difference, of each metric of the cell."""
    from benchmarks.stats.simulate import WORLDS

    world = WORLDS[cell.world]()
    rng = np.random.default_rng([cell.seed, cell.n, cell.clusters or 0, cell.seeds or 0, *cell.world.encode()])
    held, equal, false, given = (dict.fromkeys(world.metrics, 0) for _ in range(4))
    procedure = dict.fromkeys(world.metrics, "")
    for _ in range(cell.trials):
        scored, compared, truth = world.trial(rng, cell.n, cell.clusters, cell.seeds)
        for score in scored:
            if score.low is not None and score.high is not None:
                given[score.metric] += 1
                held[score.metric] += score.low <= truth[score.metric] <= score.high
        for item in compared:
            assert item.low is not None
            assert item.high is not None
            equal[item.metric] += item.low <= 0 <= item.high
            false[item.metric] += item.p is not None and item.p < 0.05
            procedure[item.metric] = item.test
    rows = []
    for name in world.metrics:
        if 2 * given[name] >= cell.trials:  # else finewise gives no interval there
            how = LOG if name.startswith(POSITIVE) else EXACT
            rows.append(_row(cell, name, "interval", how, given[name], held[name], None))
        rows.append(_row(cell, name, "difference", procedure[name], cell.trials, equal[name], false[name]))
    return rows


def _row(cell: Cell, metric: str, kind: str, procedure: str, trials: int, held: int, false: int | None) -> Row:
    """Return how a cell did."""
    coverage, positive = held / trials, None if false is None else false / trials
    se = float(np.sqrt(0.05 * 0.95 / trials))
    conservative = (
        procedure == EXACT
        or cell.seeds is not None
        or cell.clusters is not None
        or metric in MACRO
        or cell.world in RARE
        or (kind == "difference" and cell.n <= SMALL)
    )
    passed = coverage >= LOWEST - 2 * se and (conservative or coverage <= HIGHEST + 2 * se)
    return Row(
        statistic=f"{metric} ({cell.world})",
        procedure=procedure,
        kind=kind,
        n=cell.n,
        clusters=cell.clusters,
        seeds=cell.seeds,
        coverage=coverage,
        false_positive=positive,
        se=se,
        trials=trials,
        conservative=conservative,
        passed=bool(passed and (positive is None or positive <= FALSE + 2 * se)),
    )


def table(rows: list[Row]) -> str:
    """Return the rows in Markdown: a table each for independent rows, clusters and seeds, with a column per design."""
    groups = {
        "Independent rows": [row for row in rows if row.clusters is None and row.seeds is None],
        "Clusters": [row for row in rows if row.clusters is not None],
        "Training runs that read the same rows": [row for row in rows if row.seeds is not None],
    }
    return "\n\n".join(f"**{title}**\n\n{_one_table(some)}" for title, some in groups.items() if some)


def _one_table(rows: list[Row]) -> str:
    """Return a table with a row per statistic: coverage of its interval, and false positives of the test of a difference."""
    from benchmarks.table import markdown

    designs = sorted({(row.n, row.clusters or row.seeds or 0) for row in rows}, key=lambda one: one[::-1])
    what = "clusters" if rows[0].clusters else "seeds"
    names = [f"{n:,}" + (f" in {units} {what}" if units else "") for n, units in designs]
    lines: dict[tuple[str, str], dict[tuple[int, int], str]] = {}
    for row in sorted(rows, key=lambda row: (row.statistic, row.kind == "difference")):
        share = row.coverage if row.false_positive is None else row.false_positive
        cell = f"{100 * share:.1f}" + ("" if row.passed else "!")
        lines.setdefault((row.statistic, row.kind), {})[row.n, row.clusters or row.seeds or 0] = cell
    body = [
        [statistic, "coverage" if kind == "interval" else "false positives", *(found.get(one, "") for one in designs)]
        for (statistic, kind), found in lines.items()
    ]
    return markdown(["statistic", "%", *names], body, left=2)


if __name__ == "__main__":
    main()
