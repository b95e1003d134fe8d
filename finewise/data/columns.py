"""Which column of a file plays which role."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

from finewise.config import ColumnsConfig
from finewise.data.table import Kind, short
from finewise.errors import InputError

ANCHORS = (
    "query",
    "question",
    "sentence1",
    "sentence_1",
    "text1",
    "premise",
    "title",
    "prompt",
    "instruction",
    "input",
    "source",
    "short",
)
POSITIVES = (
    *("answer", "document", "passage", "context", "response", "sentence2", "sentence_2", "text2", "hypothesis"),
    *("completion", "paraphrase", "output", "target", "body", "text", "long", "pos"),
)
USUAL = {
    "anchor": ANCHORS,
    "positive": POSITIVES,
    "score": ("similarity", "label", "rating"),
    "group": ("id", "source"),
}


def roles(columns: Sequence[str], config: ColumnsConfig, name: str) -> dict[str, str]:
    """Map roles to columns: anchor, positive, negative (or negative_1, ...), score, group, in this order.

    Args:
        columns: The columns that the file has.
        config: The columns that the user named.
        name: What messages call the file.

    Raises:
        InputError: A column is not there, or plays two roles.
    """
    missing = [
        (role, wanted)
        for role in ("anchor", "positive", "negative", "score", "group")
        if (wanted := getattr(config, role)) is not None
        and wanted not in columns
        and not (role == "negative" and _numbered(columns, wanted))
    ]
    if missing:
        raise InputError(_missing(missing, columns, config, name))
    found = {"anchor": config.anchor, "positive": config.positive}
    stem = config.negative or "negative"
    negatives = ([stem] if stem in columns else []) + _numbered(columns, stem)
    if len(negatives) == 1:
        found["negative"] = negatives[0]
    else:
        found |= {f"negative_{number}": column for number, column in enumerate(negatives, 1)}
    if config.score or "score" in columns:
        found["score"] = config.score or "score"
    if config.group:
        found["group"] = config.group
    by_column: dict[str, str] = {}
    for role, column in found.items():
        if column in by_column and role != "group":
            raise InputError(
                f"{name}: column '{column}' is both {by_column[column]} and {role}; name another "
                f"(data.columns.{role}=...)"
            )
        by_column[column] = role
    return found


def kind_of(role: str) -> Kind:
    """Return what a role's column must hold."""
    return "number" if role == "score" else "label" if role == "group" else "text"


def late(first_seen: dict[str, int], config: ColumnsConfig) -> tuple[str, int] | None:
    """Return a column (and its line) that only later rows have and that would have played a role from the start."""
    first = min(first_seen.values())
    for column, line in first_seen.items():
        is_negative = config.negative is None and re.fullmatch(r"negative(_\d+)?", column)
        is_score = config.score is None and column == "score"
        if line > first and (is_negative or is_score):
            return column, line
    return None


def _numbered(columns: Sequence[str], stem: str) -> list[str]:
    numbers = [
        (int(match[1]), column) for column in columns if (match := re.fullmatch(rf"{re.escape(stem)}_(\d+)", column))
    ]
    return [column for _, column in sorted(numbers)]


def _missing(missing: list[tuple[str, str]], columns: Sequence[str], config: ColumnsConfig, name: str) -> str:
    """Say what is missing, with a line to copy: a column is suggested by its name, never by its place in the file."""
    free = [column for column in columns if column not in (config.anchor, config.positive)]
    overrides = []
    for role, wanted in missing:
        lower = {column.lower(): column for column in free}
        close = get_close_matches(wanted.lower(), list(lower), n=1, cutoff=0.6)
        usual = [lower[word] for word in USUAL.get(role, ()) if word in lower]
        guess = lower[close[0]] if close else usual[0] if usual else None
        if guess is not None:
            free.remove(guess)
        overrides.append(f"data.columns.{role}={_quoted(guess) if guess else 'NAME'}")
    what = " and no ".join(f"column '{wanted}'" for _, wanted in missing)
    return (
        f"{name} has no {what}; it has: {', '.join(map(short, columns))}. {headerless(columns)}Name yours: "
        f"{' '.join(overrides)}"
    )


def headerless(columns: Sequence[str]) -> str:
    """Return what to add to a message on a missing column: a hint if the header looks like a row.

    >>> headerless(["text", "Unnamed: 0"]), headerless(["I liked it a lot, really", "1"])[:8]
    ('', 'If its f')
    """
    if any(column.count(" ") >= 4 or re.fullmatch(r"\s*[-+]?\d+([.,]\d+)?\s*", column) for column in columns):
        return "If its first line is a row, put a header before it. "
    return ""


def _quoted(column: str) -> str:
    """Return a column's name as a shell and Hydra take it."""
    return column if re.fullmatch(r"[\w.\-]+", column) else f"\"'{column}'\""
