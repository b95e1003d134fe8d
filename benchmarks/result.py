"""The result on the screen, from a record alone. Imports nothing heavy: a finished run is shown at once."""

from typing import Any

from benchmarks.table import label, number, score_table, verdicts
from finewise.console import out
from finewise.record import Comparison, Score
from finewise.run import MODEL, REPORT, Run


def show(run: Run, record: dict[str, Any], loads_with: str) -> float:
    """Print the table and the verdicts of a finished run; return the dev score of what was chosen.

    Args:
        run: The run.
        record: Its record.
        loads_with: What opens the saved model, such as "SentenceTransformer".
    """
    scores = [Score(**row) for row in record["scores"]]
    comparisons = [Comparison(**row) for row in record["comparisons"]]
    headline = scores[0].metric
    selection = record["selection"]
    if not run.is_first:
        return float(selection["best"])
    out.print(score_table(scores, comparisons, headline))
    for sentence in [*verdicts(comparisons, headline), *record.get("words", [])]:
        out.print(sentence, markup=False, soft_wrap=True)
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
