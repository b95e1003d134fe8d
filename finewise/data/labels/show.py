"""The audit of labelled data alone: printed, and written to files."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from finewise.config import LabelAuditRunConfig
from finewise.console import out, say
from finewise.data.labels.load import prepare_labels
from finewise.data.labels.rows import Labelled
from finewise.data.labels.suspects import Suspects, advice
from finewise.data.report import shorten
from finewise.data.tokens import limit_to_show
from finewise.errors import InputError
from finewise.record import write_json


def show_audit(config: LabelAuditRunConfig) -> bool:
    """Read, split and audit labelled data; print and write what was found.

    Returns:
        Whether training may start.

    Raises:
        InputError: The data is wrong, or a file cannot be written.
    """
    data = prepare_labels(config.data, config.audit, config.seed, limit=limit_to_show(config.model))
    out.print(data.report)
    found, train = data.suspects, data.audited
    if found is not None and found.likely and config.show:
        out.print(suspects_table(train, found, config.show))
    if config.output is not None:
        listed = [] if found is None else list(suspect_rows(train, found, found.likely))
        _write("output", config.output, lambda path: write_json(path, data.report.summary() | {"suspects": listed}))
    if config.suspects is not None and found is not None:
        _write("suspects", config.suspects, lambda path: _write_csv(path, train, found))
    try:
        data.report.check()
    except InputError as error:
        say(f"training would be refused: {error}")
        return False
    return True


def suspect_rows(train: Labelled, found: Suspects, count: int) -> Iterator[dict[str, Any]]:
    """Yield the first suspects as plain values: where, given and suggested label, how likely each is, and the text.

    Args:
        train: The rows that were judged.
        found: The suspects.
        count: How many.
    """
    first = found.rows[:count]
    for start in range(0, len(first), 1000):
        rows = first[start : start + 1000]
        for place, (row, text) in enumerate(zip(rows.tolist(), train.texts.at(rows), strict=True), start):
            yield {
                "rank": place + 1,
                "where": train.where(row),
                "row": int(train.numbers[row]),
                "given": train.shown(row),
                "suggested": advice(train, row, int(found.suggested[place])),
                "probability": round(float(found.probability[place]), 4),
                "given_probability": round(float(found.given[place]), 4),
                "quality": round(float(found.quality[place]), 6),
                "text": text,
            }


def suspects_table(train: Labelled, found: Suspects, count: int) -> Table:
    """Return the first suspects as a table for the terminal."""
    table = Table(
        title=f"Likely label errors: the first {min(count, found.likely)} of {found.likely:,}", title_justify="left"
    )
    for column in ("where", "given", "suggested", "probability"):
        table.add_column(column, overflow="fold", justify="right" if column == "probability" else "left")
    table.add_column("text", ratio=1)
    for row in suspect_rows(train, found, min(count, found.likely)):
        cells = (row["where"], row["given"], row["suggested"], f"{row['probability']:.0%}", shorten(row["text"], 120))
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _write_csv(path: Path, train: Labelled, found: Suspects) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(
            file,
            ["rank", "where", "row", "given", "suggested", "probability", "given_probability", "quality", "text"],
            quoting=csv.QUOTE_NONNUMERIC,  # a lone carriage return in a text would end its row
        )
        writer.writeheader()
        writer.writerows(suspect_rows(train, found, found.likely))


def _write(key: str, name: str, write: Callable[[Path], None]) -> None:
    try:
        write(Path(name))
    except OSError as error:
        raise InputError(f"{key}={name}: cannot be written ({error.strerror or error})") from None
    say(f"written: {name}")
