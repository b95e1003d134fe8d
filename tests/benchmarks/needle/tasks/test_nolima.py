"""Needles without a word in common with their question."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.needle.tasks.nolima import NAMES, PAIRS, content

Made = Callable[..., list[Any]]
FUNCTION = {"a", "an", "and", "at", "be", "been", "by", "does", "for", "from", "has", "in", "is", "might", "of", "than", "that",
            "the", "to", "who", "with", "both"}  # fmt: skip


def test_there_are_twenty_pairs_each_with_one_place_for_the_name() -> None:
    assert len(PAIRS) >= 20
    assert len({needle for needle, _ in PAIRS}) == len({question for _, question in PAIRS}) == len(PAIRS)
    assert len(set(NAMES)) == len(NAMES) >= 20
    for needle, question in PAIRS:
        assert needle.count("{name}") == 1
        assert needle.endswith(".")
        assert question.startswith("Who ")
        assert question.endswith("?")


@pytest.mark.parametrize(("needle", "question"), PAIRS)
def test_they_share_no_word_nor_the_beginning_of_one(needle: str, question: str) -> None:
    told, asked = (set(re.findall(r"[a-z]+", text.lower())) - FUNCTION - {"name"} for text in (needle, question))
    assert asked
    assert not told & asked
    assert not {word[:4] for word in told if len(word) > 3} & {word[:4] for word in asked if len(word) > 3}
    assert content(question)


@pytest.mark.parametrize("haystack", ["novels", "bible"])
def test_the_text_holds_the_name_once_and_no_word_of_the_question(haystack: str, made: Made) -> None:
    for prompt in made("nolima", 4096, haystack=haystack, samples=5):
        (name,) = prompt.answers
        _, text, question = prompt.chat[0].split("\n\n")
        assert prompt.text.count(name) == 1
        assert not any(word in text.lower() for word in content(question.split("?")[0]))
        assert [needle for needle, _ in PAIRS if needle.format(name=name) in text]
