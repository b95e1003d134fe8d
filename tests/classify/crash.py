"""A script, not a test: runs one small experiment again and again, killed by SIGKILL at a chosen point and then resumed.

Usage: python crash.py MODEL TRAIN_FILE ROOT POINT... ; prints one JSON line per point.
"""

import sys
from pathlib import Path

import classify.export
import classify.fitting
import classify.prove
import finewise.fit
from classify.config import ClassifyExperiment, Lora
from classify.train import main
from finewise.config import (
    CurveConfig,
    LabelAuditConfig,
    LabelDataConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    SelectionConfig,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from killing import Points, before_call, kill_and_resume

POINTS: Points = {
    "none": lambda: None,
    "between checkpoints": lambda: before_call(15, classify.fitting.ClassifyTrainer, "compute_loss"),
    "before the checkpoint is marked whole": lambda: before_call(2, finewise.fit.Checkpoints, "on_save"),
    "while the curve is measured": lambda: before_call(30, classify.fitting.ClassifyTrainer, "compute_loss"),
    "before the record is written": lambda: before_call(1, classify.export, "save_per_example"),
}


def experiment(model: str, train: str, root: str) -> ClassifyExperiment:
    return ClassifyExperiment(
        data=LabelDataConfig(train=train),
        audit=LabelAuditConfig(label_errors=False, near_duplicates=False),
        model=ModelConfig(name=model),
        optim=OptimConfig(epochs=3, batch_size=16, learning_rate=3e-3),
        method=Lora(rank=4),
        selection=SelectionConfig(metric="f1_macro", evaluations=4),
        baselines=["majority"],
        curve=True,
        learning_curve=CurveConfig(fractions=[0.5, 1.0]),
        run=RunConfig(root=root, device="cpu", precision="fp32"),
        resume="auto",
    )


if __name__ == "__main__":
    model, train, root, *wanted = sys.argv[1:]
    kill_and_resume(POINTS, wanted, lambda place: main(experiment(model, train, place)), root)
