"""What the audit looks for inside texts: traces of broken files, ids in place of texts, and what will be cut."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from finewise.config import AuditConfig
from finewise.data.held import Held
from finewise.data.near import chunks
from finewise.data.pairs import Pairs
from finewise.data.report import Cut, Example, Finding, Severity, sampled, shorten
from finewise.data.tokenised import tokenise_column
from finewise.data.tokens import TokenLimit

SHORT, LONG = 3, 100_000
"""Characters under and over which a text is suspicious."""

CONTINUED = "[\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
PATTERNS = {
    "replacement_characters": "\ufffd",
    "mojibake": f"[\u00c2-\u00f4]{CONTINUED}",
    "control_characters": "[\x00-\x08\x0b\x0e-\x1f\x7f]",
    "html": r"(?i)</?(?:p|br|div|span|a|b|i|u|ul|ol|li|td|tr|th|table|img|h[1-6]|strong|em|script|style|code|pre)"
    r"(?:\s[^<>]*)?/?>|&(?:amp|lt|gt|quot|apos|nbsp|#\d{2,5}|#x[0-9a-fA-F]{2,5});",
    "ids": r"(?i)^\s*(?:[-+]?\d+(?:[.,]\d+)?|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{16,}|https?://\S+"
    r"|[a-z]{0,8}[-_:]?\d+)\s*$",
}
"""Regular expressions of RE2. Mojibake found by them is confirmed by ftfy."""

ADVICE: dict[str, tuple[Severity, str]] = {
    "replacement_characters": (
        "warn",
        "hold U+FFFD: bytes were lost when the file was made; make it again with the right encoding",
    ),
    "mojibake": ("warn", "look like UTF-8 read as Latin-1 ('Ã©' for 'é'); repair them with ftfy.fix_text"),
    "control_characters": ("warn", "hold control characters; remove them"),
    "html": ("note", "hold HTML tags or entities; strip them unless the model shall see them"),
    "ids": ("warn", "look like ids, numbers or addresses, not text; is this the right column?"),
    "short": ("note", f"are shorter than {SHORT} characters"),
    "long": ("note", f"are longer than {LONG:,} characters; is one row one document?"),
}
IDS_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Column:
    """A column of texts to look at, wherever it comes from; `pairs` are the training rows, if it is one of theirs."""

    split: str
    name: str
    size: int
    batches: Callable[[], Iterator[pa.Array]]
    where: Callable[[int], str]
    pairs: Pairs | None = None


def columns_of(train: Pairs, held: list[Held]) -> Iterator[Column]:
    """Yield every column of texts; a corpus that several sets share only once."""

    def of_train(name: str) -> Callable[[], Iterator[pa.Array]]:
        def batches() -> Iterator[pa.Array]:
            for _, table in train.batches([name]):
                yield from table.column(name).chunks

        return batches

    def of_texts(texts: Sequence[str]) -> Callable[[], Iterator[pa.Array]]:
        return lambda: (pa.array(chunk, pa.string()) for chunk in chunks(texts))

    for name in ("anchor", "positive", *train.negatives):
        yield Column("train", name, len(train), of_train(name), train.where, train)
    for one in held:
        yield Column(one.label, "queries", len(one.queries), of_texts(one.task.queries), one.query)
    corpora: dict[bytes, list[Held]] = {}
    for one in held:
        corpora.setdefault(np.unique(one.corpus).tobytes(), []).append(one)
    for sharing in corpora.values():
        one, label = sharing[0], "+".join(each.label for each in sharing)
        yield Column(label, "corpus", len(one.corpus), of_texts(one.task.corpus), one.document)


def content(column: Column, config: AuditConfig) -> Iterator[Finding]:
    """Yield what is suspicious in the texts of a column."""
    from ftfy.badness import is_bad

    counts = dict.fromkeys(ADVICE, 0)
    examples: dict[str, list[Example]] = {kind: [] for kind in ADVICE}
    start = 0
    for texts in column.batches():
        lengths = np.asarray(pc.utf8_length(texts))
        hits = {kind: np.flatnonzero(pc.match_substring_regex(texts, pattern)) for kind, pattern in PATTERNS.items()}
        hits["mojibake"] = np.array(
            [row for row in hits["mojibake"] if is_bad(texts[int(row)].as_py())], dtype=np.int64
        )
        hits |= {"short": np.flatnonzero(lengths < SHORT), "long": np.flatnonzero(lengths > LONG)}
        for kind, rows in hits.items():
            counts[kind] += len(rows)
            for row in rows[: config.examples - len(examples[kind])]:
                shown = _excerpt(texts[int(row)].as_py(), kind)
                examples[kind].append(Example(where=column.where(start + int(row)), text=shown))
        start += len(texts)
    for kind, (severity, advice) in ADVICE.items():
        if counts[kind] and (kind != "ids" or counts[kind] >= IDS_SHARE * column.size):
            yield Finding(
                kind=kind,
                severity=severity,
                split=column.split,
                count=counts[kind],
                of=column.size,
                message=f"{column.name}: {advice}",
                examples=tuple(examples[kind]),
            )


def _excerpt(text: str, kind: str) -> str:
    """Return the text around what was found; control characters are made visible."""
    found = re.search(PATTERNS[kind], text) if kind in PATTERNS else None
    start = max(0, found.start() - 30) if found else 0
    shown = shorten(("…" if start else "") + text[start:])
    return re.sub(PATTERNS["control_characters"], lambda match: repr(match[0])[1:-1], shown)


def cuts_of(columns: list[Column], limit: TokenLimit, config: AuditConfig, seed: int) -> list[Cut]:
    """Return the ledger of cut texts: one row per column."""
    return [_cut(column, limit, config, seed) for column in columns]


def _cut(column: Column, limit: TokenLimit, config: AuditConfig, seed: int) -> Cut:
    prompt = limit.query_prompt if column.name in ("anchor", "queries") else limit.document_prompt
    rows = sampled(np.arange(column.size), config.max_rows, seed)
    if column.pairs is not None and limit.tokenizer is not None and len(rows) == column.size:
        # The training will read these tokens: kept, they need not be made again.
        tokens = tokenise_column(column.pairs, column.name, limit.tokenizer, prompt).whole.astype(np.int64)
    else:
        tokens = _counted(column, rows, limit, prompt)
    beyond = np.maximum(tokens - limit.max_seq_length, 0)
    return Cut(
        split=column.split,
        column=column.name,
        limit=limit.max_seq_length,
        texts=len(rows),
        of=column.size,
        over=int((beyond > 0).sum()),
        tokens=int(tokens.sum()),
        tokens_cut=int(beyond.sum()),
        longest=int(tokens.max(initial=0)),
    )


def _counted(column: Column, rows: NDArray[np.int64], limit: TokenLimit, prompt: str) -> NDArray[np.int64]:
    """Return the tokens of some texts of a column."""
    counted = [
        limit.count([prompt + text for text in chunk] if prompt else chunk)
        for chunk in chunks(_column_texts(column, rows))
    ]
    return np.concatenate(counted) if counted else np.zeros(0, dtype=np.int64)


def _column_texts(column: Column, rows: NDArray[np.int64]) -> Iterator[str]:
    start = 0
    for texts in column.batches():
        low, high = np.searchsorted(rows, [start, start + len(texts)])
        if high > low:
            yield from texts.take(pa.array(rows[low:high] - start)).to_pylist()
        start += len(texts)
