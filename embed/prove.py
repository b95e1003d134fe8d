"""Proving the gain: dev scores that choose, and the one reading of test that tells by how much."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.baselines import BM25
from benchmarks.retrieval import EncoderSearcher, Result, evaluate_dims, evaluate_retrieval
from benchmarks.significance import compare, scores
from embed.config import EmbedExperiment
from finewise.data.retrieval import RetrievalSet
from finewise.encoder import Encoder, dimension, load_encoder
from finewise.record import Comparison, Score
from finewise.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """All systems on all benchmarks: per query, as scores with intervals, and compared."""

    results: list[Result]
    scores: list[Score]
    comparisons: list[Comparison]


def score_dev(model: Encoder, dev: RetrievalSet, experiment: EmbedExperiment) -> float:
    """Return the mean of the selection metric on dev."""
    metric = experiment.selection.metric
    result = evaluate_retrieval(dev, _searcher("dev", model, experiment), [metric], experiment.scoring.depth)
    return result.mean(metric)


def prove(
    model: Encoder, sets: Sequence[RetrievalSet], experiment: EmbedExperiment, run: Run, checkpoint: int
) -> Proof:
    """Score the tuned model, the untuned one and BM25 on every benchmark, and compare them query by query.

    Args:
        model: The tuned model, chosen already.
        sets: The benchmarks.
        experiment: The settings; with Matryoshka dimensions, tuned and untuned are scored at each of them too.
        run: Counts how many checkpoints were scored on test.
        checkpoint: Step of the tuned model.
    """
    run.note_test_read(checkpoint)
    untuned = load_encoder(experiment.model, str(model.device), micro_batch_tokens=model.micro_batch_tokens)
    metrics, depth = experiment.scoring.metrics, experiment.scoring.depth
    full = dimension(model)
    dims = [full, *sorted({*experiment.matryoshka.dims} - {full}, reverse=True)]
    results: list[Result] = []
    pairs: list[tuple[Result, Result]] = []
    for task in sets:
        tuned = evaluate_dims(task, _searcher("tuned", model, experiment), metrics, depth, dims)
        before = evaluate_dims(task, _searcher("untuned", untuned, experiment), metrics, depth, dims)
        bm25 = evaluate_retrieval(task, BM25(), metrics, depth)
        results += [*tuned, *before, bm25]
        pairs += [*zip(tuned, before, strict=True), (tuned[0], bm25)]
    resamples, seed = experiment.scoring.resamples, experiment.seed
    return Proof(
        results=results,
        scores=[score for result in results for score in scores(result, resamples, seed)],
        comparisons=[row for a, b in pairs for row in compare(a, b, resamples, seed)],
    )


def _searcher(name: str, model: Encoder, experiment: EmbedExperiment) -> EncoderSearcher:
    return EncoderSearcher.of(name, model, experiment.scoring, experiment.run.precision)
