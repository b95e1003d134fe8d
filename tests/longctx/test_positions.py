"""Loss by position over several seeds."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from finewise.run import Run
from longctx.arms import Arm
from longctx.positions import POSITIONS, by_system
from longctx.rope_config import Unstretched, Yarn

UNTUNED = Arm(system="untuned", method=Unstretched(), adapted=False)
TUNED = Arm(system="tuned", method=Yarn(), adapted=True)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path, "longctx", "x", {"attempts": 1, "seconds": {}}, None)


def write(run: Run, seed: int, arm: Arm, nll: list[float], counts: list[int]) -> None:
    folder = run.dir / f"seed-{seed}" / arm.folder
    folder.mkdir(parents=True)
    content: dict[str, Any] = {"system": arm.system, "length": 8, "edges": [1, 2, 8], "nll": nll, "counts": counts}
    (folder / POSITIONS).write_text(json.dumps(content))


def test_seeds_count_by_their_tokens(run: Run) -> None:
    write(run, 42, TUNED, [2.0, 1.0], [10, 30])
    write(run, 43, TUNED, [4.0, 1.0], [30, 10])
    (found,) = by_system([UNTUNED, TUNED], [42, 43], run)
    assert (found.system, found.counts) == ("tuned", (40, 40))
    assert found.nll == pytest.approx((3.5, 1.0))
    assert found.curve[1][1] == pytest.approx(math.e)


def test_nothing_was_read(run: Run) -> None:
    assert by_system([UNTUNED, TUNED], [42], run) == []
