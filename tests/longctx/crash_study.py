"""A script, not a test: runs a whole long-context experiment, killed by SIGKILL at a chosen point and then resumed.

Usage: python crash_study.py ROOT POINT... ; prints one JSON line per point.
"""

import json
import random
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import longctx.causal
import longctx.export
import longctx.language
import longctx.prove
import longctx.study
from benchmarks.needle.config import NeedleConfig
from benchmarks.perplexity_config import PerplexityConfig
from finewise.config import AuditConfig, ModelConfig, OptimConfig, RunConfig, SelectionConfig
from longctx.config import LanguageModeling, LongContextExperiment, LongDataConfig, StagesConfig
from longctx.rope_config import StretchConfig
from longctx.train import main

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from killing import Points, before_call, kill_and_resume

WINDOW, FACTOR = 192, 2

POINTS: Points = {
    "none": lambda: None,
    "between arms": lambda: before_call(2, longctx.study, "_measure"),
    # Training of the first stage has 4 steps, of the second 4.
    "in the training of an arm": lambda: before_call(3, longctx.causal.LanguageTrainer, "training_step"),
    "in the second stage": lambda: before_call(7, longctx.causal.LanguageTrainer, "training_step"),
    "while test is read": lambda: before_call(3, longctx.language, "perplexity"),
    "while the model is saved": lambda: before_call(1, longctx.language, "raise_limit"),
    "before the record": lambda: before_call(1, longctx.export, "model_card"),
}


def write_case(folder: Path) -> LongContextExperiment:
    """Write a tiny random Llama and documents, and return the settings of an experiment in two stages."""
    if not folder.exists():
        rng = random.Random(0)
        words = [rng.choice("bdfgklmnprst") + rng.choice("aeiou") + rng.choice("lmnrs") for _ in range(40)]
        texts = [" ".join(rng.choices(words, k=rng.randrange(150, 400))) for _ in range(60)]
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        said = "The grass is green. The sky is blue. One of the special magic numbers for it is: 1234567. What is "
        tokenizer.train_from_iterator(
            [*texts, *[said] * 50],
            trainers.BpeTrainer(
                vocab_size=500,
                special_tokens=["</s>"],
                initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                show_progress=False,
            ),
        )
        torch.manual_seed(0)
        LlamaForCausalLM(
            LlamaConfig(
                vocab_size=500, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
                max_position_embeddings=WINDOW, bos_token_id=None, eos_token_id=0, pad_token_id=0,
            )
        ).save_pretrained(folder / "model")  # fmt: skip
        PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>", model_max_length=WINDOW
        ).save_pretrained(folder / "model")
        others = [" ".join(rng.choices(words, k=400)) for _ in range(6)]
        for name, rows in (("documents", texts), ("others", others)):
            (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    return LongContextExperiment(
        data=LongDataConfig(train=str(folder / "documents.jsonl"), dev_size=6, test_size=6),
        audit=AuditConfig(near_duplicates=False),
        model=ModelConfig(name=str(folder / "model")),
        stretch=StretchConfig(factor=FACTOR),
        objective=LanguageModeling(logits_chunk=64),
        stages=StagesConfig(factors=[1, FACTOR]),
        compare=["linear"],
        needle=NeedleConfig(tasks=["niah_single_1"], depths=[0.0, 1.0], samples=1, lengths=[200, 384]),
        perplexity=PerplexityConfig(data=str(folder / "others.jsonl"), documents=2),
        optim=OptimConfig(max_steps=8, batch_size=2, learning_rate=1e-3),
        selection=SelectionConfig(metric="neg_log_loss", evaluations=2),
        run=RunConfig(root=str(folder.parent), device="cpu", precision="fp32"),
        resume="auto",
    )


def run(root: str) -> None:
    """Run the experiment with its folder in a place of its own."""
    experiment = write_case(Path(root).parent / "case")
    experiment.run.root = root
    main(experiment)


if __name__ == "__main__":
    top, *wanted = sys.argv[1:]
    kill_and_resume(POINTS, wanted, run, top)
