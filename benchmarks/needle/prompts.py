"""From a task and a length to prompts that fill it: haystack, needles at sentence ends, question.

A task draws a `Sketch`; here it is filled up. Prompts of one length and sample differ by the depth alone: the same haystack,
needles and question, so that what stands before the shallower needle is the same text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from benchmarks.needle.config import NeedleConfig
from benchmarks.needle.filling import TooShortError, filled, tokens
from benchmarks.needle.tasks import TASKS
from benchmarks.needle.wording import Wording
from finewise.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One question about one long text.

    Attributes:
        task: Its name.
        length: Tokens that it fills, nominally; with its answer it is never longer.
        depth: Where the needle stands, 0 to 1; NaN where that has no meaning.
        sample: Number of the sample.
        id: Names task, length, sample and depth.
        text: The whole prompt, without the answer.
        prefix: The part of the text before the first needle.
        answers: What must be found.
        metric: "exact" or "substring_recall" (mean share of the answers found), "any" (RULER's for questions: one suffices).
        new_tokens: How many tokens may be generated.
        chat: The user's turn, and the words that begin the answer, for a chat template.
    """

    task: str
    length: int
    depth: float
    sample: int
    id: str
    text: str
    prefix: str
    answers: tuple[str, ...]
    metric: str
    new_tokens: int
    chat: tuple[str, str]


def prompts(
    config: NeedleConfig,
    task: str,
    length: int,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    wording: Wording | None = None,
) -> list[Prompt]:
    """Make the prompts of one task and length: `samples` for each depth, sample by sample.

    Args:
        config: Depths, samples and haystack.
        task: One of `benchmarks.needle.names.TASKS`, not "ruler".
        length: Tokens with the answer (and the chat template, where the tokenizer has one).
        tokenizer: Which counts them.
        seed: Equal seeds give equal prompts.
        wording: A language of the caller's.

    Raises:
        InputError: The length is too short for the task, or the task has no such haystack or language.
    """
    kind = TASKS[task]
    if config.haystack is not None and config.haystack not in kind.haystacks:
        others = f"take {', '.join(kind.haystacks)}, or leave it out" if kind.haystacks else "leave it out"
        raise InputError(f"needle.haystack={config.haystack} cannot be chosen for the task {task}; {others}")
    if wording is not None and not kind.takes_wording:
        raise InputError(
            f"needle.tasks: {task} is told in English, which this model does not read; choose the task tiny instead"
        )
    depths = list(config.depths) if kind.has_depth else [float("nan")]
    made = []
    for sample in range(config.samples):
        rng = np.random.default_rng([seed, length, sample, *task.encode()])
        sketch = kind.draw(rng, wording, config.haystack, length)
        try:
            cells = filled(sketch, depths, length, tokenizer)
        except TooShortError as short:
            raise InputError(
                f"needle.lengths: {length} tokens are too few for the task {task}: its needles, question and answer take "
                f"{short.needed}; set at least {short.needed}"
            ) from None
        made += [
            Prompt(
                task=task,
                length=length,
                depth=depth,
                sample=sample,
                id=f"{task} {length} {sample} {depth:g}",
                text=one.text,
                prefix=one.prefix,
                answers=_as_told(sketch.answers, one.text) if sketch.as_told else sketch.answers,
                metric=kind.metric,
                new_tokens=max(kind.new_tokens, tokens(tokenizer, ", ".join(sketch.answers))),
                chat=one.chat,
            )
            for depth, one in zip(depths, cells, strict=True)
        ]
    return made


def _as_told(answers: Sequence[str], text: str) -> tuple[str, ...]:
    """Return answers in the order in which they first stand in the text, as words of their own."""

    def place(answer: str) -> int:
        found = re.search(rf"\b{re.escape(answer)}\b", text)
        assert found is not None, "an answer stands in its text"
        return found.start()

    return tuple(sorted(answers, key=place))
