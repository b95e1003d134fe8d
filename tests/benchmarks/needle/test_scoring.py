"""Scores against cases worked out by hand."""

import pytest

from benchmarks.needle.prompts import Prompt
from benchmarks.needle.scoring import score


def prompt(metric: str, *answers: str) -> Prompt:
    return Prompt(
        task="t", length=9, depth=0.0, sample=0, id="i", text="", prefix="", answers=answers, metric=metric, new_tokens=1,
        chat=("", ""),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "answers", "said", "value"),
    [
        ("substring_recall", ("123", "456"), "They are 456 and 789", 0.5),
        ("substring_recall", ("Amber-Anvil",), "it is AMBER-ANVIL.", 1),
        ("substring_recall", ("12", "34", "56", "78"), "12 34 56", 0.75),
        ("any", ("paris", "london"), "London, of course", 1),
        ("any", ("paris", "london"), "Rome", 0),
        ("exact", ("1 2 3 4",), "1 2 3 4 END", 1),
        ("exact", ("1 2 3 4",), "the 1 2 3 4", 0),
    ],
)
def test_scores(metric: str, answers: tuple[str, ...], said: str, value: float) -> None:
    assert score(prompt(metric, *answers), said) == value
