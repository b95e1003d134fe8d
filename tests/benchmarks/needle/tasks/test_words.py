"""Common and frequent words against their published frequencies."""

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import zeta

from benchmarks.needle.tasks.words import CommonWords, FrequentWords, vocabulary

Made = Callable[..., list[Any]]


@pytest.mark.parametrize(("length", "often", "seldom"), [(4096, 30, 3), (4095, 6, 1)])
def test_ten_words_are_common_in_a_numbered_list(length: int, often: int, seldom: int, made: Made) -> None:
    for prompt in made("cwe", length):
        items = re.findall(r"(\d+)\. (\S+)", prompt.chat[0].split("\n\n")[1])
        assert [int(number) for number, _ in items] == list(range(1, len(items) + 1))
        count = Counter(word for _, word in items)
        assert len(prompt.answers) == 10
        assert [count.pop(word) for word in prompt.answers] == [often] * 10
        assert set(count.values()) == {seldom}
        assert len(count) >= 10


def test_the_common_words_are_all_over_the_list() -> None:
    sketch = CommonWords().draw(np.random.default_rng(0), None, None, 8192)
    assert sketch.items
    words = [item.split()[1] for item in sketch.items(700)]
    half = Counter(words[: len(words) // 2])
    assert all(5 <= half[word] <= 25 for word in sketch.answers)
    # The others' three are no neighbours either.
    far = [len(words) - 1 - words[::-1].index(word) - words.index(word) for word in set(words) - set(sketch.answers)]
    assert np.median(far) > len(words) / 4


def test_a_list_longer_than_the_vocabulary_goes_on_with_coded_words() -> None:
    sketch = CommonWords().draw(np.random.default_rng(0), None, None, 8192)
    size = len(vocabulary()) + 500
    assert sketch.items
    count = Counter(item.split()[1] for item in sketch.items(size))
    assert len(count) == size + 10
    assert sorted(set(count.values())) == [3, 30]


def test_no_word_stands_in_another_one() -> None:
    words = vocabulary()
    assert len(words) > 1000
    joined = f" {' '.join(words)} "
    assert all(joined.count(word) == 1 for word in words[::50])


@given(st.integers(0, 2**32), st.integers(0, 3000))
def test_frequent_words_have_the_counts_of_the_zeta_distribution(seed: int, more: int) -> None:
    sketch = FrequentWords().draw(np.random.default_rng(seed), None, None, 2048)
    size = sketch.least + more
    assert sketch.items
    count = Counter(sketch.items(size)).most_common()
    assert [number for _, number in count] == [
        whole for rank in range(1, len(count) + 1) if (whole := math.floor(size * rank**-2.0 / zeta(2.0)))
    ]
    assert tuple(word for word, _ in count[:4]) == ("...", *sketch.answers)
    assert count[2][1] >= count[3][1] > count[4][1]
    assert all(re.fullmatch("[a-z]{6}", word) for word, _ in count[1:])


def test_three_frequent_words_are_asked_for(made: Made) -> None:
    for prompt in made("fwe"):
        count = Counter(prompt.chat[0].split("\n\n")[1].split())
        assert tuple(word for word, _ in count.most_common(4)) == ("...", *prompt.answers)
        assert count.total() > 100
