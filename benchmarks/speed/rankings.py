"""Metrics of rankings that are given: ours, from arrays, against trec_eval, from dictionaries; part of the bench `scoring`.

trec_eval is called by pytrec_eval, and the time to make its dictionaries is not counted.
"""

from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.ranking import parse_metric
from benchmarks.speed.agreement import agree
from benchmarks.speed.harness import Round, Side, alternate, timed
from benchmarks.speed.report import Report
from finewise.errors import InputError

COMPARED = 500  # rankings that trec_eval takes, which needs about a gigabyte for ten thousand of a thousand documents
TOLERANCE = 1e-9

Grades = NDArray[np.int32]


def metrics(rankings: int, depth: int, rounds: int, seed: int) -> Report:
    """Time the metrics of all rankings, and of the first few beside trec_eval."""
    rng = np.random.default_rng(seed)
    shape = rankings, depth
    grades = np.where(rng.random(shape) < 0.01, rng.integers(1, 4, shape), 0).astype(np.int32)
    missed = np.ones((rankings, 8), np.int32)  # relevant documents that no ranking has
    ideal = -np.sort(-np.concatenate([grades, missed], axis=1), axis=1)
    ideal = np.ascontiguousarray(ideal[:, : int((ideal > 0).sum(axis=1).max())])
    few = min(COMPARED, rankings)
    names = {
        "ndcg@10": "ndcg_cut_10",
        f"ndcg@{depth}": f"ndcg_cut_{depth}",
        f"mrr@{depth}": "recip_rank",
        "recall@100": "recall_100",
        "precision@10": "P_10",
        "map": "map",
    }

    def ours(rows: int) -> dict[str, float]:
        return {name: float(parse_metric(name)(grades[:rows], ideal[:rows]).mean()) for name in names}

    def side(name: str, rows: int, compute: Callable[[], dict[str, float]]) -> Side:
        def one(_: int) -> Round:
            with timed("cpu") as clock:
                computed = compute()
            return Round(seconds=clock.seconds, items=rows, computed=computed)

        return Side(name=name, run=one)

    title = f"Metrics of {rankings} rankings of {depth} documents"
    sides = [
        side("trec_eval", few, trec_eval(grades[:few], ideal[:few], names)),
        side("ours", few, lambda: ours(few)),
    ]
    results = alternate(sides, rounds, "cpu", title=title)
    (whole,) = alternate([side("ours", rankings, lambda: ours(rankings))], rounds, "cpu", title=title)
    return Report(
        bench="scoring",
        title=title,
        compares=(
            f"{', '.join(names)}. All {rankings} rankings take ours {whole.seconds:.3f} s (median). "
            f"Beside trec_eval: the first {few}."
        ),
        unit="queries",
        bases=["trec_eval"],
        results=results,
        agreements=[
            finding
            for metric in names
            for finding in agree(
                metric,
                {result.name: result.rounds[-1].computed[metric] for result in results},
                base="trec_eval",
                tolerance=TOLERANCE,
                relative=False,
            )
        ],
        settings={"metrics": list(names), "rankings": rankings, "depth": depth, "compared": few, "seed": seed},
        facts={"seconds_for_all": whole.seconds},
    )


def trec_eval(grades: Grades, ideal: Grades, names: dict[str, str]) -> Callable[[], dict[str, float]]:
    """Return a call of trec_eval on the same rankings and judgements.

    Args:
        grades: (Q, D) of the ranked documents.
        ideal: (Q, J) of all relevant documents.
        names: Our name of each metric -> trec_eval's.
    """
    try:
        import pytrec_eval
    except ImportError:
        raise InputError("the bench needs trec_eval: pip install pytrec-eval-terrier") from None
    depth = grades.shape[1]
    documents = [f"d{rank}" for rank in range(depth)]
    run = {f"q{row}": {name: float(-rank) for rank, name in enumerate(documents)} for row in range(len(grades))}
    judgements = {}
    for row, (found, best) in enumerate(zip(grades.tolist(), ideal.tolist(), strict=True)):
        judged = {documents[rank]: grade for rank, grade in enumerate(found) if grade}
        others = Counter(grade for grade in best if grade) - Counter(judged.values())
        judgements[f"q{row}"] = judged | {f"missed{nth}": grade for nth, grade in enumerate(others.elements())}
    call = pytrec_eval.RelevanceEvaluator(
        judgements, {f"ndcg_cut.10,{depth}", "recip_rank", "recall.100", "P.10", "map"}
    )

    def compute() -> dict[str, float]:
        rows = call.evaluate(run).values()
        return {ours: sum(row[theirs] for row in rows) / len(rows) for ours, theirs in names.items()}

    return compute
