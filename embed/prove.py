"""Proving the gain: dev scores that choose, and the one reading of test that tells by how much."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.baselines import BM25
from benchmarks.retrieval import EncoderSearcher, Result, evaluate_retrieval, grade
from benchmarks.significance import compare, scores
from embed.config import EmbedExperiment
from embed.model import Encoder, load_encoder
from finewise.data.retrieval import RetrievalSet
from finewise.device import use_bf16
from finewise.record import Comparison, Score
from finewise.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """All systems on all benchmarks: per query, as scores with intervals, and compared."""

    results: list[Result]
    scores: list[Score]
    comparisons: list[Comparison]


def searcher(name: str, model: Encoder, experiment: EmbedExperiment) -> EncoderSearcher:
    """Return the model as a system that can be scored, in the precision of the run."""
    bf16 = use_bf16(experiment.run.precision, str(model.device))
    return EncoderSearcher(
        name,
        model,
        batch_size=experiment.scoring.batch_size,
        corpus_chunk=experiment.scoring.corpus_chunk,
        autocast=torch.bfloat16 if bf16 else None,
    )


def score_dev(model: Encoder, dev: RetrievalSet, experiment: EmbedExperiment) -> float:
    """Return the mean of the selection metric on dev."""
    metric = experiment.selection.metric
    result = evaluate_retrieval(dev, searcher("dev", model, experiment), [metric], experiment.scoring.depth)
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
    dims = sorted({*experiment.matryoshka.dims} - {model.get_embedding_dimension()}, reverse=True)
    results: list[Result] = []
    pairs: list[tuple[Result, Result]] = []
    for task in sets:
        tuned = _all_dims(searcher("tuned", model, experiment), task, metrics, depth, dims)
        before = _all_dims(searcher("untuned", untuned, experiment), task, metrics, depth, dims)
        bm25 = evaluate_retrieval(task, BM25(), metrics, depth)
        results += [*tuned, *before, bm25]
        pairs += [*zip(tuned, before, strict=True), (tuned[0], bm25)]
    resamples, seed = experiment.scoring.resamples, experiment.seed
    return Proof(
        results=results,
        scores=[score for result in results for score in scores(result, resamples, seed)],
        comparisons=[row for a, b in pairs for row in compare(a, b, resamples, seed)],
    )


def _all_dims(
    system: EncoderSearcher, task: RetrievalSet, metrics: Sequence[str], depth: int, dims: Sequence[int]
) -> list[Result]:
    """Score one system at its full dimension and at each leading part, encoding every text once."""
    full: Any = system.model.get_embedding_dimension()
    rankings = system.search_dims(task, depth, [full, *dims])
    return [
        grade(ranking, task, metrics, system=system.name if dim == full else f"{system.name}@{dim}")
        for dim, ranking in rankings.items()
    ]
