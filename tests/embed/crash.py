"""A script, not a test: runs one small experiment again and again, killed by SIGKILL at a chosen point and then resumed.

Everything heavy is imported once and each attempt is a fork, which saves ten seconds per attempt. The kill is real: the
process ends at once, in the middle of whatever it was writing.

Usage: python crash.py MODEL TRAIN_FILE ROOT POINT... ; prints one JSON line per point.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import benchmarks.baselines
import embed.export
import embed.prove
import embed.trainer
import finewise.data.load
import finewise.fit
from embed.config import EmbedExperiment, MultipleNegativesRanking
from embed.train import main
from finewise.config import DataConfig, ModelConfig, OptimConfig, RunConfig, SelectionConfig


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


POINTS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "while the data is read": lambda: before_call(1, finewise.data.load, "audited"),
    "before the first checkpoint": lambda: before_call(3, embed.trainer.EmbedTrainer, "compute_loss"),
    "between checkpoints": lambda: before_call(15, embed.trainer.EmbedTrainer, "compute_loss"),
    "in the second epoch": lambda: before_call(22, embed.trainer.EmbedTrainer, "compute_loss"),
    # torch.save writes optimizer, scheduler, RNG and arguments of each checkpoint; the sixth call is in the second one.
    "in the middle of a checkpoint": lambda: before_call(6, torch, "save", half_written),
    "before the checkpoint is marked whole": lambda: before_call(2, finewise.fit.Checkpoints, "on_save"),
    "after the last step": lambda: before_call(1, embed.prove, "prove"),
    "while test is scored": lambda: before_call(1, benchmarks.baselines.BM25, "search"),
    "before the record is written": lambda: before_call(1, embed.export, "save_per_query"),
}


def experiment(model: str, train: str, root: str) -> EmbedExperiment:
    return EmbedExperiment(
        data=DataConfig(train=train),
        model=ModelConfig(name=model),
        optim=OptimConfig(epochs=2, batch_size=16, learning_rate=3e-3),
        loss=MultipleNegativesRanking(),
        selection=SelectionConfig(evaluations=5, patience=4),
        run=RunConfig(root=root, device="cpu", precision="fp32"),
        resume="auto",
    )


def attempt(prepare: Callable[[], None], *arguments: str) -> int:
    """Run the experiment in a fork; return how it ended (0, or minus the signal)."""
    child = os.fork()
    if child == 0:
        prepare()
        main(experiment(*arguments))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    model, train, root, *points = sys.argv[1:]
    for point in points:
        place = str(Path(root) / point.replace(" ", "-"))
        # Each starts with an empty cache, so that all that is done once is done here, and the second attempt finds it.
        os.environ["FINEWISE_CACHE"] = f"{place}-cache"
        killed = attempt(POINTS[point], model, train, place)
        resumed = attempt(POINTS["none"], model, train, place)
        folders = sorted(str(path.parent) for path in Path(place).rglob("run.json"))
        print(json.dumps({"point": point, "killed": killed, "resumed": resumed, "folders": folders}), flush=True)
