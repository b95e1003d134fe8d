"""Where a classifier fails: class by class, and the mistakes it was surest of."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.classified import Classified
from benchmarks.metrics.counted import counts
from benchmarks.metrics.outcome import divided
from finewise.data.labels.rows import Labelled


def per_class(result: Classified) -> list[dict[str, Any]]:
    """Return precision, recall, F1 and support of every class, in the order of the classes; 0 where one is undefined."""
    counted = counts(result.outcome)(np.ones((len(result), 1)))[..., 0]
    hits, predicted, gold, _ = counted
    columns = (divided(hits, predicted), divided(hits, gold), divided(2 * hits, predicted + gold), gold)
    return [
        {"label": name, "precision": precision, "recall": recall, "f1": f1, "support": int(support)}
        for name, precision, recall, f1, support in zip(
            result.names, *(column.tolist() for column in columns), strict=True
        )
    ]


def mistakes(result: Classified, data: Labelled, count: int) -> list[dict[str, Any]]:
    """Return the wrong decisions that the system was surest of, surest first. Some of them are mistakes of the labels.

    Each has `where` (file and line), `text`, `gold`, `predicted` (names; several are joined by commas) and `probability`:
    that of the predicted class. In multi-label data it is that of the surest wrong decision of the row: to give a label,
    or to leave one out.

    Args:
        result: Of `data`.
        data: The rows with their texts.
        count: How many.
    """
    wrong = result.gold != result.predicted
    if result.kind == "multi":
        said = np.where(result.predicted, result.probabilities, 1 - result.probabilities)
        sure, wrong = np.where(wrong, said, 0).max(axis=1), wrong.any(axis=1)
    else:
        sure = result.probabilities[np.arange(len(result)), result.predicted]
    rows = np.flatnonzero(wrong)
    rows = rows[np.argsort(-sure[rows], kind="stable")][:count]
    return [
        {
            "where": data.where(int(row)),
            "text": data.texts[int(row)],
            "gold": _named(result, result.gold[row]),
            "predicted": _named(result, result.predicted[row]),
            "probability": float(sure[row]),
        }
        for row in rows
    ]


def _named(result: Classified, labels: NDArray[Any]) -> str:
    """Return the name of a class, or the names of several."""
    if labels.ndim == 0:
        return result.names[int(labels)]
    return ", ".join(result.names[k] for k in np.flatnonzero(labels)) or "none"
