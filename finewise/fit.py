"""Plumbing around the library trainers: arguments, checkpoints that are whole or not there, resume, progress, journal.

Nothing here knows a task. A branch builds its Trainer from `training_arguments` and `callbacks`, and runs it with `fit`.
"""

import errno
import json
import math
import os
import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError
from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finewise import processes
from finewise.config import DEV_KEY, ExperimentConfig
from finewise.console import err, say, spoken
from finewise.device import fast_bf16, peak_memory, pick_device, use_bf16
from finewise.ending import fell_from
from finewise.errors import InputError
from finewise.record import write_json
from finewise.references import hub_commit
from finewise.run import Run

MARKER = "complete.json"
STATE = "trainer_state.json"
JOURNAL = "train.jsonl"
SAVE_EVERY_SECONDS = 600.0
AGREE_EVERY_STEPS = 10
"""Of several processes: steps between two questions to the first whether to save, each of which waits for all of them."""


@dataclass(slots=True)
class Seen:
    """What the training has read so far, and in how many seconds of steps, over all attempts of a resumed run."""

    texts: int = 0
    tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a training led to: the chosen step, its dev score, the evaluations, and what was read.

    `history` has (step, dev score) of each evaluation; `planned` is the number of steps had nothing stopped it early.
    """

    steps: int
    best_step: int
    best_score: float
    evaluations: int
    stopped_early: bool
    seen: Seen
    history: list[tuple[int, float]] = field(default_factory=list)
    planned: int = 0
    patience: int | None = None

    def after(self, before: "Outcome") -> "Outcome":
        """Return what both led to, one training after the other: the second chose, counted from the first's first step."""
        return replace(
            self,
            steps=before.steps + self.steps,
            best_step=before.steps + self.best_step,
            evaluations=before.evaluations + self.evaluations,
            history=[(before.steps + step, score) for step, score in self.history],
            planned=before.steps + self.planned,
            seen=Seen(
                texts=before.seen.texts + self.seen.texts,
                tokens=before.seen.tokens + self.seen.tokens,
                seconds=before.seen.seconds + self.seen.seconds,
            ),
        )

    def cost(self, device: str) -> dict[str, Any]:
        """Return what a record says of the work."""
        return {
            "texts": self.seen.texts,
            "tokens": self.seen.tokens,
            "step_seconds": round(self.seen.seconds, 3),
            "tokens_per_second": round(self.seen.tokens / max(self.seen.seconds, 1e-9), 1),
            "peak_memory_bytes": peak_memory(device),
        }

    def choice(self, metric: str, dev_revision: str, test_reads: int) -> dict[str, Any]:
        """Return what a record says of how the checkpoint was chosen.

        Args:
            metric: That dev was scored by.
            dev_revision: Of the dev data.
            test_reads: How many checkpoints were scored on test.
        """
        return {
            "split": "dev",
            "metric": metric,
            "dev_revision": dev_revision,
            "best": self.best_score,
            "best_step": self.best_step,
            "steps": self.steps,
            "evaluations": self.evaluations,
            "stopped_early": self.stopped_early,
            "planned": self.planned,
            "patience": self.patience,
            "fell_from": fell_from(self.history, self.best_step),
            "history": [{"step": step, "score": score} for step, score in self.history],
            "test_reads": test_reads,
        }


FEW_STEPS = 50
"""Optimiser steps below which a training is said to be short."""


def total_steps(experiment: ExperimentConfig, batches: int) -> int:
    """Return the number of optimiser steps of the whole training, as the Trainer counts them.

    Args:
        experiment: The settings.
        batches: Batches per device and epoch.
    """
    optim = experiment.optim
    if optim.max_steps is not None:
        return optim.max_steps
    per_epoch = max(1, -(-batches // optim.gradient_accumulation_steps))
    return max(1, math.ceil(per_epoch * optim.epochs - 1e-9))


def one_batch(rows: int, batch_size: int) -> str:
    """Return what is to be said of a batch that is larger than the data; empty if it is not.

    >>> one_batch(64, 64), one_batch(65, 4096)
    ('', 'optim.batch_size=4096 is more than the 65 training rows, which are one batch')
    """
    if batch_size <= rows:
        return ""
    return f"optim.batch_size={batch_size} is more than the {rows} training rows, which are one batch"


def few_steps(steps: int) -> str:
    """Return what is to be said of a training of so many steps; empty if they are enough to learn something.

    >>> few_steps(50), few_steps(1)[:26]
    ('', 'the training has 1 step, f')
    """
    if steps >= FEW_STEPS:
        return ""
    return (
        f"the training has {steps} step{'s' if steps > 1 else ''}, fewer than {FEW_STEPS}: the weights hardly move, and "
        "a small difference may be all that is found; lower optim.batch_size, or raise optim.epochs or optim.max_steps"
    )


def training_arguments(
    kind: type[TrainingArguments], experiment: ExperimentConfig, run: Run, *, steps: int, metric: str, **more: Any
) -> Any:
    """Return the Trainer's arguments for the settings.

    Args:
        kind: The arguments class of the branch's trainer.
        experiment: The settings.
        run: The run, whose folder takes the checkpoints.
        steps: From `total_steps`.
        metric: Key of the dev metric that chooses the checkpoint; higher is better.
        more: The branch's own arguments.
    """
    optim, selection = experiment.optim, experiment.selection
    device = pick_device(experiment.run.device)
    _keep_machine(experiment, run, device)
    if optim.warmup >= steps:
        raise InputError(
            f"optim.warmup={optim.warmup:g} steps, and the training has {steps}: the peak learning rate would never be "
            "reached; set a share such as 0.1"
        )
    # A share that is less than a step would make the first step one of rate 0, and of a one-step training nothing.
    warmup = int(optim.warmup) if optim.warmup >= 1 else optim.warmup if optim.warmup * steps >= 1 else 0
    every = min(steps, selection.every_steps or -(-steps // selection.evaluations))
    arguments = kind(
        output_dir=str(run.dir / "checkpoints"),
        learning_rate=optim.learning_rate,
        max_steps=steps,
        per_device_train_batch_size=optim.batch_size,
        gradient_accumulation_steps=optim.gradient_accumulation_steps,
        warmup_steps=warmup,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(optim.scheduler, optim.scheduler),
        optim=optim.optimizer,
        weight_decay=optim.weight_decay,
        max_grad_norm=optim.max_grad_norm,
        activation_checkpointing=optim.activation_checkpointing,
        bf16=use_bf16(experiment.run.precision, device),
        use_cpu=device == "cpu",
        ddp_backend="gloo" if device == "cpu" and processes.world() > 1 else None,
        seed=experiment.seed,
        data_seed=experiment.seed,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=None,
        load_best_model_at_end=True,
        metric_for_best_model=metric,
        greater_is_better=True,
        logging_strategy="steps",
        logging_steps=max(1, min(every, steps // 100)),
        logging_nan_inf_filter=False,
        report_to=experiment.run.report_to or "none",
        disable_tqdm=True,
        dataloader_pin_memory=device.startswith("cuda"),
        **more,
    )
    if processes.world() == 1:
        # With several GPUs in sight the Trainer would split each batch over all of them, and the loss would see a part.
        arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def _keep_machine(experiment: ExperimentConfig, run: Run, device: str) -> None:
    """Write down which precision and which commit of a hub model the run trains with; see `finewise.inputs.take_over`."""
    if experiment.run.precision == "auto" or run.kept("precision") is not None:
        run.keep("precision", "bf16" if fast_bf16(device) else "fp32", here=False)
    commit = hub_commit(experiment.model.name, experiment.model.revision)
    if commit is not None:
        run.keep("model.revision", commit, here=False)


def fit(trainer: Trainer, run: Run, seen: Seen, *, patience: int | None) -> Outcome:
    """Train to the end, from the last whole checkpoint if there is one, and leave the best checkpoint's weights in the model.

    Args:
        trainer: Built with `training_arguments` and `callbacks`.
        run: The run.
        seen: The counters that the trainer feeds; set to the checkpoint's values when one is taken up.
        patience: Stop after this many evaluations without improvement.

    Raises:
        InputError: The loss became NaN or infinite, or the disk is full.
    """
    checkpoints = Path(str(trainer.args.output_dir))
    key = str(trainer.args.metric_for_best_model)
    last = last_checkpoint(checkpoints)
    over = False
    if last is not None:
        state = TrainerState.load_from_json(str(last / STATE))
        seen.texts, seen.tokens, seen.seconds = _read_seen(last)
        over = state.global_step >= state.max_steps or _exhausted(state, key, patience)
        say(f"resume: step {state.global_step} of {state.max_steps}" + (", training was over" if over else ""))
    if over:
        trainer.state = state
    else:
        try:
            trainer.train(resume_from_checkpoint=str(last) if last else None)
        except (OSError, RuntimeError, SafetensorError) as error:
            # The libraries' writers tell a full disk each in their own way, few of them as an OSError.
            if disk_is_full(error, run.dir):
                raise InputError(
                    f"{checkpoints}: the disk is full; free some space, then the same command with resume=auto goes on "
                    "from the last whole checkpoint"
                ) from error
            raise
    state = trainer.state
    best = checkpoints / f"checkpoint-{state.best_global_step}"
    if not is_whole(best):
        raise RuntimeError(f"{best}: the best checkpoint is missing or not whole")
    # The Trainer loads the best weights as well, but only logs an error when that fails and keeps the last ones.
    trainer._load_from_checkpoint(str(best))
    history = _history(state, key)
    return Outcome(
        steps=state.global_step,
        best_step=int(state.best_global_step or 0),
        best_score=float(state.best_metric or 0.0),
        evaluations=len(history),
        stopped_early=state.global_step < state.max_steps,
        seen=seen,
        history=history,
        planned=state.max_steps,
        patience=patience,
    )


def disk_is_full(error: Exception, folder: Path) -> bool:
    """Tell whether an error while writing means that the disk is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "No space left" in str(error) or shutil.disk_usage(folder).free < 1_000_000


def callbacks(run: Run, seen: Seen, experiment: ExperimentConfig) -> list[TrainerCallback]:
    """Return the callbacks that every branch's trainer gets."""
    key = DEV_KEY.format(metric=experiment.selection.metric)
    return [
        EvaluateAtTheEnd(key, experiment.selection.patience),
        Checkpoints(seen, experiment.run.keep_checkpoints),
        Journal(run.dir / JOURNAL, seen),
        LiveProgress(seen, key),
        FirstStep(run),
    ]


def needed_space(model: nn.Module, keep_checkpoints: int) -> int:
    """Return the bytes that a training will write: weights and two Adam moments per checkpoint, and the saved model.

    Args:
        model: Whose weights are trained in fp32.
        keep_checkpoints: Checkpoints that are kept besides the best one.
    """
    weights = sum(parameter.numel() for parameter in model.parameters()) * 4
    # One more checkpoint than are kept is on the disk while it is written, and the best one may be an older one.
    return weights * 3 * (keep_checkpoints + 2) + weights + 20_000_000


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint; remove those that were being written when the process died."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        if is_whole(path):
            whole.append(path)
        else:
            say(f"note: {path.name} was not written to its end; it is removed")
            shutil.rmtree(path)
    return max(whole, key=_step_of, default=None)


def is_whole(checkpoint: Path) -> bool:
    """Tell whether a checkpoint was written to its end and still has every file at its size."""
    try:
        sizes: dict[str, int] = json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))["files"]
    except (OSError, json.JSONDecodeError, KeyError):
        return False
    return all(
        (checkpoint / name).is_file() and (checkpoint / name).stat().st_size == size for name, size in sizes.items()
    )


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rsplit("-", 1)[1])


def _read_seen(checkpoint: Path) -> tuple[int, int, float]:
    content = json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))
    return int(content["texts"]), int(content["tokens"]), float(content["seconds"])


def _history(state: TrainerState, key: str) -> list[tuple[int, float]]:
    """Return (step, dev score) so far, in order, one per evaluated step."""
    found = {int(entry["step"]): float(entry[key]) for entry in state.log_history if key in entry}
    return list(found.items())


def _exhausted(state: TrainerState, key: str, patience: int | None) -> bool:
    """Tell whether the last `patience` evaluations brought nothing better than the best before them.

    Read from the history alone, so that a resumed run decides as an undisturbed one.
    """
    scores = [score for _, score in _history(state, key)]
    if patience is None or not scores:
        return False
    return len(scores) - 1 - scores.index(max(scores)) >= patience


class EvaluateAtTheEnd(TrainerCallback):
    """Scores and saves the last step too, stops on exhausted patience, and stops on a loss that is no number."""

    def __init__(self, key: str, patience: int | None) -> None:
        self.key = key
        self.patience = patience

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Ask for evaluation and checkpoint at the last step."""
        if state.global_step >= state.max_steps:
            control.should_log = control.should_evaluate = control.should_save = True
        return control

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Stop early. Decided at the save that follows an evaluation, so that the checkpoint is there."""
        if _exhausted(state, self.key, self.patience):
            say(f"stop: dev has not improved for {self.patience} evaluations")
            control.should_training_stop = True
        return control

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any
    ) -> None:
        """Stop at once when the loss is NaN or infinite: going on would only burn hours."""
        loss = (logs or {}).get("loss")
        if loss is not None and not torch.isfinite(torch.tensor(float(loss))):
            raise InputError(
                f"the loss is {loss} at step {state.global_step}; lower optim.learning_rate, or set run.precision=fp32"
            )


class Checkpoints(TrainerCallback):
    """Marks a checkpoint as whole once every file is on the disk, and keeps the best one and the newest few."""

    def __init__(self, seen: Seen, keep: int) -> None:
        self.seen = seen
        self.keep = keep
        self.saved_at = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Save between evaluations too, when they are far apart in time."""
        due = time.monotonic() - self.saved_at > SAVE_EVERY_SECONDS
        if processes.world() > 1:
            # All processes save together, and their clocks differ: the first one's decides, asked for every few steps.
            due = state.global_step % AGREE_EVERY_STEPS == 0 and processes.share(due)
        if due:
            control.should_save = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write the marker, then remove what is not needed any more. In this order a kill loses nothing."""
        self.saved_at = time.monotonic()
        if not state.is_world_process_zero:
            return
        folder = Path(str(args.output_dir))
        checkpoint = folder / f"checkpoint-{state.global_step}"
        files = {}
        for path in sorted(checkpoint.rglob("*")):
            if path.is_file() and path.name != MARKER:
                with path.open("r+b") as file:  # Windows syncs no file that is open for reading alone
                    os.fsync(file.fileno())
                files[str(path.relative_to(checkpoint))] = path.stat().st_size
        write_json(checkpoint / MARKER, {"files": files, **asdict(self.seen)})
        whole = sorted((path for path in folder.glob("checkpoint-*") if is_whole(path)), key=_step_of)
        for path in whole[: -self.keep]:
            if _step_of(path) != state.best_global_step:
                shutil.rmtree(path)


class Journal(TrainerCallback):
    """Writes the curve to train.jsonl: one line per log or evaluation."""

    def __init__(self, path: Path, seen: Seen) -> None:
        self.path = path
        self.seen = seen

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin with what the checkpoint knows: lines after it, from a killed attempt, go."""
        if state.is_world_process_zero:
            part = self.path.with_name(self.path.name + ".part")
            part.write_text("".join(line(entry) for entry in state.log_history), encoding="utf-8")
            part.replace(self.path)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any
    ) -> None:
        """Append the newest entry of the history."""
        if state.is_world_process_zero and state.log_history:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line(state.log_history[-1]))


def line(entry: dict[str, Any]) -> str:
    """Return an entry of the history as a line of the journal.

    The Trainer's closing summary gives none: after a resume its mean loss is that of the last attempt only.
    """
    return "" if "train_runtime" in entry else json.dumps(entry, sort_keys=True) + "\n"


class FirstStep(TrainerCallback):
    """Notes when the first step begins."""

    def __init__(self, run: Run) -> None:
        self.run: Run | None = run

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Note it, once."""
        if self.run is not None:
            self.run.note_first_step()
            self.run = None


class LiveProgress(TrainerCallback):
    """Shows step, loss, learning rate, texts/s, tokens/s, time left and the last dev score; plain lines without a terminal."""

    def __init__(self, seen: Seen, key: str) -> None:
        self.seen = seen
        self.key = key
        self.loss = self.rate = self.dev = float("nan")
        self.bar: Progress | None = None
        self.task: Any = None
        self.begun = Seen()
        self.begun_step = 0
        self.step_began = 0.0
        self.said_at = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the bar."""
        self.begun, self.begun_step = replace(self.seen), state.global_step
        if err.is_terminal and state.is_world_process_zero:
            self.bar = Progress(
                TextColumn("train"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[facts]}"),
                console=err,
                transient=True,
            )
            self.task = self.bar.add_task("train", total=state.max_steps, completed=state.global_step, facts="")
            self.bar.start()

    def facts(self) -> str:
        """Return the numbers beside the bar."""
        seconds = max(1e-9, self.seen.seconds - self.begun.seconds)
        texts, tokens = (self.seen.texts - self.begun.texts) / seconds, (self.seen.tokens - self.begun.tokens) / seconds
        dev = "" if math.isnan(self.dev) else f"  dev {self.dev:.4f}"
        return f"loss {self.loss:.3f}  lr {self.rate:.1e}  {texts:.0f} texts/s  {tokens:.0f} tokens/s{dev}"

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock: evaluations and checkpoints are not counted as training."""
        self.step_began = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop the clock and move the bar."""
        self.seen.seconds += time.perf_counter() - self.step_began
        if self.bar is not None:
            self.bar.update(self.task, completed=state.global_step, facts=self.facts())

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any
    ) -> None:
        """Take the newest numbers; without a terminal, print a line every 20 seconds and for each dev score."""
        logs = logs or {}
        self.loss = float(logs.get("loss", self.loss))
        self.rate = float(logs.get("learning_rate", self.rate))
        self.dev = float(logs.get(self.key, self.dev))
        now = time.monotonic()
        if state.is_world_process_zero and self.bar is None and (self.key in logs or now - self.said_at > 20):
            self.said_at = now
            per_step = (self.seen.seconds - self.begun.seconds) / max(1, state.global_step - self.begun_step)
            left = per_step * (state.max_steps - state.global_step)
            say(f"step {state.global_step}/{state.max_steps}  {self.facts()}  {spoken(left)} left")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close the bar and leave its last numbers on the screen."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
        if state.is_world_process_zero:
            say(f"trained {state.global_step} steps: {self.facts()}")
