"""The account of a start adds up, and a run that never trains is told as a mistake."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.speed.startup import RUNS, STAGES, account, measure, table
from finewise.errors import InputError

MANIFEST = {"first_step": 10.0, "seconds": {"start": 1.0, "imports": 4.5, "data": 2.0, "model": 0.5, "before": 1.5}}


def test_the_parts_make_up_the_whole() -> None:
    found = account(MANIFEST)
    assert set(found["stages"]) == set(STAGES)
    assert found["stages"]["train"] == pytest.approx(0.5)
    assert sum(found["stages"].values()) == pytest.approx(found["seconds"]) == 10.0
    assert found["libraries"] == 5.0
    assert found["own"] == 5.0


def test_stages_that_did_not_happen_took_no_time() -> None:
    assert account({"first_step": 3.0, "seconds": {"start": 1.0}})["stages"]["train"] == 2.0


def test_the_table_shows_both_runs() -> None:
    screen = io.StringIO()
    found = {"command": ["python", "-m", "embed.train"], **{name: account(MANIFEST) for name in RUNS}}
    Console(file=screen, width=100).print(table(found))
    shown = screen.getvalue()
    assert shown.count("4.50") == 2
    assert "first run" in shown
    assert "finewise's own share" in shown


def test_a_run_that_does_not_begin_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"first run came to no first step.*error: .*nothing\.csv.*no such file"):
        measure([f"data.train={tmp_path / 'nothing.csv'}"])
