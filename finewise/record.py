"""record.json: its schema, and how it is written (once, atomically) and read. Imports nothing heavy.

A record is the only source of the leaderboard. Everything in it is plain JSON.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finewise.errors import InputError

SCHEMA = 2
READABLE = (1, 2)
"""Schema 2 added dev scores and how often test sets were read; all that boards need is in both."""

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


def held_out(scores: Sequence[Score]) -> list[Score]:
    """Return the scores that a run is judged by: those of test, which dev scores stand next to since schema 2."""
    return [score for score in scores if score.split != "dev"] or list(scores)


def test_reads(root: Path, scores: Sequence[Mapping[str, Any]], sweep: str | None, own: int) -> list[dict[str, Any]]:
    """Return how often each test set was read by the finished runs under a folder, this one included.

    A run reads a set once for each checkpoint that it scored on it. Copies of a record count once.

    Args:
        root: The folder of all runs.
        scores: Rows of the record that is about to be written.
        sweep: The sweep that the run is part of.
        own: Checkpoints that the run itself scored.
    """
    sets = dict.fromkeys(
        (row["benchmark"], row["split"], row["data_revision"]) for row in scores if row["split"] != "dev"
    )
    runs, in_sweep = dict.fromkeys(sets, max(1, own)), dict.fromkeys(sets, max(1, own))
    known: set[int] = set()
    for path in sorted(root.rglob(FILE)) if sets else ():
        try:
            text = path.read_text(encoding="utf-8")
            if not any(revision in text for _, _, revision in sets):
                continue
            content = json.loads(text)
            read_here = {(row["benchmark"], row["split"], row["data_revision"]) for row in content["scores"]}
            count = max(1, int(content.get("selection", {}).get("test_reads", 1)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # no record of ours
        if hash(text) in known:
            continue
        known.add(hash(text))
        for key in sets:
            if key in read_here:
                runs[key] += count
                in_sweep[key] += count if sweep is not None and content.get("sweep") == sweep else 0
    return [
        {
            "benchmark": benchmark,
            "split": split,
            "data_revision": revision,
            "reads": runs[benchmark, split, revision],
            "reads_in_sweep": in_sweep[benchmark, split, revision] if sweep is not None else None,
        }
        for benchmark, split, revision in sets
    ]


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
