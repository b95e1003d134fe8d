"""Why a training run ended, and what dev did on the way: sentences from a record alone. Imports nothing heavy."""

from collections.abc import Callable, Mapping
from typing import Any


def fell_from(history: list[tuple[int, float]], best_step: int) -> int | None:
    """Return the first evaluated step after the best one at which dev was lower.

    Args:
        history: (step, dev score) of each evaluation, in order.
        best_step: The step that dev chose.

    >>> fell_from([(10, 0.5), (20, 0.7), (30, 0.7), (40, 0.6)], 20), fell_from([(10, 0.5), (20, 0.7)], 20)
    (40, None)
    """
    best = dict(history).get(best_step)
    if best is None:
        return None
    return next((step for step, score in history if step > best_step and score < best), None)


def ending(record: Mapping[str, Any], name: Callable[[str], str], number: Callable[[float], str]) -> list[str]:
    """Return why training ended, from which step dev fell, and what a learning curve would show.

    Args:
        record: Of the run; one without the history of dev gives no sentence.
        name: Writes a metric as people do.
        number: Writes a score.
    """
    selection = record.get("selection") or {}
    history = [(int(row["step"]), float(row["score"])) for row in selection.get("history") or []]
    if not history:
        return []
    steps, best, metric = selection["steps"], selection["best_step"], name(selection["metric"])
    if selection["stopped_early"]:
        why = (
            f"training ended at step {steps:,} of {selection['planned']:,}: dev {metric} had not improved for "
            f"{selection['patience']} evaluations (selection.patience)"
        )
    else:
        why = f"training ended after all of its {steps:,} steps"
    scores = dict(history)
    last = history[-1][0]
    fell = selection["fell_from"]
    if best not in scores:
        what = f"dev {metric} was best before any step ({number(selection['best'])}): the model is kept as it was"
    elif len(history) == 1:
        what = (
            f"dev {metric} was measured once ({number(history[0][1])}), which does not show whether it was still rising; "
            "raise selection.evaluations"
        )
    elif best == last:
        what = (
            f"dev {metric} was highest at the last step ({number(scores[best])}, {number(history[-2][1])} at step "
            f"{history[-2][0]:,}): more optim.epochs may raise it"
        )
    elif fell is None:
        what = f"dev {metric} reached {number(scores[best])} at step {best:,} and stayed there"
    else:
        what = (
            f"dev {metric} was highest at step {best:,} ({number(scores[best])}), lower from step {fell:,} on, and "
            f"{number(history[-1][1])} at the end; the weights of step {best:,} are kept"
        )
    sentences = [f"{why}; {what}"]
    if "curve" in record and record["curve"] is None:
        sentences.append("curve=true would show whether more labelled rows raise dev further")
    return sentences
