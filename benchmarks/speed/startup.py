"""How long a run takes until its first optimiser step begins: the quickstart with an empty cache, then once more.

    python -m benchmarks.speed.startup

Each run is a process of its own, stopped as by the keyboard once it has written down that its first step began. What is told
is the run's own account (run.json): seconds from the start of the process, stage by stage. Importing the libraries and loading
the model are the libraries' work; the rest, Python's own start and the settings among it, counts as ours.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from finewise.console import out
from finewise.data.store import ENVIRONMENT
from finewise.errors import InputError
from finewise.run import MANIFEST

RUNS = ("first", "second")
STAGES = {
    "start": "Python and settings",
    "imports": "importing the libraries",
    "data": "read, audit, split",
    "model": "load the model",
    "before": "untuned model on dev",
    "train": "trainer and first batch",
}
LIBRARIES = ("imports", "model")
DEFAULT = ("+exp=embed-quickstart",)


def measure(arguments: Sequence[str] = DEFAULT, *, timeout: float = 300.0) -> dict[str, Any]:
    """Start a training twice, the second time with the first one's cache.

    Args:
        arguments: Of `python -m embed.train`.
        timeout: Seconds after which a run that has not begun to train is given up.

    Returns:
        "command", and "first" and "second" as `account` gives them.

    Raises:
        InputError: A run ends, or takes too long, without a first step.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = {name: account(_run(arguments, Path(folder), name, timeout)) for name in RUNS}
    return {"command": ["python", "-m", "embed.train", *arguments], **found}


def account(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Split the time to the first step.

    Args:
        manifest: A run.json that was read when its first step began.

    Returns:
        "seconds" in all, "own" and "libraries", and "stages".
    """
    total = float(manifest["first_step"])
    stages = {name: float(manifest["seconds"].get(name, 0.0)) for name in STAGES if name != "train"}
    stages["train"] = round(total - sum(stages.values()), 3)
    libraries = round(sum(stages[name] for name in LIBRARIES), 3)
    return {"seconds": total, "own": round(total - libraries, 3), "libraries": libraries, "stages": stages}


def _run(arguments: Sequence[str], folder: Path, name: str, timeout: float) -> dict[str, Any]:
    """Return what run.json says when the first step begins, and stop the run."""
    root, log = folder / name, folder / f"{name}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "embed.train", *arguments, f"run.root={root}"],
            env={**os.environ, ENVIRONMENT: str(folder / "cache")},
            stdout=output,
            stderr=output,
        )
        try:
            deadline = time.monotonic() + timeout
            while time.monotonic() < deadline:
                over = process.poll() is not None
                for path in root.rglob(MANIFEST):
                    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                    if "first_step" in manifest:
                        return manifest
                if over:
                    break
                time.sleep(0.05)
        finally:
            _stop(process)
    told = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()][-1:]
    raise InputError(f"the {name} run came to no first step within {timeout:.0f} s: {''.join(told)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def table(found: Mapping[str, Any]) -> Table:
    """Return the account as a table."""
    shown = Table(
        title=f"seconds to the first step: {' '.join(found['command'])}", box=SIMPLE_HEAD, title_justify="left"
    )
    shown.add_column("")
    for name in RUNS:
        shown.add_column(f"{name} run", justify="right")
    for stage, what in STAGES.items():
        whose = " (libraries)" if stage in LIBRARIES else ""
        shown.add_row(f"{what}{whose}", *(f"{found[name]['stages'][stage]:.2f}" for name in RUNS))
    shown.add_section()
    for key, what in (("seconds", "in all"), ("libraries", "libraries"), ("own", "finewise's own share")):
        shown.add_row(what, *(f"{found[name][key]:.2f}" for name in RUNS))
    return shown


def main() -> None:
    """Print the account of both runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arguments", nargs="*", default=list(DEFAULT), help="of embed.train (default: the quickstart)")
    try:
        out.print(table(measure(parser.parse_args().arguments)))
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
