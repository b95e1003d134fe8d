"""Haystacks: sentences without end, from the built-in texts."""

from itertools import islice

import numpy as np
import pytest

from benchmarks.needle.haystacks import NOISE, sentences, split_sentences, text_sentences


def test_sentences_end_at_their_marks_and_not_at_titles() -> None:
    told = 'Mr. Elliot came. "Did he?" she asked. Yes! And Dr. St. Clair too. He did; 3.5 miles\nfor nothing? So'
    assert list(split_sentences(told)) == [
        "Mr. Elliot came.",
        '"Did he?" she asked.',
        "Yes!",
        "And Dr. St. Clair too.",
        "He did; 3.5 miles for nothing?",
        "So",
    ]


def test_a_paragraph_ends_a_sentence_where_it_has_a_mark_and_else_goes_on() -> None:
    assert list(split_sentences("She said:\n\nGo. Now.\n\nand he went.")) == ["She said: Go.", "Now.", "and he went."]
    assert list(split_sentences(" ")) == []


@pytest.mark.parametrize("haystack", ["novels", "bible"])
def test_text_goes_on_from_a_random_sentence_and_begins_again(haystack: str) -> None:
    every = text_sentences(haystack)
    found = list(islice(sentences(haystack, np.random.default_rng(0)), len(every) + 2))
    assert found == list(islice(sentences(haystack, np.random.default_rng(0)), len(every) + 2))
    assert found[0] == found[-2]
    assert found[1] == found[-1]
    assert sorted(found[:-2]) == sorted(every)
    assert next(sentences(haystack, np.random.default_rng(1))) != found[0]


@pytest.mark.parametrize("haystack", ["noise", "novels", "bible"])
def test_sentences_of_haystacks_end_as_sentences_do(haystack: str) -> None:
    for told in islice(sentences(haystack, np.random.default_rng(0)), 20_000):
        assert told.rstrip("\"')_")[-1] in ".!?"
        assert "\n" not in told


def test_noise_is_said_again_and_again() -> None:
    assert list(islice(sentences("noise", np.random.default_rng(0)), 7)) == [*NOISE, *NOISE[:2]]
