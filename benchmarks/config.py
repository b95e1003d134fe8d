"""The settings of the benchmarks, and of the entry points `benchmarks.score` and `benchmarks.leaderboard`."""

from dataclasses import dataclass

from benchmarks.metrics.ranking import check_depth, check_metric
from finewise.config import MISSING, ModelConfig, PlaceConfig, at_least, positive, setting


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
    resamples: int = setting(2000, "bootstrap resamples for intervals, sign flips for paired tests")
    corpus_chunk: int = setting(50_000, "documents encoded and searched at a time: bounds the memory")

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ValueError("scoring.metrics must name at least one metric; got an empty list")
        for metric in self.metrics:
            check_metric(metric)
        check_depth(self.metrics, self.depth)
        at_least("scoring.resamples", self.resamples, 100)
        positive("scoring.corpus_chunk", self.corpus_chunk)


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
    seed: int = setting(42, "seed of the resampling")


@dataclass(slots=True, kw_only=True)
class LeaderboardConfig:
    """`python -m benchmarks.leaderboard`: all records under a folder, best first."""

    path: str = setting("runs", "folder whose record.json files are read, however deep")
    only: str | None = setting(None, "only this benchmark, by its name in the records (null: each its own table)")
    split: str = setting("test", "which split's scores")
    metric: str = setting("ndcg@10", "what the rows are ranked by")
    format: str = setting("terminal", "how it is printed", ("terminal", "markdown", "json"))
    output: str | None = setting(None, "write it to this file instead of the screen")

    def __post_init__(self) -> None:
        check_metric(self.metric)
