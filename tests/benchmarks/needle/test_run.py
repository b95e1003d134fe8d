"""A grid is scored into one result per task; a killed one goes on where it was."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.needle import run
from benchmarks.needle.config import NeedleConfig
from benchmarks.needle.kept import Kept
from benchmarks.needle.reader import Reader, expected
from benchmarks.needle.run import needle, value
from finewise.errors import InputError

KILLING = Path(__file__).parents[2] / "killing.py"


@pytest.fixture
def grid(monkeypatch: pytest.MonkeyPatch, word_prompts: Any) -> NeedleConfig:
    """Two lengths of words, whatever the task."""
    monkeypatch.setattr(run, "prompts", lambda config, task, length, *rest: word_prompts(length, task=task))
    return NeedleConfig(tasks=["niah_single_1", "niah_single_2"], answer="forced")


def reader(model: Any, tokenizer: Any, config: NeedleConfig) -> Reader:
    return Reader(lambda length: model, tokenizer, config, bf16=False)


def test_a_grid_gives_a_result_per_task(grid: NeedleConfig, tiny_causal: Any, words_tokenizer: Any) -> None:
    read = reader(tiny_causal("llama"), words_tokenizer, grid)
    results = needle(read, "untuned", [60, 90], grid, seed=1, group=2)
    assert [result.benchmark for result in results] == ["needle niah_single_1", "needle niah_single_2"]
    first = results[0]
    assert (first.system, first.metric, first.split) == ("untuned", "exact", "test")
    assert first.read() == [60, 90]
    assert set(first.groups) == {2}
    assert len(set(first.ids)) == len(first.ids) == 18
    assert sorted(set(first.depths)) == [0, 0.5, 1]
    assert results[0].data_revision != results[1].data_revision


def test_generated_answers_are_scored_by_the_task(word_prompts: Any) -> None:
    (prompt,) = word_prompts(samples=1, depths=[1.0])
    assert value(prompt, f"so it is {prompt.answers[0].upper()}, I think", "generate") == 1
    assert value(prompt, "no idea", "generate") == 0
    assert value(prompt, expected(prompt), "forced") == 1
    assert value(prompt, f"{expected(prompt)} w1", "forced") == 0


def test_kept_answers_are_taken_up_by_content(
    grid: NeedleConfig, tiny_causal: Any, words_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, model = tmp_path / "answers.jsonl", tiny_causal("llama")
    first = needle(reader(model, words_tokenizer, grid), "a", [60], grid, seed=1, keep=keep)
    assert len(keep.read_text().splitlines()) == 18
    read: list[int] = []
    real = Reader.read
    monkeypatch.setattr(Reader, "read", lambda self, prompts: read.append(len(prompts)) or real(self, prompts))
    again = needle(reader(model, words_tokenizer, grid), "a", [60], grid, seed=1, keep=keep)
    assert read == [0, 0]
    assert [list(result.values) for result in first] == [list(result.values) for result in again]
    needle(reader(tiny_causal("qwen2"), words_tokenizer, grid), "a", [60], grid, seed=1, keep=keep)
    assert read[2:] == [9, 9]


def test_half_a_line_is_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    Kept(file).add({"a": "1", "b": "2"})
    file.write_bytes(file.read_bytes()[:-5])
    kept = Kept(file)
    assert kept.answers == {"a": "1"}
    kept.add({"b": "3"})
    assert Kept(file).answers == {"a": "1", "b": "3"}
    assert all(json.loads(line) for line in file.read_text().splitlines())


def test_a_length_beyond_the_memory_is_refused_before_anything_is_read(
    grid: NeedleConfig, tiny_causal: Any, words_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.needle.memory.available", lambda device: 20_000_000)
    read = reader(tiny_causal("llama"), words_tokenizer, grid)
    with pytest.raises(
        InputError, match=r"needle\.lengths: 1000000 tokens take about .* GB .* about \d+ tokens would fit"
    ) as refused:
        needle(read, "a", [60, 1_000_000], grid, seed=1)
    fits = int(str(refused.value).split("about ")[-1].split()[0])
    assert 1000 < fits < 1_000_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the kill needs fork")
def test_a_killed_grid_goes_on_with_the_same_answers(
    grid: NeedleConfig, tiny_causal: Any, words_tokenizer: Any, tmp_path: Path
) -> None:
    sys.path.insert(0, str(KILLING.parent))
    try:
        from killing import attempt, before_call
    finally:
        sys.path.remove(str(KILLING.parent))
    keep, model = tmp_path / "answers.jsonl", tiny_causal("llama")

    def read(root: str) -> Any:
        return needle(reader(model, words_tokenizer, grid), "a", [60, 90], grid, seed=1, keep=Path(root))

    whole = read(str(tmp_path / "whole.jsonl"))
    assert attempt(lambda: before_call(4, os, "fsync"), read, str(keep)) == -9
    kept = len(keep.read_text().splitlines())
    assert 9 <= kept < 36
    resumed = read(str(keep))
    assert len(keep.read_text().splitlines()) == 36
    for one, other in zip(whole, resumed, strict=True):
        assert one.data_revision == other.data_revision
        np.testing.assert_array_equal(one.values, other.values)


@pytest.mark.parametrize(("answer", "length"), [("forced", 160), ("generate", 140)])
def test_positions_that_a_model_did_not_learn_are_refused_before_any_is_read(
    answer: str, length: int, grid: NeedleConfig, tiny_causal: Any, words_tokenizer: Any, monkeypatch: Any
) -> None:
    grid.answer = answer
    monkeypatch.setattr(Reader, "read", lambda *given: pytest.fail("it reads"))
    with pytest.raises(
        InputError, match=r"needle.lengths: this model \(gpt2\) has 128 positions .* lower needle.lengths"
    ):
        needle(reader(tiny_causal("gpt2"), words_tokenizer, grid), "a", [60, length], grid, seed=1)


def test_a_model_with_learnt_positions_reads_its_whole_window(
    grid: NeedleConfig, tiny_causal: Any, words_tokenizer: Any
) -> None:
    (first, _) = needle(reader(tiny_causal("gpt2"), words_tokenizer, grid), "a", [128], grid, seed=1)
    assert first.read() == [128]
