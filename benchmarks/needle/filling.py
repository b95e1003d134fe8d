"""A sketch filled up to a length in tokens: never above it, and as full as whole sentences or items allow.

Sentences are counted one by one, which may be a token off where they are joined: the whole text is counted again each time.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from benchmarks.needle.sketch import Sketch
from finewise.errors import InputError

SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
"""For templates that refuse a chat without a system turn."""

_MOST = 256  # sentences tokenised at a time


@dataclass(frozen=True, slots=True)
class Written:
    """A whole prompt: see `benchmarks.needle.prompts.Prompt`."""

    text: str
    prefix: str
    chat: tuple[str, str]


class TooShortError(Exception):
    """A length that not even the needles and the question fit into.

    Attributes:
        needed: Tokens that they take.
    """

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


def filled(sketch: Sketch, depths: Sequence[float], length: int, tokenizer: PreTrainedTokenizerBase) -> list[Written]:
    """Return a sketch at each depth, with as much text as the length has room for.

    Raises:
        TooShortError: Needles, question and answer alone are longer.
    """
    if sketch.items is not None:
        return [_of_items(sketch, length, tokenizer)] * len(depths)
    return _of_sentences(sketch, depths, length, tokenizer)


def tokens(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool = False) -> int:
    """Return how many tokens a text has."""
    return len(tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])


def _size(tokenizer: PreTrainedTokenizerBase, written: Written, answer: str) -> int:
    """Return the tokens of a prompt with its answer: as plain text, or in the chat template if that takes more."""
    plain = tokens(tokenizer, f"{written.text} {answer}", special=True)
    if not getattr(tokenizer, "chat_template", None):
        return plain
    user, begun = written.chat
    try:
        opened = in_template(tokenizer, user)
    except InputError:  # the reader says it, if answers are generated
        return plain
    return max(plain, tokens(tokenizer, f"{opened}{begun} {answer}"))


def in_template(tokenizer: PreTrainedTokenizerBase, user: str) -> str:
    """Return what the chat template makes of a user's turn, up to where the answer begins; with all special tokens as text.

    A template that refuses a chat without a system turn gets a short one.

    Raises:
        InputError: It refuses both.
    """
    turns = [{"role": "user", "content": user}]
    for messages in (turns, [SYSTEM, *turns]):
        try:
            return str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
        except TemplateError as error:
            told = " ".join(str(error).split())
    raise InputError(
        f"the tokenizer's chat template refuses a user's turn: {told}; set needle.answer=forced, which needs no template"
    )


def _of_sentences(
    sketch: Sketch, depths: Sequence[float], length: int, tokenizer: PreTrainedTokenizerBase
) -> list[Written]:
    """Take sentences while the next one fits; drop the last ones if the text is too long at another depth."""
    answer = ", ".join(sketch.answers)
    taken: list[str] = []
    sizes: list[int] = []

    def written(depth: float) -> Written:
        return _with_facts(sketch, taken, sizes, depth)

    fixed = max(_size(tokenizer, written(depth), answer) for depth in depths)
    if fixed > length:
        raise TooShortError(fixed)
    waiting = _counted(sketch, tokenizer)
    sentence, size = next(waiting)
    gap = length - fixed
    while gap >= size:
        while gap >= size:
            taken.append(sentence)
            sizes.append(size)
            gap -= size
            sentence, size = next(waiting)
        gap = length - _size(tokenizer, written(depths[0]), answer)
    while True:
        found = [written(depth) for depth in depths]
        over = max(_size(tokenizer, one, answer) for one in found) - length
        if over <= 0:
            return found
        while over > 0 and taken:
            over -= sizes.pop()
            taken.pop()


def _counted(sketch: Sketch, tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[str, int]]:
    """Yield sentences with their tokens."""
    count = 16
    while batch := list(islice(sketch.filler, count)):
        found = tokenizer([sketch.joint + one for one in batch], add_special_tokens=False, verbose=False)["input_ids"]
        yield from ((one, max(1, len(ids))) for one, ids in zip(batch, found, strict=True))
        count = min(2 * count, _MOST)


def _of_items(sketch: Sketch, length: int, tokenizer: PreTrainedTokenizerBase) -> Written:
    """Return the text of the largest size that fits; sizes are about linear in tokens, so few are tried."""
    assert sketch.items is not None
    make, answer = sketch.items, ", ".join(sketch.answers)

    def tried(size: int) -> tuple[Written, int]:
        one = _joined(sketch, list(make(size)))
        return one, _size(tokenizer, one, answer)

    low, high, high_tokens = sketch.least, 0, 0  # what fits; what does not, 0: not known yet
    best, low_tokens = tried(low)
    if low_tokens > length:
        raise TooShortError(low_tokens)
    each, up = math.inf, True
    while not high or high - low > 1:
        if not high:
            size = low + (64 if each == math.inf else max(1, math.ceil(1.01 * (length - low_tokens) / each)))
        else:
            exact = low + (high - low) * (length - low_tokens) / (high_tokens - low_tokens)
            # A little to the side that was not tried last, so that the bounds close from both.
            aside = max(1, (high - low) // 64)
            size = min(max(round(exact) + (aside if up else -aside), low + 1), high - 1)
        one, count = tried(size)
        up = count <= length
        if up:
            each = max(1e-3, (count - low_tokens) / (size - low))
            best, low, low_tokens = one, size, count
        else:
            high, high_tokens = size, count
    return best


def _with_facts(sketch: Sketch, taken: Sequence[str], sizes: Sequence[int], depth: float) -> Written:
    """Return the prompt with its facts: each behind the sentence with which its share of the tokens is reached."""
    ends = np.cumsum(np.array(sizes, np.int64))
    total = int(ends[-1]) if len(ends) else 0
    places: dict[int, list[str]] = {}
    for own, fact in sketch.facts:
        share = depth if own is None else own
        place = int(np.searchsorted(ends, round(share * total))) + (1 if share * total > 0 else 0)
        places.setdefault(min(place, len(taken)), []).append(fact)
    parts: list[str] = []
    before = 0
    for place in sorted(places):
        parts += [*taken[before:place], *places[place]]
        before = place
    first = min(places, default=0)
    return _joined(sketch, [*parts, *taken[before:]], first)


def _joined(sketch: Sketch, parts: Sequence[str], first: int = 0) -> Written:
    """Return the prompt whose text consists of the parts; so many come before the first fact."""
    head = f"{sketch.intro}\n\n" if sketch.intro else ""
    gap = "\n\n" if sketch.intro else " "
    user = f"{head}{sketch.joint.join(parts)}{gap}{sketch.question}"
    text = f"{user}\n{sketch.begun}" if sketch.begun else user
    return Written(text, head + sketch.joint.join(parts[:first]), (user, sketch.begun))
