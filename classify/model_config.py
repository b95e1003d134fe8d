"""The settings of a classifier's head and of what is trained. Imports nothing heavy."""

from dataclasses import dataclass

from finewise.config import at_least, positive, setting


@dataclass(slots=True, kw_only=True)
class TuningConfig:
    """The head on the encoder, and how fast which part of the model is moved."""

    head: str = setting(
        "auto",
        "transformers: the architecture's own head, which loads everywhere; pooled: the sentence-transformers pooling and one "
        "linear layer, more accurate with an embedding model, loads with trust_remote_code=True; auto: pooled if it can be",
        ("auto", "transformers", "pooled"),
    )
    freeze_embeddings: bool = setting(False, "do not train the token embeddings")
    freeze_layers: int = setting(0, "do not train this many layers from below, nor the embeddings under them")
    layer_decay: float = setting(1.0, "each layer learns this much slower than the one above (1: all the same)")
    head_learning_rate: float | None = setting(
        None, "peak learning rate of the head's last layer (null: optim.learning_rate)"
    )

    def __post_init__(self) -> None:
        at_least("tuning.freeze_layers", self.freeze_layers, 0)
        positive("tuning.head_learning_rate", self.head_learning_rate)
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"tuning.layer_decay must be in (0, 1]; got {self.layer_decay}")


@dataclass(slots=True, kw_only=True)
class LoraConfig:
    """Low-rank adaptation (Hu et al. 2022): small matrices beside the frozen ones, folded into them when saved."""

    rank: int = setting(16, "rank of the added matrices")
    alpha: float = setting(32.0, "the added product is scaled by alpha / rank")
    dropout: float = setting(0.05, "dropout before the added matrices")
    targets: list[str] = setting(
        list, "last names of the linear layers that are adapted, such as [query, value] (empty: all of the body)"
    )

    def __post_init__(self) -> None:
        at_least("lora.rank", self.rank, 1)
        positive("lora.alpha", self.alpha)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"lora.dropout must be in [0, 1); got {self.dropout}")
