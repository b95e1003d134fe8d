"""The settings of contrastive training: the losses, and Matryoshka dimensions around them."""

from collections.abc import Mapping
from dataclasses import dataclass

from finewise.config import SIMILARITIES, OptimConfig, at_least, positive, setting


@dataclass(slots=True, kw_only=True)
class LossConfig:
    """Base of all losses; each is one row of the group `loss`."""

    def needs(self) -> tuple[str, ...]:
        """Columns that the loss cannot do without."""
        return ("anchor", "positive")


@dataclass(slots=True, kw_only=True)
class MultipleNegativesRanking(LossConfig):
    """InfoNCE over the other texts of the batch (van den Oord et al. 2018)."""

    temperature: float | None = setting(
        None, "similarities are divided by this (null: 0.05 for cosines and unit vectors, 1 for other similarities)"
    )
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

    temperature: float | None = setting(
        None, "similarities are divided by this (null: 0.05 for cosines and unit vectors, 1 for other similarities)"
    )

    def __post_init__(self) -> None:
        positive("loss.temperature", self.temperature)

    def needs(self) -> tuple[str, ...]:
        """Columns that the loss cannot do without."""
        return ("anchor", "positive", "score")


@dataclass(slots=True, kw_only=True)
class Triplet(LossConfig):
    """Anchor closer to the positive than to the negative, by a margin."""

    margin: float | None = setting(
        None, "how much closer (null: 0.3 for cosines and unit vectors, 5 for other distances)"
    )
    distance: str | None = setting(
        None, "distance between embeddings (null: by the model's own similarity)", SIMILARITIES
    )

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


def check_batches(
    loss: LossConfig,
    sampler: str,
    optim: OptimConfig,
    *,
    above: str = "",
    losses: Mapping[str, type[LossConfig]] = LOSSES,
) -> None:
    """Raise unless loss, sampler and optimiser go together; an experiment calls it.

    Args:
        loss: The loss.
        sampler: How batches of losses with in-batch negatives are drawn.
        optim: How the weights are moved.
        above: What stands before `loss` and `sampler` in their keys, such as "objective.".
        losses: What may stand in `loss`.
    """
    in_batch = isinstance(loss, MultipleNegativesRanking)
    if optim.gradient_accumulation_steps > 1 and not isinstance(loss, Triplet):
        larger = f"optim.batch_size={optim.batch_size * optim.gradient_accumulation_steps}"
        cached = next((name for name, kind in losses.items() if kind is CachedMultipleNegativesRanking), None)
        raise ValueError(
            "optim.gradient_accumulation_steps must be 1 with this loss: accumulation does not enlarge the set of "
            "negatives (or pairs) that a text is compared with; for a larger batch in the same memory use "
            + (f"{above}loss={cached} {larger}" if cached else f"recompute=always {larger}")
        )
    if in_batch and optim.batch_size < 2:
        raise ValueError(
            "optim.batch_size must be at least 2 with this loss: the other texts of the batch are the negatives; "
            f"got {optim.batch_size}"
        )
    if not in_batch and sampler == "random":
        name = next(name for name, kind in losses.items() if type(loss) is kind)
        raise ValueError(
            f"{above}sampler=random has no effect with {above}loss={name}, which has no in-batch negatives: its batches are "
            "drawn at random anyway; leave it out"
        )
