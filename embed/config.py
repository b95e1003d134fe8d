"""The settings of the embedding branch."""

from dataclasses import dataclass

from benchmarks.config import BenchmarkConfig, ScoringConfig
from benchmarks.metrics.ranking import check_depth, check_metric
from finewise.config import DataConfig, ExperimentConfig, at_least, positive, setting


@dataclass(slots=True, kw_only=True)
class LossConfig:
    """Base of all losses; each is one row of the group `loss`."""

    def needs(self) -> tuple[str, ...]:
        """Columns that the loss cannot do without."""
        return ("anchor", "positive")


@dataclass(slots=True, kw_only=True)
class MultipleNegativesRanking(LossConfig):
    """InfoNCE over the other texts of the batch (van den Oord et al. 2018)."""

    temperature: float = setting(0.05, "similarities are divided by this")
    symmetric: bool = setting(True, "also rank the anchors for each positive")
    mask_known_positives: bool = setting(True, "a known positive of an anchor is never its negative")

    def __post_init__(self) -> None:
        positive("loss.temperature", self.temperature)


@dataclass(slots=True, kw_only=True)
class CachedMultipleNegativesRanking(MultipleNegativesRanking):
    """The same loss for batches of thousands in little memory: gradients are cached (Gao et al. 2021)."""

    mini_batch_tokens: int = setting(8192, "tokens embedded at a time; bounds the memory, does not change the loss")

    def __post_init__(self) -> None:
        MultipleNegativesRanking.__post_init__(self)
        positive("loss.mini_batch_tokens", self.mini_batch_tokens)


@dataclass(slots=True, kw_only=True)
class CoSENT(LossConfig):
    """Ranks the pairs of a batch by their scores (Su 2022)."""

    temperature: float = setting(0.05, "similarities are divided by this")

    def __post_init__(self) -> None:
        positive("loss.temperature", self.temperature)

    def needs(self) -> tuple[str, ...]:
        """Columns that the loss cannot do without."""
        return ("anchor", "positive", "score")


@dataclass(slots=True, kw_only=True)
class Triplet(LossConfig):
    """Anchor closer to the positive than to the negative, by a margin."""

    margin: float = setting(0.3, "how much closer")
    distance: str = setting("cosine", "distance between embeddings", ("cosine", "euclidean", "manhattan"))

    def __post_init__(self) -> None:
        positive("loss.margin", self.margin)

    def needs(self) -> tuple[str, ...]:
        """Columns that the loss cannot do without."""
        return ("anchor", "positive", "negative")


LOSSES: dict[str, type[LossConfig]] = {
    "mnrl": MultipleNegativesRanking,
    "cached_mnrl": CachedMultipleNegativesRanking,
    "cosent": CoSENT,
    "triplet": Triplet,
}
"""The group `loss`: what can stand in `loss=...`."""


@dataclass(slots=True, kw_only=True)
class MatryoshkaConfig:
    """Matryoshka representation learning around the loss (Kusupati et al. 2022)."""

    dims: list[int] = setting(list, "also train these leading dimensions, such as [384,256,128,64] (empty: off)")
    weights: list[float] = setting(list, "weight of each (empty: all 1)")

    def __post_init__(self) -> None:
        for dim in self.dims:
            at_least("matryoshka.dims", dim, 1)
        if self.weights and len(self.weights) != len(self.dims):
            raise ValueError(
                f"matryoshka.weights must have one weight per dimension; got {len(self.weights)} for {len(self.dims)} dims"
            )
        if self.weights and not self.dims:
            raise ValueError("matryoshka.weights is set but matryoshka.dims is empty; set both or neither")


@dataclass(slots=True, kw_only=True)
class EmbedExperiment(ExperimentConfig):
    """One embedding experiment."""

    data: DataConfig = setting(DataConfig, "the data")
    loss: LossConfig = setting(MultipleNegativesRanking, "the loss: loss=mnrl, cached_mnrl, cosent or triplet")
    matryoshka: MatryoshkaConfig = setting(MatryoshkaConfig, "train leading dimensions too")
    sampler: str = setting(
        "no_known_positives",
        "how batches of losses with in-batch negatives are drawn: no_known_positives keeps known positives apart",
        ("no_known_positives", "random"),
    )
    benchmarks: dict[str, BenchmarkConfig] = setting(dict, "scored at the end besides the data's own test split")
    own_test: bool = setting(True, "score the data's own test split")
    scoring: ScoringConfig = setting(ScoringConfig, "how results are computed")

    def __post_init__(self) -> None:
        ExperimentConfig.__post_init__(self)
        check_metric(self.selection.metric)
        check_depth([self.selection.metric], self.scoring.depth)
        if self.model.name == "bm25":
            raise ValueError("model.name=bm25 cannot be trained; it is scored beside every model anyway")
        in_batch = isinstance(self.loss, MultipleNegativesRanking)
        if self.optim.gradient_accumulation_steps > 1 and not isinstance(self.loss, Triplet):
            raise ValueError(
                "optim.gradient_accumulation_steps must be 1 with this loss: accumulation does not enlarge the set of "
                "negatives (or pairs) that a text is compared with; for a larger batch in the same memory use "
                f"loss=cached_mnrl optim.batch_size={self.optim.batch_size * self.optim.gradient_accumulation_steps}"
            )
        if in_batch and self.optim.batch_size < 2:
            raise ValueError(
                "optim.batch_size must be at least 2 with this loss: the other texts of the batch are the negatives; "
                f"got {self.optim.batch_size}"
            )
        if not in_batch and self.sampler == "random":
            name = next(key for key, kind in LOSSES.items() if type(self.loss) is kind)
            raise ValueError(
                f"sampler=random has no effect with loss={name}, which has no in-batch negatives: its batches are drawn at "
                "random anyway; leave it out"
            )
        if not self.own_test and not self.benchmarks:
            raise ValueError(
                "own_test=false leaves nothing to score: add a benchmark (+benchmark@benchmarks.debtags=debtags)"
            )
