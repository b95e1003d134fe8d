"""What decisions are worth: before and after, on dev (each row calibrated without itself) and on test."""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.classes import evaluated
from benchmarks.metrics.outcome import Outcome
from classify.decide import Decisions, Gold, Raw, Values, is_right, plain, to_logits
from classify.decisions.abstain import risk_coverage
from classify.decisions.calibration import cross_fitted
from classify.decisions.config import DecideConfig
from classify.decisions.conformal import coverage, spread
from classify.decisions.costs import mean_cost
from classify.decisions.thresholds import share_interval

PROBABILITY_METRICS = ("ece", "brier", "log_loss")
DRAWS = 10
DECISION_METRICS = {True: ("f1_macro", "f1_micro", "exact_match"), False: ("f1_macro", "accuracy")}


def before_after(
    decisions: Decisions, raw: Raw, gold: Gold, *, fitted_on: bool, seed: int = 42
) -> tuple[Values, Values]:
    """Return probabilities (N, K) before and after calibration.

    Args:
        decisions: Fitted.
        raw: The model's outputs.
        gold: Their labels.
        fitted_on: Whether these are the dev rows: then each row is calibrated by the other folds.
        seed: Of the folds.
    """
    before = plain(decisions.kind, decisions.names, decisions.inputs).probabilities(raw)
    if not fitted_on:
        return before, decisions.probabilities(raw)
    logits = to_logits(raw, decisions.inputs, decisions.multi)
    return before, cross_fitted(decisions.calibration.method, logits, gold, seed)


def measured(
    decisions: Decisions,
    dev: tuple[Raw, Gold],
    test: tuple[Raw, Gold],
    seed: int = 42,
    config: DecideConfig | None = None,
) -> dict[str, Any]:
    """Return plain JSON for the record: calibration, thresholds, abstention and sets.

    Args:
        decisions: Fitted on dev.
        dev: Outputs and labels.
        test: Outputs and labels.
        seed: As in the fit.
        config: Its targets are repeated beside what test says of them.
    """
    found: dict[str, Any] = {
        "calibration": {"method": decisions.calibration.method},
        "decisions": {},
        "abstention": {},
        "notes": list(decisions.notes),
    }
    if decisions.calibration.method == "temperature" and len(decisions.calibration.scale) == 1:
        found["calibration"]["temperature"] = 1 / decisions.calibration.scale[0]
    for split, (raw, gold) in (("dev", dev), ("test", test)):
        before, after = before_after(decisions, raw, gold, fitted_on=split == "dev", seed=seed)
        found["calibration"][split] = {"before": _quality(before, gold, seed), "after": _quality(after, gold, seed)}
        found["decisions"][split] = _decided(decisions, before, after, gold)
        found["abstention"][split] = _abstained(decisions, after, gold)
    if decisions.conformal is not None:
        raw, gold = test
        probabilities = decisions.probabilities(raw)
        found["sets"] = {
            "score": decisions.conformal.score,
            "promise": "mean share of a text's labels" if decisions.multi else "share of texts",
            "expected": [
                None if decisions.multi or decisions.conformal.per_class else spread(level, len(dev[1]))
                for level in decisions.conformal.levels
            ],
            "test": [
                asdict(coverage(decisions.sets(probabilities, level), gold, level))
                for level in decisions.conformal.levels
            ],
        }
    if config is not None and (config.target_accuracy is not None or config.precision is not None):
        found["targets"] = _targets(decisions, config, *test)
    return found


def _targets(decisions: Decisions, config: DecideConfig, raw: Raw, gold: Gold) -> dict[str, Any]:
    """Return the targets, and for precision what each label that is given has on test: its name, right ones, given ones."""
    if config.precision is None:
        return {"accuracy": config.target_accuracy}
    probabilities = decisions.probabilities(raw)
    decided = decisions.decide(probabilities)
    labels = np.arange(len(decisions.names))
    given = decided if decisions.multi else decided[:, None] == labels
    given = given & ~decisions.abstains(probabilities)[:, None]
    right = given & (gold if decisions.multi else gold[:, None] == labels)
    table = [
        {"label": name, "right": int(right[:, place].sum()), "given": int(given[:, place].sum())}
        for place, name in enumerate(decisions.names)
        if given[:, place].any()
    ]
    return {"accuracy": config.target_accuracy, "precision": config.precision, "labels": table}


def _outcome(gold: Gold, predicted: NDArray[Any], probabilities: Values) -> Outcome:
    return Outcome(gold=gold, predicted=predicted, probabilities=probabilities, classes=probabilities.shape[1])


def _quality(probabilities: Values, gold: Gold, seed: int) -> dict[str, float]:
    """Return ECE, Brier score and log loss; and `ece_by_chance`, the ECE that perfect probabilities have with so few rows."""
    multi = gold.ndim == 2
    predicted = probabilities >= 0.5 if multi else probabilities.argmax(axis=1)
    found = evaluated(_outcome(gold, predicted, probabilities), PROBABILITY_METRICS)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(DRAWS):
        if multi:
            labels: Gold = rng.random(probabilities.shape) < probabilities
        else:
            above = rng.random((len(probabilities), 1)) > np.cumsum(probabilities, axis=1)
            labels = np.minimum(above.sum(axis=1), probabilities.shape[1] - 1)
        drawn.append(evaluated(_outcome(labels, predicted, probabilities), ("ece",))["ece"])
    return found | {"ece_by_chance": float(np.mean(drawn))}


def _decided(decisions: Decisions, before: Values, after: Values, gold: Gold) -> dict[str, Any]:
    """Return the scores of the model's own decisions and of these, and how many texts calibration alone decides otherwise."""
    unchanged = plain(decisions.kind, decisions.names)
    own, calibrated, tuned = unchanged.decide(before), unchanged.decide(after), decisions.decide(after)
    found: dict[str, Any] = {
        "rows": len(gold),
        "changed_by_calibration": int((~is_right(calibrated, own)).sum()),
        "before": evaluated(_outcome(gold, own, before), DECISION_METRICS[decisions.multi]),
        "after": evaluated(_outcome(gold, tuned, after), DECISION_METRICS[decisions.multi]),
    }
    if decisions.costs is not None:
        for key, predicted in (("before", own), ("after", tuned)):
            found[key]["mean_cost"] = mean_cost(predicted, gold, decisions.costs)
    return found


def _abstained(decisions: Decisions, probabilities: Values, gold: Gold) -> dict[str, float | None]:
    """Return coverage, accuracy of what is decided (with its 95% interval) and of everything, and the area under the
    risk-coverage curve.
    """
    right = is_right(decisions.decide(probabilities), gold)
    kept = ~decisions.abstains(probabilities)
    low, high = share_interval(int(right[kept].sum()), int(kept.sum())) if kept.any() else (None, None)
    return {
        "coverage": float(kept.mean()),
        "accuracy": float(right[kept].mean()) if kept.any() else None,
        "low": low,
        "high": high,
        "accuracy_of_all": float(right.mean()),
        "aurc": risk_coverage(decisions.confidence(probabilities), right).aurc,
    }
