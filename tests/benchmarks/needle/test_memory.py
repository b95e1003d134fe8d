"""As many texts are held at a time as fit, and never more."""

from typing import Any

import pytest

from benchmarks.needle import memory
from benchmarks.needle.memory import SHARE, reading_bytes, rows_that_fit


@pytest.mark.parametrize("rows", [1, 3, 20])
def test_as_many_rows_as_fit(rows: int, tiny_causal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_causal("llama")
    # chunks hold at least 128 columns, so that a row more always takes more
    needed = reading_bytes(model, 500, rows, bf16=False)
    assert needed < reading_bytes(model, 500, rows + 1, bf16=False)
    monkeypatch.setattr(memory, "available", lambda device: (needed + 1) / SHARE)
    assert rows_that_fit(model, 500, None, bf16=False) == rows


def test_one_row_is_read_however_small_the_memory_and_never_more_than_64(
    tiny_causal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_causal("llama")
    for free, rows in ((1, 1), (1 << 50, 64)):
        monkeypatch.setattr(memory, "available", lambda device, free=free: free)
        assert rows_that_fit(model, 500, None, bf16=False) == rows


def test_tokens_at_a_time_can_be_set(tiny_causal: Any) -> None:
    found = [rows_that_fit(tiny_causal("llama"), 100, tokens, bf16=False) for tokens in (1, 100, 599, 10_000)]
    assert found == [1, 1, 5, 100]
