"""Variable tracking: one chain of four hops in noise."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks.needle.haystacks import NOISE
from benchmarks.needle.tasks.tracing import Tracing

Made = Callable[..., list[Any]]
ASSIGNED = re.compile(r"VAR ([A-Z]{5}) = (?:VAR ([A-Z]{5})|(\d{5}))\.")


def test_a_chain_has_five_variables_each_told_by_the_one_before(made: Made) -> None:
    for prompt in made("vt"):
        found = ASSIGNED.findall(prompt.text)
        assert tuple(name for name, _, _ in found) == prompt.answers
        assert len(set(prompt.answers)) == 5
        assert [of for _, of, _ in found] == ["", *prompt.answers[:-1]]
        value = found[0][2]
        assert value
        assert value in prompt.chat[1]
        assert prompt.new_tokens >= 30
        rest = ASSIGNED.sub("", prompt.chat[0].split("\n\n")[1])
        for sentence in NOISE:
            rest = rest.replace(sentence, "")
        assert not rest.strip()


@pytest.mark.parametrize(("chains", "hops"), [(1, 4), (2, 4), (3, 2)])
def test_several_chains_have_values_of_their_own(chains: int, hops: int) -> None:
    sketch = Tracing(chains=chains, hops=hops).draw(np.random.default_rng(0), None, None, 2048)
    holds: dict[str, str] = {}
    for _, told in sorted(sketch.facts, key=lambda fact: fact[0] or 0):
        name, of, value = ASSIGNED.findall(told)[0]
        holds[name] = value or holds[of]
    assert len(holds) == chains * (hops + 1)
    assert len(set(holds.values())) == chains
    asked = re.findall(r"\d{5}", sketch.question)
    assert [name for name, value in holds.items() if value == asked[0]] == list(sketch.answers)


def test_the_haystack_can_be_text(made: Made) -> None:
    for prompt in made("vt", haystack="bible"):
        assert len(ASSIGNED.findall(prompt.text)) == 5
        assert NOISE[0] not in prompt.text
