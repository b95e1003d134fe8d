"""Rounds of a real Trainer: each trains some steps on the round's rows, with the model and the optimiser that it had before.

A second `train()` of the same Trainer goes on with its optimiser; only the learning rate starts anew. What is timed is all
that an optimiser step needs: drawing and collating the batch, forward, backward, clipping, optimiser. The Trainer's start-up
is not.
"""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from transformers import PrinterCallback, TrainerCallback

from benchmarks.speed.harness import Round, synchronize


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The rows of one round.

    Attributes:
        rows: A `datasets.Dataset` of exactly the steps' batches.
        items: How many pairs or rows that is.
        lengths: Real tokens of each text.
        flop: What the real tokens need, forward and backward; None where unknown.
    """

    rows: Any
    items: int
    lengths: Sequence[int]
    flop: float | None


@dataclass
class StepClock(TrainerCallback):
    """Times the steps of one `train()`, from the drawing of the first batch to the end of the last step."""

    device: str
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    began: float = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Forget the last round."""
        self.losses, self.norms = [], []

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock."""
        synchronize(self.device)
        self.began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Read the clock."""
        synchronize(self.device)
        self.seconds = time.perf_counter() - self.began

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Keep loss and gradient norm of each step; the closing summary has neither."""
        for key, value in (logs or {}).items():
            if key in ("loss", "embedding_loss"):  # SetFit's has a prefix
                self.losses.append(float(value))
            elif key == "grad_norm":
                self.norms.append(float(value))


class TrainerSide:
    """One side: a Trainer, and the rows of each round."""

    def __init__(self, make: Callable[[], Any], works: Sequence[Work], clock: StepClock) -> None:
        """Note how the trainer is made.

        Args:
            make: Makes a transformers Trainer or one of its heirs, with the clock among its callbacks.
            works: The rows of each round, by number.
            clock: The clock.
        """
        self.make = make
        self.works = works
        self.clock = clock
        self.trainer: Any = None

    def prepare(self) -> None:
        """Make the trainer.

        Precision and compiler are kept by accelerate for the whole process, as the newest trainer has them, and read at a
        trainer's first `train()`: it must follow at once.
        """
        self.trainer = self.make()
        self.trainer.remove_callback(PrinterCallback)
        for key in [key for key in os.environ if key.startswith("ACCELERATE_DYNAMO_")]:
            del os.environ[key]  # left by torch_compile; the next trainer would compile too

    def run(self, number: int) -> Round:
        """Train on the rows of this round."""
        work = self.works[number]
        self.trainer.train_dataset = work.rows
        self.trainer.train()
        return Round(
            seconds=self.clock.seconds,
            items=work.items,
            tokens=sum(work.lengths),
            flop=work.flop,
            computed={"loss": mean(self.clock.losses), "grad_norm": mean(self.clock.norms)},
        )


def arguments(kind: Any, device: str, *, batch: int, scratch: Path, **more: Any) -> Any:
    """Return training arguments: the library's defaults, but for what the measurement needs.

    Args:
        kind: The arguments class of the trainer.
        device: As pick_device returns it.
        batch: Rows per step.
        scratch: Where the Trainer may make its folder; nothing is saved.
        more: What the side changes, such as bf16.
    """
    made = kind(
        output_dir=tempfile.mkdtemp(dir=scratch),
        per_device_train_batch_size=batch,
        num_train_epochs=1,
        use_cpu=device == "cpu",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=device.startswith("cuda"),
        **more,
    )
    made._n_gpu = min(1, made.n_gpu)  # of several GPUs one: the other sides have one too
    return made
