"""Texts read side by side under one key-value cache, which keeps what the next texts begin with.

All rows begin at column 0, so that a token's column is its position and no real token ever sees padding, which stands behind
the shorter rows. When the next texts come, row by row the longest common run of *tokens* is looked for (equal text can be cut
into other tokens), the cache is rewound to the shortest of these runs, and only the rest is computed.

To generate, texts are read batch by batch, each into rows of its own, to which the common run is copied; then all batches go on
together, since a step costs little more for many rows than for few. What is generated is written behind the longest row; a
mask hides the columns between a row's end and there.

Shapes: B rows read side by side, K batches kept, W wanted positions, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer

from finewise.device import autocast

Tokens = NDArray[np.int64]

ORDER_DEPENDENT = ("dynamic", "longrope")
"""Positions whose frequencies follow the length that was read: a cache filled piece by piece would be turned otherwise."""

CHUNK_TOKENS = {"cpu": 1024}
"""Tokens of all rows computed at a time: bounds the activations and the mask, on others than these `CHUNK_TOKENS_ELSEWHERE`.
On a CPU so few that the activations stay in its caches."""
CHUNK_TOKENS_ELSEWHERE = 16384


class Columns(DynamicLayer):  # type: ignore[no-untyped-call]
    """One layer's keys and values in columns that are allocated once: growing copies nothing, and rewinding is a number.

    A sliding-window layer keeps all columns too; the model's mask hides the far ones.

    Attributes:
        rows: Those that the model computes now, of all that there are.
        used: Their columns in use.
    """

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.size = rows, columns
        self.rows = slice(0, rows)
        self.used = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate for the heads that the first call brings."""
        self.dtype, self.device = key_states.dtype, key_states.device
        rows, columns = self.size
        self.keys, self.values = (
            states.new_empty(rows, states.shape[1], columns, states.shape[-1]) for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write behind what the rows hold; return all that they hold, (rows, heads, used, D) each."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        begin, self.used = self.used, self.used + key_states.shape[-2]
        assert self.used <= self.size[1]
        self.keys[self.rows, :, begin : self.used] = key_states
        self.values[self.rows, :, begin : self.used] = value_states
        return self.keys[self.rows, :, : self.used], self.values[self.rows, :, : self.used]

    def select(self, rows: slice, used: int, like: slice | list[int]) -> None:
        """Compute these rows from now on, behind so many columns that are those of the rows `like`."""
        if self.is_initialized and rows != like:
            for states in (self.keys, self.values):
                assert states is not None
                states[rows, :, :used] = states[like, :, :used]
        self.rows, self.used = rows, used

    def get_seq_length(self) -> int:
        """Return the columns in use."""
        return self.used


def kind_of(config: PretrainedConfig) -> str:
    """Return how texts of this model can be read.

    Returns:
        "shared": in a batch, and what texts begin with is computed once; "single": the same, one row at a time (distances in a
        sliding window are counted in columns, which padding would shift); "whole": each text by itself and in one piece.
    """
    layers = DynamicCache(config=config).layers
    if not {type(layer) for layer in layers} <= {DynamicLayer, DynamicSlidingWindowLayer}:
        return "whole"
    if rope_types(config) & set(ORDER_DEPENDENT):
        return "whole"
    return "single" if any(isinstance(layer, DynamicSlidingWindowLayer) for layer in layers) else "shared"


def rope_types(config: PretrainedConfig) -> set[str]:
    """Return the types of rotary positions that the layers have; none for a model without."""
    parameters = getattr(config.get_text_config(decoder=True), "rope_parameters", None) or {}
    nested = [row for row in parameters.values() if isinstance(row, dict)]
    return {str(row.get("rope_type", "default")) for row in (nested or [parameters] if parameters else [])}


def chunk_columns(device: str, rows: int) -> int:
    """Return how many columns are computed at a time, on a kind of device and for so many rows."""
    return max(128, CHUNK_TOKENS.get(device, CHUNK_TOKENS_ELSEWHERE) // rows)


class CachedRows:
    """Rows of a model's texts, B of which are read side by side.

    Attributes:
        computed: Tokens that went through the model so far, padding included.
    """

    def __init__(self, model: PreTrainedModel, rows: int, columns: int, *, bf16: bool, kept: int = 1) -> None:
        """Make room.

        Args:
            model: In evaluation mode.
            rows: B; 1 unless `kind_of` its configuration is "shared".
            columns: The most tokens that a row will ever hold, generated ones included.
            bf16: Compute under autocast.
            kept: K, the most batches of B texts that go on together; 1 unless `kind_of` is "shared".
        """
        self.model = model
        self.rows = rows
        self.bf16 = bf16
        self.kept = kept
        self.computed = 0
        self._device = model.device
        self._whole = kind_of(model.config) == "whole"
        self._chunk = columns if self._whole else chunk_columns(self._device.type, rows)
        count = model.config.get_text_config(decoder=True).num_hidden_layers
        self._layers = [Columns(kept * rows, columns) for _ in range(count)]
        self._cache = Cache(layers=[*self._layers])
        self._texts: list[Tokens] = [np.empty(0, np.int64)] * (kept * rows)
        self._last = self._place(kept - 1)

    @torch.no_grad()
    def read(self, texts: Sequence[Tokens], wanted: Sequence[range]) -> list[Tensor]:
        """Read the next texts.

        Args:
            texts: B rows of tokens.
            wanted: Per row the positions after which the next token is asked for.

        Returns:
            Per row the logits (W, V).
        """
        with autocast(self.bf16, str(self._device)):
            return self._read(texts, wanted, max(len(text) for text in texts), self.kept - 1)

    @torch.no_grad()
    def generate(self, texts: Sequence[Tokens], most: int, ends: Callable[[int, list[int]], bool]) -> list[list[int]]:
        """Read the next texts batch by batch, and go on greedily with all of them.

        Args:
            texts: Up to K batches, each B rows of tokens.
            most: Tokens per row at most.
            ends: Told (row, tokens so far) after each token: whether the row has ended.

        Returns:
            Per row the new tokens, the one that ended it included.
        """
        # Around all steps: autocast keeps the weights that it has converted until its outermost block ends, and under no_grad
        # alone: with inference_mode it would convert them again for each token.
        with autocast(self.bf16, str(self._device)):
            stop = max(len(text) for text in texts)
            last: list[Tensor] = []
            # The last batch goes to the last place, where the next one looks for what it begins with.
            for batch in range(self.kept - len(texts) // self.rows, self.kept):
                here = texts[len(last) : len(last) + self.rows]
                last += self._read(here, [range(len(text) - 1, len(text)) for text in here], stop, batch)
            return self._go_on(texts, torch.stack([row[-1] for row in last]).argmax(-1), most, ends)

    def _read(self, texts: Sequence[Tokens], wanted: Sequence[range], stop: int, batch: int) -> list[Tensor]:
        """Read texts, padded up to the column `stop`, as the batch of this number."""
        assert len(texts) == self.rows
        before, self._last = self._last, self._place(batch)
        shared = [common(old, new) for old, new in zip(self._texts[before], texts, strict=True)]
        start = 0 if self._whole else min([*shared, *(each.start for each in wanted)])
        if self._whole:
            self._cache = DynamicCache(config=self.model.config)
        self._select(self._last, start, before)
        self._texts[self._last] = texts
        ids = np.zeros((self.rows, stop - start), np.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text) - start] = text[start:]
        given = torch.from_numpy(ids).to(self._device)
        found: list[list[Tensor]] = [[] for _ in texts]
        for begin in range(start, stop, self._chunk):
            end = min(begin + self._chunk, stop)
            here = [range(max(each.start, begin), min(each.stop, end)) for each in wanted]
            width = max(len(each) for each in here)
            keep: int | Tensor = 1
            if width:
                columns = [
                    [*(each.start + k - begin for k in range(len(each))), *[0] * (width - len(each))] for each in here
                ]
                keep = torch.tensor(columns, device=self._device)
            logits = self._forward(given[:, begin - start : end - start], logits_to_keep=keep)
            for row, each in enumerate(here):
                if len(each):
                    found[row].append(logits[row, : len(each)])
        return [torch.cat(parts) for parts in found]

    def _go_on(
        self, texts: Sequence[Tokens], tokens: Tensor, most: int, ends: Callable[[int, list[int]], bool]
    ) -> list[list[int]]:
        """Go on from the texts in the last places; their next tokens (rows,) are known."""
        lengths = torch.tensor([len(text) for text in texts], device=self._device)
        stop = int(lengths.max())
        # Columns between a row's end and the longest row's hold padding; what is generated comes after.
        columns = torch.arange(stop + most, device=self._device)[None]
        mask = ((columns < lengths[:, None]) | (columns >= stop)).long()
        places = slice(len(self._texts) - len(texts), len(self._texts))
        self._select(places, stop, places)
        found: list[list[int]] = [[] for _ in texts]
        rows = list(range(len(texts)))
        open_rows = set(rows)
        for step in range(most):
            for row, token in zip(rows, tokens.tolist(), strict=True):
                if row in open_rows:
                    found[row].append(token)
                    if ends(row, found[row]):
                        open_rows.remove(row)
            if not open_rows or step == most - 1:
                break
            if 2 * len(open_rows) <= len(rows):
                # The open rows move to the first places: the last one of several batches stays where it is.
                at = [number for number, row in enumerate(rows) if row in open_rows]
                rows, tokens, lengths, mask = [rows[number] for number in at], tokens[at], lengths[at], mask[at]
                like = [places.start + number for number in at]
                places = slice(places.start, places.start + len(at))
                self._texts[places] = [self._texts[place] for place in like]
                self._select(places, stop + step, like)
            logits = self._forward(
                tokens[:, None],
                position_ids=(lengths + step)[:, None],
                attention_mask=mask[:, : stop + step + 1],
                logits_to_keep=1,
            )
            tokens = logits[:, -1].argmax(-1)
        return found

    def _forward(self, ids: Tensor, **more: Any) -> Tensor:
        self.computed += ids.numel()
        out: Tensor = self.model(input_ids=ids, past_key_values=self._cache, use_cache=True, **more).logits
        return out

    def _place(self, batch: int) -> slice:
        return slice(batch * self.rows, (batch + 1) * self.rows)

    def _select(self, places: slice, used: int, like: slice | list[int]) -> None:
        """Compute the rows at these places from now on, behind so many columns that are those of the rows `like`."""
        for layer in self._layers:
            layer.select(places, used, like)


def common(old: Tokens, new: Tokens) -> int:
    """Return how many tokens two texts begin with in common.

    >>> common(np.array([1, 2, 3]), np.array([1, 2, 4, 5])), common(np.array([1]), np.array([1, 2]))
    (2, 1)
    """
    size = min(len(old), len(new))
    different = np.flatnonzero(old[:size] != new[:size])
    return int(different[0]) if len(different) else size


def tokens_of(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool = True) -> Tokens:
    """Return a text's tokens, without an end-of-text token that the tokenizer may put behind them.

    Args:
        tokenizer: The model's.
        text: Any.
        special: Put before it what the tokenizer puts before texts.
    """
    tokens: list[int] = tokenizer(text, add_special_tokens=special, truncation=False, verbose=False)["input_ids"]
    if special and tokens and tokens[-1] == tokenizer.eos_token_id and not text.endswith(str(tokenizer.eos_token)):
        tokens = tokens[:-1]
    return np.asarray(tokens, np.int64)
