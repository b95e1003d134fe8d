"""What the terminal shows: tables and results on stdout, progress and remarks on stderr."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from finewise import processes

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class Advance(Protocol):
    """Call with the number of items just finished."""

    def __call__(self, count: int = 1) -> None:
        """Advance."""


def say(text: str) -> None:
    """Print one plain remark (no markup is read from it) on stderr, and put it into the run's log file."""
    logging.getLogger("finewise").info(text)
    if processes.is_first():
        err.print(text, markup=False, soft_wrap=True)


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Advance]:
    """Show a progress bar on a terminal; elsewhere (CI, a log file) print only one line at the end.

    Args:
        description: What is being done, such as "encode corpus".
        total: Number of items, or None when it is not known beforehand.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=err.is_terminal,
        disable=not err.is_terminal,
    )
    with bar:
        task = bar.add_task(description, total=total)

        def advance(count: int = 1) -> None:
            bar.advance(task, count)

        yield advance
