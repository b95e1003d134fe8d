"""How a document that is longer than the model's limit is read: its head, head and tail, or windows whose logits are pooled.

The configuration of a model keeps it under `reading`, as a plain dictionary, so that a saved model reads as it was trained.
With windows, a batch has a row per window and says under DOCUMENTS whose they are; `read_windows` lets the model give one row
of logits per document, in training as in prediction: the loss sees documents, and a long one counts as much as a short one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from types import MethodType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from classify.reading_config import ReadingConfig
from finewise.errors import InputError

FIELD = "reading"
"""Under which name a model's configuration keeps the settings."""

DOCUMENTS = "documents"
"""Under which name a batch of windows says of which document (B) each row is: (W,) int64, rising, without a gap."""

Ids = Sequence[int] | NDArray[np.int32]

FEWEST = 4
"""Tokens of the text itself that must fit beside special tokens and prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Cuts the uncut token ids of texts as the settings say; `how` is not "head", which is the tokenizer's own way.

    Attributes:
        config: The settings.
        before: Special tokens and tokens of the prompt that every window begins with.
        after: Special tokens that every window ends with.
        room: Tokens of the text itself that fit into a window.
    """

    config: ReadingConfig
    before: int
    after: int
    room: int

    @classmethod
    def of(cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Self | None:
        """Return the reader of a model whose configuration names one; None if texts are just cut at the limit.

        Raises:
            InputError: The limit leaves no room for a text, or a stride would pass over some of it.
        """
        config = reading_of(model.config)
        if config.how == "head":
            return None
        before, after = _special(tokenizer)
        prompt = getattr(model.config, "prompt", "").rstrip()  # a space at its end may be a part of the next token
        if prompt:
            before += len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        limit = tokenizer.model_max_length
        if config.window is not None and config.window > limit:
            raise InputError(f"reading.window must be at most {limit}, the model's limit; got {config.window}")
        size = config.window or limit
        room = size - before - after
        if room < FEWEST:
            key = "model.max_seq_length" if config.window is None else "reading.window"
            raise InputError(f"{key}={size} leaves no room for a text: special tokens and prompt take {before + after}")
        if config.stride is not None and config.stride > room:
            raise InputError(
                f"reading.stride must be at most {room}, the tokens of the text in a window; got {config.stride}"
            )
        return cls(config=config, before=before, after=after, room=room)

    def spans(self, count: int) -> list[tuple[int, int]]:
        """Return which tokens of a text of `count` are read: with chunks a span per window, else the parts of one window."""
        if count <= self.room:
            return [(0, count)]
        if self.config.how == "head_tail":
            head = min(max(1, round(self.config.head_share * self.room)), self.room - 1)
            return [(0, head), (count - (self.room - head), count)]
        stride = self.config.stride or max(1, self.room * 3 // 4)
        windows = min(1 + -(-(count - self.room) // stride), self.config.max_chunks)
        # The last one ends with the text. More than max_chunks would be needed: those that are left lie evenly.
        starts = np.linspace(0, count - self.room, windows).round().astype(int).tolist() if windows > 1 else [0]
        return [(start, start + self.room) for start in starts]

    def windows(self, ids: Ids) -> list[list[int]]:
        """Return the windows of a text, each with the special tokens and the prompt, from its ids uncut."""
        whole: list[int] = np.asarray(ids).tolist()
        end = len(whole) - self.after
        start = min(self.before, end)  # prompt and text may share a token
        first, text, last = whole[:start], whole[start:end], whole[end:]
        parts = [text[low:high] for low, high in self.spans(len(text))]
        if self.config.how == "head_tail":
            parts = [[one for part in parts for one in part]]
        return [first + part + last for part in parts]

    def rows(self, texts: Iterable[Ids], names: Sequence[str]) -> dict[str, list[Any]]:
        """Return what the model takes, without padding: a row per window.

        Args:
            texts: The ids of B texts, uncut.
            names: What the tokenizer gives (`model_input_names`).
        """
        read = [self.windows(ids) for ids in texts]
        ids = [window for windows in read for window in windows]
        made = {
            "input_ids": ids,
            "token_type_ids": [[0] * len(row) for row in ids],
            "attention_mask": [[1] * len(row) for row in ids],
        }
        rows: dict[str, list[Any]] = {name: made[name] for name in names if name in made}
        if self.config.how == "chunks":
            rows[DOCUMENTS] = [number for number, windows in enumerate(read) for _ in windows]
        return rows


def set_reading(model: PreTrainedModel, config: ReadingConfig) -> None:
    """Let a model's configuration say how texts are read."""
    if config.how != "head":
        used = ("how", "head_share") if config.how == "head_tail" else ("how", "window", "stride", "max_chunks", "pool")
        setattr(model.config, FIELD, {key: value for key, value in asdict(config).items() if key in used})
    elif hasattr(model.config, FIELD):
        delattr(model.config, FIELD)


def reading_of(config: PretrainedConfig) -> ReadingConfig:
    """Return what a model's configuration says of reading."""
    return ReadingConfig(**getattr(config, FIELD, {}))


def read_windows(model: PreTrainedModel) -> None:
    """Let a model pool the logits of windows into those of documents, where a batch has DOCUMENTS; it saves what it saved."""
    model.forward = MethodType(_forward, model)
    # The Trainer takes a signature with any keywords for one that takes its own.
    model.accepts_loss_kwargs = False  # type: ignore[assignment]  # a module's attributes are not declared


def _forward(self: PreTrainedModel, *args: Any, documents: Tensor | None = None, **kwargs: Any) -> Any:
    output = type(self).forward(self, *args, **kwargs)
    if documents is not None:
        multi = self.config.problem_type == "multi_label_classification"
        output["logits"] = pool(output["logits"], documents, reading_of(self.config).pool, multi=multi)
    return output


def pool(logits: Tensor, documents: Tensor, how: str, *, multi: bool) -> Tensor:
    """Return the logits (B, K) of documents from those of their windows (W, K).

    Args:
        logits: Of the windows.
        documents: (W,) the document of each, from 0 to B - 1.
        how: "mean" of the logits, "max" of each label, or the logits of the mean "probabilities".
        multi: Whether a probability is the sigmoid of its logit; else the softmax of all.
    """
    logits = logits.float()
    count = int(documents[-1]) + 1
    rows = documents[:, None].expand_as(logits)

    def reduced(values: Tensor, by: str) -> Tensor:
        empty = values.new_zeros(count, values.shape[1])
        return empty.scatter_reduce(0, rows, values, by, include_self=False)

    if how == "max":
        return reduced(logits, "amax")
    if how == "mean":
        return reduced(logits, "mean")

    def log_mean(logs: Tensor) -> Tensor:
        """Return log(mean(exp(logs))) of each document's windows, without leaving the logs' range."""
        top = reduced(logs.detach(), "amax")
        return reduced((logs - top.gather(0, rows)).exp(), "mean").log() + top

    if multi:  # logit(p) = log p - log(1 - p), and 1 - sigmoid(x) = sigmoid(-x)
        return log_mean(functional.logsigmoid(logits)) - log_mean(functional.logsigmoid(-logits))
    return log_mean(functional.log_softmax(logits, dim=1))


def mean_of_documents(vectors: Tensor, documents: Tensor) -> Tensor:
    """Return the mean (B, D) of the windows' vectors (W, D); `documents` as in `pool`."""
    return pool(vectors, documents, "mean", multi=False)


def _special(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """Return how many special tokens stand before and behind a text."""
    whole: list[int] = tokenizer("a")["input_ids"]
    bare: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
    before = next(place for place in range(len(whole)) if whole[place : place + len(bare)] == bare)
    return before, len(whole) - before - len(bare)
