"""How fast pairs are read, split and audited, tokens and near duplicates included, before a training starts.

    python -m benchmarks.speed.audit

Sides: `first` has an empty cache; `again` finds what an earlier run left there. The rows are recombined sentences of the
data set `debian`, so that their lengths and words are real. No model is loaded, and no GPU is used.

Proof: both find the same.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.speed.agreement import agree
from benchmarks.speed.command import execute, parser, positive
from benchmarks.speed.harness import Round, Side, alternate, timed
from benchmarks.speed.report import Report
from finewise.config import AuditConfig, DataConfig, ModelConfig
from finewise.data.load import prepare
from finewise.data.sources import resolve
from finewise.data.store import ENVIRONMENT
from finewise.data.tokens import token_limit


def write_rows(path: Path, rows: int) -> None:
    """Write pairs whose sentences are drawn from real descriptions."""
    table = pq.read_table(resolve("debian") / "train.parquet", columns=["anchor", "positive"])
    titles, bodies = table["anchor"].to_pylist(), table["positive"].to_pylist()
    sentences = [sentence for body in bodies for sentence in body.split(". ")]
    draw = np.random.default_rng(0)
    anchors = [f"{titles[a]} {titles[b].split()[-1]}" for a, b in draw.integers(len(titles), size=(rows, 2))]
    lengths = draw.integers(1, 6, size=rows)
    positives = [
        ". ".join(sentences[number] for number in draw.integers(len(sentences), size=length)) for length in lengths
    ]
    pq.write_table(pa.table({"anchor": anchors, "positive": positives}), path)


def measure(given: argparse.Namespace) -> list[Report]:
    """Time one pass over the rows, with and without what an earlier one left."""
    before = os.environ.get(ENVIRONMENT)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.parquet"
        write_rows(path, given.rows)

        def run(cache: str) -> Round:
            os.environ[ENVIRONMENT] = cache
            with timed("cpu") as clock:
                data = prepare(DataConfig(train=str(path)), AuditConfig(), 0, limit=token_limit(ModelConfig()))
            tokens = sum(cut.tokens for cut in data.report.truncation)
            found = {f"rows of {split}": float(count) for split, count in data.rows.items()}
            found |= {"tokens": float(tokens), "findings": float(len(data.report.findings))}
            return Round(seconds=clock.seconds, items=given.rows, tokens=tokens, computed=found)

        kept = str(Path(folder) / "kept")
        title = f"Audit, {given.rows} rows"
        try:
            results = alternate(
                [
                    Side(name="first", run=lambda _: run(tempfile.mkdtemp(dir=folder))),
                    Side(name="again", run=lambda _: run(kept)),
                ],
                given.rounds,
                "cpu",
                title=title,
            )
        finally:
            os.environ.pop(ENVIRONMENT) if before is None else os.environ.update({ENVIRONMENT: before})
    first, again = (result.rounds[0].computed for result in results)
    proof = [
        each
        for what, value in first.items()
        for each in agree(what, {"first": value, "again": again[what]}, base="first", tolerance=0.0)
    ]
    return [
        Report(
            bench="audit",
            title=title,
            compares=(
                f"{given.rows} pairs are read from parquet, split and audited, with near duplicates, leaks and tokens. "
                "first: with an empty cache; again: with the cache of an earlier run."
            ),
            unit="rows",
            bases=["first"],
            results=results,
            agreements=proof,
            settings={"rows": given.rows},
        )
    ]


def main(given: Sequence[str] | None = None) -> int:
    """Run the bench; return the exit status."""
    arguments = parser(__doc__)
    arguments.add_argument("--rows", type=positive, default=20_000, help="pairs (default 20,000)")
    return execute(measure, arguments, given)


if __name__ == "__main__":
    sys.exit(main())
