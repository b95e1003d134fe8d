"""What the cells of a row must hold: words with tags, or a text with spans. ValueError says what is wrong with them."""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from classify.spans.config import TokenColumnsConfig
from classify.spans.rows import Words
from finewise.data.scripts import WORD
from finewise.data.table import shown

Span = tuple[str, int, int]
"""Label, start and end in characters."""


@dataclass(slots=True)
class Row:
    """One text as the file gives it: with tags in the file's own scheme, or with spans."""

    number: int
    text: str
    words: Words
    tags: list[str] | None = None
    spans: list[Span] = field(default_factory=list)
    group: str | None = None


def row_of_tags(number: int, tokens: Any, tags: Any, columns: TokenColumnsConfig, names: Sequence[str]) -> Row:
    """Return the row of a list of words and a list of tags."""
    tokens, tags = _list(tokens, columns.tokens), _list(tags, columns.tags)
    if len(tokens) != len(tags):
        raise ValueError(
            f"'{columns.tokens}' has {len(tokens)} words and '{columns.tags}' {len(tags)} tags; give every word one tag"
        )
    for token in tokens:
        if not isinstance(token, str) or not token.strip():
            raise ValueError(f"'{columns.tokens}' must hold words; got {shown(token)}")
    text, words = joined(tokens)
    return Row(number, text, words, [_tag(tag, columns.tags, names) for tag in tags])


def _tag(tag: Any, column: str, names: Sequence[str]) -> str:
    if isinstance(tag, str):
        return tag
    if isinstance(tag, int) and not isinstance(tag, bool):
        if not names:
            raise ValueError(f"'{column}' holds numbers; name them with data.names=[O,B-...,I-...]")
        if not 0 <= tag < len(names):
            raise ValueError(f"'{column}' holds {tag}, and data.names has {len(names)} names (0 to {len(names) - 1})")
        return names[tag]
    raise ValueError(f"'{column}' must hold tags; got {shown(tag)}")


def row_of_spans(number: int, text: Any, spans: Any, columns: TokenColumnsConfig) -> tuple[Row, int]:
    """Return the row, and how many spans had white space at their ends."""
    if text is None:
        text = ""
    if not isinstance(text, str):
        raise ValueError(f"'{columns.text}' must be a text; got {shown(text)}")
    found: list[Span] = []
    stripped = 0
    for span in _list(spans, columns.spans):
        if not isinstance(span, dict) or not {"start", "end", "label"} <= span.keys():
            raise ValueError(f"'{columns.spans}' must hold objects with start, end and label; got {shown(span)}")
        start, end, label = span["start"], span["end"], span["label"]
        if not all(isinstance(value, int) and not isinstance(value, bool) for value in (start, end)):
            raise ValueError(f"a span's start and end must be whole numbers; got {shown(span)}")
        if not isinstance(label, str) or not re.fullmatch(r"\S+", label):
            raise ValueError(f"a span's label must be a name without blanks; got {shown(label)}")
        if not 0 <= start < end <= len(text):
            raise ValueError(
                f"the span {start} to {end} ({label}) does not lie in the text, which has {len(text)} characters; "
                "start counts from 0, end is behind the last character"
            )
        inside = text[start:end]
        if not inside.strip():
            raise ValueError(f"the span {start} to {end} ({label}) holds nothing but white space")
        if inside != inside.strip():
            stripped += 1
            start, end = start + len(inside) - len(inside.lstrip()), end - len(inside) + len(inside.rstrip())
        found.append((label, start, end))
    found.sort(key=lambda span: span[1:])
    for (one, start, end), (other, second, last) in pairwise(found):
        if second < end:
            raise ValueError(
                f"the spans {start} to {end} ({one}) and {second} to {last} ({other}) overlap; a character can be in one alone"
            )
    words = np.array([match.span() for match in WORD.finditer(text)], dtype=np.int64).reshape(-1, 2)
    return Row(number, text, words, None, found), stripped


def _list(cell: Any, column: str) -> list[Any]:
    if isinstance(cell, str):  # in csv files lists are written as JSON
        with suppress(json.JSONDecodeError):
            cell = json.loads(cell) if cell.strip() else []
    if cell is None:
        raise ValueError(f"'{column}' is missing; it must be a list (an empty one where there is nothing)")
    if not isinstance(cell, list):
        raise ValueError(f"'{column}' must be a list; got {shown(cell)}")
    return cell


def joined(tokens: Sequence[str]) -> tuple[str, Words]:
    """Return words as a text with a blank between them, and where each of them is, (W, 2)."""
    lengths = np.array([len(token) for token in tokens], dtype=np.int64)
    starts = np.cumsum(lengths + 1) - lengths - 1
    return " ".join(tokens), np.stack([starts, starts + lengths], axis=1) if len(tokens) else np.zeros((0, 2), np.int64)
