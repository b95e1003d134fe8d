"""Perplexity by position of all systems, as the arms of a study left it."""

import json
from collections.abc import Sequence

import numpy as np

from benchmarks.perplexity import Positions
from finewise.run import Run
from longctx.arms import Arm

POSITIONS = "positions.json"


def by_system(arms: Sequence[Arm], seeds: Sequence[int], run: Run) -> list[Positions]:
    """Return each arm's loss by position over all seeds, weighted by tokens; nothing if no perplexity was read."""
    found = []
    for arm in arms:
        files = [run.dir / f"seed-{seed}" / arm.folder / POSITIONS for seed in seeds]
        parts = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]
        if not parts:
            continue
        counts = np.array([part["counts"] for part in parts], np.float64)
        nll = (np.array([part["nll"] for part in parts]) * counts).sum(axis=0) / counts.sum(axis=0)
        found.append(
            Positions(
                system=arm.system,
                length=parts[0]["length"],
                edges=tuple(parts[0]["edges"]),
                nll=tuple(nll.tolist()),
                counts=tuple(counts.sum(axis=0).astype(int).tolist()),
            )
        )
    return found
