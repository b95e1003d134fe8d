"""The result on the screen, from a record alone. Imports nothing heavy: a finished run is shown at once."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.length_table import length_table
from benchmarks.table import ScoreTable, at_length, label, number, verdicts
from finewise.console import out
from finewise.ending import ending
from finewise.names import printable
from finewise.record import Comparison, Score, held_out
from finewise.run import MODEL, REPORT, Run


def parts(
    record: Mapping[str, Any], scores: Sequence[Score], comparisons: Sequence[Comparison]
) -> list[tuple[list[Score], list[Comparison], str]]:
    """Return the tables of a record: scores, comparisons and the headline of each.

    One for all benchmarks, unless the record names a headline for each: then they have no metrics in common.
    """
    scores = held_out(scores)
    headlines: Mapping[str, str] = record.get("headlines") or {}
    if not headlines:
        return [(list(scores), list(comparisons), scores[0].metric)]
    return [
        (
            [score for score in scores if score.benchmark == benchmark],
            [row for row in comparisons if row.benchmark == benchmark],
            headline,
        )
        for benchmark, headline in headlines.items()
    ]


def reads(selection: Mapping[str, Any]) -> list[str]:
    """Return in a sentence how often runs have read the test sets; empty if this is the first time."""
    often = [one for one in selection.get("test_sets", ()) if one["reads"] > 1]
    if not often:
        return []
    most = max(often, key=lambda one: one["reads"])
    sweep = f", {most['reads_in_sweep']} in this sweep" if most["reads_in_sweep"] else ""
    return [
        f"note: {most['benchmark']} {most['split']} was read {most['reads']} times by the runs under run.root (this one "
        f"included{sweep}): choose among them by dev, as the best of many test scores is too good"
    ]


def show(run: Run, record: dict[str, Any], loads_with: str) -> float:
    """Print the table and the verdicts of a finished run; return the dev score of what was chosen.

    Args:
        run: The run.
        record: Its record.
        loads_with: What opens the saved model, such as "SentenceTransformer".
    """
    scores = [Score(**row) for row in record["scores"]]
    comparisons = [Comparison(**row) for row in record["comparisons"]]
    selection = record["selection"]
    if not run.is_first:
        return float(selection["best"])
    sentences = []
    for shown, compared, headline in parts(record, scores, comparisons):
        by_length = at_length(headline) is not None
        out.print(length_table(shown, compared) if by_length else ScoreTable(shown, compared, headline))
        sentences += verdicts(compared, headline)
    for sentence in [*sentences, *record.get("words", []), *ending(record, label, number), *reads(selection)]:
        out.print(printable(sentence), markup=False, soft_wrap=True)
    before = selection.get("untuned")
    if before is not None and selection["best"] <= before:
        out.print(
            f"warning: on dev no checkpoint was better than the untuned model ({label(selection['metric'])} "
            f"{number(before)}, best {number(selection['best'])}): training did not help; look at the "
            "audit, lower optim.learning_rate, or keep the untuned model",
            markup=False,
            soft_wrap=True,
        )
    out.print(
        f"saved: {run.dir / MODEL} (loads with {loads_with}), {run.dir / REPORT}, record.json",
        markup=False,
        soft_wrap=True,
    )
    return float(selection["best"])
