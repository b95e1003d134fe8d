"""Continued pretraining of a language model on rows of documents, and its loss on documents held back."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset, Sampler
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, TrainingArguments

from benchmarks.needle.prefix_cache import rope_types
from benchmarks.needle.reader import settle_frequencies
from finewise import attention, processes
from finewise.config import DEV_KEY
from finewise.console import progress, say
from finewise.device import autocast, use_bf16
from finewise.execution import Execution, choose
from finewise.features import numbered
from finewise.fit import (
    Outcome,
    Seen,
    callbacks,
    few_steps,
    fit,
    needed_space,
    one_batch,
    total_steps,
    training_arguments,
)
from finewise.packing import Packing
from finewise.run import Run
from longctx.blocks import Blocks, Numbers
from longctx.config import LanguageModeling, LongContextExperiment
from longctx.cross_entropy import IGNORED, gives_nll
from longctx.memory import check_memory
from longctx.tied import TiedCheckpoints

Batch = dict[str, Tensor]
"""Pieces one behind the other: ids, positions and labels (1, T), and lengths (n,). A piece's first token is no label."""


def train_lm(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Blocks,
    experiment: LongContextExperiment,
    run: Run,
    *,
    score: Callable[[PreTrainedModel], float],
) -> Outcome:
    """Train a model in place on rows of documents; it ends with the weights of the checkpoint that dev chose.

    May be called several times, with a run of its own each (`run.inside`), for the stages of a training.

    Args:
        model: After `longctx.stretch.stretch`, with LoRA or without, its weights in fp32.
        tokenizer: Saved with the checkpoints.
        rows: From `longctx.data.load_documents`.
        experiment: The settings; its objective is `LanguageModeling`.
        run: The run, which may be a resumed one.
        score: Gives the dev score of the model as it is, higher is better.

    Raises:
        InputError: A step does not fit into memory, the loss became no number, or the disk is full.
    """
    objective = experiment.objective
    assert isinstance(objective, LanguageModeling)
    run.check_space(needed_space(model, experiment.run.keep_checkpoints))
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(inner, PreTrainedModel)
    base = inner.base_model
    assert isinstance(base, PreTrainedModel)
    before = base.config._attn_implementation
    key = DEV_KEY.format(metric=experiment.selection.metric)
    steps = total_steps(experiment, -(-len(rows) // (experiment.optim.batch_size * processes.world())))
    for told in (few_steps(steps), one_batch(len(rows), experiment.optim.batch_size)):
        if told:
            say(f"note: {told}")
    seen = Seen()
    try:
        execution, told = plan(model, rows, experiment)
        say(told)
        with gives_nll(inner, objective.logits_chunk):
            trainer = LanguageTrainer(
                model=model,
                args=training_arguments(
                    TrainingArguments,
                    experiment,
                    run,
                    steps=steps,
                    metric=key,
                    remove_unused_columns=False,
                    label_names=["labels"],
                ),
                train_dataset=Visits(rows),
                eval_dataset=numbered(1),  # it wants one; `evaluate` takes the documents themselves
                data_collator=Collator(rows),
                processing_class=tokenizer,
                callbacks=callbacks(run, seen, experiment),
            )
            trainer.seen, trainer.dev_key, trainer.score = seen, key, lambda: score(inner)
            trainer.execution, trainer.original = execution, rows.original
            trainer.sampler = Shuffled(len(rows), experiment.seed)
            trainer.remove_callback(PrinterCallback)  # our callbacks print; it would repeat every line
            return fit(trainer, run, seen, patience=experiment.selection.patience)
    finally:
        for part in (model, inner):
            # What the library put over the model's own forward method, and would leave there.
            part.__dict__.pop("forward", None)
            part.__dict__.pop("_original_forward", None)
        inner.activation_checkpointing_disable()  # type: ignore[no-untyped-call]
        if base.config._attn_implementation != before:
            base.set_attn_implementation(before)


def plan(model: PreTrainedModel | PeftModel, rows: Blocks, experiment: LongContextExperiment) -> tuple[Execution, str]:
    """Return how a model will be trained on rows of documents, and a line that says what a step takes.

    Args:
        model: As `train_lm`; its attention implementation is set to the one that it will be trained with.
        rows: As `train_lm`.
        experiment: As `train_lm`.

    Raises:
        InputError: A step does not fit into memory, or execution=packed and the model cannot do it.
    """
    objective = experiment.objective
    assert isinstance(objective, LanguageModeling)
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(inner, PreTrainedModel)
    base = inner.base_model
    assert isinstance(base, PreTrainedModel)
    return check_memory(
        inner,
        int(rows.pieces.tokens.max()),
        choose(base, experiment.execution, experiment.micro_batch_tokens),
        activation_checkpointing=experiment.optim.activation_checkpointing,
        logits_chunk=objective.logits_chunk,
        bf16=use_bf16(experiment.run.precision, str(inner.device)),
        lora=isinstance(model, PeftModel),
    )


class LanguageTrainer(TiedCheckpoints):
    """Computes a step as packs of pieces, one after the other, and scores dev by our own function."""

    seen: Seen
    score: Callable[[], float]
    dev_key: str
    execution: Execution
    original: int
    sampler: Sampler[int]

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.model_accepts_loss_kwargs = (
            True  # so that it counts the targets of a step over all its batches and processes
        )

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Return the loss of a batch; the gradient is the sum over its packs, of which one at a time is kept.

        The loss is the mean over all targets of a step, however they are spread over batches, packs and processes.
        """
        model.train()
        batch = self._prepare_inputs(inputs)
        self.seen.texts += len(batch["lengths"]) * self.args.world_size
        self.seen.tokens += batch["input_ids"].numel() * self.args.world_size
        # The gradients of the processes are averaged, and the targets counted over all of them.
        factor = self.args.world_size / num_items_in_batch
        parts = list(packs(batch, self.execution, self.original))
        total = torch.zeros((), device=batch["input_ids"].device)
        for number, part in enumerate(parts, 1):
            # Several processes exchange gradients once, with the last pack.
            with nullcontext() if number == len(parts) else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    loss = model(**part).loss * factor
                self.accelerator.backward(loss)
            total += loss.detach()
        return total

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Return the dev score under its key."""
        found = {self.dev_key: self.score()}
        self.log(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self.sampler


def packs(batch: Batch, execution: Execution, original: int) -> Iterator[dict[str, Any]]:
    """Give a batch in parts, as the model takes them, with `targets` for its loss.

    Packed, the pieces of a part lie in one row, and the attention knows where each begins; sorted, each has a row of its own,
    padded. Both keep pieces apart, whatever their positions are. (transformers finds the documents of a row by their positions
    when it gets no mask; the skips of PoSE would look like new documents.) Pieces with positions within the trained window and
    others are never in one part: where frequencies depend on the length that is read, the longest would decide for all.

    Args:
        batch: See `Batch`; the pieces longest first.
        execution: How, and how many tokens at a time.
        original: L.
    """
    lengths = batch["lengths"].tolist()
    starts = np.cumsum([0, *lengths])
    # With PoSE's skips a piece reaches farther than it is long.
    reach = [int(batch["position_ids"][0, start:end].max()) + 1 for start, end in itertools.pairwise(starts.tolist())]
    targets = functional.pad(batch["labels"][0, 1:], (0, 1), value=IGNORED)
    for numbers in (
        [number for number in range(len(lengths)) if reach[number] > original],
        [number for number in range(len(lengths)) if reach[number] <= original],
    ):
        for group in execution.groups([lengths[number] for number in numbers]) if numbers else []:
            chosen = [numbers[place] for place in group]
            sizes = [lengths[number] for number in chosen]
            spans = [slice(int(starts[number]), int(starts[number + 1])) for number in chosen]
            if execution.mode == "packed":
                yield {
                    "input_ids": _joined(batch["input_ids"][0], spans),
                    "position_ids": _joined(batch["position_ids"][0], spans),
                    "targets": _joined(targets, spans),
                    # A mask of four dimensions is taken as ready made: no model builds one, and the attention reads none.
                    "attention_mask": torch.zeros(1, 1, 1, 1, dtype=torch.int64, device=targets.device),
                    "packing": Packing.of(sizes, targets.device),
                    "use_cache": False,
                }
            else:
                yield {
                    "input_ids": _padded(batch["input_ids"][0], spans, 0),
                    "position_ids": _padded(batch["position_ids"][0], spans, 0),
                    "targets": _padded(targets, spans, IGNORED),
                    "attention_mask": _padded(torch.ones_like(targets), spans, 0),
                    "use_cache": False,
                }


def _joined(values: Tensor, spans: Sequence[slice]) -> Tensor:
    return torch.cat([values[span] for span in spans])[None]


def _padded(values: Tensor, spans: Sequence[slice], fill: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence([values[span] for span in spans], batch_first=True, padding_value=fill)


def dev_loss(model: PreTrainedModel, rows: Blocks, *, bf16: bool, logits_chunk: int = 1024) -> float:
    """Return minus the mean negative log-likelihood per predicted token, so that higher is better (metric neg_log_loss).

    Args:
        model: A causal language model; of one with LoRA the model inside.
        rows: From `longctx.data.reading_blocks`.
        bf16: Whether to compute under autocast.
        logits_chunk: Tokens whose logits exist at a time.
    """
    mode = "packed" if model.config._attn_implementation == attention.NAME else "sorted"
    dynamic = "dynamic" in rope_types(model.config)
    execution = Execution(mode, 1 if dynamic else rows.window)  # then every piece is read by itself
    training = model.training
    # It may be the model of a training that goes on, whose forward method gives that training's loss.
    before = model.__dict__.pop("forward", None)
    model.train(False)
    total = torch.zeros((), dtype=torch.float64)
    try:
        with (
            gives_nll(model, logits_chunk),
            torch.no_grad(),
            autocast(bf16, str(model.device)),
            progress("loss on dev", len(rows)) as advance,
        ):
            for row in range(len(rows)):
                batch = {key: value.to(model.device) for key, value in joined(rows.row(row)).items()}
                for part in packs(batch, execution, rows.original):
                    if dynamic:
                        settle_frequencies(model, part["input_ids"].shape[1])
                    total += model(**part).loss.double().cpu()
                advance()
    finally:
        model.train(training)
        if before is not None:
            model.forward = before
    return -float(total) / rows.predicted


def joined(pieces: Sequence[tuple[Any, Numbers]]) -> Batch:
    """Return pieces (ids, positions) as a batch, the longest first."""
    ordered = sorted(pieces, key=lambda piece: -len(piece[0]))
    ids = [np.asarray(piece, dtype=np.int64) for piece, _ in ordered]
    return {
        "input_ids": torch.from_numpy(np.concatenate(ids))[None],
        "position_ids": torch.from_numpy(np.concatenate([places for _, places in ordered]))[None],
        "labels": torch.from_numpy(np.concatenate([np.append(IGNORED, piece[1:]) for piece in ids]))[None],
        "lengths": torch.tensor([len(piece) for piece in ids]),
    }


class Visits(Dataset[dict[str, int]]):
    """The rows as a trainer draws them: number n stands for row n % rows in epoch n // rows."""

    def __init__(self, rows: Blocks) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, visit: int) -> dict[str, int]:
        return {"epoch": visit // len(self.rows), "row": visit % len(self.rows)}


class Shuffled(Sampler[int]):
    """Draws each row once per epoch, in an order that depends on the seed and the epoch alone."""

    def __init__(self, rows: int, seed: int) -> None:
        self.rows = rows
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes; the trainer does, also when it resumes."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)
        return iter((order + self.epoch * self.rows).tolist())


class Collator:
    """Makes a batch of rows."""

    def __init__(self, rows: Blocks) -> None:
        self.rows = rows

    def __call__(self, visits: Sequence[dict[str, int]]) -> Batch:
        """Return the batch of some visits."""
        return joined([piece for visit in visits for piece in self.rows.row(visit["row"], visit["epoch"])])
