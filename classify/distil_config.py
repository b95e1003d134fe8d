"""The settings of distillation. Imports nothing heavy."""

from dataclasses import dataclass

from finewise.config import MISSING, at_least, positive, setting


@dataclass(slots=True, kw_only=True)
class SoftLabelsConfig:
    """What a student learns from its teacher."""

    teacher: str = setting(MISSING, "folder or hub id of a trained classifier with the same labels, such as RUN/model")
    temperature: float = setting(
        2.0, "logits of both are divided by it in the soft loss: above 1 says more of the unlikely"
    )
    alpha: float = setting(0.7, "weight of the teacher's probabilities; the rows' own labels get the rest")
    unlabelled: str | None = setting(
        None, "more texts for the teacher to label: a file (jsonl, csv, tsv, parquet) or hub:NAME with a text column"
    )
    unlabelled_column: str = setting("text", "the column of method.unlabelled that holds the texts")

    def __post_init__(self) -> None:
        positive("method.temperature", self.temperature)
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"method.alpha must be in [0, 1]; got {self.alpha}")
        if self.temperature != 2.0 and self.alpha == 0:
            raise ValueError(
                "method.temperature has no effect with method.alpha=0, which learns from labels alone; remove one"
            )
        if self.unlabelled is not None and self.alpha == 0:
            raise ValueError(
                "method.unlabelled has no effect with method.alpha=0, which learns from labels alone; remove one"
            )


@dataclass(slots=True, kw_only=True)
class FewerLayersConfig(SoftLabelsConfig):
    """The student is the teacher with fewer layers."""

    layers: int | None = setting(None, "how many of the teacher's layers the student keeps (null: half)")
    pick: str = setting("spread", "which: evenly spread over the teacher, or the first ones", ("spread", "first"))

    def __post_init__(self) -> None:
        SoftLabelsConfig.__post_init__(self)
        at_least("method.layers", self.layers, 1)


@dataclass(slots=True, kw_only=True)
class StaticConfig(SoftLabelsConfig):
    """The student is a table: one vector per token, their weighted mean, one linear layer."""

    dimensions: int | None = setting(256, "of the token vectors (null: those of the teacher)")

    def __post_init__(self) -> None:
        SoftLabelsConfig.__post_init__(self)
        at_least("method.dimensions", self.dimensions, 2)
