"""Reading a needle grid: our reader against one prompt at a time by model.generate, which computes every prompt from its start.

    python -m benchmarks.speed.needle
    python -m benchmarks.speed.needle --length 4096 --answer forced

Sides: `plain` is `model.generate`, greedy, prompt by prompt; `ours` is `benchmarks.needle.reader`: what the depths of a sample
share is computed once, samples are read side by side, the answers to all depths are generated together, and an answer ends when
the score can only stay 1. A random Llama reads random words, and never ends by itself. For `ours` and `plain` the right answer
is what the model says first, as if it had found every needle; for `ours-lost` it found none, so that all tokens are generated.
With --answer forced one forward pass per prompt is compared with ours. A cell is a length and a depth, with all its samples.

Proof: ours-lost says what plain says, and ours begins like it, with the same score.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from benchmarks.needle.config import NeedleConfig
from benchmarks.needle.prompts import Prompt
from benchmarks.needle.reader import FORCED, Reader
from benchmarks.speed.agreement import agree
from benchmarks.speed.command import execute, parser, positive
from benchmarks.speed.harness import Round, Side, alternate, timed
from benchmarks.speed.report import Report

WORDS = 1000
SAID = 8
"""Tokens of a right answer."""


def main(given: Sequence[str] | None = None) -> int:
    """Run the bench; return the exit status."""
    arguments = parser(__doc__, rounds=3)
    arguments.add_argument("--length", type=positive, default=2048, help="tokens of a prompt (default 2048)")
    arguments.add_argument("--depths", type=positive, default=5, help="depths (default 5)")
    arguments.add_argument("--samples", type=positive, default=4, help="prompts per depth (default 4)")
    arguments.add_argument(
        "--new", type=positive, default=128, help="tokens generated, RULER's for needles (default 128)"
    )
    arguments.add_argument("--layers", type=positive, default=4, help="of the model (default 4)")
    arguments.add_argument("--width", type=positive, default=256, help="of the model, a multiple of 64 (default 256)")
    arguments.add_argument("--answer", default="generate", choices=("generate", "forced"), help="(default generate)")
    return execute(measure, arguments, given)


def measure(given: argparse.Namespace) -> list[Report]:
    """Time both sides on grids of their own per round, then compare their answers."""
    device: str = given.device
    model, tokenizer = random_llama(given.layers, given.width, given.length), words_tokenizer()
    torch.nn.Module.to(model, device)
    config = NeedleConfig(answer=given.answer, samples=given.samples)
    reader = Reader(lambda length: model, tokenizer, config, bf16=False)
    answers: dict[str, dict[int, list[str]]] = {}
    grids: dict[tuple[int, bool], list[Prompt]] = {}

    def prompts(number: int, *, found: bool) -> list[Prompt]:
        # The round that warms up reads a shorter grid.
        length, depths = (given.length, given.depths) if number else (min(256, given.length), 2)
        if (number, found) not in grids:
            made = grid(length, depths, given.samples, given.new, seed=number)
            if found:
                begun = reader.answers([replace(each, new_tokens=min(SAID, given.new)) for each in made])
                made = [replace(each, answers=(text,)) for each, text in zip(made, begun, strict=True)]
            grids[number, found] = made
        return grids[number, found]

    def prepare() -> None:
        for number in range(given.rounds + 1):
            prompts(number, found=given.answer != FORCED)

    def side(name: str) -> Side:
        def run(number: int) -> Round:
            same = prompts(number, found=given.answer != FORCED and name != "ours-lost")
            with timed(device) as clock:
                found = one_by_one(model, reader, same) if name == "plain" else reader.answers(same)
            answers.setdefault(name, {})[number] = found
            tokens = sum(len(reader.encode(each).tokens) for each in same)
            return Round(seconds=clock.seconds, items=len({each.depth for each in same}), tokens=tokens)

        return Side(name=name, run=run, prepare=prepare)

    names = ["plain", "ours"] if given.answer == FORCED else ["plain", "ours", "ours-lost"]
    title = f"Needles, {given.answer}, {given.length} tokens, {given.depths} depths x {given.samples} samples"
    results = alternate([side(name) for name in names], given.rounds, device, title=title)
    agreed = {
        name: share(answers["plain"], answers[name], whole=name != "ours" or given.answer == FORCED) for name in names
    }
    count = sum(map(len, answers["plain"].values()))
    rates = {result.name: 60 * result.rate("items") for result in results}
    return [
        Report(
            bench="needle",
            title=title,
            compares=(
                f"A grid per round, on {device}, in fp32, by a random Llama of {given.layers} layers and width {given.width}"
                f"{'' if given.answer == FORCED else f', {given.new} tokens generated per prompt'}. plain: "
                f"{'one forward pass' if given.answer == FORCED else 'model.generate'} per prompt, from its start. ours: the "
                "reader of benchmarks.needle. Tokens are those of the prompts, shared ones counted each time. Cells a minute: "
                + ", ".join(f"{name} {rate:.1f}" for name, rate in rates.items())
                + "."
            ),
            unit="cells",
            bases=["plain"],
            results=results,
            agreements=agree(
                f"share of {count} answers that are plain's",
                agreed,
                base="plain",
                tolerance=0.0,
            ),
            settings={
                key: getattr(given, key) for key in ("length", "depths", "samples", "new", "layers", "width", "answer")
            },
            facts={"cells_per_minute": rates},
        )
    ]


def share(plain: dict[int, list[str]], ours: dict[int, list[str]], *, whole: bool) -> float:
    """Return the share of answers that are plain's, or if not `whole`, that begin like it and hold what was asked for."""
    pairs = [pair for number in plain for pair in zip(plain[number], ours[number], strict=True)]
    return float(np.mean([one == other if whole else bool(other) and one.startswith(other) for one, other in pairs]))


@torch.no_grad()
def one_by_one(model: PreTrainedModel, reader: Reader, prompts: Sequence[Prompt]) -> list[str]:
    """Answer each prompt by itself, as the library does it."""
    generator: Any = model
    found = []
    for prompt in prompts:
        given = reader.encode(prompt)
        ids = torch.from_numpy(given.tokens)[None].to(model.device)
        if reader.way == FORCED:
            kept = torch.tensor([*given.asked], device=model.device)
            tokens = model(input_ids=ids, logits_to_keep=kept, use_cache=False).logits[0].argmax(-1)
        else:
            mask = torch.ones_like(ids)
            grown = generator.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=prompt.new_tokens, do_sample=False
            )
            tokens = grown[0, ids.shape[1] :]
        found.append(str(reader.tokenizer.decode(tokens.tolist(), skip_special_tokens=True)).strip())
    return found


def random_llama(layers: int, width: int, length: int) -> PreTrainedModel:
    """Return a Llama with random weights, large enough that no two tokens are about equally likely."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=WORDS + 2,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // 64,
            num_key_value_heads=width // 64,
            max_position_embeddings=2 * length,
            initializer_range=0.1,
            bos_token_id=0,
            eos_token_id=None,
            pad_token_id=1,
        )
    )
    torch.nn.Module.eval(model)
    return model


def words_tokenizer() -> PreTrainedTokenizerBase:
    """Return a tokenizer of one token per word."""
    vocabulary = {
        word: number for number, word in enumerate(["<s>", "<pad>", *(f"w{number}" for number in range(WORDS))])
    }
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<s>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    made: Any = PreTrainedTokenizerFast
    found: PreTrainedTokenizerBase = made(tokenizer_object=inner, bos_token="<s>", pad_token="<pad>")
    return found


def grid(length: int, depths: int, samples: int, new: int, *, seed: int) -> list[Prompt]:
    """Return prompts of random words: each sample has its own haystack, in which a needle goes to each depth."""
    rng = np.random.default_rng(seed)
    needle, question = 12, 8
    found = []
    for sample in range(samples):
        hay = [f"w{number}" for number in rng.integers(0, WORDS, length - needle - question - new)]
        pin, ask, answer = ([f"w{number}" for number in rng.integers(0, WORDS, size)] for size in (needle, question, 4))
        for depth in np.linspace(0, 1, depths):
            at = round(depth * len(hay))
            text = " ".join([*hay[:at], *pin, *hay[at:], *ask])
            found.append(
                Prompt(
                    task="tiny",
                    length=length,
                    depth=float(depth),
                    sample=sample,
                    id=f"{length}-{depth}-{sample}",
                    text=text,
                    prefix=" ".join(hay[:at]),
                    answers=(" ".join(answer),),
                    metric="substring_recall",
                    new_tokens=new,
                    chat=(text, ""),
                )
            )
    return found


if __name__ == "__main__":
    sys.exit(main())
