"""Texts of different lengths that go on together say what each says alone, also when some of them end early."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.needle.prefix_cache import CachedRows, Tokens

NEW = 9
Ends = Callable[[int, list[int]], bool]


def batches(kept: int, rows: int, seed: int) -> list[Tokens]:
    """Batch after batch of texts; each row's have a haystack in common up to a needle that comes ever sooner."""
    rng = np.random.default_rng(seed)
    hay = [rng.integers(3, 60, 30 + 3 * row) for row in range(rows)]
    return [
        np.concatenate([each[: 20 - 6 * batch], rng.integers(3, 60, 2 + batch), each[20 - 6 * batch :]])
        for batch in range(kept)
        for each in hay
    ]


def alone(model: Any, texts: list[Tokens]) -> list[list[int]]:
    grown = [
        model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False)
        for ids in (torch.from_numpy(text)[None] for text in texts)
    ]
    return [each[0, len(text) :].tolist() for each, text in zip(grown, texts, strict=True)]


def never(row: int, tokens: list[int]) -> bool:
    return False


def after(*lengths: int) -> Ends:
    """Rows end after so many tokens."""
    return lambda row, tokens: len(tokens) == lengths[row]


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize(("kept", "rows"), [(1, 1), (1, 4), (3, 1), (3, 2)])
def test_batches_that_go_on_together_say_what_each_text_says_alone(
    kept: int, rows: int, family: str, tiny_causal: Any
) -> None:
    model, texts = tiny_causal(family, **({"eos_token_id": None} if family == "llama" else {})), batches(kept, rows, 1)
    cache = CachedRows(model, rows, 60, bf16=False, kept=kept)
    plain = alone(model, texts)
    found = cache.generate(texts, NEW, never)
    assert [one[: len(other)] for one, other in zip(found, plain, strict=True)] == plain


@pytest.mark.parametrize(
    ("kept", "rows", "lengths", "computed"),
    [
        (1, 4, (1, 9, 1, 9), 2 * 8),
        # All six while four are open, then two, then one.
        (3, 2, (2, 9, 1, 1, 2, 4), 6 + 2 * 2 + 5),
    ],
)
def test_rows_that_have_ended_are_dropped(
    kept: int, rows: int, lengths: tuple[int, ...], computed: int, tiny_causal: Any
) -> None:
    model = tiny_causal("llama", eos_token_id=None)
    reading, cache = (CachedRows(model, rows, 60, bf16=False, kept=kept) for _ in range(2))
    reading.generate(batches(kept, rows, 1), 1, never)
    for time, seed in enumerate((1, 1, 2)):  # the second time all is in the cache, some of it in other places
        texts = batches(kept, rows, seed)
        found = cache.generate(texts, NEW, after(*lengths))
        assert found == [tokens[:length] for tokens, length in zip(alone(model, texts), lengths, strict=True)]
        assert time or cache.computed == reading.computed + computed


def test_fewer_batches_than_there_is_room_for_find_what_the_last_one_left(tiny_causal: Any) -> None:
    model = tiny_causal("llama", eos_token_id=None)
    texts = batches(3, 2, 1)
    cache = CachedRows(model, 2, 60, bf16=False, kept=2)
    found = cache.generate(texts[:4], NEW, after(1, 1, 9, 1))
    before = cache.computed
    found += cache.generate(texts[4:], NEW, never)
    assert found == [tokens[:length] for tokens, length in zip(alone(model, texts), (1, 1, 9, 1, 9, 9), strict=True)]
    # The last texts share 8 tokens with those before; the longer one sets the width of both.
    assert cache.computed - before == 2 * (len(texts[5]) - 8) + 2 * (NEW - 1)


class Conversions(TorchDispatchMode):
    """Counts the weights that are copied into another precision."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.weights = {id(weight) for weight in model.parameters()}
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._to_copy.default and id(args[0]) in self.weights:
            self.count += 1
        return func(*args, **kwargs or {})


def test_weights_are_converted_once_however_many_tokens_are_generated(tiny_causal: Any) -> None:
    model, texts = tiny_causal("llama", eos_token_id=None), batches(1, 1, 1)
    found = []
    for new in (2, 8):
        with Conversions(model) as seen:
            CachedRows(model, 1, 60, bf16=True).generate(texts, new, never)
        found.append(seen.count)
    assert found[0] == found[1] > 0
