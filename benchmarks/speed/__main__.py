"""All speed benches, one after the other, each in a process of its own.

    python -m benchmarks.speed                        all of them
    python -m benchmarks.speed training encoding      these
    python -m benchmarks.speed --json speed.json      all, and everything they found into one file
    python -m benchmarks.speed --device cuda          on a GPU: MiniLM and a ModernBERT-base, short texts and long

One bench alone takes more settings: python -m benchmarks.speed.NAME --help.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed import startup
from benchmarks.speed.command import document, now, parser
from finewise.console import out
from finewise.device import pick_device
from finewise.errors import InputError
from finewise.names import unknown
from finewise.record import write_json

BENCHES = {
    "training": "contrastive training against SentenceTransformerTrainer",
    "classification": "classification against transformers' Trainer with run_classification's settings",
    "fewshot": "few-shot training on pairs against SetFit",
    "encoding": "encoding a corpus against SentenceTransformer.encode",
    "scoring": "retrieval scores against sentence-transformers' evaluator and trec_eval",
    "audit": "reading and auditing pairs, the first time and again",
    "needle": "reading a needle grid against one prompt at a time by model.generate",
    "startup": "seconds until the first step of the quickstart",
}

_TRAINING = ("--compile", "--sides", "plain-bf16", "sorted", "auto", "--dropout", "on", "--steps", "4")

PLANS: dict[str, dict[str, Sequence[Sequence[str]]]] = {
    "cuda": {
        # The batches are those whose padded texts fit into 80 GB.
        "training": [
            ("--model", "minilm", "--texts", "debian", "--batch", "256", *_TRAINING),
            ("--model", "minilm", "--texts", "long", "--batch", "64", *_TRAINING),
            ("--model", "modernbert-base", "--texts", "debian", "--batch", "64", *_TRAINING),
            ("--model", "modernbert-base", "--texts", "long", "--batch", "16", *_TRAINING),
        ],
        "classification": [
            ("--model", "minilm", "--batch", "256", "--steps", "4"),
            ("--model", "modernbert-base", "--batch", "64", "--steps", "4"),
        ],
        "encoding": [("--model", "minilm", "--whole"), ("--model", "modernbert-base", "--whole")],
    }
}
"""Kind of device -> bench -> the settings of each of its runs, where they are not the defaults."""


def main(given: Sequence[str] | None = None) -> int:
    """Run the benches; return the worst exit status."""
    arguments = parser(__doc__)
    arguments.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)} (default all)")
    arguments.add_argument("--list", action="store_true", help="only say what there is")
    options = arguments.parse_args(given)
    if options.list:
        for name, what in BENCHES.items():
            out.print(f"{name:15} {what}", markup=False, soft_wrap=True)
        return 0
    try:
        for name in options.names:
            if name not in BENCHES:
                raise InputError(unknown("bench", name, BENCHES))
        device = pick_device(options.device)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    started = now()
    plan = PLANS.get(device.partition(":")[0], {})
    found: list[dict[str, Any]] = []
    failed: list[str] = []
    status = 0
    for name in options.names or BENCHES:
        for settings in plan.get(name, [[]]):
            if name == "startup":
                benches, ended = account()
            else:
                benches, ended = run(name, [*settings, "--rounds", str(options.rounds), "--device", options.device])
            found += benches
            status = max(status, ended)
            if ended:
                failed.append(name)
    if options.json is not None:
        write_json(options.json, document(found, device, started, failed))
    return status


def run(name: str, settings: Sequence[str]) -> tuple[list[dict[str, Any]], int]:
    """Run one bench in a process of its own, whose output goes where ours goes.

    Returns:
        What it found, as Report.as_json returns it (none where it failed or is left out), and its exit status.
    """
    command = [sys.executable, "-m", f"benchmarks.speed.{name}", *settings]
    out.print(f"\nbenchmarks.speed.{name} {' '.join(settings)}", markup=False, style="bold", soft_wrap=True)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        ended = subprocess.run([*command, "--json", str(path)], check=False).returncode
        found = json.loads(path.read_text(encoding="utf-8"))["benches"] if path.is_file() else []
    state = {0: "done", 1: "FAILED"}.get(ended, f"ended with status {ended}")
    out.print(f"benchmarks.speed.{name}: {state}, {time.perf_counter() - start:.0f} s", markup=False)
    return found, ended


def account() -> tuple[list[dict[str, Any]], int]:
    """Run the startup bench, which has no sides: it starts two trainings, one after the other."""
    out.print("\nbenchmarks.speed.startup", markup=False, style="bold")
    try:
        found = startup.measure()
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return [], 2
    out.print(startup.table(found))
    return [{"bench": "startup", "title": BENCHES["startup"], "ok": True, "facts": found}], 0


if __name__ == "__main__":
    sys.exit(main())
