"""The settings of the perplexity benchmark. Imports nothing heavy."""

from dataclasses import dataclass

from finewise.config import EMBEDS, ModelConfig, PlaceConfig, at_least, positive, setting


@dataclass(slots=True, kw_only=True)
class PerplexityConfig:
    """Perplexity of held-out documents by length and by position."""

    data: str | None = setting(
        "novels",
        "documents: a file, a folder with a test file, package:MODULE/PATH, hub:NAME or novels (null: only what a training "
        "holds back for test)",
    )
    text: str = setting("text", "column with the document")
    lengths: list[int] = setting(
        list, "tokens that the model sees at most (empty: the trained window times 1, 2, 4, ... to the new)"
    )
    documents: int = setting(
        20,
        "pieces that are read, each as long as the longest window; as many documents as possible, one piece of each first",
    )
    stride: float = setting(
        0.5,
        "sliding window: by which share of it each next one moves on; only its new tokens are scored (1: no overlap)",
    )

    def __post_init__(self) -> None:
        for length in self.lengths:
            at_least("perplexity.lengths", length, 8)
        positive("perplexity.documents", self.documents)
        if not 0 < self.stride <= 1:
            raise ValueError(f"perplexity.stride must be above 0 and at most 1; got {self.stride}")


@dataclass(slots=True, kw_only=True)
class PerplexityRunConfig:
    """`python -m benchmarks.perplexity`: the perplexity of a language model, without training."""

    model: ModelConfig = setting(ModelConfig, "the language model: hub id, local folder, or package:MODULE/PATH")
    perplexity: PerplexityConfig = setting(PerplexityConfig, "the documents, and how much of them is read")
    run: PlaceConfig = setting(PlaceConfig, "where the record is kept, and what it runs on")
    seed: int = setting(42, "seed of the pieces")

    def __post_init__(self) -> None:
        if self.perplexity.data is None:
            raise ValueError("perplexity.data must name the documents; got null")
        self.model.refuse_unread(EMBEDS, "is for embedding models (perplexity.lengths says how far to read)")
