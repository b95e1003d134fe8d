"""transformers' Trainer for tags: windows in batches, cross entropy in fp32, dev scored by entities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from benchmarks.metrics.entities import count, evaluated, gold_types
from classify.fitting import fit_weights
from classify.spans.align import IGNORED, Windows, labels, windows
from classify.spans.config import TokensExperiment
from classify.spans.load import TaggedData
from classify.spans.model import load_tagger
from classify.spans.rows import Tagged
from classify.spans.tagging import entities, padded, tag
from finewise import processes
from finewise.console import progress, say
from finewise.device import use_bf16
from finewise.features import ROW
from finewise.fit import Outcome, one_batch, total_steps
from finewise.run import Run


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """A tagger, and what its training led to.

    Attributes:
        model: With its head, as it will be saved.
        tokenizer: Its tokenizer, which knows the limit.
        outcome: Of the training.
        bf16: Whether the body computes in bf16.
        windows: Split -> its texts as the model reads them.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    outcome: Outcome
    bf16: bool
    windows: Mapping[str, Windows]

    def tag(self, rows: Tagged) -> list[NDArray[np.int64]]:
        """Return the tags of a split's words."""
        found = self.windows[rows.split]
        with progress(f"tag {rows.split}", len(found)) as advance:
            return tag(self.model, int(self.tokenizer.pad_token_id), found, rows, bf16=self.bf16, advance=advance)


class CrossEntropy:
    """Mean cross entropy of the labelled pieces, computed in fp32: the Trainer's `compute_loss_func`.

    Args:
        weights: (K,) of each tag, 1 on average over the training words; None: all alike.
    """

    def __init__(self, weights: Tensor | None) -> None:
        self.weights = weights

    def __call__(
        self, outputs: Mapping[str, Any], target: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Return the loss of a batch, as its part of the mean over the whole step.

        Args:
            outputs: With `logits` (B, t, K).
            target: (B, t), IGNORED where no label is.
            num_items_in_batch: Labelled pieces of the whole step, counted by the Trainer. None: this batch alone.
        """
        logits: Tensor = outputs["logits"]
        with torch.autocast(logits.device.type, enabled=False):
            summed = functional.cross_entropy(
                logits.float().flatten(0, 1),
                target.flatten().to(logits.device),
                weight=self.weights,
                ignore_index=IGNORED,
                reduction="sum",
            )
        items = (target != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        return summed / items


def balanced(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return weights n / (k * count) of tags (K,), as scikit-learn's class_weight="balanced"; k tags occur, n words."""
    there = counts > 0
    return np.where(there, counts.sum() / (there.sum() * np.maximum(counts, 1)), 1.0).astype(np.float32)


def train(data: TaggedData, experiment: TokensExperiment, run: Run) -> Trained:
    """Fine-tune a tagger; it ends with the weights of the checkpoint that dev chose.

    Raises:
        InputError: The model cannot be loaded, the loss became no number, or the disk is full.
    """
    set_seed(experiment.seed)
    model, tokenizer = load_tagger(
        experiment.model,
        data.train.space,
        experiment.run.device,
        execution=experiment.execution,
        micro_batch_tokens=experiment.micro_batch_tokens,
        seed=experiment.seed,
    )
    bf16 = use_bf16(experiment.run.precision, str(model.device))
    found = {
        rows.split: windows(tokenizer, rows.texts, rows.words, experiment.windows.overlap)
        for rows in (data.train, data.dev, data.test)
    }
    for split, one in found.items():
        if one.long:
            say(
                f"{split}: {one.long} of {one.texts} texts are longer than {tokenizer.model_max_length} tokens and are read in "
                f"overlapping windows ({len(one)} in all); nothing is cut"
            )
        if one.lost:
            say(
                f"{split}: the tokenizer has no token for {one.lost} words (control characters, for instance); the "
                "model does not read them: they belong to the span that goes on around them, else to none"
            )
    outcome = _fit(model, tokenizer, data, found, experiment, run, bf16=bf16)
    return Trained(model=model, tokenizer=tokenizer, outcome=outcome, bf16=bf16, windows=found)


def _fit(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TaggedData,
    found: Mapping[str, Windows],
    experiment: TokensExperiment,
    run: Run,
    *,
    bf16: bool,
) -> Outcome:
    rows, pad = found["train"], int(tokenizer.pad_token_id)
    tags = labels(rows, data.train.tags, experiment.windows.pieces)
    metric, optim = experiment.selection.metric, experiment.optim
    if told := one_batch(len(rows), optim.batch_size):
        say(f"note: {told}")
    steps = total_steps(experiment, -(-len(rows) // (optim.batch_size * processes.world())))

    def collate(batch: Sequence[Mapping[str, int]]) -> dict[str, Tensor]:
        numbers = [item[ROW] for item in batch]
        return padded([rows.ids[one] for one in numbers], pad, [tags[one] for one in numbers])

    def groups(decayed: list[str]) -> list[dict[str, Any]]:
        names = set(decayed)
        named = list(model.named_parameters())
        return [
            {"params": [weight for name, weight in named if name in names], "weight_decay": optim.weight_decay},
            {"params": [weight for name, weight in named if name not in names], "weight_decay": 0.0},
        ]

    weights = None
    if experiment.class_weights == "balanced":
        weights = torch.from_numpy(balanced(data.train.counts)).to(model.device)
    return fit_weights(
        model,
        tokenizer,
        experiment,
        run,
        rows=len(rows),
        steps=steps,
        collator=collate,
        loss=CrossEntropy(weights),
        score=lambda: score_dev(model, pad, found["dev"], data.dev, metric, bf16=bf16),
        groups=groups,
    )


def score_dev(model: PreTrainedModel, pad: int, found: Windows, dev: Tagged, metric: str, *, bf16: bool) -> float:
    """Return the selection metric on dev."""
    said = entities(dev, tag(model, pad, found, dev, bf16=bf16))
    counts = count(dev.entities, said, len(dev.types))
    return float(evaluated(counts.sum(axis=0), [metric], gold_types(counts))[0])
