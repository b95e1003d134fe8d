"""The simulations run, agree with truth in a short form, and what they find is written in full."""

import json

import numpy as np
import pytest

from benchmarks.stats.calibrate import Cell, main, planned, simulate, table
from benchmarks.stats.config import CalibrateConfig
from benchmarks.stats.simulate import WORLDS
from finewise.errors import InputError


@pytest.mark.parametrize("world", WORLDS)
def test_every_world_holds_its_truth_and_claims_little(world):
    rows = simulate(Cell(world=world, n=100, clusters=None, seeds=None, trials=60, seed=1))
    assert {row.kind for row in rows} == {"interval", "difference"}
    for row in rows:
        # 60 samples: one that covers 93% shows fewer than 48 in one of 10,000 cases
        assert row.coverage >= 48 / 60, row
        assert row.false_positive is None or row.false_positive <= 12 / 60, row


@pytest.mark.parametrize(("clusters", "seeds"), [(10, None), (None, 3)])
def test_clusters_and_seeds_are_simulated_too(clusters, seeds):
    rows = simulate(Cell(world="answers", n=100, clusters=clusters, seeds=seeds, trials=60, seed=1))
    assert all(row.coverage >= 48 / 60 for row in rows)
    assert (rows[0].clusters, rows[0].seeds) == (clusters, seeds)


def test_rows_are_written_with_all_that_was_found(tmp_path, capsys):
    output = tmp_path / "calibration.json"
    share = main(CalibrateConfig(only="share .5", sizes=[50], trials=20, processes=1, output=str(output)))
    rows = json.loads(output.read_text())
    assert 0 <= share <= 1
    assert {
        "statistic",
        "procedure",
        "kind",
        "n",
        "clusters",
        "seeds",
        "coverage",
        "false_positive",
        "se",
        "trials",
    } <= {*rows[0]}
    assert [(row["kind"], row["clusters"], row["false_positive"] is None) for row in rows[:2]] == [
        ("interval", 10, True), ("difference", 10, False)
    ] or len(rows) == 4  # fmt: skip
    assert "accuracy (share .5)" in capsys.readouterr().out


def test_the_table_marks_what_does_not_pass():
    rows = simulate(Cell(world="share .5", n=50, clusters=None, seeds=None, trials=20, seed=0))
    from dataclasses import replace

    marked = table([replace(rows[0], coverage=0.8, passed=False)])
    assert "80.0!" in marked
    assert np.isclose(rows[0].se, np.sqrt(0.05 * 0.95 / 20))


def test_what_fits_no_statistic_is_refused():
    with pytest.raises(InputError, match="only=nothing"):
        next(planned(CalibrateConfig(only="nothing")))
    with pytest.raises(ValueError, match="50 rows or more"):
        CalibrateConfig(sizes=[10])
