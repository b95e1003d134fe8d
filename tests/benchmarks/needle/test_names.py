"""The names of tasks."""

import pytest

from benchmarks.needle.names import RULER, TASKS, check_task, expanded
from benchmarks.needle.tasks import TASKS as BUILT


def test_every_name_is_a_task() -> None:
    assert len(RULER) == 13
    assert set(BUILT) == set(TASKS) - {"ruler"}


def test_ruler_stands_for_its_thirteen_and_none_comes_twice() -> None:
    assert expanded(["vt", "ruler", "nolima", "vt"]) == ["vt", *(task for task in RULER if task != "vt"), "nolima"]


def test_an_unknown_task_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match="niah_single_2"):
        check_task("niah_single2")
