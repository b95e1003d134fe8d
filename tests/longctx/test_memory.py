"""The estimate of a step's memory: against what is saved, and what is proposed when it does not fit."""

from collections.abc import Callable

import pytest
from transformers import PreTrainedModel

from finewise.errors import InputError
from finewise.execution import Execution
from longctx.memory import activation_bytes, check_memory

Build = Callable[..., PreTrainedModel]
SORTED = Execution("sorted", 512)


def test_eager_attention_grows_with_the_square(tiny_causal: Build) -> None:
    model = tiny_causal()
    linear, square = activation_bytes(model, 256, bf16=False)
    assert linear > 0
    assert square == 0
    model.set_attn_implementation("eager")
    _, square = activation_bytes(model, 256, bf16=False)
    # The weights of two layers with two heads, in fp32, once or twice.
    assert 2 * 2 * 4 <= square <= 2 * 2 * 4 * 3


def test_what_fits_is_said_and_bounded(tiny_causal: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_causal()
    many, line = check(model, 64)
    assert many.tokens == 512
    assert "512 tokens at a time" in line
    monkeypatch.setattr("longctx.memory.available", lambda device: 3_000_000)
    fewer, line = check(model, 64)
    assert 64 <= fewer.tokens < 512
    assert f"{fewer.tokens} tokens at a time" in line


def test_each_proposal_fits(tiny_causal: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_causal()
    monkeypatch.setattr("longctx.memory.available", lambda device: 3_000_000)
    with pytest.raises(InputError) as error:
        check(model, 1000)
    line = str(error.value)
    assert "\n" not in line
    assert "a training step of 1,000 tokens takes about" in line
    assert "3 MB are free on cpu" in line
    window = int(line.rpartition("objective.window=")[2])
    check(model, window)
    with pytest.raises(InputError):
        check(model, window * 2)
    if "activation_checkpointing=true" in line:
        check(model, 1000, recomputed=True)


def test_a_model_too_large_for_any_window_gets_all_advice(tiny_causal: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longctx.memory.available", lambda device: 1000)
    with pytest.raises(InputError, match=r"lora\.rank=16 and a shorter objective\.window"):
        check(tiny_causal(), 1000)


def check(model: PreTrainedModel, longest: int, *, recomputed: bool = False) -> tuple[Execution, str]:
    return check_memory(model, longest, SORTED, activation_checkpointing=recomputed, logits_chunk=64, bf16=False)
