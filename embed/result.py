"""The result on the screen, from a record alone. Imports nothing heavy: a finished run is shown at once."""

from typing import Any

from benchmarks.table import label, number, score_table, verdicts
from finewise.console import out
from finewise.record import Comparison, Score
from finewise.run import Run

MODEL = "model"
REPORT = "report.html"


def show(run: Run, record: dict[str, Any]) -> float:
    """Print the table and the verdicts of a finished run; return the dev score of the chosen checkpoint."""
    scores = [Score(**row) for row in record["scores"]]
    comparisons = [Comparison(**row) for row in record["comparisons"]]
    headline = scores[0].metric
    selection = record["selection"]
    if not run.is_first:
        return float(selection["best"])
    out.print(score_table(scores, comparisons, headline))
    for sentence in verdicts(comparisons, headline):
        out.print(sentence, markup=False, soft_wrap=True)
    if selection["best"] <= selection["untuned"]:
        out.print(
            f"warning: on dev no checkpoint was better than the untuned model ({label(selection['metric'])} "
            f"{number(selection['untuned'])}, best {number(selection['best'])}): training did not help; look at the "
            "audit, lower optim.learning_rate, or keep the untuned model",
            markup=False,
            soft_wrap=True,
        )
    out.print(
        f"saved: {run.dir / MODEL} (loads with SentenceTransformer), {run.dir / REPORT}, record.json",
        markup=False,
        soft_wrap=True,
    )
    return float(selection["best"])
