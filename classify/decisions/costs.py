"""What wrong decisions cost, and the decisions of least expected cost (Elkan 2001).

Shapes: N rows, K labels. costs (K, K): row = true label, column = given label; multi-label (K, 2): of a miss, of a false alarm.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from finewise.data.formats import extension, open_source
from finewise.errors import InputError
from finewise.names import nearest
from finewise.references import expanded

Values = NDArray[np.float64]

MISS, FALSE_ALARM = "miss", "false_alarm"

CostTable = Mapping[str, Mapping[str, float]]
"""{true label: {given label: cost}}, or multi-label {label: {"miss": cost, "false_alarm": cost}}."""


def read_costs(path: str, multi: bool) -> dict[str, dict[str, float]]:
    """Read a CSV (or TSV) file: the first column holds the true label, the others are the given labels.

    Args:
        path: The file.
        multi: Whether the columns are `miss` and `false_alarm` instead.

    Raises:
        InputError: The file is not there, or a cell is no number.
    """
    file = expanded(path)
    if not file.is_file() or not (extension(file) or "").startswith((".csv", ".tsv")):
        raise InputError(f"decide.costs={path}: no such CSV file")
    source = open_source(file, path)
    first, *given = source.columns()
    if not given:
        wanted = f"{MISS} and {FALSE_ALARM}" if multi else "one per label"
        raise InputError(f"{path} has one column; it must have the label first and then costs: {wanted}")
    table: dict[str, dict[str, float]] = {}
    for batch, numbers in source.batches({first: "text", **dict.fromkeys(given, "number")}):
        columns = {column: batch[column].to_pylist() for column in given}
        for row, (label, number) in enumerate(zip(batch[first].to_pylist(), numbers, strict=True)):
            if label in table:
                raise InputError(f"{path}: line {number}: the label '{label}' has a row already; remove one")
            table[label] = {column: columns[column][row] for column in given}
    return table


def cost_matrix(table: CostTable, names: Sequence[str], multi: bool, name: str = "decide.costs") -> Values:
    """Return the costs as numbers; what is not given costs 1 where it is wrong and 0 where it is right.

    Args:
        table: See CostTable.
        names: The model's labels.
        multi: Whether any number of labels can be right.
        name: What messages call the table.

    Raises:
        InputError: A label that the model does not have, a cost that is no finite number, or one that rewards mistakes.
    """
    places = {label: place for place, label in enumerate(names)}
    columns = {MISS: 0, FALSE_ALARM: 1} if multi else places
    costs = np.ones((len(names), 2)) if multi else 1.0 - np.eye(len(names))
    for label, row in table.items():
        if label not in places:
            raise InputError(f"{name}: {_unknown('label', label, names)}")
        for other, cost in row.items():
            if other not in columns:
                raise InputError(f"{name}: label '{label}': {_unknown('column' if multi else 'label', other, columns)}")
            if not np.isfinite(cost):
                raise InputError(f"{name}: the cost of '{label}', '{other}' must be a finite number; got {cost}")
            costs[places[label], columns[other]] = cost
    if multi:
        for place, column in np.argwhere(costs <= 0):
            raise InputError(
                f"{name}: '{names[place]}': {list(columns)[column]} must cost more than 0; got {costs[place, column]:g}"
            )
    else:
        for place, other in np.argwhere(costs < np.diagonal(costs)[:, None]):
            raise InputError(
                f"{name}: '{names[place]}' costs {costs[place, place]:g} given rightly and {costs[place, other]:g} given as "
                f"'{names[other]}': a mistake must not be cheaper; rows are the true labels, columns the given ones"
            )
    return costs


def least_cost(probabilities: Values, costs: Values) -> NDArray[np.int64]:
    """Return the labels (N,) whose expected cost is least under the probabilities (N, K)."""
    return np.asarray((probabilities @ costs).argmin(axis=1), dtype=np.int64)


def cost_thresholds(costs: Values) -> Values:
    """Return from which probability on a label of several costs less given than missed, (K,)."""
    return np.asarray(costs[:, 1] / costs.sum(axis=1))


def mean_cost(
    predicted: NDArray[np.int64] | NDArray[np.bool_], gold: NDArray[np.int64] | NDArray[np.bool_], costs: Values
) -> float:
    """Return the mean cost of a row's decisions."""
    if predicted.ndim == 1:
        return float(costs[gold, predicted].mean())
    missed, alarms = gold & ~predicted, predicted & ~gold
    return float((missed @ costs[:, 0] + alarms @ costs[:, 1]).mean())


def _unknown(what: str, label: str, known: Sequence[str] | Mapping[str, int]) -> str:
    guess = nearest(label, known)
    few = ", ".join(list(known)[:10]) + (", ..." if len(known) > 10 else "")
    return f"unknown {what} '{label}'; " + (f"did you mean '{guess}'?" if guess else f"known: {few}")
