"""Progress where there is no terminal: lines that say how far long work is, and none for short work."""

import logging
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from finewise import console
from finewise.console import progress, spoken


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A clock that is set by hand."""
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(console.time, "monotonic", lambda: now.seconds)
    return now


def test_long_work_says_now_and_then_how_far_it_is(clock: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "finewise"), progress("needle", 8) as advance:
        for _ in range(8):
            clock.seconds += 20
            advance()
    assert caplog.messages == [
        "needle: 2/8, about 2 min left",
        "needle: 4/8, about 80 s left",
        "needle: 6/8, about 40 s left",
        "needle: 8/8 in 3 min",
    ]


def test_the_longer_it_takes_the_rarer_the_lines(clock: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "finewise"), progress("read", None) as advance:
        for _ in range(3600):
            clock.seconds += 10
            advance()
    assert caplog.messages[0] == "read: 3"
    assert caplog.messages[-1] == "read: 3,600 in 10.0 h"
    assert len(caplog.messages) < 70, "ten hours"


def test_short_work_leaves_no_line(clock: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "finewise"), progress("encode", 2) as advance:
        advance(2)
        clock.seconds += 3
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (5399, "90 min"), (9000, "2.5 h")]
)
def test_times_as_people_say_them(seconds: float, text: str) -> None:
    assert spoken(seconds) == text
