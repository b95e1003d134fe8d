"""Proving the gain: the tuned classifier and its baselines on test, with the same kind of decisions for all."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from benchmarks.classification import Classified, compare, evaluate, scores, slices
from benchmarks.embedded import Embedded
from benchmarks.rows import corrected
from benchmarks.text.language import without_claims
from benchmarks.text.logistic import probabilities as probabilities_of
from benchmarks.text_baselines import Baseline, capped, measured
from classify.config import ClassifyExperiment
from classify.decide import Decisions, is_right
from classify.decisions.conformal import coverage
from classify.decisions.measured import before_after
from classify.decisions.measured import measured as measured_decisions
from classify.plots import nominal_coverage, reliability, risk, threshold_rows
from classify.stack import PART
from classify.ways import Trained
from finewise.console import say
from finewise.data.labels.load import LabelledData
from finewise.record import Comparison, Score
from finewise.report import table
from finewise.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """All systems on test: example by example, as scores with intervals, and compared.

    Attributes:
        results: The tuned classifier first.
        scores: Of all.
        comparisons: The tuned classifier against each baseline.
        on_dev: Scores of the same systems on dev, by the metric that chose and the first of test; decisions are fitted there.
        decisions: What calibration, thresholds, abstention and sets are worth, as JSON.
        slices: Part of the rows -> the tuned classifier's score there.
        seconds: Baseline -> seconds it took.
        baselines: Baseline -> what it chose, and why it could not read the texts, if so.
        pictures: (heading, drawing or table as HTML) of the decisions.
    """

    results: list[Classified]
    scores: list[Score]
    comparisons: list[Comparison]
    on_dev: list[Score]
    decisions: dict[str, Any]
    slices: dict[str, list[dict[str, Any]]]
    seconds: dict[str, float]
    baselines: dict[str, dict[str, Any]]
    pictures: list[tuple[str, str]]


def fit_baselines(data: LabelledData, embedded: Embedded, experiment: ClassifyExperiment) -> dict[str, Baseline]:
    """Fit what stands beside the tuned classifier, on train; their probabilities are of dev and test."""
    wanted = experiment.baselines
    needs = embedded if {"knn", "linear_probe"} & set(wanted) else None
    return measured(data.train, [data.dev, data.test], needs, experiment.selection.metric, experiment.seed, wanted)


def unlike(experiment: ClassifyExperiment, rows: int = 0) -> list[str]:
    """Return in sentences what the baselines read otherwise than the classifier, which has so many training rows."""
    named = [name for name in ("knn", "linear_probe") if name in experiment.baselines]
    said = [sentence] if experiment.baselines and (sentence := capped(rows)) else []
    if experiment.reading.how == "head" or not named:
        return said
    return [
        *said,
        f"baselines: {' and '.join(named)} read the head of a long text alone, not reading.how={experiment.reading.how}",
    ]


def decide(trained: Trained, data: LabelledData, experiment: ClassifyExperiment) -> tuple[Decisions, NDArray[Any]]:
    """Fit calibration, thresholds, abstention and sets on dev; return them and the logits of dev."""
    raw = trained.dev_logits(data.dev)
    space = data.space
    fitted = Decisions.fit(raw, data.dev.labels, space.kind, space.names, experiment.decide, seed=experiment.seed)
    return fitted, raw


def prove(
    trained: Trained,
    decisions: Decisions,
    raw_dev: NDArray[Any],
    baselines: Mapping[str, Baseline],
    data: LabelledData,
    experiment: ClassifyExperiment,
    run: Run,
) -> Proof:
    """Score the tuned classifier and the baselines on test, and compare them row by row.

    Args:
        trained: Chosen already.
        decisions: Fitted on dev.
        raw_dev: Its logits on dev.
        baselines: Their probabilities of dev and test; they get decisions of their own in the same way.
        data: The rows.
        experiment: The settings.
        run: Counts how many checkpoints were scored on test.
    """
    run.note_test_read(trained.outcome.best_step)
    test, seed = data.test, experiment.seed
    alone = trained.model_logits(test.texts, "classify test")
    raw = trained.combine(alone, test.texts)
    probabilities = decisions.probabilities(raw)
    results = [evaluate(test, "tuned", probabilities, decisions.decide(probabilities))]
    of_dev = decisions.probabilities(raw_dev)
    dev_results = [evaluate(data.dev, "tuned", of_dev, decisions.decide(of_dev))]
    plain = replace(
        experiment.decide, sets="none", levels=[], sets_per_class=False, target_accuracy=None, target_coverage=None
    )
    beside = {name: found.probabilities for name, found in baselines.items()}
    if trained.stacked is not None:
        beside[PART] = [probabilities_of(part, test.labels.ndim == 2) for part in (trained.stacked.alone, alone)]
    for name, (on_dev, on_test) in beside.items():
        own = Decisions.fit(
            on_dev, data.dev.labels, data.space.kind, data.space.names, plain, inputs="probabilities", seed=seed
        )
        calibrated = own.probabilities(on_test)
        results.append(evaluate(test, name, calibrated, own.decide(calibrated)))
        calibrated = own.probabilities(on_dev)
        dev_results.append(evaluate(data.dev, name, calibrated, own.decide(calibrated)))
    metrics = experiment.scoring.metrics_for(data.space.kind)
    chosen_by = experiment.selection.metric
    dev_metrics = list(dict.fromkeys([metrics[0], *([chosen_by] if chosen_by in metrics else [])]))
    tuned, *others = results
    reasons = {name: found.unread for name, found in baselines.items()}
    for name, reason in reasons.items():
        if reason is not None:
            say(
                f"warning: {name} cannot read the texts of {test.name} ({reason}): being better than it is no achievement"
            )
    compared = [row for other in others for row in compare(tuned, other, metrics)]
    return Proof(
        results=results,
        scores=[score for result in results for score in scores(result, metrics)],
        comparisons=corrected(without_claims(compared, reasons)),
        on_dev=[score for result in dev_results for score in scores(result, dev_metrics)],
        decisions=measured_decisions(
            decisions, (raw_dev, data.dev.labels), (raw, test.labels), seed, experiment.decide
        ),
        slices={by: slices(tuned, test, by, metrics[0]) for by in experiment.scoring.slices},
        seconds={name: round(found.seconds, 3) for name, found in baselines.items()},
        baselines={name: {**found.chosen, "unread": found.unread} for name, found in baselines.items()},
        pictures=pictures(decisions, raw, test.labels),
    )


def pictures(decisions: Decisions, raw: NDArray[Any], gold: NDArray[Any]) -> list[tuple[str, str]]:
    """Return what decisions look like on test.

    Args:
        decisions: Fitted on dev.
        raw: Logits of test.
        gold: Labels of test.
    """
    before, after = before_after(decisions, raw, gold, fitted_on=False)
    sure, right = decisions.confidence(after), is_right(decisions.decide(after), gold)
    found = [
        ("Calibration", reliability(before, after, gold)),
        ("Errors among the texts that are decided", risk(sure, right, decisions.floor)),
    ]
    if decisions.multi and decisions.thresholds is not None:
        found.append(("Thresholds", table(threshold_rows(decisions.names, decisions.thresholds, after, gold))))
    if decisions.conformal is not None:
        kept = [coverage(decisions.sets(after, level), gold, level) for level in decisions.conformal.levels]
        found.append(("Conformal sets: nominal and empirical coverage", nominal_coverage(kept)))
    return found


def words(decisions: Mapping[str, Any], kind: str) -> list[str]:
    """Return in sentences what calibration, thresholds and sets are worth on test."""
    test = decisions["calibration"]["test"]
    said = [
        f"calibration ({decisions['calibration']['method']}): ECE on test {test['before']['ece']:.3f} before, "
        f"{test['after']['ece']:.3f} after"
    ]
    decided = decisions["decisions"]["test"]
    if decided["changed_by_calibration"]:
        said[0] += f"; it decides {decided['changed_by_calibration']:,} of {decided['rows']:,} test texts otherwise"
    gain = decided["after"]["f1_macro"] - decided["before"]["f1_macro"]
    if kind == "multi" or abs(gain) > 1e-9:
        said.append(
            f"calibration and thresholds: macro-F1 on test {decided['before']['f1_macro']:.3f} before, "
            f"{decided['after']['f1_macro']:.3f} after"
        )
    abstained, targets = decisions["abstention"]["test"], decisions.get("targets", {})
    if abstained["coverage"] < 1:
        right, interval, target = "none", "", targets.get("accuracy")
        if abstained["accuracy"] is not None:
            right = f"{abstained['accuracy']:.1%}"
            interval = f" [{abstained['low']:.1%}, {abstained['high']:.1%}]"
        said.append(
            f"abstention: {abstained['coverage']:.1%} of test decided, {right}{interval} of them rightly "
            f"({abstained['accuracy_of_all']:.1%} of all{f'; target {target:.1%}' if target else ''})"
        )
    if "precision" in targets:
        short = [row for row in targets["labels"] if row["right"] < targets["precision"] * row["given"]]
        named = ", ".join(f"{row['label']} ({row['right']} of {row['given']})" for row in short[:5])
        said.append(
            f"precision of {targets['precision']:g}: reached on test by {len(targets['labels']) - len(short)} of the "
            f"{len(targets['labels'])} labels that are given" + (f"; not by {named}" if short else "")
        )
    if "sets" in decisions:
        shown = "; ".join(
            f"{row['level']:.0%} nominal coverage"
            + (f" ({ends[0]:.0%} to {ends[1]:.0%} for 95% of such dev samples)" if ends else "")
            + f", {row['measured']:.1%} [{row['low']:.1%}, {row['high']:.1%}] on test with {row['size']:.1f} labels"
            + (", less than nominal" if row["high"] < row["level"] else "")
            for row, ends in zip(decisions["sets"]["test"], decisions["sets"]["expected"], strict=True)
        )
        said.append(f"conformal sets: {shown}")
    return said
