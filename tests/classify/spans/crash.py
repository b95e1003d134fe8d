"""A script, not a test: runs one small experiment once per point, each in a fork that is killed by SIGKILL at that point.

The forks begin before torch has computed anything: threads that were running would be missing in them.

Usage: python crash.py MODEL TRAIN_FILE ROOT POINT... ; each point's runs are under ROOT/POINT.
"""

import sys
from pathlib import Path
from typing import Any

import classify.fitting
import classify.spans.export
import classify.spans.prove
from classify.spans.config import TokenDataConfig, TokensExperiment
from classify.tokens import main
from finewise.config import AuditConfig, ModelConfig, OptimConfig, RunConfig, SelectionConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from killing import Points, attempt, before_call

POINTS: Points = {
    "before-the-first-checkpoint": lambda: before_call(10, classify.fitting.ClassifyTrainer, "compute_loss"),
    "between-checkpoints": lambda: before_call(50, classify.fitting.ClassifyTrainer, "compute_loss"),
    "before-test": lambda: before_call(1, classify.spans.prove, "entities"),
    "before-the-record": lambda: before_call(1, classify.spans.export, "save_predictions"),
}


def experiment(model: str, train: str, root: str, **more: Any) -> TokensExperiment:
    settings: dict[str, Any] = {
        "data": TokenDataConfig(train=train, name="names"),
        "audit": AuditConfig(near_duplicates=False),
        "model": ModelConfig(name=model),
        "optim": OptimConfig(epochs=6, batch_size=16, learning_rate=5e-3),
        "selection": SelectionConfig(metric="entity_f1", evaluations=3),
        "run": RunConfig(root=root, device="cpu", precision="fp32"),
        "resume": "auto",
    }
    return TokensExperiment(**settings | more)


if __name__ == "__main__":
    model, train, root, *points = sys.argv[1:]
    for point in points:
        killed = attempt(POINTS[point], lambda place: main(experiment(model, train, place)), str(Path(root) / point))
        print(point, killed, flush=True)
