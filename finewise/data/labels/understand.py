"""From the cells of the label column to classes: what kind of labels they are, and which there are."""

import json
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from finewise.config import LabelDataConfig
from finewise.data.keys import combine, text_keys
from finewise.data.labels.cells import Cell, UnlabelledError, read_cell
from finewise.data.labels.columns import Rows, as_is
from finewise.data.labels.rows import Labelled
from finewise.data.labels.space import LabelSpace
from finewise.data.labels.stored import Stored
from finewise.errors import InputError

SHOWN = 5
"""Labels that a message names."""

MEASURED = 20
"""Different numbers up to which labels are classes, however they are spread."""

DIGITS = 1_000
"""Of a class number, below which Python reads it as a number."""


def understand(stored: Stored, config: LabelDataConfig, *, train: bool = True) -> tuple[Cell, ...]:
    """Return what each different label cell of a file says.

    Args:
        stored: The file.
        config: What kind of labels are expected.
        train: Whether these are the training rows, in which data.columns.delimiter must occur.

    Raises:
        InputError: A row has no label, or one of another kind.
    """
    cells: list[Cell] = []
    unlabelled: list[int] = []
    for code, raw in enumerate(stored.cells):
        try:
            cells.append(read_cell(raw, config.columns.delimiter, stored.names))
        except UnlabelledError:
            unlabelled.append(code)
        except ValueError as error:
            raise InputError(f"{stored.first(code)}: '{stored.label}' {error}") from None
    if unlabelled:
        rows = np.flatnonzero(np.isin(stored.codes, unlabelled))
        number = ", -1" if stored.names is not None else ""
        raise InputError(
            f"{stored.reference}: {len(rows)} of {len(stored.codes)} rows have no label (first: {stored.unit} "
            f"{stored.numbers[rows[0]]}, '{stored.label}' is empty, null{number} or NaN); label them, or remove them"
        )
    _check_types(stored, cells, config)
    _check_form(stored, cells, config, train)
    return tuple(cells)


def _check_types(stored: Stored, cells: Sequence[Cell], config: LabelDataConfig) -> None:
    first: dict[str, int] = {}
    for code, cell in enumerate(cells):
        for kind in cell.types:
            first.setdefault("number" if kind == "fraction" else kind, code)
        if "fraction" in cell.types and config.kind != "ordinal":
            raise InputError(
                f"{stored.first(code)}: '{stored.label}' is {stored.cells[code]}, and classes are names or whole numbers; give "
                "names, or set data.kind=ordinal if the numbers have an order"
            )
    _check_measured(stored, cells, config)
    if len(first) > 1:
        examples = " and ".join(
            f"the {kind} {stored.cells[code]} ({stored.first(code)})" for kind, code in first.items()
        )
        raise InputError(
            f"{stored.reference}: '{stored.label}' mixes {examples}; write all labels as one kind of value"
        )


def _check_measured(stored: Stored, cells: Sequence[Cell], config: LabelDataConfig) -> None:
    """Refuse a column of measurements: what is asked for then is regression."""
    names = [cell.names[0].replace(",", ".") for cell in cells if not cell.several]
    if len(names) <= MEASURED or len(names) < len(cells) or not all(map(_is_number, names)):
        return
    fractions = config.kind != "ordinal" and not all(float(name).is_integer() for name in names)
    if fractions or 2 * len(names) > len(stored.codes):
        raise InputError(
            f"{stored.reference}: '{stored.label}' holds {len(names)} different numbers in {len(stored.codes)} rows (such as "
            f"{', '.join(stored.cells[:3])}), which look like ids or measurements (regression), not classes; name another "
            "column in data.columns.label, or sort the numbers into a few ranges"
        )


def _check_form(stored: Stored, cells: Sequence[Cell], config: LabelDataConfig, train: bool) -> None:
    several = [code for code, cell in enumerate(cells) if cell.several]
    one = [code for code, cell in enumerate(cells) if not cell.several]
    if several and one:
        raise InputError(
            f"{stored.reference}: '{stored.label}' holds a list ({stored.first(several[0])}: {stored.cells[several[0]]}) and a "
            f"single label ({stored.first(one[0])}: {stored.cells[one[0]]}); write lists in every row, or in none"
        )
    delimiter = config.columns.delimiter
    if several and config.kind not in ("auto", "multi"):
        raise InputError(
            f"{stored.first(0)}: '{stored.label}' holds {'several labels' if delimiter else 'a list'} ({stored.cells[0]}), and "
            f"data.kind={config.kind} takes one label per row; set data.kind=multi"
            f"{' or data.columns.delimiter=null' if delimiter else ''}"
        )
    if one and config.kind == "multi":
        numbers = " (class numbers are one label per row)" if "number" in cells[0].types else ""
        raise InputError(
            f"{stored.first(0)}: data.kind=multi needs any number of labels per row, and '{stored.label}' holds one: "
            f"{stored.cells[0]}{numbers}; give lists, a text with data.columns.delimiter, or a column per label with "
            "data.columns.labels"
        )
    if train and delimiter is not None and not any(delimiter in raw for raw in map(json.loads, stored.cells)):
        raise InputError(
            f"data.columns.delimiter='{delimiter}' is in none of the {len(stored.cells)} different labels of "
            f"{stored.reference} ({', '.join(stored.cells[:3])}); name the one that is, or leave it out"
        )
    if one and all(raw.startswith('"[') and raw.endswith(']"') for raw in stored.cells):
        raise InputError(
            f"{stored.first(0)}: '{stored.label}' holds lists written as text ({stored.cells[0]}); join the labels with a sign "
            "and name it in data.columns.delimiter, or write jsonl or parquet with real lists"
        )
    if several and any(cell.multi_hot for cell in cells) and all(set(cell.names) <= {"0", "1"} for cell in cells):
        raise InputError(
            f"{stored.first(0)}: '{stored.label}' is a list of zeros and ones ({stored.cells[0]}), which does not say which "
            "labels they are; write the labels' names, or a column per label with data.columns.labels"
        )


def space_of(stored: Stored, cells: Sequence[Cell], config: LabelDataConfig) -> LabelSpace:
    """Return the classes of the training rows.

    Raises:
        InputError: There is only one, or a label does not fit data.order or data.separator.
    """
    kind = config.kind if config.kind != "auto" else "multi" if cells[0].several else "single"
    codes: dict[str, int] = {}
    for code, cell in enumerate(cells):
        for name in cell.names:
            codes.setdefault(name, code)
    names = _ordered(stored, codes, config) if kind == "ordinal" else _sorted(codes)
    if kind == "hierarchical":
        for name, code in codes.items():
            if not all(level.strip() for level in name.split(config.separator)):
                raise InputError(
                    f"{stored.first(code)}: the label '{name}' has an empty level (data.separator='{config.separator}')"
                )
        if not any(config.separator in name for name in names):
            raise InputError(
                f"data.separator='{config.separator}' is in none of the {len(names)} labels of {stored.reference} "
                f"({', '.join(names[:3])}); name the one that is, or set data.kind=single"
            )
    if not names or (kind != "multi" and len(codes) < 2) or (kind == "multi" and len(cells) < 2):
        have = (
            f"the label{'s' * (len(names) != 1)} {', '.join(map(repr, names[:SHOWN]))}" if codes else "no label at all"
        )
        raise InputError(
            f"{stored.reference}: all {len(stored.codes)} rows have {have}; there is nothing to learn. At least two classes "
            "are needed"
        )
    return LabelSpace(kind=kind, names=tuple(names), separator=config.separator)


def _sorted(names: dict[str, int]) -> list[str]:
    """Return the names sorted, by value if all are whole numbers: class numbers then keep their places."""
    if all(name.removeprefix("-").isdecimal() and len(name) < DIGITS for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def _ordered(stored: Stored, codes: dict[str, int], config: LabelDataConfig) -> list[str]:
    if config.order:
        for name, code in codes.items():
            if name not in config.order:
                near = get_close_matches(name, config.order, n=1)
                raise InputError(
                    f"{stored.first(code)}: the label '{name}' is not in data.order ({', '.join(config.order)})"
                    f"{f'; did you mean {near[0]!r}?' if near else '; add it, or change the row'}"
                )
        return list(config.order)
    try:
        return sorted(codes, key=float)
    except ValueError:
        word = next(name for name in codes if not _is_number(name))
        raise InputError(
            f"{stored.first(codes[word])}: data.kind=ordinal sorts labels by number, and '{word}' is none; name all labels "
            "from lowest to highest in data.order"
        ) from None


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def labelled(
    stored: Stored, cells: Sequence[Cell], space: LabelSpace, config: LabelDataConfig, split: str, train: str
) -> Labelled:
    """Return a file's rows with their classes as numbers.

    Args:
        stored: The file.
        cells: What its label cells say.
        space: The classes, from the training rows.
        config: What tables call the data.
        split: "train", "dev" or "test".
        train: What messages call the training rows.

    Raises:
        InputError: A row has a label that no training row has.
    """
    place = space.label2id
    unknown = Counter(
        {
            name: int((stored.codes == code).sum())
            for code, cell in enumerate(cells)
            for name in cell.names
            if name not in place
        }
    )
    if unknown:
        named = ", ".join(f"'{name}' ({count} rows)" for name, count in unknown.most_common(SHOWN))
        more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        raise InputError(
            f"{stored.reference} ({split}) has labels that no row of {train} has: {named}{more}; add training rows "
            f"with them, or remove these rows from {split}"
        )
    table: NDArray[np.bool_] | NDArray[np.int64]
    if space.kind == "multi":
        table = np.zeros((len(cells), len(space)), dtype=bool)
        for code, cell in enumerate(cells):
            table[code, [place[name] for name in cell.names]] = True
    else:
        table = np.array([place[cell.names[0]] for cell in cells], dtype=np.int64)
    return Labelled(
        name=config.name,
        split=split,
        reference=stored.reference,
        unit=stored.unit,
        numbers=stored.numbers,
        texts=Rows(stored.texts, None, as_is),
        labels=table[stored.codes],
        space=space,
        groups=_groups(stored),
        columns={name: Rows(column, None, json.loads) for name, column in stored.others.items()},
        keys=stored.keys,
        revision=combine(stored.digest, space.kind, json.dumps(space.names)),
    )


def _groups(stored: Stored) -> NDArray[np.int64] | None:
    """Return (N,) a number per group, the same in every file; a row without one is a group of its own."""
    if stored.group is None:
        return None
    cells = list(stored.others[stored.group])
    keys = (text_keys(cells) >> np.uint64(1)).astype(np.int64)  # not negative
    alone = np.array([cell in ("null", "NaN", '""') for cell in cells], dtype=bool)
    keys[alone] = -1 - np.flatnonzero(alone)
    return keys
