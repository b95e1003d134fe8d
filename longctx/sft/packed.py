"""Chats laid one behind the other into rows of the window, and how a batch of them keeps each apart.

A row's positions begin anew with every chat. Where the attention mask is None and nothing is cached, transformers' SDPA and
eager attention read from that which tokens belong together (transformers.masking_utils.find_packed_sequence_indices); for
flash attention the borders are passed as TRL's own collator does it. Padding goes on counting behind the last chat: nothing
looks ahead, so it needs no mask, and a batch without packed rows takes the fast path of plain causal attention.

TRL's collator for packed rows lays all rows of a batch into one. Without flash attention that costs the square of the whole
batch: 8 rows of 1,024 tokens are 64 times 1,024² scores in a layer and head instead of 8 times. So it is used with flash
attention alone.
"""

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from finewise.device import autocast
from finewise.features import ROW
from longctx.sft.rows import ChatRows

IGNORED = -100
TOLERANCE, NOISE = 1e-5, 20
"""Logits of a packed chat may differ from those of the chat alone by this part of the largest one, or by so many times what
other kernels for the same chat differ by."""


def packs(lengths: NDArray[np.int64], window: int, most: int | None = None) -> list[list[int]]:
    """Lay rows into packs of at most `window` tokens, best fit, longest first (Johnson 1973: at most 11/9 of the fewest packs).

    Args:
        lengths: (N,) tokens of each row, none above the window.
        window: See above.
        most: Rows of a pack at most; None: as many as fit.

    Returns:
        Lists of row numbers, together a permutation of range(N).

    >>> packs(np.array([3, 9, 4, 1]), 10)
    [[1, 3], [2, 0]]
    """
    found: list[list[int]] = []
    space: list[tuple[int, int]] = []  # free tokens and number of every pack that is not full, sorted
    for row in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[row])
        place = bisect_left(space, (length, -1))
        if place < len(space):
            free, number = space.pop(place)
            found[number].append(row)
        else:
            free, number = window, len(found)
            found.append([row])
        if free > length and (most is None or len(found[number]) < most):
            insort(space, (free - length, number))
    return found


def packs_per_step(rows: int, packs: int, batch_size: int) -> int:
    """Return how many packs hold about as many rows as a batch has, so that packing does not change the number of steps.

    >>> packs_per_step(100, 100, 8), packs_per_step(100, 50, 8), packs_per_step(100, 10, 8)
    (8, 4, 1)
    """
    return max(1, round(batch_size * packs / rows))


def keeps_chats_apart(model: PreTrainedModel) -> bool:
    """Try two chats in one row; return whether the model gives the second one the logits that it gives it alone.

    Attention keeps packed chats apart by their positions; convolutional and recurrent layers read across the border.
    """
    size = min(24, int(getattr(model.config.get_text_config(), "max_position_embeddings", 48)) // 2)
    vocabulary = int(model.config.get_text_config().vocab_size)
    ids = 1 + torch.arange(2 * size, device=model.device)[None] * 7 % max(1, vocabulary - 1)
    positions = torch.arange(size, device=model.device).repeat(2)[None]
    training = model.training
    torch.nn.Module.eval(model)
    flash = "flash" in str(model.config._attn_implementation)

    def logits(ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = model(input_ids=ids, position_ids=positions, use_cache=False).logits[0]
        return found.float()

    try:
        with torch.no_grad(), autocast(flash, str(model.device)):
            packed = logits(ids, positions)[size:]
            alone = logits(ids[:, size:], positions[:, size:])
            # Tokens behind it change nothing either, but for rounding.
            longer = logits(ids.roll(size), torch.arange(2 * size, device=model.device)[None])[:size]
    except (TypeError, ValueError, RuntimeError, IndexError):  # its own code takes no such row
        return False
    finally:
        model.train(training)
    largest = float(alone.abs().max().clamp_min(1e-6))
    far, noise = (float((other - alone).abs().max()) / largest for other in (packed, longer))
    return far <= max(TOLERANCE, NOISE * noise)


@dataclass(frozen=True, slots=True, eq=False)
class Collator:
    """Makes a batch from the numbers of packs.

    Attributes:
        rows: The chats.
        packs: Which of them are together.
        flash: Whether the model computes flash attention.
    """

    rows: ChatRows
    packs: Sequence[Sequence[int]]
    flash: bool = False

    def __call__(self, numbers: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        """Return input_ids, position_ids and labels, (B, T), without a mask; and the counts `texts` and `tokens`."""
        chosen = [self.packs[int(one[ROW])] for one in numbers]
        lengths = self.rows.lengths
        counts = {"texts": sum(map(len, chosen)), "tokens": int(sum(lengths[pack].sum() for pack in map(list, chosen)))}
        parts = [[self._labelled(row) for row in pack] for pack in chosen]
        if self.flash:
            examples = [
                {
                    "input_ids": np.concatenate([ids for ids, _ in pack]),
                    "labels": np.concatenate([labels for _, labels in pack]),
                    "seq_lengths": [len(ids) for ids, _ in pack],
                }
                for pack in parts
            ]
            return dict(DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)(examples)) | counts
        width = max(sum(len(ids) for ids, _ in pack) for pack in parts)
        ids = np.zeros((len(parts), width), np.int64)
        labels = np.full_like(ids, IGNORED)
        positions = np.zeros_like(ids)
        for line, pack in enumerate(parts):
            start = 0
            for one, told in pack:
                ids[line, start : start + len(one)] = one
                labels[line, start : start + len(one)] = told
                positions[line, start:] = np.arange(width - start)
                start += len(one)
        made = {"input_ids": ids, "position_ids": positions, "labels": labels}
        return {key: torch.from_numpy(value) for key, value in made.items()} | counts

    def _labelled(self, row: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        ids, learnt = self.rows.tokens(row)
        labels = np.where(learnt, ids, IGNORED).astype(np.int64)
        labels[0] = IGNORED  # the token before it is another chat's
        return ids.astype(np.int64), labels
