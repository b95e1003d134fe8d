"""Classification of long-tailed texts: real optimiser steps of transformers' Trainer, plain and with our execution.

    python -m benchmarks.speed.classification

Sides: `plain-max` is the Trainer as transformers' example run_classification sets it up by default: every text padded to the
limit. `plain-fp32` and `plain-bf16` pad a batch to its longest text (its --pad_to_max_length False). The others are the same
Trainer with finewise's execution attached to the same model, in the device's own precision. The texts are tokenised before
the clock starts, as that script does. Every side trains on the same batches.

Proof: without dropout, the first step of all sides from equal weights gives equal losses and gradient norms.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from benchmarks.speed.command import execute, positive
from benchmarks.speed.contest import Contest
from benchmarks.speed.models import without_dropout
from benchmarks.speed.roofline import Shape
from benchmarks.speed.trainers import StepClock
from finewise.data.sources import resolve
from finewise.device import quiet
from finewise.execution import attach
from finewise.references import model_reference

DATA = "package:benchmarks/datasets/debian-sections/train.parquet"


class Classification(Contest):
    """Texts with a label each, and cross-entropy."""

    bench = "classification"
    unit = "texts"
    plain = ("plain-max", "plain-fp32", "plain-bf16")
    ours = ("sorted", "packed", "auto")
    usual = (*plain, "sorted", "auto")

    def __init__(self, given: argparse.Namespace, scratch: Path) -> None:
        from transformers import AutoConfig, AutoTokenizer

        super().__init__(given, scratch)
        table = pq.read_table(resolve(given.data), columns=["text", "label"])
        labels = table["label"].to_pylist()
        self.known = sorted(set(labels))
        self.texts: list[str] = table["text"].to_pylist()
        self.labels = [self.known.index(label) for label in labels]
        folder = str(model_reference(self.reference))
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        config = AutoConfig.from_pretrained(folder)
        self.limit = min(given.limit, config.max_position_embeddings)
        self.shape = Shape.of(config)

    def rows(self, count: int) -> tuple[Any, list[list[int]]]:
        """Return tokenised texts with their labels, and the tokens of each."""
        from datasets import Dataset

        times = -(-count // len(self.texts))
        texts, labels = (self.texts * times)[:count], (self.labels * times)[:count]
        encoded = self.tokenizer(texts, truncation=True, max_length=self.limit)
        return Dataset.from_dict({**encoded, "label": labels}), [[len(ids)] for ids in encoded["input_ids"]]

    def trainer(self, side: str, rows: Any, clock: StepClock, *, batch: int, dropout: bool, **more: Any) -> Any:
        """Return transformers' Trainer around the encoder with a new head, whose weights are the same on every side."""
        from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding, Trainer, TrainingArguments

        quiet()
        # The script's default pads when it tokenises; padding here makes the same batches.
        to_the_limit = DataCollatorWithPadding(self.tokenizer, padding="max_length", max_length=self.limit)
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(
            str(model_reference(self.reference)), num_labels=len(self.known)
        ).to(self.device)
        if side in self.ours:
            execution = attach(model, execution=side)
            self.chosen = execution.mode if side == "auto" else self.chosen
        if not dropout:
            without_dropout(model)
        return Trainer(
            model=model,
            args=self.training_arguments(TrainingArguments, batch, more),
            train_dataset=rows,
            processing_class=self.tokenizer,
            data_collator=to_the_limit if side == "plain-max" else None,
            callbacks=[clock],
        )

    def tells(self) -> str:
        """Return what is compared."""
        return (
            f"{len(self.known)} labels, texts cut at {self.limit} tokens and tokenised before. plain-max: transformers' "
            "Trainer with run_classification's default, padding to the limit; plain-fp32, plain-bf16: padding to the "
            "longest text of the batch. The others: the same Trainer with finewise's execution attached, in "
            f"{'bf16' if self.bf16 else 'fp32'}, named after it"
        )

    def settings(self) -> dict[str, Any]:
        """Return data and limit."""
        return {"data": self.given.data, "labels": len(self.known), "limit": self.limit}


def main(given: Sequence[str] | None = None) -> int:
    """Run the bench; return the exit status."""
    arguments = Classification.parser(__doc__, batch=32)
    arguments.add_argument("--data", default=DATA, help="a parquet file with the columns text and label")
    arguments.add_argument("--limit", type=positive, default=256, help="tokens per text (default 256)")
    return execute(Classification.measure, arguments, given)


if __name__ == "__main__":
    sys.exit(main())
