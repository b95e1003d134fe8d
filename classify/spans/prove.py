"""Proving the gain: the tuned tagger and its baselines on test."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.rows import corrected
from classify.spans import baselines
from classify.spans.config import TokensExperiment
from classify.spans.load import TaggedData
from classify.spans.scored import Found, compare, scores
from classify.spans.tagging import entities
from classify.spans.trainer import Trained
from finewise.record import Comparison, Score
from finewise.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """All systems on test.

    Attributes:
        results: The tuned tagger first.
        scores: Of all, with intervals.
        comparisons: The tuned tagger against each baseline.
        on_dev: Scores of the same systems on dev.
        seconds: Baseline -> seconds that fitting it took.
    """

    results: list[Found]
    scores: list[Score]
    comparisons: list[Comparison]
    on_dev: list[Score]
    seconds: Mapping[str, float]


def fit_baselines(
    data: TaggedData, experiment: TokensExperiment
) -> tuple[dict[str, baselines.Tagger], dict[str, float]]:
    """Fit what stands beside the tagger, on train; return them, and the seconds that each took."""
    found, seconds = {}, {}
    for name in experiment.baselines:
        start = time.perf_counter()
        found[name] = baselines.fit(name, data.train, experiment.seed)
        seconds[name] = round(time.perf_counter() - start, 3)
    return found, seconds


def prove(
    trained: Trained,
    taggers: Mapping[str, baselines.Tagger],
    seconds: Mapping[str, float],
    data: TaggedData,
    experiment: TokensExperiment,
    run: Run,
) -> Proof:
    """Score the tuned tagger and the baselines on test, and compare them text by text."""
    run.note_test_read(trained.outcome.best_step)
    test = data.test
    tuned = Found.of("tuned", test, entities(test, trained.tag(test)))
    others = [Found.of(name, test, entities(test, tagger(test))) for name, tagger in taggers.items()]
    metrics = experiment.scoring.metrics
    results = [tuned, *others]
    dev = data.dev
    of_dev = [
        Found.of("tuned", dev, entities(dev, trained.tag(dev))),
        *(Found.of(name, dev, entities(dev, tagger(dev))) for name, tagger in taggers.items()),
    ]
    return Proof(
        results=results,
        scores=[score for result in results for score in scores(result, metrics)],
        comparisons=corrected([row for other in others for row in compare(tuned, other, metrics)]),
        on_dev=[score for result in of_dev for score in scores(result, metrics)],
        seconds=seconds,
    )
