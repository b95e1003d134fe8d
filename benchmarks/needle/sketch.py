"""What a task draws for one sample, before it is filled up to a length."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from benchmarks.needle.wording import Wording


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """A question, and what the text consists of: sentences with facts between them, or items that depend on how many fit.

    Attributes:
        intro: Stands before the text; empty for none.
        question: Stands behind the text, the words that begin the answer left out.
        begun: The words that begin the answer, on a line of their own; empty for none.
        answers: What must be found, in the order in which a right answer names it.
        as_told: Whether that order is the one in which they stand in the text, whatever the order here.
        filler: Endless sentences.
        facts: (depth, sentence) of the needles; a depth of None is that of the grid.
        items: Instead of both: the whole text's items for a size, in their order. The text grows with the size.
        least: Smallest size at which there is an answer.
        joint: Between sentences or items.
    """

    intro: str
    question: str
    begun: str
    answers: tuple[str, ...]
    as_told: bool = False
    filler: Iterator[str] = field(default_factory=lambda: iter(()))
    facts: tuple[tuple[float | None, str], ...] = ()
    items: Callable[[int], Sequence[str]] | None = None
    least: int = 0
    joint: str = " "


class Task(Protocol):
    """One kind of question."""

    @property
    def metric(self) -> str:
        """As `benchmarks.needle.prompts.Prompt.metric`."""
        ...

    @property
    def new_tokens(self) -> int:
        """How many tokens an answer may have."""
        ...

    @property
    def has_depth(self) -> bool:
        """Whether there is a needle whose place is chosen."""
        ...

    @property
    def haystacks(self) -> tuple[str, ...]:
        """What `needle.haystack` can be for it; empty: nothing can be chosen."""
        ...

    @property
    def takes_wording(self) -> bool:
        """Whether its needles can be said in a language that the caller brings."""
        ...

    def draw(self, rng: np.random.Generator, wording: Wording | None, haystack: str | None, length: int) -> Sketch:
        """Draw needles, question and answers.

        Args:
            rng: Decides all.
            wording: How needles are said, where the caller brings a language; None: the task's own.
            haystack: `needle.haystack`; None: the task's own.
            length: Tokens that the prompt will have.
        """
        ...
