"""The settings of the classifiers' losses, and which loss fits which kind of labels. Imports nothing heavy."""

from dataclasses import dataclass
from typing import ClassVar

from finewise.config import at_least, positive, setting

ONE_LABEL = ("single", "ordinal", "hierarchical")
"""Kinds of data in which a text has exactly one label."""


@dataclass(slots=True, kw_only=True)
class LossConfig:
    """Base of all losses; each is one row of the group `loss`."""

    kinds: ClassVar[tuple[str, ...]] = ()
    """The kinds of labels that the loss is for."""


@dataclass(slots=True, kw_only=True)
class Auto(LossConfig):
    """The loss that belongs to the kind of labels, as it is by default."""

    kinds: ClassVar[tuple[str, ...]] = (*ONE_LABEL, "multi")


@dataclass(slots=True, kw_only=True)
class Weighted(LossConfig):
    """Base of the losses that weigh the classes."""

    kinds: ClassVar[tuple[str, ...]] = ONE_LABEL

    weights: str = setting(
        "none",
        "how much a row of a class counts: all the same, inversely to the class's rows (balanced), inversely to the effective "
        "number of its rows (Cui et al. 2019), or as loss.given says",
        ("none", "balanced", "effective", "given"),
    )
    beta: float = setting(
        0.999, "weights=effective: how much alike the rows of a class are (0: none, towards 1: balanced)"
    )
    given: dict[str, float] = setting(
        dict, "weights=given: label to weight, such as {spam: 5}; a label that is not named has weight 1"
    )

    def __post_init__(self) -> None:
        if not 0 <= self.beta < 1:
            raise ValueError(f"loss.beta must be in [0, 1); got {self.beta}")
        _check_given(self.weights, self.given)


@dataclass(slots=True, kw_only=True)
class CrossEntropy(Weighted):
    """Softmax cross-entropy."""

    label_smoothing: float = setting(0.0, "share of a label's probability that is spread over all classes")

    def __post_init__(self) -> None:
        Weighted.__post_init__(self)
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"loss.label_smoothing must be in [0, 1); got {self.label_smoothing}")


@dataclass(slots=True, kw_only=True)
class Focal(Weighted):
    """Cross-entropy that counts rows the less the surer the model is of them (Lin et al. 2017)."""

    gamma: float = setting(2.0, "how much less (0: cross-entropy)")

    def __post_init__(self) -> None:
        Weighted.__post_init__(self)
        at_least("loss.gamma", self.gamma, 0)


@dataclass(slots=True, kw_only=True)
class LogitAdjusted(LossConfig):
    """Cross-entropy of logits shifted by the classes' frequencies, for a long tail (Menon et al. 2021)."""

    kinds: ClassVar[tuple[str, ...]] = ONE_LABEL

    tau: float = setting(1.0, "how much of the shift (0: cross-entropy, 1: balanced error)")

    def __post_init__(self) -> None:
        at_least("loss.tau", self.tau, 0)


@dataclass(slots=True, kw_only=True)
class BinaryCrossEntropy(LossConfig):
    """Cross-entropy of each label alone."""

    kinds: ClassVar[tuple[str, ...]] = ("multi",)

    weights: str = setting(
        "none",
        "how much a text that has the label counts against one that has not: the same, as much in all (balanced), or as "
        "loss.given says",
        ("none", "balanced", "given"),
    )
    max_weight: float = setting(100.0, "weights=balanced: no label's weight is above this, however rare it is")
    given: dict[str, float] = setting(
        dict, "weights=given: label to weight, such as {urgent: 5}; a label that is not named has weight 1"
    )

    def __post_init__(self) -> None:
        at_least("loss.max_weight", self.max_weight, 1)
        _check_given(self.weights, self.given)


@dataclass(slots=True, kw_only=True)
class Asymmetric(LossConfig):
    """Binary cross-entropy that plays down easy negatives, of which there are many (Ridnik et al. 2021)."""

    kinds: ClassVar[tuple[str, ...]] = ("multi",)

    gamma_neg: float = setting(4.0, "how much less a text without the label counts, the surer the model is of it")
    gamma_pos: float = setting(0.0, "the same for a text with the label")
    clip: float = setting(0.05, "texts without the label count nothing below this probability")

    def __post_init__(self) -> None:
        for key in ("gamma_neg", "gamma_pos"):
            at_least(f"loss.{key}", getattr(self, key), 0)
        if not 0 <= self.clip < 1:
            raise ValueError(f"loss.clip must be in [0, 1); got {self.clip}")


@dataclass(slots=True, kw_only=True)
class Ordinal(LossConfig):
    """Loss of the cumulative probabilities P(label above k), so that a near miss costs less than a far one."""

    kinds: ClassVar[tuple[str, ...]] = ("ordinal",)

    form: str = setting(
        "cumulative",
        "log loss at each of the K-1 thresholds, as CORAL's (Cao et al. 2020), or the squared earth mover's distance "
        "(Hou et al. 2016)",
        ("cumulative", "squared_emd"),
    )


@dataclass(slots=True, kw_only=True)
class Hierarchical(LossConfig):
    """Cross-entropy of the label and of each of its parents, whose probability is the sum of its labels'."""

    kinds: ClassVar[tuple[str, ...]] = ("hierarchical",)

    parent_weight: float = setting(1.0, "how much the loss of each parent counts beside the label's own")

    def __post_init__(self) -> None:
        positive("loss.parent_weight", self.parent_weight)


LOSSES: dict[str, type[LossConfig]] = {
    "auto": Auto,
    "cross_entropy": CrossEntropy,
    "focal": Focal,
    "logit_adjusted": LogitAdjusted,
    "bce": BinaryCrossEntropy,
    "asymmetric": Asymmetric,
    "ordinal": Ordinal,
    "hierarchical": Hierarchical,
}
"""The group `loss`: what can stand in `loss=...`."""

DEFAULTS: dict[str, type[LossConfig]] = {
    "single": CrossEntropy,
    "multi": BinaryCrossEntropy,
    "ordinal": Ordinal,
    "hierarchical": Hierarchical,
}
"""What loss=auto is for each kind."""


def loss_for(config: LossConfig, kind: str) -> LossConfig:
    """Return the loss for labels of this kind: what `auto` stands for, or the given one if it fits.

    Raises:
        ValueError: It does not fit.

    >>> loss_for(Auto(), "multi")
    BinaryCrossEntropy(weights='none', max_weight=100.0, given={})
    """
    if isinstance(config, Auto):
        return DEFAULTS[kind]()
    if kind in config.kinds:
        return config
    name = next(key for key, loss in LOSSES.items() if type(config) is loss)
    fitting = ", ".join(key for key, loss in LOSSES.items() if kind in loss.kinds)
    raise ValueError(f"loss={name} is for {' or '.join(config.kinds)} labels; data.kind is {kind}: choose {fitting}")


def _check_given(weights: str, given: dict[str, float]) -> None:
    if (weights == "given") != bool(given):
        raise ValueError(
            f"loss.weights=given and loss.given={{label: weight}} go together; got weights={weights} and "
            f"{f'{len(given)} given weights' if given else 'no given weights'}"
        )
    for label, weight in given.items():
        positive(f"loss.given.{label}", weight)
