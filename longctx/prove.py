"""What the study shows: scores with intervals at every length, comparisons, effective lengths, in numbers and words."""

from dataclasses import dataclass

from benchmarks import by_length
from benchmarks.by_length import ByLength
from benchmarks.needle.show import reach
from benchmarks.rows import corrected
from benchmarks.table import bracket, label, number, probability, shown, significance
from finewise.fit import few_steps
from finewise.record import Comparison, Score
from longctx.arms import UNTUNED, subject_of
from longctx.config import LongContextExperiment
from longctx.study import Found

READS = ("exact", "substring_recall", "accuracy")
"""Metrics of which it makes sense to ask up to which length they hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """All systems on all benchmarks.

    Attributes:
        scores: The subject of the experiment first.
        comparisons: The subject against each other system.
        headlines: Benchmark -> the metric at its longest length, which tables show with its interval.
        effective: Benchmark -> system -> how far it reads, in tokens, by two rules; None where not even the shortest length.
        words: Sentences on what was gained far out and what it cost at the trained window.
    """

    scores: list[Score]
    comparisons: list[Comparison]
    headlines: dict[str, str]
    effective: dict[str, dict[str, dict[str, int | None]]]
    words: list[str]


def prove(found: Found, experiment: LongContextExperiment) -> Proof:
    """Compare the subject of the experiment with all that stands beside it."""
    original = found.facts["model"]["original"]
    about = subject_of(experiment).system
    benchmarks = list(dict.fromkeys(result.benchmark for result in found.results))
    scores: list[Score] = []
    comparisons: list[Comparison] = []
    headlines: dict[str, str] = {}
    effective: dict[str, dict[str, dict[str, int | None]]] = {}
    words: list[str] = []
    subjects: list[ByLength] = []
    for benchmark in benchmarks:
        results = [result for result in found.results if result.benchmark == benchmark]
        (subject,) = [result for result in results if result.system == about]
        others = [result for result in results if result is not subject]
        headlines[benchmark] = f"{subject.metric}@{subject.read()[-1]}"
        for result in (subject, *others):
            scores += by_length.scores(result)
        subjects.append(subject)
        comparisons += [row for other in others for row in by_length.compare(subject, other)]
        if subject.metric in READS:
            effective[benchmark] = {result.system: reach(result, original) for result in (subject, *others)}
    comparisons = corrected(comparisons)
    for result in subjects:
        words += short_cost(result, [row for row in comparisons if row.benchmark == result.benchmark])
    if found.outcome is not None and (told := few_steps(found.outcome.steps)):
        words.append(f"note: {told}")
    return Proof(scores=scores, comparisons=comparisons, headlines=headlines, effective=effective, words=words)


def short_cost(subject: ByLength, against: list[Comparison]) -> list[str]:
    """Return what the stretch cost at the shortest length, against the model as it was."""
    first = subject.read()[0]
    metric = f"{subject.metric}@{first}"
    rows = [row for row in against if row.metric == metric and row.b == UNTUNED]
    if not rows:
        return []
    (row,) = rows
    what = f"{subject.benchmark}: {row.a} {label(metric)} {number(subject.mean(first))}"
    proof = f"{number(row.difference, sign=True)} {bracket(row.low, row.high)}, {probability(significance(row))}"
    changed = "changed" if shown(row) else "no change shown"
    return [f"{what}, difference to untuned {proof}: {changed}"]
