"""The eight retrieval tasks against RULER's table of configurations (arXiv 2404.06654, appendix B)."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.needle.haystacks import NOISE, text_sentences
from benchmarks.needle.tasks import TASKS
from benchmarks.needle.tasks.niah import Niah

Made = Callable[..., list[Any]]
NEEDLE = re.compile(r"The secret code of (\S+) is (\S+)\.")
NUMBER, WORDS = r"\d{7}", r"[a-z]+-[a-z]+"
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"

# task, haystack, form of the key, form of the value, needles (None: the haystack is of them), answers
PUBLISHED = [
    ("niah_single_1", "noise", WORDS, NUMBER, 1, 1),
    ("niah_single_2", "novels", WORDS, NUMBER, 1, 1),
    ("niah_single_3", "novels", WORDS, UUID, 1, 1),
    ("niah_multikey_1", "novels", WORDS, NUMBER, 4, 1),
    ("niah_multikey_2", "needles", WORDS, NUMBER, None, 1),
    ("niah_multikey_3", "needles", UUID, UUID, None, 1),
    ("niah_multivalue", "novels", WORDS, NUMBER, 4, 4),
    ("niah_multiquery", "novels", WORDS, NUMBER, 4, 4),
]


def context(prompt: Any) -> str:
    return str(prompt.chat[0]).split("\n\n", 1)[1].rpartition("\n\n")[0]


@pytest.mark.parametrize(("task", "haystack", "key", "value", "needles", "answers"), PUBLISHED)
def test_haystack_keys_values_and_needles_are_as_published(
    task: str, haystack: str, key: str, value: str, needles: int | None, answers: int, made: Made
) -> None:
    told = text_sentences("novels")
    for prompt in made(task):
        found = NEEDLE.findall(context(prompt))
        assert len(found) == needles if needles else len(found) > 30
        assert all(re.fullmatch(key, one) and re.fullmatch(value, code) for one, code in found)
        assert prompt.metric == "substring_recall"
        assert prompt.new_tokens == 128
        asked = re.findall(UUID if key == UUID else WORDS, prompt.chat[1])
        assert {code for one, code in found if one in asked} == set(prompt.answers)
        assert len(prompt.answers) == len(set(prompt.answers)) == answers
        assert len(asked) == (answers if task == "niah_multiquery" else 1)
        rest = NEEDLE.sub("", context(prompt))
        if haystack == "needles":
            assert not rest.strip()
        elif haystack == "noise":
            for sentence in NOISE:
                rest = rest.replace(sentence, "")
            assert not rest.strip()
        else:
            assert re.sub(r"\s", "", rest)[:300] in re.sub(r"\s", "", "".join([*told, *told]))


@pytest.mark.parametrize("task", [row[0] for row in PUBLISHED])
def test_each_answer_stands_in_the_text_once_and_each_asked_key_as_often_as_it_has_values(
    task: str, made: Made
) -> None:
    kind = TASKS[task]
    assert isinstance(kind, Niah)
    for prompt in made(task, 4096):
        told = context(prompt)
        for answer in prompt.answers:
            assert prompt.text.count(answer) == 1
        for key in re.findall(UUID if kind.keys == "uuids" else WORDS, prompt.chat[1]):
            assert told.count(key) == kind.per_key


def test_answers_of_several_keys_are_in_the_order_of_the_question(made: Made) -> None:
    for prompt in made("niah_multiquery"):
        told = dict(NEEDLE.findall(context(prompt)))
        assert tuple(told[key] for key in re.findall(WORDS, prompt.chat[1])) == prompt.answers


def test_values_of_one_key_are_in_the_order_of_the_text_and_all_are_asked_for(made: Made) -> None:
    for prompt in made("niah_multivalue"):
        assert tuple(code for _, code in NEEDLE.findall(context(prompt))) == prompt.answers
        assert "What are all 4 secret codes of" in prompt.text


def test_the_first_depth_is_the_beginning_and_the_last_right_before_the_question(made: Made) -> None:
    first, middle, last = (context(one) for one in made("niah_single_2", samples=1))
    assert first.startswith("The secret code")
    assert last.endswith(NEEDLE.findall(last)[0][1] + ".")
    found = NEEDLE.search(middle)
    assert found
    assert found.start() / len(middle) == pytest.approx(0.5, abs=0.05)
    assert middle[: found.start()].rstrip()[-1] in ".!?\"')_,;:-"


@pytest.mark.parametrize("haystack", ["noise", "bible", "needles"])
def test_another_haystack_is_taken_up(haystack: str, made: Made) -> None:
    found = made("niah_single_2", haystack=haystack, samples=1)[0]
    assert found.text != made("niah_single_2", samples=1)[0].text
    marks = {"noise": NOISE[0], "bible": " the ", "needles": "The secret code of"}
    assert context(found).count(marks[haystack]) > 5
