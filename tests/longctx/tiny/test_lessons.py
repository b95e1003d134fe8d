import numpy as np
import pytest

from longctx.tiny.language import CAUSAL_WORDS
from longctx.tiny.lessons import IGNORED, copying, needles, recall


def words_of(row):
    return [CAUSAL_WORDS[number] for number in row]


def test_what_is_to_be_copied_stood_before_after_the_same_word():
    inputs, targets = copying(np.random.default_rng(0), 16, 32)
    for row, target in zip(inputs.tolist(), targets.tolist(), strict=True):
        for place in np.flatnonzero(np.array(target) != IGNORED):
            before = row[: place - 1].index(row[place - 1])
            assert row[before + 1] == row[place] == target[place]


def test_only_values_of_known_keys_are_recalled():
    inputs, targets = recall(np.random.default_rng(0), 16, 64, 16)
    asked = 0
    for row, target in zip(inputs.tolist(), targets.tolist(), strict=True):
        known: dict[int, int] = {}
        for place in range(0, 64, 2):
            key, value = row[place : place + 2]
            assert known.get(key, value) == value
            assert target[place] == IGNORED
            assert target[place + 1] == (value if key in known else IGNORED)
            asked += key in known
            known[key] = value
    assert asked > 100


@pytest.mark.parametrize("length", [64, 256])
def test_answers_are_what_the_needle_says(length):
    inputs, targets = needles(np.random.default_rng(0), 20, length)
    for row, target in zip(inputs, targets, strict=True):
        text = words_of(row)
        facts = {text[place + 1]: text[place + 2 : place + 7] for place in range(length) if text[place] == "SET"}
        asked = [place for place in range(length) if text[place] == "ASK"]
        assert 1 <= len(asked) <= len(facts) <= 3
        expected = np.full(length, IGNORED)
        for place in asked:
            assert text[place + 2 : place + 7] == facts[text[place + 1]]
            expected[place + 2 : place + 7] = row[place + 2 : place + 7]
        assert (target == expected).all()
