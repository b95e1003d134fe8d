"""The settings of the search for LongRoPE's factors. Imports nothing heavy."""

from dataclasses import dataclass

from finewise.config import EMBEDS, ModelConfig, PlaceConfig, at_least, positive, setting
from longctx.rope_config import StretchConfig

STARTS = 3
"""Lists that a search begins with: those of position interpolation, NTK-aware and NTK by parts."""


@dataclass(slots=True, kw_only=True)
class SearchDataConfig:
    """Long documents: some to search by, others to prove the result on."""

    train: str = setting(
        "novels", "documents that lists are scored by: a file, a folder, package:MODULE/PATH, hub:NAME or novels"
    )
    test: str | None = setting(
        None,
        "other documents, for the table at the end (null: those of a folder's test file, or half of the documents of train)",
    )
    text: str = setting("text", "column with the document")
    pieces: int = setting(5, "pieces of train, each as long as the new window, that every list is scored by")
    test_pieces: int = setting(20, "pieces of test")

    def __post_init__(self) -> None:
        positive("data.pieces", self.pieces)
        at_least("data.test_pieces", self.test_pieces, 2)


@dataclass(slots=True, kw_only=True)
class SearchConfig:
    """How long to search; the paper's sizes are 64, 32, 16, 16, 40 and 0.3."""

    population: int = setting(16, "lists in the first generation")
    parents: int = setting(8, "best lists that the next generation is made from")
    mutations: int = setting(6, "new lists by mutation, in each generation")
    crossovers: int = setting(6, "new lists by crossover, in each generation")
    generations: int = setting(8, "how often new lists are made")
    probability: float = setting(0.3, "that a mutation changes a factor")

    def __post_init__(self) -> None:
        at_least("search.population", self.population, STARTS)
        at_least("search.parents", self.parents, 2)
        for key in ("mutations", "crossovers", "generations"):
            at_least(f"search.{key}", getattr(self, key), 0)
        if not 0 < self.probability <= 1:
            raise ValueError(f"search.probability must be above 0 and at most 1; got {self.probability:g}")

    @property
    def most(self) -> int:
        """How many lists are scored, if all differ."""
        return self.population + self.generations * (self.mutations + self.crossovers)


@dataclass(slots=True, kw_only=True)
class SearchRunConfig:
    """`python -m longctx.search`: factors for rope=longrope, found by perplexity, without training."""

    model: ModelConfig = setting(ModelConfig, "the language model: a folder, hub id, or .gguf file")
    stretch: StretchConfig = setting(StretchConfig, "how far the model is stretched")
    data: SearchDataConfig = setting(SearchDataConfig, "the documents")
    search: SearchConfig = setting(SearchConfig, "how long to search")
    run: PlaceConfig = setting(PlaceConfig, "where the record is kept, and what it runs on")
    seed: int = setting(42, "seed of the pieces and the search")
    resume: str = setting("never", "auto: finish this command's unfinished run, if there is one", ("never", "auto"))

    def __post_init__(self) -> None:
        at_least("seed", self.seed, 0)
        if self.stretch.factor is None and self.stretch.target is None:
            raise ValueError("stretch.factor or stretch.target must say how far to stretch")
        self.model.refuse_unread(EMBEDS, "is for embedding models and not read here")
