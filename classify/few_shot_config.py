"""The settings of learning from few rows per class. Imports nothing heavy."""

from dataclasses import dataclass

from finewise.config import at_least, positive, setting


@dataclass(slots=True, kw_only=True)
class FewShotConfig:
    """Contrastive training of the encoder's embeddings, then logistic regression on them."""

    shots: int | None = setting(None, "train on so many rows per class, drawn by the seed (null: all rows)")
    draws: int = setting(20, "how often an epoch draws a row, on average; classes are drawn equally often")
    rows_per_class: int = setting(
        2, "rows of one class in a batch, at least; optim.batch_size is the rows of all its classes"
    )
    scale: float = setting(10.0, "cosines are multiplied by it in the loss; large leaves texts alone that are in order")

    def __post_init__(self) -> None:
        at_least("method.shots", self.shots, 2)
        at_least("method.draws", self.draws, 1)
        at_least("method.rows_per_class", self.rows_per_class, 2)
        positive("method.scale", self.scale)
