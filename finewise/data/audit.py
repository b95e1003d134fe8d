"""The audit: what is wrong with the rows before any time is spent on training with them.

Leakage, which refuses by default, is a training row that shares, up to case and white space, its anchor with a held-out
query, its positive with a document relevant to a held-out query, or both texts (in either order) with a held-out pair. A
training positive that is only one of the documents searched among gives nothing away and is a note. Near duplicates
across the splits are a warning: they are estimates, and whether they leak is for people to judge; audit.leakage=drop
removes them too.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ftfy.badness import is_bad
from numpy.typing import NDArray

from finewise.config import AuditConfig
from finewise.console import progress
from finewise.data.keys import Keys, pair_keys, text_keys
from finewise.data.near import Sketches, chunks, matches, sketch
from finewise.data.pairs import Pairs
from finewise.data.report import ORDER, AuditReport, Cut, Example, Finding, Severity
from finewise.data.retrieval import RetrievalSet
from finewise.data.tokens import TokenLimit

SHORT, LONG = 3, 100_000
"""Characters under and over which a text is suspicious."""

CONTINUED = "[\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
PATTERNS = {
    "replacement_characters": "\ufffd",
    "mojibake": f"[\u00c2-\u00f4]{CONTINUED}",
    "control_characters": "[\x00-\x08\x0b\x0e-\x1f\x7f]",
    "html": r"(?i)</?(?:p|br|div|span|a|b|i|u|ul|ol|li|td|tr|th|table|img|h[1-6]|strong|em|script|style|code|pre)(?:\s[^<>]*)?/?>"
    r"|&(?:amp|lt|gt|quot|apos|nbsp|#\d{2,5}|#x[0-9a-fA-F]{2,5});",
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
class _Column:
    """A column of texts to look at, wherever it comes from."""

    split: str
    name: str
    size: int
    batches: Callable[[], Iterator[pa.Array]]
    where: Callable[[int], str]


@dataclass(frozen=True, slots=True)
class _Held:
    """The content keys of a held-out set."""

    task: RetrievalSet
    queries: Keys
    corpus: Keys
    relevant: NDArray[np.int64]
    pairs: Keys
    pair_queries: NDArray[np.int64]

    @classmethod
    def of(cls, task: RetrievalSet) -> "_Held":
        queries, corpus = text_keys(task.queries), text_keys(task.corpus)
        wanted = {document for grades in task.qrels.values() for document, grade in grades.items() if grade > 0}
        place = {document: number for number, document in enumerate(task.corpus_ids) if document in wanted}
        links = [
            (number, place[document])
            for number, query in enumerate(task.query_ids)
            for document, grade in task.qrels.get(query, {}).items()
            if grade > 0 and document in place
        ]
        ends = np.array(links, dtype=np.int64).reshape(-1, 2)
        return cls(
            task=task,
            queries=queries,
            corpus=corpus,
            relevant=np.array(sorted(place.values()), dtype=np.int64),
            pairs=pair_keys(queries[ends[:, 0]], corpus[ends[:, 1]]),
            pair_queries=ends[:, 0],
        )

    def query(self, number: int) -> str:
        return f"{self.task.split} query {self.task.query_ids[number]}"

    def document(self, number: int) -> str:
        return f"{self.task.split} document {self.task.corpus_ids[number]}"


def audit(
    train: Pairs,
    dev: RetrievalSet | None,
    test: RetrievalSet | None,
    config: AuditConfig,
    *,
    limit: TokenLimit | str | None = None,
    seed: int = 0,
    remarks: Sequence[str] = (),
) -> AuditReport:
    """Look for what makes training rows useless, misleading or unfair.

    Args:
        train: The rows to train on.
        dev: The set that chooses the checkpoint.
        test: The set that proves the result.
        config: What is looked for, and what a leak leads to.
        limit: How tokens are counted; a line that says why they cannot be; or None to leave the ledger out.
        seed: Draws the rows that the costly checks look at when there are more than `config.max_rows`.
        remarks: More to tell in the report.
    """
    told = [*train.notes.remarks, *remarks]
    if isinstance(limit, str):
        told.append(limit)
    with progress("audit", None) as advance, ThreadPoolExecutor(1) as beside:
        held = [_Held.of(task) for task in (dev, test) if task is not None]
        columns = list(_columns(train, held))
        # Tokenizers work outside Python's lock, on the cores that the rest leaves idle.
        cuts = beside.submit(_cuts, columns, limit, config, seed) if isinstance(limit, TokenLimit) else None
        findings = [*_reading(train, config), *_duplicates(train, config)]
        for column in columns:
            findings += _content(column, config)
            advance(column.size)
        leaked = np.zeros(len(train), dtype=bool)
        for one in held:
            findings += _leaks(train, one, config, leaked)
        if dev is not None and test is not None:
            findings += _between(held[0], held[1], config)
        if config.near_duplicates:
            findings += _near(train, held, config, seed, leaked, advance)
        truncation = tuple(cuts.result()) if cuts is not None else ()
    return AuditReport(
        rows={"train": len(train)} | {one.task.split: len(one.task.query_ids) for one in held},
        findings=tuple(sorted(findings, key=lambda finding: ORDER[finding.severity])),
        truncation=truncation,
        remarks=tuple(told),
        leakage=config.leakage,
        leaked=np.flatnonzero(leaked),
    )


def shorten(text: str, width: int = 80) -> str:
    """Return a text on one line, cut to `width` characters."""
    line = " ".join(text[: 10 * width].split())
    return line if len(line) <= width and len(text) <= 10 * width else line[: width - 1] + "…"


def _columns(train: Pairs, held: list[_Held]) -> Iterator[_Column]:
    def of_train(name: str) -> Callable[[], Iterator[pa.Array]]:
        def batches() -> Iterator[pa.Array]:
            for _, table in train.batches([name]):
                yield from table.column(name).chunks

        return batches

    def of_texts(texts: Sequence[str]) -> Callable[[], Iterator[pa.Array]]:
        return lambda: (pa.array(chunk, pa.string()) for chunk in chunks(texts))

    for name in ("anchor", "positive", *train.negatives):
        yield _Column("train", name, len(train), of_train(name), train.where)
    for one in held:
        yield _Column(one.task.split, "queries", len(one.queries), of_texts(one.task.queries), one.query)
    if len(held) == 2 and np.array_equal(np.unique(held[0].corpus), np.unique(held[1].corpus)):
        one = held[0]
        yield _Column("dev+test", "corpus", len(one.corpus), of_texts(one.task.corpus), one.document)
        return
    for one in held:
        yield _Column(one.task.split, "corpus", len(one.corpus), of_texts(one.task.corpus), one.document)


def _reading(train: Pairs, config: AuditConfig) -> Iterator[Finding]:
    notes = train.notes
    if notes.empty:
        count = sum(notes.empty.values())
        columns = ", ".join(f"{number} in '{role}'" for role, number in notes.empty.items())
        places = tuple(
            Example(where=f"{train.reference} {train.unit} {number}", text="(empty)")
            for number in notes.empty_at[: config.examples]
        )
        yield Finding(
            kind="empty_rows",
            severity="warn",
            split="train",
            count=count,
            of=notes.read,
            message=f"rows with an empty text were left out: {columns}",
            examples=places,
        )
    if notes.unused:
        yield Finding(
            kind="unused_columns",
            severity="note",
            split="train",
            count=len(notes.unused),
            of=len(notes.unused) + len(train.columns),
            message=f"columns of the file that are not used: {', '.join(notes.unused)}",
        )


def _content(column: _Column, config: AuditConfig) -> Iterator[Finding]:
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


def _duplicates(train: Pairs, config: AuditConfig) -> Iterator[Finding]:
    def finding(
        kind: str, severity: Severity, rows: NDArray[np.int64], message: str, columns: Sequence[str]
    ) -> Finding:
        return Finding(
            kind=kind,
            severity=severity,
            split="train",
            count=len(rows),
            of=len(train),
            message=message,
            examples=_rows_shown(train, rows[: config.examples], columns),
        )

    anchors, positives = train.anchor_keys, train.positive_keys
    both = anchors ^ (positives * np.uint64(0x9E3779B97F4A7C15))
    _, first = np.unique(both, return_index=True)
    again = np.setdiff1d(np.arange(len(train)), first, assume_unique=True)
    if len(again):
        yield finding(
            "duplicate_pairs", "warn", again, "rows repeat an earlier pair; remove them", ["anchor", "positive"]
        )
    distinct_anchors, distinct_positives = anchors[first], positives[first]
    for kind, mine, column, other in (
        ("shared_anchors", distinct_anchors, "anchor", "positives"),
        ("shared_positives", distinct_positives, "positive", "anchors"),
    ):
        values, counts = np.unique(mine, return_counts=True)
        shared = values[counts > 1]
        if len(shared):
            keys = anchors if column == "anchor" else positives
            rows = np.flatnonzero(np.isin(keys, shared))
            rows = rows[np.argsort(keys[rows], kind="stable")]
            yield finding(
                kind,
                "note",
                rows,
                f"rows share their {column} with other rows: {len(shared)} {column}s have several {other}; in one batch they "
                "are false negatives of each other unless the sampler or the loss keeps them apart",
                ["anchor", "positive"],
            )
        if len(values) < len(train) / 100 and len(train) >= 100:
            yield finding(
                f"few_{column}s",
                "warn",
                np.arange(min(len(train), config.examples)),
                f"only {len(values)} different {column}s in {len(train)} rows: are they labels? In-batch negatives would be wrong",
                [column],
            )
    same = np.flatnonzero(anchors == positives)
    if len(same):
        yield finding(
            "anchor_is_positive", "warn", same, "rows have equal anchor and positive: nothing to learn", ["anchor"]
        )
    for negative in train.negatives:
        keys = np.concatenate([text_keys(table.column(negative).to_pylist()) for _, table in train.batches([negative])])
        wrong = np.flatnonzero((keys == positives) | (keys == anchors))
        if len(wrong):
            message = f"rows have a {negative} equal to their positive or anchor: they teach the opposite; remove them"
            yield finding("negative_is_positive", "warn", wrong, message, ["anchor", negative])
    if "score" in train.columns and len(again):
        scores = train.scores()
        order = np.argsort(both, kind="stable")
        clash = (both[order][1:] == both[order][:-1]) & (scores[order][1:] != scores[order][:-1])
        rows = order[1:][clash]
        if len(rows):
            message = "rows repeat a pair with another score; keep one"
            yield finding("contradicting_scores", "warn", rows, message, ["anchor", "positive"])


def _rows_shown(train: Pairs, rows: NDArray[np.int64], columns: Sequence[str]) -> tuple[Example, ...]:
    cells = [train.texts(column, rows) for column in columns]
    return tuple(
        Example(where=train.where(int(row)), text=" → ".join(shorten(text, 60) for text in texts))
        for row, *texts in zip(rows, *cells, strict=True)
    )


def _leaks(train: Pairs, held: _Held, config: AuditConfig, leaked: NDArray[np.bool_]) -> Iterator[Finding]:
    """Yield exact overlaps of train and one held-out set; mark the leaked rows."""
    split = held.task.split
    fates: dict[str, tuple[Severity, str]] = {
        "refuse": ("refuse", "audit.leakage=drop removes these rows, =allow keeps them"),
        "drop": ("warn", "removed (audit.leakage=drop)"),
        "allow": ("warn", "kept (audit.leakage=allow): scores are too good"),
    }
    severity, fate = fates[config.leakage]
    relevant = held.corpus[held.relevant]
    checks = [
        ("leaked_query", train.anchor_keys, held.queries, "anchor", f"anchors equal a {split} query", held.query),
        (
            *("leaked_document", train.positive_keys, relevant, "positive"),
            f"positives equal a document relevant to a {split} query",
            lambda number: held.document(int(held.relevant[number])),
        ),
        (
            *("leaked_pair", pair_keys(train.anchor_keys, train.positive_keys), held.pairs, "anchor"),
            f"pairs equal a {split} pair",
            lambda number: held.query(int(held.pair_queries[number])),
        ),
    ]
    for kind, mine, theirs, column, message, name in checks:
        rows = np.flatnonzero(np.isin(mine, theirs))
        if len(rows):
            leaked[rows] = True
            shown = rows[: config.examples]
            partners = [int(np.flatnonzero(theirs == mine[row])[0]) for row in shown]
            examples = tuple(
                Example(where=train.where(int(row)), text=f"{shorten(text)} = {name(partner)}")
                for row, text, partner in zip(shown, train.texts(column, shown), partners, strict=True)
            )
            yield Finding(
                kind=kind,
                severity=severity,
                split="train",
                count=len(rows),
                of=len(train),
                message=f"{message}: {fate}",
                examples=examples,
            )
    remarks = [
        ("corpus_overlap", np.isin(train.positive_keys, held.corpus) & ~np.isin(train.positive_keys, relevant), "positive",
         f"positives are documents that {split} searches among, relevant to no {split} query: not a leak"),
        ("anchor_in_corpus", np.isin(train.anchor_keys, held.corpus), "anchor",
         f"anchors are documents that {split} searches among"),
        ("positive_is_query", np.isin(train.positive_keys, held.queries), "positive", f"positives are {split} queries"),
    ]  # fmt: skip
    for kind, mask, column, message in remarks:
        rows = np.flatnonzero(mask)
        if len(rows):
            yield Finding(
                kind=kind,
                severity="note",
                split="train",
                count=len(rows),
                of=len(train),
                message=message,
                examples=_rows_shown(train, rows[: config.examples], [column]),
            )


def _between(dev: _Held, test: _Held, config: AuditConfig) -> Iterator[Finding]:
    rows = np.flatnonzero(np.isin(dev.queries, test.queries))
    if len(rows):
        yield Finding(
            kind="dev_is_test",
            severity="warn",
            split="dev",
            count=len(rows),
            of=len(dev.queries),
            message="dev queries are test queries too: the checkpoint is chosen on the test; give them different queries",
            examples=tuple(
                Example(where=dev.query(int(row)), text=shorten(dev.task.queries[int(row)]))
                for row in rows[: config.examples]
            ),
        )


def _sampled(rows: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    if len(rows) <= most:
        return rows
    drawn: NDArray[np.int64] = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    return drawn


def _near(
    train: Pairs,
    held: list[_Held],
    config: AuditConfig,
    seed: int,
    leaked: NDArray[np.bool_],
    advance: Callable[[int], None],
) -> Iterator[Finding]:
    """Yield near duplicates within train and across; mark the leaked rows when they are to be dropped."""
    for column, keys in (("anchor", train.anchor_keys), ("positive", train.positive_keys)):
        unique = np.sort(np.unique(keys, return_index=True)[1])
        rows = _sampled(unique, config.max_rows, seed)
        looked = f" (looked at {len(rows)} of {len(unique)} different texts)" if len(rows) < len(unique) else ""
        mine = sketch(_train_texts(train, column, rows), advance)
        twin = matches(mine, None, config.near_duplicate_threshold)
        found = np.flatnonzero(twin >= 0)
        if len(found):
            shown = found[: config.examples]
            others = [train.where(int(rows[twin[place]])) for place in shown]
            yield Finding(
                kind=f"near_duplicate_{column}s",
                severity="note",
                split="train",
                count=len(found),
                of=len(rows),
                message=f"{column}s nearly equal an earlier {column}{looked}",
                examples=tuple(
                    replace(example, text=f"{example.text} ≈ {other}")
                    for example, other in zip(_rows_shown(train, rows[shown], [column]), others, strict=True)
                ),
            )
        for one in held:
            if column == "anchor":
                kind, severity, theirs, name = "near_query", "warn", np.arange(len(one.queries)), one.query
                texts: Sequence[str] = one.task.queries
                there, what = one.queries, f"a {one.task.split} query"
            else:
                kind, severity, theirs, name = "near_document", "warn", one.relevant, one.document
                texts = one.task.corpus
                there, what = one.corpus, f"a document relevant to a {one.task.split} query"
            theirs = _sampled(theirs, config.max_rows, seed)
            base = sketch(texts[int(number)] for number in theirs)
            close = matches(mine, base, config.near_duplicate_threshold)
            close[np.isin(keys[rows], there[theirs])] = -1  # equal texts are told elsewhere
            found = np.flatnonzero(close >= 0)
            if not len(found):
                continue
            affected = np.isin(keys, keys[rows[found]])
            fate = "audit.leakage=drop removes them"
            if config.leakage == "drop":
                leaked |= affected
                fate = "removed (audit.leakage=drop)"
            shown = found[: config.examples]
            partners = [int(theirs[close[place]]) for place in shown]
            yield Finding(
                kind=kind,
                severity="warn",
                split="train",
                count=int(affected.sum()),
                of=len(train),
                message=f"{column}s nearly equal {what}: {fate}{looked}",
                examples=tuple(
                    replace(example, text=f"{example.text} ≈ {name(partner)} '{shorten(texts[partner], 60)}'")
                    for example, partner in zip(_rows_shown(train, rows[shown], [column]), partners, strict=True)
                ),
            )


def _train_texts(train: Pairs, column: str, rows: NDArray[np.int64]) -> Iterator[str]:
    for start, table in train.batches([column]):
        low, high = np.searchsorted(rows, [start, start + table.num_rows])
        yield from table.column(column).take(pa.array(rows[low:high] - start)).to_pylist()


def _cuts(columns: list[_Column], limit: TokenLimit, config: AuditConfig, seed: int) -> list[Cut]:
    return [_cut(column, limit, config, seed) for column in columns]


def _cut(column: _Column, limit: TokenLimit, config: AuditConfig, seed: int) -> Cut:
    prompt = limit.query_prompt if column.name in ("anchor", "queries") else limit.document_prompt
    rows = _sampled(np.arange(column.size), config.max_rows, seed)
    counted = []
    for chunk in chunks(_column_texts(column, rows)):
        counted.append(limit.count([prompt + text for text in chunk] if prompt else chunk))
    tokens = np.concatenate(counted) if counted else np.zeros(0, dtype=np.int64)
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


def _column_texts(column: _Column, rows: NDArray[np.int64]) -> Iterator[str]:
    start = 0
    for texts in column.batches():
        low, high = np.searchsorted(rows, [start, start + len(texts)])
        if high > low:
            yield from texts.take(pa.array(rows[low:high] - start)).to_pylist()
        start += len(texts)
