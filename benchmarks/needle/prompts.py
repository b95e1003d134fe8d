"""From a task and a length to prompts that fill it: haystack, needles at sentence ends, question.

A task draws a `Sketch`; here it is filled up. Prompts of one length and sample differ by the depth alone: the same haystack,
needles and question, so that what stands before the shallower needle is the same text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
from transformers import PreTrainedTokenizerBase

from benchmarks.needle.config import NeedleConfig
from benchmarks.needle.wording import Wording
from finewise.errors import InputError

_BATCH = 256  # sentences tokenised at a time


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """What a task draws for one sample; the haystack is filled up to the length.

    Attributes:
        intro: Stands before the text; empty for none.
        filler: Endless sentences (or documents, or words).
        facts: (depth, sentence) of the needles; a depth of None is that of the grid.
        question: Stands behind the text, the words that begin the answer left out.
        begun: The words that begin the answer, on a line of their own; empty for none.
        answers: What must be found.
        joint: Between sentences.
    """

    intro: str
    filler: Iterator[str]
    facts: tuple[tuple[float | None, str], ...]
    question: str
    begun: str
    answers: tuple[str, ...]
    joint: str = " "


class Task(Protocol):
    """One kind of question."""

    @property
    def metric(self) -> str:
        """As `Prompt.metric`."""
        ...

    @property
    def new_tokens(self) -> int:
        """How many tokens an answer may have."""
        ...

    @property
    def has_depth(self) -> bool:
        """Whether there is a needle whose place is chosen."""
        ...

    def draw(self, rng: np.random.Generator, wording: Wording | None, haystack: str | None) -> Sketch:
        """Draw needles, question and answers.

        Args:
            rng: Decides all.
            wording: How needles are said, where the caller brings a language; None: the task's own.
            haystack: `needle.haystack`; None: the task's own.
        """
        ...


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
        InputError: The length is too short for the task.
    """
    from benchmarks.needle.tasks import TASKS

    kind = TASKS[task]
    depths = list(config.depths) if kind.has_depth else [float("nan")]
    made = []
    for sample in range(config.samples):
        rng = np.random.default_rng([seed, length, sample, *task.encode()])
        sketch = kind.draw(rng, wording, config.haystack)
        made += _filled(sketch, kind, task, length, sample, depths, tokenizer)
    return made


def _filled(
    sketch: Sketch,
    kind: Task,
    task: str,
    length: int,
    sample: int,
    depths: Sequence[float],
    tokenizer: PreTrainedTokenizerBase,
) -> list[Prompt]:
    """Return a sketch at each depth, with as many sentences as the length has room for."""
    answer = ", ".join(sketch.answers)
    empty = _written(sketch, [], [], 0.5)
    fixed = _size(tokenizer, empty, answer)
    if fixed > length:
        raise InputError(
            f"needle.lengths: {length} tokens are too few for the task {task}: its needles, question and answer take {fixed}; "
            f"set at least {fixed}"
        )
    taken: list[str] = []
    sizes: list[int] = []
    room = length - fixed
    while room > 0:
        batch = list(islice(sketch.filler, min(_BATCH, room)))
        if not batch:
            break
        found = tokenizer([sketch.joint + one for one in batch], add_special_tokens=False, verbose=False)["input_ids"]
        for text, ids in zip(batch, found, strict=True):
            room -= len(ids)
            if room < 0:
                break
            taken.append(text)
            sizes.append(len(ids))
    while True:
        written = [_written(sketch, taken, sizes, depth) for depth in depths]
        # Pieces that are joined may take a token more or less than each alone.
        over = max(_size(tokenizer, one, answer) for one in written) - length
        if over <= 0 or not taken:
            break
        while over > 0 and taken:
            over -= sizes.pop()
            taken.pop()
    return [
        Prompt(
            task=task,
            length=length,
            depth=depth,
            sample=sample,
            id=f"{task} {length} {sample} {depth:g}",
            text=one.text,
            prefix=one.prefix,
            answers=sketch.answers,
            metric=kind.metric,
            new_tokens=max(kind.new_tokens, _tokens(tokenizer, answer)),
            chat=one.chat,
        )
        for depth, one in zip(depths, written, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Written:
    text: str
    prefix: str
    chat: tuple[str, str]


def _written(sketch: Sketch, taken: Sequence[str], sizes: Sequence[int], depth: float) -> _Written:
    """Return the whole prompt; a needle stands behind the sentence with which its share of the tokens is reached."""
    ends = np.cumsum(np.array(sizes, np.int64))
    total = int(ends[-1]) if len(ends) else 0
    places: dict[int, list[str]] = {}
    for own, fact in sketch.facts:
        share = depth if own is None else own
        place = int(np.searchsorted(ends, round(share * total))) + (1 if share * total > 0 else 0)
        places.setdefault(min(place, len(taken)), []).append(fact)
    parts: list[str] = []
    first = min(places, default=0)
    prefix = ""
    for place in range(len(taken) + 1):
        if place == first:
            prefix = sketch.joint.join(parts)
        parts += places.get(place, [])
        if place < len(taken):
            parts.append(taken[place])
    head = f"{sketch.intro}\n\n" if sketch.intro else ""
    context = head + sketch.joint.join(parts)
    gap = "\n\n" if sketch.intro else " "
    user = f"{context}{gap}{sketch.question}"
    text = f"{user}\n{sketch.begun}" if sketch.begun else user
    return _Written(text, head + prefix, (user, sketch.begun))


def _size(tokenizer: PreTrainedTokenizerBase, written: _Written, answer: str) -> int:
    """Return the tokens of a prompt with its answer: as plain text, or in the chat template if that takes more."""
    plain = _tokens(tokenizer, f"{written.text} {answer}", special=True)
    if not getattr(tokenizer, "chat_template", None):
        return plain
    user, begun = written.chat
    opened = str(
        tokenizer.apply_chat_template([{"role": "user", "content": user}], add_generation_prompt=True, tokenize=False)
    )
    return max(plain, _tokens(tokenizer, f"{opened}{begun} {answer}"))


def _tokens(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool = False) -> int:
    return len(tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])
