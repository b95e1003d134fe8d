"""For scripts that kill an experiment at a chosen point and then resume it; not a test.

Everything heavy is imported once and each attempt is a fork, which saves ten seconds per attempt. The kill is real: the
process ends at once, in the middle of whatever it was writing.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Points = dict[str, Callable[[], None]]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before_call(number: int, owner: Any, name: str, then: Callable[..., None] = lambda *args: die()) -> None:
    """Die just before the `number`-th call of a function."""
    real, calls = getattr(owner, name), [0]

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            then(*args)
        return real(*args, **kwargs)

    setattr(owner, name, counted)


def half_written(content: Any, path: Any, *rest: Any) -> None:
    """Leave half a file behind, as a kill in the middle of writing does."""
    Path(path).write_bytes(b"\x80" * 1000)
    die()


def attempt(prepare: Callable[[], None], run: Callable[[str], object], root: str) -> int:
    """Run the experiment in a fork; return how it ended (0, or minus the signal)."""
    child = os.fork()
    if child == 0:
        prepare()
        run(root)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_and_resume(points: Points, wanted: list[str], run: Callable[[str], object], root: str) -> None:
    """Kill the experiment at each of the wanted points and resume it; print a JSON line per point.

    Args:
        points: Name -> what makes the process die there; "none" does nothing.
        wanted: Names of them.
        run: Runs the experiment with its folder under the given root.
        root: An existing folder.
    """
    for point in wanted:
        place = str(Path(root) / point.replace(" ", "-"))
        # Each starts with an empty cache, so that all that is done once is done here, and the second attempt finds it.
        os.environ["FINEWISE_CACHE"] = f"{place}-cache"
        killed = attempt(points[point], run, place)
        resumed = attempt(points["none"], run, place)
        folders = sorted(str(path.parent) for path in Path(place).rglob("run.json"))
        print(json.dumps({"point": point, "killed": killed, "resumed": resumed, "folders": folders}))
        sys.stdout.flush()
