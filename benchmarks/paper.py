"""What every branch writes about a run: the model's card, and the sections of the report that are the same everywhere."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from benchmarks.length_table import length_markdown, longest
from benchmarks.result import parts
from benchmarks.table import at_length, label, number, score_markdown, verdicts
from finewise.config import DEV_KEY
from finewise.data.report import AuditReport
from finewise.ending import ending
from finewise.fit import JOURNAL
from finewise.names import markdown_text
from finewise.record import Comparison, Score, held_out
from finewise.report import curve, preformatted, table
from finewise.run import Run

Sections = list[tuple[str, str]]


def card(
    front: Mapping[str, Any],
    title: str,
    usage: str,
    scores: Sequence[Score],
    comparisons: Sequence[Comparison],
    sections: Sequence[tuple[str, str]],
) -> str:
    """Return a model's README.md.

    Args:
        front: Its YAML head, as the hub reads it.
        title: One line.
        usage: Markdown on how to load and use it.
        scores: All systems' scores; the first metric is the headline, of scores by length that at the greatest.
        comparisons: All comparisons.
        sections: (heading, Markdown) of what follows; those without text are left out.
    """
    scores = held_out(scores)
    by_length = at_length(scores[0].metric) is not None
    headline = longest(scores) if by_length else scores[0].metric
    scored = length_markdown(scores, comparisons) if by_length else score_markdown(scores, comparisons, headline)
    head = "\n".join(f"{key}: {json.dumps(value)}" for key, value in front.items())
    shown = "\n".join(f"- {markdown_text(sentence)}" for sentence in verdicts(comparisons, headline))
    rest = "\n".join(f"## {heading}\n\n{text.strip()}\n" for heading, text in sections if text.strip())
    return f"""---
{head}
---

# {markdown_text(title)}

{shown}

{usage.strip()}

## Scores

{scored}

In brackets 95% intervals{tested(comparisons)}. What was chosen was chosen on dev; test was read after that.

{rest}"""


def tested(comparisons: Sequence[Comparison]) -> str:
    """Return how comparisons were tested, in words that continue a sentence: "; p: paired jackknife t over 200 rows"."""
    tests = list(dict.fromkeys(item.test for item in comparisons if item.p is not None))
    corrected = ", Holm's correction over the comparisons of one metric" if tests else ""
    few = list(dict.fromkeys(item.test for item in comparisons if item.p is None))
    return "".join(["; p: " + " or ".join(tests) + corrected if tests else "", *(f"; {reason}" for reason in few)])


def data_facts(name: str, rows: Mapping[str, int], revision: str, report: AuditReport) -> str:
    """Return what the card says of the data: its size, what the audit found, and how many texts are cut."""
    findings = [
        f"- {item.severity}: {item.count} of {item.of} {markdown_text(item.message)}" for item in report.findings
    ]
    cut = [
        f"- {row.split} {markdown_text(row.column)}: {row.over} of {row.texts} texts ({row.share:.1%}) are longer than the "
        "limit and cut"
        for row in report.truncation
        if row.over
    ]
    size = ", ".join(f"{count} {split}" for split, count in rows.items())
    parts = [
        f"{markdown_text(name)}: {size}; revision `{revision[:16]}`.",
        "\n".join(findings) or "The audit found nothing.",
        "\n".join(cut),
    ]
    return "\n\n".join(part for part in parts if part)


def verdict_section(record: Mapping[str, Any]) -> tuple[str, str]:
    """Return the first section of a report: what the run shows, in sentences."""
    scores = [Score(**row) for row in record["scores"]]
    comparisons = [Comparison(**row) for row in record["comparisons"]]
    shown = parts(record, scores, comparisons)
    sentences = [sentence for _, compared, headline in shown for sentence in verdicts(compared, headline)]
    sentences += record.get("words", [])
    return "Verdict", "".join(f'<p class="verdict">{escape(sentence)}</p>' for sentence in sentences)


def score_sections(record: Mapping[str, Any]) -> Sections:
    """Return the scores and the comparisons."""
    return [("Scores", table(record["scores"])), ("Comparisons (a minus b)", table(record["comparisons"]))]


def training_sections(record: Mapping[str, Any], run: Run) -> Sections:
    """Return the curve and the choice of the checkpoint."""
    metric = record["selection"]["metric"]
    chosen = {key: value for key, value in record["selection"].items() if key not in ("test_sets", "history")}
    sets = record["selection"].get("test_sets")
    read = [("How often test was read by the runs under run.root", table(sets))] if sets else []
    drawn = curve(run.dir / JOURNAL, DEV_KEY.format(metric=metric), label(metric))
    why = "".join(f"<p>{escape(sentence)}.</p>" for sentence in ending(record, label, number))
    return [("Training", drawn + why), ("Choice of the checkpoint", table([chosen])), *read]


def closing_sections(record: Mapping[str, Any], run: Run) -> Sections:
    """Return data, audit, cost, versions and settings."""
    audit = record["data"]["audit"]
    columns = ("severity", "split", "kind", "count", "of", "message")
    return [
        ("Data", table([{"split": split, "rows": count} for split, count in record["data"]["rows"].items()])),
        ("Audit", table([{key: item[key] for key in columns} for item in audit["findings"]])),
        ("Truncation", table(audit["truncation"])),
        ("Cost", table([{"stage": stage, "seconds": value} for stage, value in record["cost"]["seconds"].items()])),
        ("Versions", table([{"library": name, "version": found} for name, found in record["versions"].items()])),
        ("Settings", preformatted((run.dir / "config.yaml").read_text(encoding="utf-8"))),
    ]
