"""Contrastive training: real optimiser steps of SentenceTransformerTrainer, plain and with our encoder.

    python -m benchmarks.speed.training
    python -m benchmarks.speed.training --device cuda --model modernbert-base --texts long

Sides: `plain-fp32` and `plain-bf16` are the library's trainer around the library's model, with its defaults (random batches,
padded to their longest text) and with bf16=True. The others are the same trainer around finewise's encoder in the device's
own precision, as embed.train builds it, named after how they compute a batch. Every side trains on the same batches.

Proof: without dropout, the first step of all sides from equal weights gives equal losses and gradient norms.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.command import execute, positive
from benchmarks.speed.contest import Contest
from benchmarks.speed.models import TEXTS, library_model, our_model, pairs, token_counts, without_dropout
from benchmarks.speed.roofline import Shape
from benchmarks.speed.trainers import StepClock

LIMITS = {"debian": 256, "long": 2048}


class Training(Contest):
    """Pairs, and the multiple negatives ranking loss."""

    bench = "training"
    unit = "pairs"
    plain = ("plain-fp32", "plain-bf16")
    ours = ("padded", "sorted", "packed", "auto")
    usual = ("plain-fp32", "plain-bf16", "sorted", "auto")

    def __init__(self, given: argparse.Namespace, scratch: Path) -> None:
        super().__init__(given, scratch)
        model = library_model(self.reference, self.device, given.limit or LIMITS[given.texts])
        self.limit: int = model.max_seq_length
        self.tokenizer = model.tokenizer
        self.shape = Shape.of(model[0].model.config)

    def rows(self, count: int) -> tuple[Any, list[list[int]]]:
        """Return pairs, and the tokens of anchor and positive."""
        from datasets import Dataset

        anchors, positives = pairs(count, self.given.texts)
        tokens = [token_counts(self.tokenizer, texts, self.limit) for texts in (anchors, positives)]
        return Dataset.from_dict({"anchor": anchors, "positive": positives}), [
            list(row) for row in zip(*tokens, strict=True)
        ]

    def trainer(self, side: str, rows: Any, clock: StepClock, *, batch: int, dropout: bool, **more: Any) -> Any:
        """Return SentenceTransformerTrainer around the library's model or ours."""
        from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
        from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

        if side in self.plain:
            model = library_model(self.reference, self.device, self.limit)
        else:
            model = our_model(self.reference, self.device, self.limit, side)
            self.chosen = model.execution.mode if side == "auto" else self.chosen
        if not dropout:
            without_dropout(model)
        model.model_card_data.widget = [{}]  # else the trainer's start makes examples, with a progress bar
        return SentenceTransformerTrainer(
            model=model,
            args=self.training_arguments(SentenceTransformerTrainingArguments, batch, more),
            train_dataset=rows,
            loss=MultipleNegativesRankingLoss(model),
            callbacks=[clock],
        )

    def tells(self) -> str:
        """Return what is compared."""
        return (
            f"Texts: {self.given.texts}, cut at {self.limit} tokens; multiple negatives ranking loss. plain-*: "
            "SentenceTransformerTrainer with its defaults. The others: the same trainer around finewise's encoder in "
            f"{'bf16' if self.bf16 else 'fp32'}, named after their execution"
        )

    def settings(self) -> dict[str, Any]:
        """Return texts and limit."""
        return {"texts": self.given.texts, "limit": self.limit}


def main(given: Sequence[str] | None = None) -> int:
    """Run the bench; return the exit status."""
    arguments = Training.parser(__doc__, batch=64, dropout="both")
    arguments.add_argument("--texts", default="debian", choices=TEXTS, help="short ones or long ones (default debian)")
    arguments.add_argument("--limit", type=positive, help="tokens per text (default 256; with --texts long, 2048)")
    return execute(Training.measure, arguments, given)


if __name__ == "__main__":
    sys.exit(main())
