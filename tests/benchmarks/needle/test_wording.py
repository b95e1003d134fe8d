"""How needles are said in English."""

import re

import numpy as np
import pytest

from benchmarks.needle.wording import FIRST, SECOND, English


def test_there_are_enough_different_keys() -> None:
    assert len(set(FIRST)) == len(FIRST)
    assert len(set(SECOND)) == len(SECOND)
    assert len(FIRST) * len(SECOND) > 5000


@pytest.mark.parametrize(
    ("kind", "form"),
    [("numbers", r"[1-9]\d{6}"), ("words", r"[a-z]+-[a-z]+"), ("uuids", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")],
)
def test_values_of_each_kind(kind: str, form: str) -> None:
    rng = np.random.default_rng(0)
    found = {English().value(rng, kind) for _ in range(50)}
    assert len(found) > 45
    assert all(re.fullmatch(form, one) for one in found)


def test_questions_name_their_keys_and_how_the_answer_begins() -> None:
    assert English().question(["a"]) == "What is the secret code of a in the text above?\nThe secret code of a is"
    asked, begun = English().question(["a", "b", "c"]).split("\n")
    assert asked == "What are the secret codes of a, b and c in the text above?"
    assert begun == "The secret codes of a, b and c are"
