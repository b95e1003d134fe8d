"""The loss is on the assistant's own words alone, with the token that ends its turn, whatever the template."""

from collections.abc import Callable

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from finewise.errors import InputError
from longctx.sft.chats import Chat, Turn
from longctx.sft.render import Rendered, Renderer

Tokenizers = Callable[[str], PreTrainedTokenizerFast]
CHAT = Chat((Turn("user", "Who é?"), Turn("assistant", "Mé."), Turn("user", "Why?"), Turn("assistant", "So.\nIt is.")))


def rendered(renderer: Renderer, chat: Chat) -> Rendered:
    found = renderer([chat])[0]
    assert isinstance(found, Rendered)
    return found


def learnt(renderer: Renderer, chat: Chat) -> list[str]:
    """Return the runs of learnt tokens as texts."""
    found = rendered(renderer, chat)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], found.learnt.astype(int), [0]])))
    return [renderer.tokenizer.decode(found.ids[a:b]) for a, b in edges.reshape(-1, 2)]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("chatml", ["Mé.<|im_end|>", "So.\nIt is.<|im_end|>"]),
        ("llama3", ["Mé.<|eot_id|>", "So.\nIt is.<|eot_id|>"]),
        ("llama2", ["Mé. </s>", "So.\nIt is. </s>"]),
        ("marked", ["Mé.<|im_end|>", "<think>\n\n</think>\n\nSo.\nIt is.<|im_end|>"]),
    ],
)
def test_only_the_assistants_words_are_learnt(tokenizer: Tokenizers, template: str, expected: list[str]) -> None:
    renderer = Renderer(tokenizer(template), "tiny")
    assert learnt(renderer, CHAT) == expected


@pytest.mark.parametrize("template", ["chatml", "llama3", "llama2", "marked"])
def test_tokens_are_the_templates_own(tokenizer: Tokenizers, template: str) -> None:
    """What is trained on is what the template writes, and a list of completion turns is learnt alone."""
    renderer = Renderer(tokenizer(template), "tiny")
    turns = [{"role": turn.role, "content": turn.content} for turn in CHAT.turns]
    whole = renderer.tokenizer.apply_chat_template(turns, tokenize=True, return_dict=True)["input_ids"]
    assert rendered(renderer, CHAT).ids.tolist() == whole
    last = Chat(CHAT.turns, learn_from=3)
    assert rendered(renderer, last).ids.tolist() == whole
    assert learnt(renderer, last) == learnt(renderer, CHAT)[1:]


def test_a_template_that_rewrites_earlier_turns_is_refused(tokenizer: Tokenizers) -> None:
    with pytest.raises(InputError, match=r"writes earlier turns differently .* \{% generation %\}"):
        Renderer(tokenizer("thinking"), "tiny")


def test_system_turns_are_read_and_not_learnt(tokenizer: Tokenizers) -> None:
    renderer = Renderer(tokenizer("chatml"), "tiny")
    chat = Chat((Turn("system", "Be brief."), *CHAT.turns))
    assert learnt(renderer, chat) == ["Mé.<|im_end|>", "So.\nIt is.<|im_end|>"]
    assert "Be brief." in renderer.tokenizer.decode(rendered(renderer, chat).ids)


def plain(prompt: str, completion: str) -> Chat:
    return Chat((Turn("user", prompt), Turn("assistant", completion)), learn_from=1, plain=True)


def test_a_completion_is_learnt_with_the_end_of_the_text(tokenizer: Tokenizers) -> None:
    renderer = Renderer(tokenizer("none"), "tiny")
    assert learnt(renderer, plain("Two and two is ", "four")) == ["four<|im_end|>"]
    assert learnt(renderer, plain("Two and two is ", "four<|im_end|>")) == ["four<|im_end|>"]


def test_no_token_reaches_across_the_end_of_a_prompt() -> None:
    """The model is asked with the prompt's tokens, so it is trained with them, even where the two texts would merge."""
    words = ["a", "b", "ab", "c", "[UNK]"]
    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    renderer = Renderer(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]"), "tiny")
    found = rendered(renderer, plain("c a", "b c"))
    assert renderer.tokenizer.convert_ids_to_tokens(found.ids) == ["c", "a", "b", "c"]
    assert found.learnt.tolist() == [False, False, True, True]


@pytest.mark.parametrize("answer", ["A", "SISTANT", "s", ": ", "</s", "ASSISTANT: A"])
def test_without_a_way_to_ask_the_answer_alone_is_learnt(tokenizer: Tokenizers, answer: str) -> None:
    """Even one whose letters stand in what the template writes before it, or behind it."""
    renderer = Renderer(tokenizer("bare"), "tiny")
    chat = Chat((Turn("user", "A?"), Turn("assistant", answer), Turn("user", "And?"), Turn("assistant", answer)))
    assert learnt(renderer, chat) == [f"{answer}</s>"] * 2


@pytest.mark.parametrize("template", ["strict", "strict marked"])
def test_a_template_may_want_a_system_turn(tokenizer: Tokenizers, template: str) -> None:
    renderer = Renderer(tokenizer(template), "tiny")
    found = learnt(renderer, Chat((Turn("system", "Be brief."), *CHAT.turns)))
    assert [text.removeprefix("<think>\n\n</think>\n\n") for text in found] == [
        "Mé.<|im_end|>", "So.\nIt is.<|im_end|>",
    ]  # fmt: skip
    (refused,) = renderer([CHAT])
    assert "begin with a system turn" in str(refused)


@pytest.mark.parametrize("template", ["chatml", "llama2", "marked"])
def test_a_turn_that_is_not_to_be_learnt_is_read(tokenizer: Tokenizers, template: str) -> None:
    renderer = Renderer(tokenizer(template), "tiny")
    first, said, again, last = CHAT.turns
    quiet = Chat((first, Turn("assistant", said.content, learnt=False), again, last))
    assert learnt(renderer, quiet) == learnt(renderer, CHAT)[1:]
    assert rendered(renderer, quiet).ids.tolist() == rendered(renderer, CHAT).ids.tolist()


@pytest.mark.parametrize("prompt", ["<s>Who?", "Who?", "<s>", "a<s>b"])
def test_a_text_that_brings_its_own_first_token_has_one(tokenizer: Tokenizers, prompt: str) -> None:
    """With a tokenizer that puts <s> before texts, as Llama's does."""
    made = tokenizer("none")
    bos = made.bos_token_id
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", bos)]
    )
    renderer = Renderer(made, "tiny")
    found = rendered(renderer, plain(prompt, " Me"))
    words = renderer.tokenizer.decode(found.ids)
    assert words == f"<s>{prompt.removeprefix('<s>')} Me<|im_end|>"
    assert learnt(renderer, plain(prompt, " Me")) == [" Me<|im_end|>"]
