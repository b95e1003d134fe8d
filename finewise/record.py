"""record.json: its schema, and how it is written (once, atomically) and read. Imports nothing heavy.

A record is the only source of the leaderboard. Everything in it is plain JSON.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finewise.errors import InputError

SCHEMA = 2
READABLE = (1, 2)
"""Schemas that are read: 1 has no dev scores, and no number of clusters."""
FILE = "record.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One number on one benchmark, with its 95% interval (None: it has none).

    `system` is "tuned", "untuned" or a baseline's name; `clusters` is of how many clusters the n rows are, None: each is alone.
    """

    benchmark: str
    data_revision: str
    split: str
    system: str
    metric: str
    value: float
    low: float | None
    high: float | None
    n: int
    clusters: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A paired comparison: `difference` is a minus b, with its 95% interval and the p-value of `test`.

    Attributes:
        low: None where no interval is defined, as `high`.
        p: Of `test`; None where there is too little to test, which `test` says then.
        p_adjusted: p after Holm's correction over the comparisons of one table.
        detectable: The smallest true difference that such a sample shows with 80% probability.
    """

    benchmark: str
    metric: str
    a: str
    b: str
    difference: float
    low: float | None
    high: float | None
    p: float | None
    test: str
    p_adjusted: float | None = None
    detectable: float | None = None
    split: str = "test"


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically: a reader sees the old file or the new one, never half of one.

    Raises:
        ValueError: The content holds NaN or infinity, which JSON does not have.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        part.unlink(missing_ok=True)
        raise
    part.replace(path)


def rows(items: list[Score] | list[Comparison]) -> list[dict[str, Any]]:
    """Return scores or comparisons as the plain dictionaries that a record holds."""
    return [asdict(item) for item in items]


def read(path: Path) -> dict[str, Any]:
    """Read one record.

    Raises:
        InputError: The file is missing, is not JSON, or is of another schema.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such record") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a record: {error}") from None
    if not isinstance(content, dict) or content.get("schema") not in READABLE:
        found = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise InputError(f"{path}: record schema must be {' or '.join(map(str, READABLE))}; got {found!r}")
    return content
