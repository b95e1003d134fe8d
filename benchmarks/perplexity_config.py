"""The settings of the perplexity benchmark. Imports nothing heavy."""

from dataclasses import dataclass

from finewise.config import at_least, positive, setting


@dataclass(slots=True, kw_only=True)
class PerplexityConfig:
    """Perplexity of held-out documents by length and by position."""

    data: str | None = setting(
        "novels", "documents: a file with a column of texts, package:MODULE/PATH, hub:NAME or novels (null: no perplexity)"
    )
    text: str = setting("text", "column with the document")
    lengths: list[int] = setting(
        list, "tokens that the model sees at most (empty: the trained window times 1, 2, 4, ... to the new)"
    )
    documents: int = setting(20, "pieces read per length")
    stride: float = setting(0.5, "sliding window: share of the window that is scored before it moves on (1: no overlap)")

    def __post_init__(self) -> None:
        for length in self.lengths:
            at_least("perplexity.lengths", length, 8)
        positive("perplexity.documents", self.documents)
        if not 0 < self.stride <= 1:
            raise ValueError(f"perplexity.stride must be above 0 and at most 1; got {self.stride}")
