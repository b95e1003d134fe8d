"""The audit's report, kept: the same rows under the same settings are not looked at twice."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from finewise.config import AuditConfig
from finewise.data.keys import combine
from finewise.data.pairs import Pairs
from finewise.data.report import AuditReport, Cut, Example, Finding
from finewise.data.retrieval import RetrievalSet
from finewise.data.store import entry, made_by
from finewise.data.tokens import TokenLimit

LIBRARIES = ("ftfy", "numpy", "pyarrow", "rensa", "tokenizers", "xxhash")
LEAKED = "leaked.i8"


def audited(
    train: Pairs,
    dev: RetrievalSet | None,
    test: RetrievalSet | None,
    config: AuditConfig,
    *,
    limit: TokenLimit | str | None,
    seed: int,
    remarks: Sequence[str],
    more: Sequence[RetrievalSet],
) -> AuditReport:
    """Return what `finewise.data.audit.audit` finds, from the cache if it has looked at all this before."""

    def look() -> AuditReport:
        from finewise.data.audit import audit

        return audit(train, dev, test, config, limit=limit, seed=seed, remarks=remarks, more=more)

    if isinstance(limit, TokenLimit) and limit.tokenizer is None:
        return look()  # nothing is known of how it counts

    key = combine(
        "audit",
        made_by(("finewise.data",), LIBRARIES),
        *(train.revision, repr(train.reference), train.unit, repr(train.notes)),
        xxhash.xxh3_128_hexdigest(train.numbers.tobytes()),
        *(task and (task.revision, task.name, task.split, *sorted(task.groups or ())) for task in (dev, test, *more)),
        *(repr(config), seed, repr(tuple(remarks)), repr(told(limit))),
    )
    return remembered(key, look)


def remembered(key: str, look: Callable[[], AuditReport]) -> AuditReport:
    """Return the report that is kept under a key, or what `look` finds, and keep it."""

    def build(folder: Path) -> dict[str, Any]:
        report = look()
        report.leaked.astype(np.int64).tofile(folder / LEAKED)
        return {
            "rows": dict(report.rows),
            "findings": [asdict(finding) for finding in report.findings],
            "truncation": [asdict(cut) for cut in report.truncation],
            "remarks": list(report.remarks),
            "leakage": report.leakage,
            "unit": report.unit,
            "command": report.command,
        }

    folder, about = entry(key, build, kind="audits")
    return AuditReport(
        rows=about["rows"],
        findings=tuple(
            Finding(**row | {"examples": tuple(Example(**one) for one in row["examples"])}) for row in about["findings"]
        ),
        truncation=tuple(Cut(**row) for row in about["truncation"]),
        remarks=tuple(about["remarks"]),
        leakage=about["leakage"],
        unit=about["unit"],
        command=about["command"],
        leaked=np.fromfile(folder / LEAKED, dtype=np.int64),
    )


def told(limit: TokenLimit | str | None) -> Any:
    """Return what of a token limit decides its counts."""
    if not isinstance(limit, TokenLimit) or limit.tokenizer is None:
        return limit
    return limit.tokenizer.digest, limit.max_seq_length, limit.query_prompt, limit.document_prompt
