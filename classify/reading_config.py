"""The settings of how a document is read that is longer than the model's limit. Imports nothing heavy."""

from dataclasses import dataclass

from finewise.config import at_least, setting


@dataclass(slots=True, kw_only=True)
class ReadingConfig:
    """Which tokens of a long document the classifier sees. A text within the limit is read whole in any case."""

    how: str = setting(
        "head",
        "of a text longer than model.max_seq_length: its head (the rest is cut), head_tail (its head and its tail, Sun et al. "
        "2019), or chunks (windows all over it, pooled)",
        ("head", "head_tail", "chunks"),
    )
    head_share: float = setting(0.25, "how=head_tail: share of the tokens that is taken from the head")
    window: int | None = setting(
        None, "how=chunks: tokens of a window, special ones and prompt included (null: model.max_seq_length)"
    )
    stride: int | None = setting(
        None,
        "how=chunks: tokens from the start of a window to that of the next (null: three quarters of a window's text)",
    )
    max_chunks: int = setting(8, "how=chunks: at most this many windows of a document, spread evenly over it")
    pool: str = setting(
        "mean",
        "how=chunks: a document's logits are the mean of its windows' logits, the largest of each label (max), or those of "
        "the mean probabilities",
        ("mean", "max", "probabilities"),
    )

    def __post_init__(self) -> None:
        if not 0 < self.head_share < 1:
            raise ValueError(f"reading.head_share must be between 0 and 1; got {self.head_share}")
        at_least("reading.window", self.window, 8)
        at_least("reading.stride", self.stride, 1)
        at_least("reading.max_chunks", self.max_chunks, 1)
        for key, (how, default) in _ONLY.items():
            if self.how != how and getattr(self, key) != default:
                raise ValueError(
                    f"reading.{key} has no effect with reading.how={self.how}; remove it, or set how={how}"
                )


_ONLY = {
    "head_share": ("head_tail", 0.25),
    "window": ("chunks", None),
    "stride": ("chunks", None),
    "max_chunks": ("chunks", 8),
    "pool": ("chunks", "mean"),
}
"""Settings that one way of reading has: which, and the default."""
