"""What an audit found: findings, the ledger of cut texts, and how both are shown and recorded."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from finewise.data.pairs import Pairs
from finewise.errors import InputError

Severity = Literal["refuse", "warn", "note"]
ORDER: dict[str, int] = {"refuse": 0, "warn": 1, "note": 2}
COLOURS: dict[str, str] = {"refuse": "bold red", "warn": "yellow", "note": "dim"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One affected row: where it stands in the user's data, and its text, shortened."""

    where: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: Its name, such as "duplicate_pairs".
        severity: "refuse" stops training, "warn" likely costs quality, "note" is good to know.
        split: "train", "dev" or "test": where the counted rows are.
        count: How many rows or texts.
        of: Of how many that were looked at.
        message: What it is and what to do.
        examples: Some of the rows.
    """

    kind: str
    severity: Severity
    split: str
    count: int
    of: int
    message: str
    examples: tuple[Example, ...] = ()

    @property
    def share(self) -> float:
        """The count as a share."""
        return self.count / self.of if self.of else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The ledger's row for one column: what the model will not read.

    Attributes:
        split: "train", "dev" or "test".
        column: "anchor", "positive", ...; of held-out sets "queries" and "corpus".
        limit: Tokens that the model reads.
        texts: Texts counted.
        of: Texts there are; more than were counted if a sample was taken.
        over: Counted texts above the limit.
        tokens: Tokens of the counted texts.
        tokens_cut: Tokens of them beyond the limit.
        longest: Tokens of the longest.
    """

    split: str
    column: str
    limit: int
    texts: int
    of: int
    over: int
    tokens: int
    tokens_cut: int
    longest: int

    @property
    def share(self) -> float:
        """The share of texts that are cut."""
        return self.over / self.texts if self.texts else 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AuditReport:
    """Everything the audit has to say.

    Attributes:
        rows: Split -> rows (of train) or judged queries (of dev and test; rows, if they are labelled) that were audited.
        findings: The gravest first.
        truncation: One row per split and column; empty when no tokenizer could be had (see remarks).
        remarks: Other things to tell.
        leakage: The policy: refuse, drop or allow.
        leaked: Training rows that occur in held-out data.
        dropped: How many of them were removed.
        unit: What is counted in dev and test: "queries" or "rows".
        command: The module that shows all findings with examples; None: there is none, and only the run's record does.
    """

    rows: Mapping[str, int]
    findings: tuple[Finding, ...]
    truncation: tuple[Cut, ...] = ()
    remarks: tuple[str, ...] = ()
    leakage: str = "refuse"
    leaked: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    dropped: int = 0
    unit: str = "queries"
    command: str | None = None

    @property
    def refusals(self) -> list[Finding]:
        """The findings that stop training."""
        return [finding for finding in self.findings if finding.severity == "refuse"]

    def check(self) -> None:
        """Raise if anything stops training.

        Raises:
            InputError: Says how many rows leak, shows one, and names the ways on.
        """
        refusals = self.refusals
        if not refusals:
            return
        kinds = ", ".join(f"{finding.count} {finding.message.split(':')[0]}" for finding in refusals)
        example = next((example for finding in refusals for example in finding.examples), None)
        shown = f", such as {example.where}: {example.text}" if example else ""
        raise InputError(
            f"data.train: {len(self.leaked)} of {self.rows['train']} training rows are in the held-out data "
            f"({kinds}){shown}. "
            "audit.leakage=drop removes them from training; audit.leakage=allow goes on and records it"
        )

    def summary(self) -> dict[str, Any]:
        """Return the report as plain JSON for record.json."""
        return {
            "rows": dict(self.rows),
            "leakage": self.leakage,
            "leaked_rows": len(self.leaked),
            "dropped_rows": self.dropped,
            "findings": [
                asdict(finding)
                | {"share": round(finding.share, 6), "examples": [asdict(one) for one in finding.examples]}
                for finding in self.findings
            ],
            "truncation": [asdict(cut) | {"share": round(cut.share, 6)} for cut in self.truncation],
            "remarks": list(self.remarks),
        }

    @property
    def sizes(self) -> str:
        """How much was audited, such as "train 24,000 rows, dev 2,000 queries"."""
        return ", ".join(
            f"{split} {count:,} {'rows' if split == 'train' else self.unit}" for split, count in self.rows.items()
        )

    def brief(self) -> RenderableType:
        """Return the view before a training: what may cost quality, and what will be cut, a line each."""
        lines = [Text(f"audit: {self.sizes}")]
        for finding in self.findings:
            if finding.severity != "note":
                line = Text(f"  {finding.severity:6} ", style=COLOURS[finding.severity])
                line.append(f"{finding.split}: {finding.count:,} of {finding.of:,} {finding.message}", style="default")
                lines.append(line)
        cut = [
            f"{row.split} {row.column} {row.over:,} of {row.texts:,} texts ({row.share:.1%})"
            for row in self.truncation
            if row.over
        ]
        if cut:
            lines.append(Text(f"  cut at {self.truncation[0].limit} tokens: {', '.join(cut)}"))
        lines += [Text(f"  note: {remark}") for remark in self.remarks]
        notes = sum(finding.severity == "note" for finding in self.findings)
        if self.findings:
            where = f"python -m {self.command} with the same data" if self.command else "data.audit in record.json"
            lines.append(Text(f"  and {notes} notes; examples of all: {where}", style="dim"))
        return Group(*lines)

    def __rich__(self) -> RenderableType:
        """Return the terminal's view: findings with examples, then the ledger, then remarks."""
        parts: list[RenderableType] = []
        if self.findings:
            table = Table(title=f"Data audit: {self.sizes}", title_justify="left", expand=False)
            for column in ("", "split", "count", "share"):
                table.add_column(column, justify="right" if column in ("count", "share") else "left", no_wrap=True)
            table.add_column("what")
            for finding in self.findings:
                what = Text(finding.message)
                for example in finding.examples:
                    what.append(f"\n  {example.where}: {example.text}", style="dim")
                severity = Text(finding.severity, style=COLOURS[finding.severity])
                table.add_row(severity, finding.split, f"{finding.count:,}", f"{finding.share:.1%}", what)
            parts.append(table)
        else:
            parts.append(Text(f"Data audit: {self.sizes}: nothing found"))
        if self.truncation:
            limit = self.truncation[0].limit
            ledger = Table(title=f"Texts cut at {limit} tokens", title_justify="left", expand=False)
            for column in ("split", "column", "texts", "cut", "share", "tokens cut", "longest"):
                ledger.add_column(column, justify="left" if column in ("split", "column") else "right")
            for cut in self.truncation:
                counted = f"{cut.texts:,}" + (f" of {cut.of:,}" if cut.of > cut.texts else "")
                lost = f"{cut.tokens_cut / cut.tokens:.1%}" if cut.tokens else "0.0%"
                ledger.add_row(
                    cut.split, cut.column, counted, f"{cut.over:,}", f"{cut.share:.1%}", lost, f"{cut.longest:,}"
                )
            parts.append(ledger)
        parts += [Text(f"note: {remark}") for remark in self.remarks]
        return Group(*parts)


def gravest_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings in the order of a report; those of one severity stay in theirs."""
    return tuple(sorted(findings, key=lambda finding: ORDER[finding.severity]))


def shorten(text: str, width: int = 80) -> str:
    """Return a text on one line, cut to `width` characters."""
    line = " ".join(text[: 10 * width].split())
    return line if len(line) <= width and len(text) <= 10 * width else line[: width - 1] + "…"


def rows_shown(train: Pairs, rows: NDArray[np.int64], columns: Sequence[str]) -> tuple[Example, ...]:
    """Return rows as examples."""
    cells = [train.texts(column, rows) for column in columns]
    return tuple(
        Example(where=train.where(int(row)), text=" → ".join(shorten(text, 60) for text in texts))
        for row, *texts in zip(rows, *cells, strict=True)
    )


def sampled(rows: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """Return at most `most` of the rows, drawn by the seed, in their order."""
    if len(rows) <= most:
        return rows
    drawn: NDArray[np.int64] = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    return drawn
