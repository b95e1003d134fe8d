"""A script, not a test: trains a language model again and again, killed by SIGKILL at a chosen point and then resumed.

Usage: python crash_lm.py ROOT POINT... ; prints one JSON line per point.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import finewise.fit
import longctx.causal
from finewise.config import ModelConfig, OptimConfig, RunConfig, SelectionConfig
from finewise.data.tokenised import Tokenised
from finewise.run import Run
from longctx.blocks import Blocks, cut, whole
from longctx.config import LanguageModeling, LongContextExperiment, LongDataConfig
from longctx.data import reading_blocks
from longctx.rope_config import StretchConfig, Yarn
from longctx.stretch import stretch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from killing import Points, before_call, half_written, kill_and_resume

POINTS: Points = {
    "none": lambda: None,
    "before the first checkpoint": lambda: before_call(3, longctx.causal.LanguageTrainer, "training_step"),
    "between checkpoints": lambda: before_call(7, longctx.causal.LanguageTrainer, "training_step"),
    "in the second epoch": lambda: before_call(14, longctx.causal.LanguageTrainer, "training_step"),
    # torch.save writes optimizer, scheduler, RNG and arguments of each checkpoint; the sixth call is in the second one.
    "in the middle of a checkpoint": lambda: before_call(6, torch, "save", half_written),
    "before the checkpoint is marked whole": lambda: before_call(2, finewise.fit.Checkpoints, "on_save"),
}


def main(root: str) -> None:
    """Train with skipping positions, which differ from epoch to epoch, and with dropout; keep the weights."""
    experiment = LongContextExperiment(
        data=LongDataConfig(train="unused"),
        model=ModelConfig(name="unused"),
        stretch=StretchConfig(factor=4),
        objective=LanguageModeling(pose=True, logits_chunk=50),
        optim=OptimConfig(learning_rate=5e-3, batch_size=4, epochs=2),
        selection=SelectionConfig(metric="neg_log_loss", evaluations=4),
        run=RunConfig(root=root, device="cpu", precision="fp32"),
        resume="auto",
    )
    torch.manual_seed(0)
    plain = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
            max_position_embeddings=32, attention_dropout=0.1,
        )
    )  # fmt: skip
    rng = np.random.default_rng(0)
    texts = [np.resize(rng.permutation(np.arange(4, 10)), 70).astype(np.int32) for _ in range(16)]
    sizes = [len(text) for text in texts]
    tokens = Tokenised(ids=np.concatenate(texts), offsets=np.cumsum([0, *sizes]), whole=np.array(sizes, dtype=np.int32))
    pieces = cut(whole(tokens.lengths), 32)
    some = np.arange(len(pieces)) % 3 == 0
    rows = Blocks.of(
        tokens, pieces.take(some), pieces.take(~some), window=32, original=32, target=128, seed=1, skip=True
    )
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer(WordLevel({str(number): number for number in range(60)}, unk_token="0")),
        unk_token="0",
    )
    dev = reading_blocks(tokens, 32, 128)
    model = stretch(plain, Yarn(), StretchConfig(factor=4))
    with Run.open("longctx", experiment, resume="auto") as run:
        outcome = longctx.causal.train_lm(
            model, tokenizer, rows, experiment, run, score=lambda one: longctx.causal.dev_loss(one, dev, bf16=False)
        )
        seen = torch.tensor([outcome.seen.texts, outcome.seen.tokens, outcome.best_step])
        save_file(
            {**{key: value.clone() for key, value in model.state_dict().items()}, "seen": seen},
            run.dir / "end.safetensors",
        )


if __name__ == "__main__":
    root, *wanted = sys.argv[1:]
    kill_and_resume(POINTS, wanted, main, root)
