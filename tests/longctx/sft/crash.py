"""A script, not a test: runs one small instruction tuning again and again, killed at a chosen point and then resumed.

Usage: python crash.py MODEL TRAIN_FILE ROOT POINT... ; prints one JSON line per point.
"""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

import finewise.fit
from finewise.config import ModelConfig, OptimConfig, RunConfig, SelectionConfig
from finewise.run import Run
from longctx.config import InstructionTuning, LongContextExperiment, LongDataConfig
from longctx.rope_config import StretchConfig
from longctx.sft.data import load_chats
from longctx.sft.loss import dev_loss
from longctx.sft.train import ChatTrainer, train_sft

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from killing import Points, before_call, half_written, kill_and_resume

POINTS: Points = {
    "none": lambda: None,
    "between checkpoints": lambda: before_call(7, ChatTrainer, "compute_loss"),
    # torch.save writes optimizer, scheduler, RNG and arguments of each checkpoint; the sixth call is in the second one.
    "in the middle of a checkpoint": lambda: before_call(6, torch, "save", half_written),
    "before the checkpoint is marked whole": lambda: before_call(2, finewise.fit.Checkpoints, "on_save"),
}


def experiment(model: str, train: str, root: str) -> LongContextExperiment:
    return LongContextExperiment(
        data=LongDataConfig(train=train),
        model=ModelConfig(name=model),
        stretch=StretchConfig(factor=2),
        objective=InstructionTuning(),
        optim=OptimConfig(epochs=2, batch_size=4, learning_rate=3e-3, gradient_accumulation_steps=2),
        selection=SelectionConfig(metric="neg_log_loss", evaluations=3),
        run=RunConfig(root=root, device="cpu", precision="fp32"),
        resume="auto",
    )


def main(settings: LongContextExperiment) -> None:
    """Train and finish the run, as `longctx.train` does."""
    with Run.open("longctx", settings, resume=settings.resume) as run:
        set_seed(settings.seed)
        tokenizer = AutoTokenizer.from_pretrained(settings.model.name)
        model = AutoModelForCausalLM.from_pretrained(settings.model.name)
        assert isinstance(settings.objective, InstructionTuning)
        data = load_chats(settings.data, settings.objective, tokenizer, settings.audit, 256, 512, settings.seed)
        outcome = train_sft(model, tokenizer, data, settings, run, score=lambda model: -dev_loss(model, data.dev))
        with run.whole_folder("model") as folder:
            model.save_pretrained(folder)
        choice = outcome.choice("neg_log_loss", data.dev.revision, 0)
        run.finish({"data": data.facts(), "cost": outcome.cost("cpu"), "selection": choice})


if __name__ == "__main__":
    model, train, root, *wanted = sys.argv[1:]
    kill_and_resume(POINTS, wanted, lambda place: main(experiment(model, train, place)), root)
