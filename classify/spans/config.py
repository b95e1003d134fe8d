"""The settings of token classification. Imports nothing heavy."""

from dataclasses import dataclass

from benchmarks.metrics.entities import METRICS, check_metric
from finewise.config import (
    AuditConfig,
    ExperimentConfig,
    OptimConfig,
    SelectionConfig,
    SplitsConfig,
    at_least,
    positive,
    setting,
)


@dataclass(slots=True, kw_only=True)
class TokenColumnsConfig:
    """Which columns of the file hold what: words with tags, or a text with spans."""

    tokens: str = setting("tokens", "column with the words of a text, a list")
    tags: str = setting("tags", "column with a tag per word, a list of names, or of numbers with data.names")
    text: str = setting("text", "column with the text, in files without the column of words")
    spans: str = setting("spans", "column with a list of {start, end, label}, counted in characters of the text")
    group: str | None = setting(None, "column whose equal values must stay in one split (null: none)")


@dataclass(slots=True, kw_only=True)
class TokenDataConfig(SplitsConfig):
    """Texts with labelled spans to train on, and the held-out rows that choose and prove the result."""

    columns: TokenColumnsConfig = setting(TokenColumnsConfig, "which columns hold what")
    scheme: str = setting(
        "auto", "how tags mark the ends of a span; auto: what the tags look like", ("auto", "bio", "iob1", "bioes")
    )
    malformed: str = setting(
        "repair",
        "when tags break the scheme, such as I-PER after B-LOC: begin a new span there as conlleval does and tell how many, "
        "or stop",
        ("repair", "refuse"),
    )
    names: list[str] = setting(list, "when tags are numbers: their names, from 0, such as [O,B-PER,I-PER]")
    max_dev_rows: int | None = setting(
        None, "choose on at most this many dev rows, sampled with data.split_seed (null: all)"
    )

    def __post_init__(self) -> None:
        SplitsConfig.__post_init__(self)
        positive("data.max_dev_rows", self.max_dev_rows)


@dataclass(slots=True, kw_only=True)
class WindowsConfig:
    """How texts longer than the model's limit are read, and which pieces of a word carry its label."""

    overlap: int | None = setting(
        None, "tokens that neighbouring windows of a long text share (null: a quarter of the limit)"
    )
    pieces: str = setting(
        "all",
        "a label on all pieces of a word, as pipeline(aggregation_strategy=simple) needs it, or on the first alone",
        ("all", "first"),
    )

    def __post_init__(self) -> None:
        at_least("windows.overlap", self.overlap, 0)


@dataclass(slots=True, kw_only=True)
class TokenScoringConfig:
    """How results are computed."""

    metrics: list[str] = setting(lambda: list(METRICS), "metrics to report; the first is the headline")
    mistakes: int = setting(20, "how many of the mistakes the report shows")

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ValueError("scoring.metrics must name at least one metric; got an empty list")
        for metric in self.metrics:
            check_metric(metric)
        at_least("scoring.mistakes", self.mistakes, 0)


BASELINES = ("majority", "gazetteer", "linear")


@dataclass(slots=True, kw_only=True)
class TokensExperiment(ExperimentConfig):
    """One experiment of token classification."""

    data: TokenDataConfig = setting(TokenDataConfig, "the data")
    audit: AuditConfig = setting(AuditConfig, "checks of the data before training")
    optim: OptimConfig = setting(lambda: OptimConfig(batch_size=32, epochs=3), "how the weights are moved")
    selection: SelectionConfig = setting(lambda: SelectionConfig(metric="entity_f1"), "how dev chooses the checkpoint")
    windows: WindowsConfig = setting(WindowsConfig, "how long texts are read, and where labels stand")
    class_weights: str = setting(
        "none", "weight of a tag in the loss; balanced: by how rare it is in train", ("none", "balanced")
    )
    scoring: TokenScoringConfig = setting(TokenScoringConfig, "how results are computed")
    baselines: list[str] = setting(lambda: list(BASELINES), "what is scored beside the model")

    def __post_init__(self) -> None:
        ExperimentConfig.__post_init__(self)
        check_metric(self.selection.metric)
        for key in ("query_prompt", "document_prompt"):
            if getattr(self.model, key):
                raise ValueError(
                    f"model.{key} has no effect in token classification, whose labels are of the text; set "
                    "model.query_prompt= model.document_prompt="
                )
        self.model.refuse_unread(("pooling", "similarity"), "has no effect in token classification")
        unknown = [name for name in self.baselines if name not in BASELINES]
        if unknown:
            raise ValueError(f"baselines must be of {', '.join(BASELINES)}; got {', '.join(unknown)}")
