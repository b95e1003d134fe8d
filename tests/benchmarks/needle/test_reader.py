"""The reader gives the answers that plain transformers gives prompt by prompt, in a batch and with shared beginnings."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.needle.config import NeedleConfig
from benchmarks.needle.prefix_cache import CachedRows, kind_of
from benchmarks.needle.reader import Reader, expected, settle_frequencies
from benchmarks.needle.scoring import score
from finewise.errors import InputError

FAMILIES = ["llama", "qwen2", "mistral", "gemma3", "dynamic"]


def reader(model: Any, tokenizer: Any, answer: str, **more: Any) -> Reader:
    return Reader(lambda length: model, tokenizer, NeedleConfig(answer=answer, **more), bf16=False)


def library(model: Any, found: Reader, prompts: Any) -> list[str]:
    """What model.generate says to each prompt by itself."""
    said = []
    for prompt in prompts:
        ids = torch.from_numpy(found.encode(prompt).tokens)[None]
        grown = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=prompt.new_tokens, do_sample=False
        )
        said.append(found.tokenizer.decode(grown[0, ids.shape[1] :], skip_special_tokens=True).strip())
    return said


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch_tokens", [None, 1, 230, 620])  # 9, 1, 2 and 6 rows at a time
def test_generated_answers_are_the_librarys(
    family: str, batch_tokens: int | None, tiny_causal: Any, words_tokenizer: Any, word_prompts: Any
) -> None:
    model, prompts = tiny_causal(family), word_prompts()
    found = reader(model, words_tokenizer, "generate", batch_tokens=batch_tokens)
    answers = found.answers(prompts)
    if family == "dynamic":
        # Frequencies are those of the nominal length; the library's follow what was read before.
        again = found.answers(prompts[::-1])[::-1]
        assert answers == again
    else:
        assert answers == library(model, found, prompts)
    assert any(answers)


def test_dynamic_frequencies_do_not_stay_those_of_an_earlier_task(tiny_causal: Any) -> None:
    def frequencies(model: Any, *lengths: int) -> torch.Tensor:
        for length in lengths:
            settle_frequencies(model, length)
        return model.model.rotary_emb.inv_freq.clone()  # type: ignore[no-any-return]

    wanted = frequencies(tiny_causal("dynamic"), 64)
    assert torch.equal(frequencies(tiny_causal("dynamic"), 64, 256, 64), wanted)
    assert not torch.equal(frequencies(tiny_causal("dynamic"), 256), wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_with_shared_beginnings_are_those_of_one_pass(family: str, tiny_causal: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("benchmarks.needle.prefix_cache.CHUNK_TOKENS", {"cpu": 1})  # the smallest chunks there are
    model = tiny_causal(family)
    count = 3 if kind_of(model.config) == "shared" else 1
    rng = np.random.default_rng(0)
    hay = [rng.integers(3, 60, 300 + 7 * row) for row in range(count)]
    rows = CachedRows(model, count, 400, bf16=False)
    read = 0
    for depth in (300, 200, 40, 0):
        texts = [np.concatenate([row[:depth], rng.integers(3, 60, 5), row[depth:]]) for row in hay]
        wanted = [range(len(text) - 4 - number, len(text) - 1) for number, text in enumerate(texts)]
        for text, span, logits in zip(texts, wanted, rows.read(texts, wanted), strict=True):
            with torch.no_grad():
                plain = model(input_ids=torch.from_numpy(text)[None]).logits[0, span.start : span.stop]
            torch.testing.assert_close(logits, plain, atol=1e-4, rtol=1e-4)
        read += sum(map(len, texts))
    assert rows.computed < read or kind_of(model.config) == "whole"


def test_what_prompts_share_is_computed_once(tiny_causal: Any, words_tokenizer: Any, word_prompts: Any) -> None:
    found, prompts = reader(tiny_causal("llama"), words_tokenizer, "forced"), word_prompts(samples=1, depths=(0.5, 1.0))
    deep, shallow = (found.encode(prompt).tokens for prompt in (prompts[1], prompts[0]))
    rows = CachedRows(found.model_at(90), 1, 100, bf16=False)
    rows.read([deep], [range(len(deep) - 1, len(deep))])
    rows.read([shallow], [range(len(shallow) - 1, len(shallow))])
    half = len(prompts[0].prefix.split())
    assert rows.computed == len(deep) + len(shallow) - half


@pytest.mark.parametrize("family", FAMILIES[:-1])
def test_a_forced_answer_is_right_where_each_token_is_the_models_choice(
    family: str, tiny_causal: Any, words_tokenizer: Any, word_prompts: Any
) -> None:
    model, prompts = tiny_causal(family), word_prompts(new=4)
    said = library(model, reader(model, words_tokenizer, "generate"), prompts)
    forced = reader(model, words_tokenizer, "forced")
    # Special tokens are not said, and some answers hold one.
    plain = [pair for pair in zip(prompts, said, strict=True) if len(pair[1].split()) == 4]
    assert len(plain) > 3
    prompts, said = zip(*plain, strict=True)
    right = [replace(prompt, answers=(text,)) for prompt, text in zip(prompts, said, strict=True)]
    assert forced.answers(right) == [expected(prompt) for prompt in right]
    wrong = [replace(prompt, answers=(f"{text} w1",)) for prompt, text in zip(prompts, said, strict=True)]
    answers = forced.answers(wrong)
    assert all(one.startswith(text) for one, text in zip(answers, said, strict=True))


def test_generation_ends_when_the_score_can_only_stay_one(
    tiny_causal: Any, words_tokenizer: Any, word_prompts: Any
) -> None:
    model, prompts = tiny_causal("llama", eos_token_id=None), word_prompts(new=24)
    found = reader(model, words_tokenizer, "generate")
    whole = found.answers(prompts)
    begun = [" ".join(text.split()[:3]) for text in whole]
    sought = [replace(prompt, answers=(text,)) for prompt, text in zip(prompts, begun, strict=True)]
    answers = found.answers(sought)
    assert all(text.startswith(one) for text, one in zip(whole, answers, strict=True))
    assert sum(map(len, answers)) < sum(map(len, whole)) / 2
    assert [score(prompt, text) for prompt, text in zip(sought, answers, strict=True)] == [1] * len(sought)


def test_all_depths_are_generated_together(tiny_causal: Any, words_tokenizer: Any, word_prompts: Any) -> None:
    model, prompts = tiny_causal("llama", eos_token_id=None), word_prompts(new=24)
    steps: list[int] = []
    watch = model.register_forward_hook(
        lambda module, args, given, out: steps.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    reader(model, words_tokenizer, "generate").answers(prompts)
    watch.remove()
    assert steps.count(1) == 23


def test_found_and_lost_needles_are_read_together(tiny_causal: Any, words_tokenizer: Any, word_prompts: Any) -> None:
    model, prompts = tiny_causal("llama", eos_token_id=None), word_prompts(new=24)
    found = reader(model, words_tokenizer, "generate")
    whole = library(model, found, prompts)
    # All but two say at once what they are asked for.
    asked = [
        prompt if number in (4, 5) else replace(prompt, answers=(" ".join(text.split()[:3]),))
        for number, (prompt, text) in enumerate(zip(prompts, whole, strict=True))
    ]
    answers = found.answers(asked)
    assert all(text.startswith(one) for text, one in zip(whole, answers, strict=True))
    assert answers[4:6] == whole[4:6]
    assert all(len(one.split()) <= 8 for one in answers[:4] + answers[6:])


@pytest.mark.parametrize("answer", ["generate", "forced"])
def test_what_a_killed_run_left_open_gets_the_same_answers(
    answer: str, tiny_causal: Any, words_tokenizer: Any, word_prompts: Any
) -> None:
    found = reader(tiny_causal("llama"), words_tokenizer, answer, batch_tokens=400)
    prompts = word_prompts()
    whole = found.answers(prompts)
    finished = [number for number, _ in next(iter(found.read(prompts)))]
    assert 0 < len(finished) < len(prompts)
    # One more than the batch's, so that the samples have no equal number of depths left.
    left = [number for number in range(len(prompts)) if number not in finished][1:]
    assert found.answers([prompts[number] for number in left]) == [whole[number] for number in left]


def test_a_chat_template_is_used_for_generating_alone(
    tiny_causal: Any, words_tokenizer: Any, word_prompts: Any
) -> None:
    import copy

    model, tokenizer, (prompt,) = (
        tiny_causal("llama"),
        copy.deepcopy(words_tokenizer),
        word_prompts(samples=1, depths=[1]),
    )
    assert reader(model, tokenizer, "auto").way == "forced"
    tokenizer.chat_template = "w5 {{ messages[0]['content'] }} w6 "
    found = reader(model, tokenizer, "auto")
    assert (found.way, found.chat) == ("generate", True)
    text = tokenizer.decode(found.encode(prompt).tokens)
    assert text == f"w5 {prompt.chat[0]} w6 {prompt.chat[1]}"
    assert not reader(model, tokenizer, "forced").chat


def test_a_template_that_wants_a_system_turn_gets_one(
    tiny_causal: Any, words_tokenizer: Any, word_prompts: Any
) -> None:
    import copy

    tokenizer, (prompt,) = copy.deepcopy(words_tokenizer), word_prompts(samples=1, depths=[1])
    tokenizer.chat_template = (
        "{% if messages[0]['role'] != 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
        "w5 {{ messages[1]['content'] }} w6 "
    )
    found = reader(tiny_causal("llama"), tokenizer, "generate")
    assert tokenizer.decode(found.encode(prompt).tokens) == f"w5 {prompt.chat[0]} w6 {prompt.chat[1]}"
    tokenizer.chat_template = "{{ raise_exception('never') }}"
    with pytest.raises(InputError, match=r"refuses a user's turn: never; set needle.answer=forced"):
        found.encode(prompt)


def test_prompts_without_a_depth_are_read(tiny_causal: Any, words_tokenizer: Any, word_prompts: Any) -> None:
    model, prompts = tiny_causal("llama"), word_prompts(depths=[float("nan")])
    found = reader(model, words_tokenizer, "generate")
    assert found.answers(prompts) == library(model, found, prompts)


def test_a_models_revision_follows_weights_and_positions(tiny_causal: Any, words_tokenizer: Any) -> None:
    model = tiny_causal("llama")
    found = reader(model, words_tokenizer, "forced")
    assert found.revision(64) == reader(tiny_causal("llama"), words_tokenizer, "forced").revision(64)
    others = [tiny_causal("llama", rope_parameters={"rope_type": "default", "rope_theta": 5e4}), tiny_causal("llama")]
    with torch.no_grad():
        others[1].lm_head.weight[0, 0] += 1
    revisions = {reader(other, words_tokenizer, "forced").revision(64) for other in others}
    assert len(revisions | {found.revision(64), reader(model, words_tokenizer, "generate").revision(64)}) == 4
