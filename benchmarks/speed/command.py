"""The command line that all benches share: arguments, what is printed, the JSON, and the exit status."""

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from transformers.utils import logging

from benchmarks.speed.report import SCHEMA, Report
from finewise import run
from finewise.console import say
from finewise.device import describe, pick_device, quiet, use_bf16
from finewise.errors import InputError
from finewise.record import write_json
from finewise.settings import command

Bench = Callable[[argparse.Namespace], Sequence[Report]]


def parser(doc: str | None, *, rounds: int = 5) -> argparse.ArgumentParser:
    """Return a parser with the arguments that every bench has.

    Args:
        doc: The bench's own docstring, which --help shows.
        rounds: Default of --rounds.
    """
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=positive, default=rounds, help=f"alternating rounds (default {rounds})")
    made.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default auto)")
    made.add_argument("--json", type=Path, metavar="PATH", help="also write everything to this file")
    return made


def positive(text: str) -> int:
    """Read a whole number from 1 on.

    Raises:
        argparse.ArgumentTypeError: It is something else.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on; got {text}")
    return int(text)


def execute(bench: Bench, arguments: argparse.ArgumentParser, given: Sequence[str] | None = None) -> int:
    """Run a bench; print its reports and write them.

    Args:
        bench: Takes the arguments and returns its reports.
        arguments: From `parser`, with the bench's own added.
        given: The command line; None takes the process's.

    Returns:
        The exit status: 0, or 1 when two sides did not compute the same, or 2 for a mistake in what was given.
    """
    options = arguments.parse_args(given)
    started = now()
    quiet()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        options.device = pick_device(options.device)
        reports = bench(options)
        for report in reports:
            report.show()
        if options.json is not None:
            write_json(options.json, document([report.as_json() for report in reports], options.device, started))
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    wrong = [report.title for report in reports if not report.ok]
    for title in wrong:
        say(f"error: the sides of '{title}' did not compute the same: its ratios mean nothing")
    return 1 if wrong else 0


def document(
    benches: Sequence[dict[str, Any]], device: str, started: str, failed: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the whole JSON document: what ran where, and what came of it.

    Args:
        benches: Each as Report.as_json returns it.
        device: As pick_device returns it.
        started: From `now`.
        failed: Benches that did not end well.
    """
    return {
        "schema": SCHEMA,
        "kind": "speed",
        "command": command(),
        "started": started,
        "finished": now(),
        "git": run.git(),
        "versions": run.versions(),
        "device": describe(device, use_bf16("auto", device)),
        "ok": not failed and all(bench["ok"] for bench in benches),
        "failed": list(dict.fromkeys(failed)),
        "benches": list(benches),
    }


def now() -> str:
    """Return the time as ISO 8601 with its zone."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
