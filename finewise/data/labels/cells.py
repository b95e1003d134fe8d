"""One cell of the label column: what it says, or what is wrong with it."""

import json
import math
from dataclasses import dataclass
from typing import Any

from finewise.data.table import shown


class UnlabelledError(ValueError):
    """The cell says nothing: null, NaN or an empty text."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell that was understood.

    Attributes:
        names: The labels; one, unless `several`.
        several: Whether the cell can hold any number of labels.
        types: What kinds of values the labels are: "text", "number", "truth value", "fraction".
        multi_hot: Whether it is a list of zeros and ones, some of them repeated.
    """

    names: tuple[str, ...]
    several: bool
    types: frozenset[str]
    multi_hot: bool = False


def read_cell(raw: str, delimiter: str | None = None, names: list[str] | None = None) -> Cell:
    """Understand a cell.

    Args:
        raw: The cell as JSON.
        delimiter: What separates the labels in a text; None for one label.
        names: The names behind whole numbers, if there are such.

    Raises:
        UnlabelledError: It says nothing.
        ValueError: Says what is wrong with it.
    """
    value = json.loads(raw)
    if isinstance(value, dict):
        raise ValueError(f"must be a label or a list of labels; got {shown(value)}")
    if delimiter is not None:
        if isinstance(value, list):
            raise ValueError(f"is a list, so data.columns.delimiter must be null; got {shown(value)}")
        if value is None:
            raise UnlabelledError
        if not isinstance(value, str):
            raise ValueError(f"must be a text, because data.columns.delimiter is set; got {shown(value)}")
        value = [part.strip() for part in value.split(delimiter) if part.strip()]
    if isinstance(value, list):
        found = [label_name(one, names) for one in value]
        texts = tuple(dict.fromkeys(name for name, _ in found))
        hot = len(found) > len(texts) and all(one in (0, 1) for one in value)
        return Cell(texts, True, frozenset(kind for _, kind in found), hot)
    name, kind = label_name(value, names)
    return Cell((name,), False, frozenset([kind]))


def label_name(value: Any, names: list[str] | None) -> tuple[str, str]:
    """Return a label's name and what kind of value it is.

    Args:
        value: As a file has it.
        names: Of numbers, where a data set brings them.

    Raises:
        UnlabelledError: It says nothing.
        ValueError: It is no label.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise UnlabelledError
    if isinstance(value, bool):
        return str(value).lower(), "truth value"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:g}", "fraction"
    if isinstance(value, int | float):
        if names is None:
            return str(int(value)), "number"
        if value < 0:  # how the hub's data sets say that a row has no label
            raise UnlabelledError
        if value >= len(names):
            raise ValueError(f"is class {int(value)}, and the file names {len(names)} classes (0 to {len(names) - 1})")
        return names[int(value)], "number"
    if isinstance(value, str):
        if not value.strip():
            raise UnlabelledError
        return value.strip(), "text"
    raise ValueError(f"must be a label or a list of labels; got {shown(value)}")
