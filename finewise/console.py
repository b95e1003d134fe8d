"""What the terminal shows: tables and results on stdout, progress and remarks on stderr."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from finewise import processes
from finewise.names import printable

COLUMNS = 120
"""Of tables where there is no terminal to ask, and no COLUMNS in the environment."""


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = COLUMNS
    return console


out, err = _console(stderr=False), _console(stderr=True)


EVERY = 30.0
"""Seconds between two lines of progress where there is no terminal; later a tenth of the time that has passed."""


class Advance(Protocol):
    """Call with the number of items just finished."""

    def __call__(self, count: int = 1) -> None:
        """Advance."""


def say(text: str) -> None:
    """Print one plain remark (no markup is read from it) on stderr, and put it into the run's log file."""
    text = "\n".join(printable(line) for line in text.split("\n"))
    logging.getLogger("finewise").info(text)
    if processes.is_first():
        err.print(text, markup=False, soft_wrap=True)


_said: set[tuple[str, ...]] = set()


def say_once(text: str) -> None:
    """Say what a run would else repeat whenever it loads its model: once for each log file that it goes to."""
    files = [getattr(handler, "baseFilename", "") for handler in logging.getLogger().handlers]
    if (text, *files) not in _said:
        _said.add((text, *files))
        say(text)


def spoken(seconds: float) -> str:
    """Return a time as people say it: 40 s, 12 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Advance]:
    """Show a progress bar on a terminal; elsewhere (CI, a log file) say now and then how far it is.

    Args:
        description: What is being done, such as "encode corpus".
        total: Number of items, or None when it is not known beforehand.
    """
    if not err.is_terminal:
        lines = _Lines(description, total)
        yield lines
        lines.end()
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    )
    with bar:
        task = bar.add_task(description, total=total)

        def advance(count: int = 1) -> None:
            bar.advance(task, count)

        yield advance


class _Lines:
    """Progress as lines of text; work that ends before the first is due leaves none."""

    def __init__(self, description: str, total: int | None) -> None:
        self.description, self.total, self.done = description, total, 0
        self.began = self.said_at = time.monotonic()

    def __call__(self, count: int = 1) -> None:
        self.done += count
        now = time.monotonic()
        passed = now - self.began
        if self.done and self.done != self.total and now - self.said_at >= max(EVERY, passed / 10):
            self.said_at = now
            left = f", about {spoken(passed / self.done * (self.total - self.done))} left" if self.total else ""
            say(f"{self._so_far()}{left}")

    def end(self) -> None:
        if self.said_at != self.began:
            say(f"{self._so_far()} in {spoken(time.monotonic() - self.began)}")

    def _so_far(self) -> str:
        return f"{self.description}: {self.done:,}" + (f"/{self.total:,}" if self.total else "")
