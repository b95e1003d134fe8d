"""Does the audit find wrong labels? Labels of a copy are changed on purpose, and looked for among the suspects.

    python -m benchmarks.label_errors                              5% of debian-sections, three seeds
    python -m benchmarks.label_errors --data reviews.csv --share 0.1 --seed 0 1 2 --json found.json

A planted label is drawn evenly from the other classes; of multi-label rows one label, drawn evenly, is turned over. The data's
own errors stay in: they are suspects that count as misses, so that the share found is a lower bound.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from finewise.config import LabelAuditConfig, LabelDataConfig
from finewise.console import out
from finewise.data.keys import combine
from finewise.data.labels.load import prepare_labels
from finewise.data.labels.rows import Labelled
from finewise.data.labels.suspects import out_of_fold, suspects
from finewise.errors import InputError
from finewise.record import write_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """What became of planted errors.

    Attributes:
        seed: Of the planting and of the folds.
        rows: Rows of the copy.
        planted: How many of them have a changed label.
        found: Share of the planted rows among as many of the first suspects.
        chance: The same for suspects in any order: the share of planted rows.
        found_among_likely: Share of the planted rows among those that cleanlab takes for errors.
        likely: How many these are.
        seconds: For the probabilities and the ranking.
    """

    seed: int
    rows: int
    planted: int
    found: float
    chance: float
    found_among_likely: float
    likely: int
    seconds: float


def plant(data: Labelled, share: float, seed: int) -> tuple[Labelled, NDArray[np.int64]]:
    """Return a copy with some labels changed, and the rows that have them.

    Args:
        data: The rows.
        share: Of the rows, above 0 and below 1.
        seed: Decides which rows, and which labels they get.
    """
    draw = np.random.default_rng(seed)
    rows = np.sort(draw.choice(len(data), max(1, round(share * len(data))), replace=False))
    labels, classes = data.labels.copy(), len(data.space)
    if labels.ndim == 2:
        turned = draw.integers(classes, size=len(rows))
        labels[rows, turned] ^= True
    else:
        labels[rows] = (labels[rows] + draw.integers(1, classes, size=len(rows))) % classes
    return replace(data, labels=labels, revision=combine(data.revision, "planted", share, seed)), rows


def find(data: Labelled, share: float, seed: int) -> Planted:
    """Plant errors and look for them.

    Args:
        data: The rows.
        share: Of the rows that get a wrong label.
        seed: See `Planted`.
    """
    copy, rows = plant(data, share, seed)
    start = time.perf_counter()
    found = suspects(copy, seed, probabilities=out_of_fold(copy, seed))
    seconds = time.perf_counter() - start
    return Planted(
        seed=seed,
        rows=len(copy),
        planted=len(rows),
        found=float(np.isin(rows, found.rows[: len(rows)]).mean()),
        chance=len(rows) / len(copy),
        found_among_likely=float(np.isin(rows, found.rows[: found.likely]).mean()),
        likely=found.likely,
        seconds=round(seconds, 2),
    )


def main(given: Sequence[str] | None = None) -> int:
    """Print what share of planted errors is found; return the exit status."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", default="debian-sections", help="labelled rows (default debian-sections)")
    arguments.add_argument(
        "--share", type=float, default=0.05, help="of the rows that get a wrong label (default 0.05)"
    )
    arguments.add_argument("--seed", type=int, nargs="+", default=[0, 1, 2], help="one or more (default 0 1 2)")
    arguments.add_argument("--json", type=Path, metavar="PATH", help="also write everything to this file")
    options = arguments.parse_args(given)
    try:
        if not 0 < options.share < 1:
            raise InputError(f"--share must be above 0 and below 1; got {options.share:g}")
        quiet = LabelAuditConfig(leakage="allow", near_duplicates=False, label_errors=False)
        data = prepare_labels(LabelDataConfig(train=options.data), quiet, 0).split
        results = [find(data, options.share, seed) for seed in options.seed]
        if options.json is not None:
            write_json(
                options.json,
                {
                    "data": options.data,
                    "revision": data.revision,
                    "share": options.share,
                    "found": mean(one.found for one in results),
                    "results": [asdict(one) for one in results],
                },
            )
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    out.print(_table(options.data, results))
    return 0


def _table(name: str, results: Sequence[Planted]) -> Table:
    first = results[0]
    table = Table(
        title=f"{name}: {first.planted:,} of {first.rows:,} labels changed on purpose ({first.chance:.1%})",
        title_justify="left",
    )
    top = f"found in the first {first.chance:.0%}"
    for column in ("seed", top, "by chance", "taken for errors", "found among them", "seconds"):
        table.add_column(column, justify="right")
    for one in results:
        table.add_row(
            str(one.seed),
            f"{one.found:.1%}",
            f"{one.chance:.1%}",
            f"{one.likely:,}",
            f"{one.found_among_likely:.1%}",
            f"{one.seconds:.1f}",
        )
    if len(results) > 1:
        seconds = mean(one.seconds for one in results)
        table.add_row(
            "mean", f"{mean(one.found for one in results):.1%}", f"{first.chance:.1%}", "", "", f"{seconds:.1f}"
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
