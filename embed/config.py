"""The settings of the embedding branch."""

from dataclasses import dataclass

from benchmarks.config import BenchmarkConfig, ScoringConfig
from benchmarks.metrics.ranking import check_depth, check_metric
from finewise.config import DataConfig, ExperimentConfig, setting
from finewise.contrastive.config import LossConfig, MatryoshkaConfig, MultipleNegativesRanking, check_batches


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
        check_batches(self.loss, self.sampler, self.optim)
        if not self.own_test and not self.benchmarks:
            raise ValueError(
                "own_test=false leaves nothing to score: add a benchmark (+benchmark@benchmarks.debtags=debtags)"
            )
