"""Proving the gain: dev scores that choose, and the one reading of test that tells by how much."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.baselines import BM25
from benchmarks.remembered import identity, known, remembered
from benchmarks.retrieval import EncoderSearcher, Result, compare, evaluate_dims, evaluate_retrieval, scores
from benchmarks.rows import corrected
from benchmarks.text.language import unclaimed
from embed.config import EmbedExperiment
from finewise.data.retrieval import RetrievalSet
from finewise.encoder import Encoder, dimension, load_encoder
from finewise.record import Comparison, Score
from finewise.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """All systems on all benchmarks: per query, as scores with intervals, and compared; how BM25 read each of them."""

    results: list[Result]
    scores: list[Score]
    comparisons: list[Comparison]
    baselines: dict[str, dict[str, Any]]


def score_dev(model: Encoder, dev: RetrievalSet, experiment: EmbedExperiment) -> float:
    """Return the mean of the selection metric on dev."""
    metric = experiment.selection.metric
    result = evaluate_retrieval(dev, _searcher("dev", model, experiment), [metric], experiment.scoring.depth)
    return result.mean(metric)


def score_untuned(model: Encoder, dev: RetrievalSet, experiment: EmbedExperiment) -> tuple[Result, str | None]:
    """Return what the untuned model finds on dev by the selection metric, and the identity by which its results are kept."""
    metric, depth = experiment.selection.metric, experiment.scoring.depth
    searcher = _searcher("untuned", model, experiment)
    who = identity(searcher)
    (result,) = remembered(
        who, "untuned", dev, [metric], depth, lambda: [evaluate_retrieval(dev, searcher, [metric], depth)]
    )
    return result, who


def prove(
    model: Encoder,
    sets: Sequence[RetrievalSet],
    experiment: EmbedExperiment,
    run: Run,
    checkpoint: int,
    untuned: str | None = None,
) -> Proof:
    """Score the tuned model, the untuned one and BM25 on every benchmark, and compare them query by query.

    Args:
        model: The tuned model, chosen already.
        sets: The benchmarks.
        experiment: The settings; with Matryoshka dimensions, tuned and untuned are scored at each of them too.
        run: Counts how many checkpoints were scored on test.
        checkpoint: Step of the tuned model.
        untuned: Identity of the untuned model, by which results that are known already are found.
    """
    run.note_test_read(checkpoint)
    metrics, depth = experiment.scoring.metrics, experiment.scoring.depth
    full = dimension(model)
    dims = [full, *sorted({*experiment.matryoshka.dims} - {full}, reverse=True)]
    baseline = Untuned(untuned, experiment, str(model.device))
    results: list[Result] = []
    compared: list[Comparison] = []
    readings: dict[str, Any] = {}
    for task in sets:
        tuned = evaluate_dims(task, _searcher("tuned", model, experiment), metrics, depth, dims)
        before = baseline.results(task, metrics, depth, dims)
        bm25 = words(task, metrics, depth, experiment.scoring.language)
        readings[task.name] = BM25(language=experiment.scoring.language).reading(task)
        results += [*tuned, *before, bm25]
        pairs = [*zip(tuned, before, strict=True), (tuned[0], bm25)]
        rows = [row for a, b in pairs for row in compare(a, b)]
        compared += unclaimed(rows, {BM25.name: readings[task.name]}, task.name)
    return Proof(
        results=results,
        scores=[score for result in results for score in scores(result)],
        comparisons=corrected(compared),
        baselines={BM25.name: readings},
    )


def dev_scores(model: Encoder, dev: RetrievalSet, before: Result, experiment: EmbedExperiment) -> list[Score]:
    """Return all systems' scores on dev, by the metric that chose.

    Args:
        model: The fine-tuned model.
        dev: Dev.
        before: What the base model found there.
        experiment: The settings.
    """
    metric, depth = experiment.selection.metric, experiment.scoring.depth
    tuned = evaluate_retrieval(dev, _searcher("tuned", model, experiment), [metric], depth)
    results = [tuned, before, words(dev, [metric], depth, experiment.scoring.language)]
    return [score for result in results for score in scores(result)]


def words(task: RetrievalSet, metrics: Sequence[str], depth: int, language: str = "auto") -> Result:
    """Return BM25's result."""
    bm25 = BM25(language=language)
    (result,) = remembered(
        identity(bm25), bm25.name, task, metrics, depth, lambda: [evaluate_retrieval(task, bm25, metrics, depth)]
    )
    return result


class Untuned:
    """The model as it was before the training: loaded again only when some of its results are not known."""

    def __init__(self, who: str | None, experiment: EmbedExperiment, device: str) -> None:
        self.who = who
        self.experiment = experiment
        self.device = device
        self.searcher: EncoderSearcher | None = None

    def results(
        self, task: RetrievalSet, metrics: Sequence[str], depth: int, dims: Sequence[int | None]
    ) -> list[Result]:
        """Return its results with each of the dimensions."""
        if self.searcher is None and not known(self.who, task, metrics, depth, dims):
            model = load_encoder(
                self.experiment.model,
                self.device,
                execution=self.experiment.execution,
                micro_batch_tokens=self.experiment.micro_batch_tokens,
            )
            self.searcher = _searcher("untuned", model, self.experiment)
            self.who = identity(self.searcher)  # of what was loaded just now, should it not be the same any more

        def score() -> list[Result]:
            assert self.searcher is not None
            return evaluate_dims(task, self.searcher, metrics, depth, dims)

        return remembered(self.who, "untuned", task, metrics, depth, score, dims)


def _searcher(name: str, model: Encoder, experiment: EmbedExperiment) -> EncoderSearcher:
    return EncoderSearcher.of(name, model, experiment.scoring, experiment.run.precision)
