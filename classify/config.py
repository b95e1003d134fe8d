"""The settings of the classifier branch."""

from dataclasses import dataclass
from typing import ClassVar

from benchmarks.config import ClassScoringConfig
from benchmarks.metrics.classes import METRICS, check_metric
from classify.decisions.config import DecideConfig
from classify.distil_config import FewerLayersConfig, SoftLabelsConfig, StaticConfig
from classify.few_shot_config import FewShotConfig
from classify.losses_config import Auto, LossConfig, loss_for
from classify.model_config import LoraConfig, TuningConfig
from classify.reading_config import ReadingConfig
from finewise.config import (
    ExperimentConfig,
    LabelAuditConfig,
    LabelDataConfig,
    OptimConfig,
    SelectionConfig,
    at_least,
    positive,
    setting,
)


@dataclass(slots=True, kw_only=True)
class MethodConfig:
    """Base of all ways to a classifier; each is one row of the group `method`."""

    trains: ClassVar[bool] = True
    """Whether the encoder's weights move; otherwise loss, optim, tuning and selection have no effect."""

    unread: ClassVar[tuple[str, ...]] = ()
    """Settings that this way does not read: they are refused."""


@dataclass(slots=True, kw_only=True)
class Full(MethodConfig):
    """All weights learn, from a head drawn at random."""


@dataclass(slots=True, kw_only=True)
class ProbeFirst(MethodConfig):
    """The head starts as a linear probe, then all weights learn (LP-FT: Kumar et al. 2022): less is forgotten."""

    probe_rows: int = setting(16384, "fit the probe on at most this many training rows")

    def __post_init__(self) -> None:
        at_least("method.probe_rows", self.probe_rows, 2)


@dataclass(slots=True, kw_only=True)
class Stack(ProbeFirst):
    """lp_ft, then its log-probabilities are combined with those of TF-IDF and logistic regression, weighted on dev."""


@dataclass(slots=True, kw_only=True)
class Lora(LoraConfig, MethodConfig):
    """Low-rank matrices and the head learn, the rest stays (Hu et al. 2022)."""

    def __post_init__(self) -> None:
        LoraConfig.__post_init__(self)


@dataclass(slots=True, kw_only=True)
class LinearProbe(MethodConfig):
    """Logistic regression on the frozen encoder's embeddings; seconds."""

    trains: ClassVar[bool] = False


@dataclass(slots=True, kw_only=True)
class StackedProbe(LinearProbe):
    """linear_probe, combined with TF-IDF as in stack; seconds."""


@dataclass(slots=True, kw_only=True)
class AutoMethod(ProbeFirst):
    """What is best on dev within a time budget: linear_probe, stack_probe, lp_ft or stack, the cheap ones first."""

    budget: float = setting(30.0, "minutes for all candidates together; the two without training always run")

    def __post_init__(self) -> None:
        ProbeFirst.__post_init__(self)
        positive("method.budget", self.budget)


@dataclass(slots=True, kw_only=True)
class Neighbours(MethodConfig):
    """No training: the labels of the nearest training rows, whose embeddings the saved model brings."""

    trains: ClassVar[bool] = False

    k: int | None = setting(
        None, "neighbours that vote (null: what is best on the training rows, each judged by others)"
    )
    max_rows: int = setting(
        100_000, "store at most this many training rows (1,000 of 384 dimensions make the saved model 1.5 MB larger)"
    )

    def __post_init__(self) -> None:
        at_least("method.k", self.k, 1)
        at_least("method.max_rows", self.max_rows, 2)


@dataclass(slots=True, kw_only=True)
class ZeroShot(MethodConfig):
    """No training: the label whose description is nearest to the text."""

    trains: ClassVar[bool] = False

    descriptions: dict[str, str] = setting(
        dict,
        "label to a text that describes it, such as {admin: 'tools for administrators'} (empty: the labels' names)",
    )


@dataclass(slots=True, kw_only=True)
class FewShot(FewShotConfig, MethodConfig):
    """Few rows per class: the encoder learns which texts belong together, logistic regression the classes (SetFit's plan)."""

    unread: ClassVar[tuple[str, ...]] = ("loss", "tuning.head", "tuning.head_learning_rate")

    def __post_init__(self) -> None:
        FewShotConfig.__post_init__(self)


@dataclass(slots=True, kw_only=True)
class Distil(FewerLayersConfig, MethodConfig):
    """A trained classifier teaches a copy of itself with fewer layers."""

    unread: ClassVar[tuple[str, ...]] = ("tuning.head", "reading")

    def __post_init__(self) -> None:
        FewerLayersConfig.__post_init__(self)


@dataclass(slots=True, kw_only=True)
class DistilStatic(StaticConfig, MethodConfig):
    """A trained classifier teaches a table of token vectors, which needs no GPU."""

    unread: ClassVar[tuple[str, ...]] = (
        "optim.activation_checkpointing",
        "reading",
        "recompute",
        "tuning.freeze_layers",
        "tuning.head",
        "tuning.layer_decay",
    )

    def __post_init__(self) -> None:
        StaticConfig.__post_init__(self)


METHODS: dict[str, type[MethodConfig]] = {
    "full": Full,
    "lp_ft": ProbeFirst,
    "stack": Stack,
    "auto": AutoMethod,
    "lora": Lora,
    "linear_probe": LinearProbe,
    "stack_probe": StackedProbe,
    "knn": Neighbours,
    "zero_shot": ZeroShot,
    "few_shot": FewShot,
    "distil": Distil,
    "distil_static": DistilStatic,
}
"""The group `method`: what can stand in `method=...`."""


def usual_optim() -> OptimConfig:
    """Return the default training, measured with a small encoder (docs/classify.md); large ones want a lower learning rate."""
    return OptimConfig(batch_size=32, epochs=3, learning_rate=1e-4)


def usual_selection(metric: str = "f1_macro") -> SelectionConfig:
    """Return the default choice of the checkpoint: two evaluations a pass, and an end when three bring nothing."""
    return SelectionConfig(metric=metric, evaluations=6, patience=3)


BASELINES = ("majority", "tfidf_lr", "knn", "linear_probe")


@dataclass(slots=True, kw_only=True)
class ClassifyExperiment(ExperimentConfig):
    """One classification experiment."""

    data: LabelDataConfig = setting(LabelDataConfig, "the data")
    audit: LabelAuditConfig = setting(LabelAuditConfig, "checks of the data before training")
    optim: OptimConfig = setting(usual_optim, "how the weights are moved")
    selection: SelectionConfig = setting(usual_selection, "how dev chooses the checkpoint")
    method: MethodConfig = setting(
        ProbeFirst, "the way to a classifier: method=lp_ft, full, lora, linear_probe, knn, ..."
    )
    loss: LossConfig = setting(Auto, "the loss: loss=auto, cross_entropy, focal, logit_adjusted, bce, asymmetric, ...")
    reading: ReadingConfig = setting(ReadingConfig, "what is read of a text that is longer than the model's limit")
    tuning: TuningConfig = setting(TuningConfig, "the head, and which part of the model learns how fast")
    decide: DecideConfig = setting(DecideConfig, "how probabilities become decisions")
    scoring: ClassScoringConfig = setting(ClassScoringConfig, "how results are computed")
    baselines: list[str] = setting(lambda: list(BASELINES), "what is scored beside the model")
    onnx: bool = setting(False, "also save the model as model.onnx, which is kept only if it says what the model says")

    def __post_init__(self) -> None:
        ExperimentConfig.__post_init__(self)
        check_metric(self.selection.metric, self.data.kind)
        if not METRICS[self.selection.metric].higher:
            raise ValueError(
                f"selection.metric must be one whose higher values are better; got {self.selection.metric}"
            )
        for metric in self.scoring.metrics:
            check_metric(metric, self.data.kind)
        if self.data.kind != "auto":
            loss_for(self.loss, self.data.kind)
        unknown = [name for name in self.baselines if name not in BASELINES]
        if unknown:
            raise ValueError(f"baselines must be of {', '.join(BASELINES)}; got {', '.join(unknown)}")
        if self.curve and isinstance(self.method, ZeroShot):
            raise ValueError("curve=true has no meaning with method=zero_shot, which learns from no row; remove it")
        if isinstance(self.method, Neighbours) and self.reading.how == "chunks":
            raise ValueError(
                "reading.how=chunks gives a text several embeddings, and method=knn compares one; set head or head_tail"
            )
        if isinstance(self.method, SoftLabelsConfig) and self.method.alpha == 1 and self.loss != Auto():
            raise ValueError("loss has no effect with method.alpha=1, which learns from the teacher alone; remove one")
        if self.onnx and isinstance(self.method, Stack | StackedProbe | AutoMethod):
            name = next(key for key, kind in METHODS.items() if type(self.method) is kind)
            raise ValueError(
                f"onnx=true cannot hold the TF-IDF part of method={name}, and decisions.json is for both; remove it or set "
                "method=lp_ft"
            )
        if self.curve and self.optim.warmup >= 1:
            raise ValueError(
                f"optim.warmup={self.optim.warmup:g} steps do not go with curve=true, whose parts have fewer steps; give "
                "a share below 1"
            )
        if self.model.document_prompt and not self.model.query_prompt:
            raise ValueError(
                "model.document_prompt is not read by a classifier, which puts model.query_prompt before every text; set that"
            )
        self.model.refuse_unread(
            ("similarity",), "is not read by a classifier, which compares by cosine where it compares"
        )
        if not self.method.trains:
            self._refuse_training()
        self._refuse_unread()

    def _refuse_unread(self) -> None:
        """Refuse settings that the method does not read."""
        usual = {
            "loss": Auto(),
            "optim": usual_optim(),
            "reading": ReadingConfig(),
            "recompute": "auto",
            "tuning": TuningConfig(),
        }
        for key in self.method.unread:
            group, _, name = key.partition(".")
            given, fresh = getattr(self, group), usual[group]
            if name:
                given, fresh = getattr(given, name), getattr(fresh, name)
            if given != fresh:
                method = next(name for name, kind in METHODS.items() if type(self.method) is kind)
                raise ValueError(f"{key} has no effect with method={method}; remove it")

    def _refuse_training(self) -> None:
        """Refuse settings of a training where there is none."""
        name = next(key for key, kind in METHODS.items() if type(self.method) is kind)
        fresh = {
            "optim": usual_optim(),
            "loss": Auto(),
            "tuning": TuningConfig(),
            "recompute": "auto",
            "selection": usual_selection(self.selection.metric),
        }
        for key, value in fresh.items():
            if getattr(self, key) != value:
                raise ValueError(f"{key} has no effect with method={name}, which trains no weights; remove it")
