"""Sharing a machine with other processes."""

import os

import psutil
import pytest

from finewise import processes


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An interpreter that has not loaded torch, nor been told how its threads wait."""
    monkeypatch.delitem(processes.sys.modules, "torch", raising=False)
    monkeypatch.setattr(processes.os, "environ", {})
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda self: [1, 3], raising=False)
    return monkeypatch


def test_waiting_threads_sleep_next_to_a_busy_process(fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(psutil, "cpu_percent", lambda interval, percpu: [0.0, 100.0, 0.0, 5.0])
    told = processes.yield_cores(2)
    assert "keep 1.1 of 2 cores busy" in told
    assert "OMP_NUM_THREADS=1" in told
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert processes.yield_cores(2) == ""  # said once


@pytest.mark.parametrize("given", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_NUM_THREADS": "1"}, {}])
def test_nothing_changes_where_cores_are_free_or_the_user_chose(
    fresh: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    os.environ.update(given)
    busy = 100.0 if given else 10.0
    fresh.setattr(psutil, "cpu_percent", lambda interval, percpu: [100.0, busy, 100.0, 0.0])
    assert processes.yield_cores(2) == ""
    assert {key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"} == given
