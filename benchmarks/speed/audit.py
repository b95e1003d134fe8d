"""How fast pairs are read, split and audited, tokens and near duplicates included: `python -m benchmarks.speed.audit`.

The rows are recombined sentences of the data set `debian`, so their lengths and words are real. A number of rows can
be given.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from finewise.config import AuditConfig, DataConfig, ModelConfig
from finewise.data.load import prepare
from finewise.data.sources import resolve
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


def main() -> None:
    """Time one pass over the given number of rows (100,000)."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.parquet"
        write_rows(path, rows)
        start = time.perf_counter()
        data = prepare(DataConfig(train=str(path)), AuditConfig(), 0, limit=token_limit(ModelConfig()))
        seconds = time.perf_counter() - start
    tokens = sum(cut.tokens for cut in data.report.truncation)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{rows} rows, {tokens} tokens: {seconds:.1f} s, {rows / seconds:.0f} rows/s, peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
