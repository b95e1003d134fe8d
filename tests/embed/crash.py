"""A script, not a test: runs one small experiment again and again, killed by SIGKILL at a chosen point and then resumed.

Usage: python crash.py MODEL TRAIN_FILE ROOT POINT... ; prints one JSON line per point.
"""

import sys
from pathlib import Path

import torch

import benchmarks.baselines
import embed.export
import embed.prove
import finewise.contrastive.trainer
import finewise.data.load
import finewise.fit
from embed.config import EmbedExperiment
from embed.train import main
from finewise.config import DataConfig, ModelConfig, OptimConfig, RunConfig, SelectionConfig
from finewise.contrastive.config import MultipleNegativesRanking

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from killing import Points, before_call, half_written, kill_and_resume

POINTS: Points = {
    "none": lambda: None,
    "while the data is read": lambda: before_call(1, finewise.data.load, "audited"),
    "before the first checkpoint": lambda: before_call(3, finewise.contrastive.trainer.EncoderTrainer, "compute_loss"),
    "between checkpoints": lambda: before_call(15, finewise.contrastive.trainer.EncoderTrainer, "compute_loss"),
    "in the second epoch": lambda: before_call(22, finewise.contrastive.trainer.EncoderTrainer, "compute_loss"),
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


if __name__ == "__main__":
    model, train, root, *wanted = sys.argv[1:]
    kill_and_resume(POINTS, wanted, lambda place: main(experiment(model, train, place)), root)
