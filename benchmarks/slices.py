"""Where a classifier is good and where not: one metric on parts of the rows, each with its size and interval."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.classified import Classified
from benchmarks.metrics.classes import check_metric, evaluated
from benchmarks.varied import intervals
from finewise.data.labels.rows import Labelled
from finewise.errors import InputError
from finewise.names import unknown

Rows = NDArray[np.intp]

SMALL = 30
"""A slice of fewer rows is marked: its interval is too narrow, and one row moves the value."""

_PARTS = 4  # numbers are cut into quarters of the rows
_MOST = 20  # a column with more values shows the commonest, and the others together
_OF_ONE_CLASS = ("f1_macro", "f1_micro", "f1_weighted", "roc_auc", "average_precision", "ece")


def slices(result: Classified, data: Labelled, by: str, metric: str) -> list[dict[str, Any]]:
    """Return the metric on parts of the rows: {"slice", "n", "value", "low", "high", "small"} each.

    Args:
        result: Of `data`.
        data: The rows with their texts and other columns.
        by: "length": quarters of the rows by characters. "class": a slice per class, n being how many rows have it; F1,
            ROC AUC and average precision are then the class's own, against the rest, on all rows; every other metric
            is that of the rows that have the class. Else a column of the data: a slice per value, or quarters of the rows
            where the column holds many numbers.
        metric: As in the score tables; f1_macro in a slice is over the classes that are there.

    A metric that is not defined on a slice is None there (ROC AUC of a single class).

    Raises:
        InputError: The data has no such column.
    """
    check_metric(metric, result.kind)
    if by == "class":
        return _by_class(result, metric)
    if by == "length":
        parts = _quarters(np.array([len(text) for text in data.texts]), "characters")
    else:
        check_slice(by, data)
        parts = _by_value(data.columns[by])
    return [_row(name, result.select(rows), metric) for name, rows in parts]


def check_slice(by: str, data: Labelled) -> None:
    """Refuse what the rows cannot be cut by.

    Raises:
        InputError: They have no such column.
    """
    if by not in ("length", "class", *data.columns):
        raise InputError(f"scoring.slices: {data.name}: {unknown('slice', by, ['length', 'class', *data.columns])}")


def _row(name: str, result: Classified, metric: str, n: int | None = None) -> dict[str, Any]:
    """Return one slice; `n` where it is not the number of rows."""
    n = len(result) if n is None else n
    row: dict[str, Any] = {"slice": name, "n": n, "value": None, "low": None, "high": None, "small": n < SMALL}
    if len(result) and not np.isnan(evaluated(result.outcome, [metric])[metric]):
        found = intervals(result, [metric])[metric]
        row.update(value=found.value, low=found.low, high=found.high)
    return row


def _by_class(result: Classified, metric: str) -> list[dict[str, Any]]:
    """Return a slice per class."""
    indicators = result.outcome.indicators()
    if metric not in _OF_ONE_CLASS:
        parts = [(name, np.flatnonzero(indicators[:, k])) for k, name in enumerate(result.names)]
        return [_row(name, result.select(rows), metric) for name, rows in parts]
    said = result.predicted if result.kind == "multi" else result.predicted[:, None] == np.arange(len(result.names))
    found = []
    for k, name in enumerate(result.names):
        alone = replace(
            result,
            kind="multi",
            names=(name,),
            gold=indicators[:, [k]],
            predicted=said[:, [k]],
            probabilities=result.probabilities[:, [k]],
        )
        found.append(_row(name, alone, metric, n=int(indicators[:, k].sum())))
    return found


def _by_value(column: Sequence[Any]) -> list[tuple[str, Rows]]:
    """Return the rows of each value of a column, the commonest first; of numbers with many values, quarters."""
    filled = [value for value in column if value is not None]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in filled)
    if numeric and len(set(filled)) > _MOST:
        numbers = np.array([np.nan if value is None else value for value in column], np.float64)
        empty = np.flatnonzero(np.isnan(numbers))
        return [*_quarters(numbers, ""), *([("empty", empty)] if len(empty) else [])]
    values = np.array(["empty" if value is None else str(value) for value in column], dtype=object)
    commonest = [value for value, _ in Counter(values.tolist()).most_common()]
    parts = [(value, np.flatnonzero(values == value)) for value in commonest[:_MOST]]
    others = commonest[_MOST:]
    if others:
        parts.append((f"{len(others)} other values", np.flatnonzero(np.isin(values, np.array(others, dtype=object)))))
    return parts


def _quarters(numbers: NDArray[Any], unit: str) -> list[tuple[str, Rows]]:
    """Return the rows of each quarter of the numbers; equal numbers stay together, NaN is in none."""
    known = numbers[~np.isnan(numbers)]
    edges = np.unique(np.quantile(known, np.arange(1, _PARTS) / _PARTS, method="inverted_cdf")) if len(known) else known
    part = np.where(np.isnan(numbers), -1, np.searchsorted(edges, numbers, side="left"))
    found = []
    for index in range(len(edges) + 1):
        rows = np.flatnonzero(part == index)
        if len(rows):
            low, high = numbers[rows].min(), numbers[rows].max()
            span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            found.append((f"{span} {unit}".rstrip(), rows))
    return found
