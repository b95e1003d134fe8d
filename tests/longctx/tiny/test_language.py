from itertools import pairwise

import numpy as np
import pytest

from longctx.tiny.language import (
    CAUSAL_WORDS,
    EMBEDDING_WORDS,
    FILLER,
    NAMES,
    NEXT,
    Tiny,
    TinyPairs,
    filler_text,
    tokenizer_of,
)


@pytest.mark.parametrize("words", [CAUSAL_WORDS, EMBEDDING_WORDS])
def test_every_word_is_one_token_and_comes_back(words):
    tokenizer = tokenizer_of(words)
    ids = tokenizer(" ".join(words))["input_ids"]
    assert ids == list(range(len(words)))
    assert tokenizer.decode(ids) == " ".join(words)
    assert len(set(words)) == len(words)


def test_the_language_has_46_words():
    assert len(CAUSAL_WORDS) == 46


def test_filler_follows_its_chain():
    numbers = [FILLER.index(word) for word in filler_text(np.random.default_rng(0), 200)]
    assert all(after in NEXT[before] for before, after in pairwise(numbers))
    assert len(set(numbers)) == len(FILLER)


def test_a_needle_holds_what_its_question_asks():
    wording, rng = Tiny(), np.random.default_rng(1)
    key, value = wording.key(rng), wording.value(rng, "numbers")
    needle, question = wording.needle(key, value).split(), wording.question([key]).split()
    assert needle[1] == question[1] == key
    assert needle[2:-1] == value.split()
    assert len(value.split()) == 4


@pytest.mark.parametrize("length", [16, 64, 1024])
def test_documents_are_exactly_as_long_as_asked(length):
    wording, rng = TinyPairs(), np.random.default_rng(2)
    tokenizer = tokenizer_of(EMBEDDING_WORDS)
    keys = wording.keys(rng, 100)
    assert len(set(keys)) == 100
    for key in keys[:10]:
        text, depth = wording.document(rng, key, length, tokenizer)
        assert len(tokenizer(text)["input_ids"]) == length
        assert f"SET {key} END" in text
        assert 0 <= depth <= 1
        assert wording.query(key) == f"ASK {key}"
        assert all(name in NAMES for name in key.split())
