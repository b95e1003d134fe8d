"""Few-shot classification: the steps in which SetFit trains its encoder on pairs, SetFit's own and with our encoder.

    python -m benchmarks.speed.fewshot

Sides: `setfit` is SetFit's trainer with its defaults (fp32, padded, cosine similarity loss). The others are the library's
trainer around finewise's encoder in the device's own precision, with the same loss on the same pairs, which SetFit drew.
Drawing the pairs and fitting the head are not timed.

Proof: without dropout, the first step of all sides from equal weights gives equal losses and gradient norms.
"""

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from transformers import ProgressCallback

from benchmarks.speed.classification import DATA
from benchmarks.speed.command import execute, positive
from benchmarks.speed.contest import Contest
from benchmarks.speed.models import library_model, our_model, token_counts, without_dropout
from benchmarks.speed.report import Report
from benchmarks.speed.roofline import Shape
from benchmarks.speed.trainers import StepClock
from finewise.console import say
from finewise.data.sources import resolve
from finewise.errors import InputError

MISSING = "fewshot is left out: it compares with SetFit, which is not installed (pip install 'finewise[bench]')"


class FewShot(Contest):
    """Pairs of a few texts per label, and the cosine similarity loss."""

    bench = "fewshot"
    unit = "pairs"
    plain = ("setfit",)
    ours = ("sorted", "packed", "auto")
    usual = ("setfit", "sorted", "auto")
    right = "setfit"

    def __init__(self, given: argparse.Namespace, scratch: Path) -> None:
        super().__init__(given, scratch)
        self.setfit: Any = importlib.import_module("setfit")
        table = pq.read_table(resolve(given.data), columns=["text", "label"])
        taken: dict[Any, list[str]] = {}
        for text, label in zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True):
            texts = taken.setdefault(label, [])
            if len(texts) < given.shots:
                texts.append(text)
        self.known = sorted(taken)
        self.texts = [text for label in self.known for text in taken[label]]
        self.labels = [index for index, label in enumerate(self.known) for _ in taken[label]]
        model = library_model(self.reference, self.device, given.limit)
        self.limit: int = model.max_seq_length
        self.tokenizer = model.tokenizer
        self.shape = Shape.of(model[0].model.config)

    def rows(self, count: int) -> tuple[Any, list[list[int]]]:
        """Return the pairs that SetFit draws, and the tokens of both texts."""
        from datasets import Dataset

        sampler = importlib.import_module("setfit.sampler").ContrastiveDataset
        drawn = list(sampler(self.texts, self.labels, False, None, "oversampling", max_pairs=2 * count))[:count]
        data = Dataset.from_list(drawn)
        tokens = [token_counts(self.tokenizer, data[key][:], self.limit) for key in ("sentence_1", "sentence_2")]
        return data, [list(row) for row in zip(*tokens, strict=True)]

    def trainer(self, side: str, rows: Any, clock: StepClock, *, batch: int, dropout: bool, **more: Any) -> Any:
        """Return the trainer inside SetFit's, or the library's around our encoder."""
        from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
        from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss

        if side in self.plain:
            return self._setfit(rows, clock, batch=batch, dropout=dropout)
        model = our_model(self.reference, self.device, self.limit, side)
        self.chosen = model.execution.mode if side == "auto" else self.chosen
        if not dropout:
            without_dropout(model)
        model.model_card_data.widget = [{}]  # else the trainer's start makes examples, with a progress bar
        return SentenceTransformerTrainer(
            model=model,
            args=self.training_arguments(
                SentenceTransformerTrainingArguments, batch, {**more, "learning_rate": 2e-5, "warmup_steps": 0.1}
            ),
            train_dataset=rows,
            loss=CosineSimilarityLoss(model),
            callbacks=[clock],
        )

    def _setfit(self, rows: Any, clock: StepClock, *, batch: int, dropout: bool) -> Any:
        """Return SetFit's inner trainer, set up as its train_embeddings does, but for the pairs, which are drawn already."""
        body = library_model(self.reference, self.device, self.limit)
        if not dropout:
            without_dropout(body)
        settings = self.setfit.TrainingArguments(
            output_dir=str(self.scratch / "setfit"),
            batch_size=batch,
            num_epochs=1,
            report_to="none",
            save_strategy="no",
            logging_steps=1,
            show_progress_bar=False,
        )
        outer = self.setfit.Trainer(model=self.setfit.SetFitModel(model_body=body), args=settings)
        trainer = outer.st_trainer
        trainer.args.dataloader_pin_memory = self.device.startswith("cuda")
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(clock)
        trainer.train_dataset, trainer.loss = rows, settings.loss(body)
        return trainer

    def tells(self) -> str:
        """Return what is compared."""
        return (
            f"{self.given.shots} texts of each of {len(self.known)} labels, cut at {self.limit} tokens, in pairs as SetFit "
            f"{self.setfit.__version__} draws them. setfit: its trainer with its defaults. The others: the library's trainer "
            f"around finewise's encoder in {'bf16' if self.bf16 else 'fp32'}, with the same loss, named after their execution"
        )

    def settings(self) -> dict[str, Any]:
        """Return data, shots and limit."""
        return {
            "data": self.given.data,
            "labels": len(self.known),
            "shots": self.given.shots,
            "limit": self.limit,
            "setfit": self.setfit.__version__,
        }


def measure(given: argparse.Namespace) -> list[Report]:
    """Compare with SetFit, if it is there.

    Raises:
        InputError: SetFit would compute on another device.
    """
    if importlib.util.find_spec("setfit") is None:
        say(MISSING)
        return []
    if given.device == "cpu" and torch.cuda.is_available():
        raise InputError(
            "--device cpu: SetFit's trainer takes a GPU where there is one; hide it: CUDA_VISIBLE_DEVICES=''"
        )
    return FewShot.measure(given)


def main(given: Sequence[str] | None = None) -> int:
    """Run the bench; return the exit status."""
    arguments = FewShot.parser(__doc__, batch=16, steps=2)
    arguments.add_argument("--data", default=DATA, help="a parquet file with the columns text and label")
    arguments.add_argument("--shots", type=positive, default=8, help="texts per label (default 8)")
    arguments.add_argument("--limit", type=positive, default=256, help="tokens per text (default 256)")
    return execute(measure, arguments, given)


if __name__ == "__main__":
    sys.exit(main())
