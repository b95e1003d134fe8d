"""The settings of the benchmarks, and of the entry points `benchmarks.score` and `benchmarks.leaderboard`."""

from dataclasses import dataclass

from benchmarks.metrics.classes import METRICS as CLASS_METRICS
from benchmarks.metrics.classes import check_metric as check_class_metric
from benchmarks.metrics.ranking import check_depth, check_metric
from finewise.config import MISSING, ModelConfig, PlaceConfig, at_least, positive, setting
from finewise.names import unknown


@dataclass(slots=True, kw_only=True)
class BenchmarkConfig:
    """A retrieval benchmark: a BEIR folder (or one of its files from elsewhere) and a split."""

    name: str = setting("files", "what records and tables call it")
    path: str = setting(
        MISSING, "BEIR folder with queries, corpus and qrels: a path, package:MODULE/PATH or built-in name"
    )
    corpus: str | None = setting(None, "file or folder that holds the corpus, if it is not in path")
    split: str = setting("test", "which qrels: qrels/SPLIT.tsv")


@dataclass(slots=True, kw_only=True)
class ScoringConfig:
    """How results are computed, whatever the benchmark."""

    metrics: list[str] = setting(
        lambda: ["ndcg@10", "mrr@10", "recall@10", "recall@100", "map", "precision@10"],
        "metrics to report; the first is the headline",
    )
    depth: int = setting(1000, "documents retrieved per query; map counts what is found within it")
    corpus_chunk: int = setting(50_000, "documents encoded and searched at a time: bounds the memory")
    language: str = setting(
        "auto",
        "language of the texts for BM25's stop words and stemmer, such as german (auto: by the stop words that the texts hold; "
        "none: neither)",
    )

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ValueError("scoring.metrics must name at least one metric; got an empty list")
        for metric in self.metrics:
            check_metric(metric)
        check_depth(self.metrics, self.depth)
        positive("scoring.corpus_chunk", self.corpus_chunk)
        if self.language not in ("auto", "none"):
            import Stemmer

            if self.language not in (known := Stemmer.algorithms()):
                raise ValueError(f"scoring.language: {unknown('language', self.language, known)}; or auto, none")


DEFAULT_METRICS = {
    "single": ["f1_macro", "accuracy", "f1_weighted", "mcc", "log_loss", "ece"],
    "multi": ["f1_macro", "f1_micro", "f1_weighted", "exact_match", "average_precision", "log_loss", "ece"],
    "ordinal": ["f1_macro", "accuracy", "quadratic_kappa", "mean_absolute_error", "log_loss", "ece"],
    "hierarchical": ["f1_macro", "f1_hierarchical", "accuracy", "mcc", "log_loss", "ece"],
}


@dataclass(slots=True, kw_only=True)
class ClassScoringConfig:
    """How the results of classifiers are computed."""

    metrics: list[str] = setting(list, "metrics to report; the first is the headline (empty: those usual for the kind)")
    mistakes: int = setting(20, "how many of the most confident mistakes the report shows")
    slices: list[str] = setting(
        lambda: ["length", "class"], "scores by part of the rows: length, class, or any column of the file"
    )

    def __post_init__(self) -> None:
        at_least("scoring.mistakes", self.mistakes, 0)
        for metric in self.metrics:
            check_class_metric(metric)

    def metrics_for(self, kind: str) -> list[str]:
        """Return the metrics for labels of this kind."""
        return self.metrics or DEFAULT_METRICS[kind]


@dataclass(slots=True, kw_only=True)
class ScoreConfig:
    """`python -m benchmarks.score`: score a model or BM25 without training."""

    model: ModelConfig = setting(ModelConfig, "the model; model.name=bm25 scores BM25")
    benchmark: BenchmarkConfig = setting(
        BenchmarkConfig, "the benchmark: benchmark=debian, debtags, or files with benchmark.path=..."
    )
    scoring: ScoringConfig = setting(ScoringConfig, "how results are computed")
    run: PlaceConfig = setting(PlaceConfig, "where the record is kept, and what it runs on")
    baselines: bool = setting(True, "score BM25 beside the model and compare")


@dataclass(slots=True, kw_only=True)
class LeaderboardConfig:
    """`python -m benchmarks.leaderboard`: all records under a folder, best first."""

    path: str = setting("runs", "folder whose record.json files are read, however deep")
    only: str | None = setting(None, "only this benchmark, by its name in the records (null: each its own table)")
    split: str = setting("test", "which split's scores")
    metric: str = setting("ndcg@10", "what the rows are ranked by, such as ndcg@10, or f1_macro for classifiers")
    format: str = setting("terminal", "how it is printed", ("terminal", "markdown", "json"))
    output: str | None = setting(None, "write it to this file instead of the screen")

    def __post_init__(self) -> None:
        if self.metric not in CLASS_METRICS:
            check_metric(self.metric)
