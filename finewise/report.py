"""report.html: one self-contained page per run for people who would rather look than read a record."""

import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } th, td { padding: .25rem .7rem; text-align: left; border-bottom: 1px solid #d5dae0; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { background: #f4f6f8; padding: .8rem; overflow-x: auto; font-size: 13px; }
.verdict { font-size: 1.15rem; } svg { max-width: 100%; height: auto; }
"""


def page(title: str, sections: Sequence[tuple[str, str]]) -> str:
    """Return a whole HTML page.

    Args:
        title: Plain text.
        sections: (plain heading, HTML) each.
    """
    parts = "".join(f"<h2>{html.escape(heading)}</h2>\n{body}\n" for heading, body in sections)
    name = html.escape(title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title><style>{STYLE}</style></head>\n'
        f"<body><h1>{name}</h1>\n{parts}</body></html>\n"
    )


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return an HTML table of dictionaries with equal keys; numbers stand right."""
    if not rows:
        return "<p>None.</p>"
    head = "".join(f"<th>{html.escape(str(key))}</th>" for key in rows[0])
    body = ""
    for row in rows:
        cells = ""
        for value in row.values():
            kind = ' class="number"' if isinstance(value, (int, float)) else ""
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            cells += f"<td{kind}>{html.escape(shown)}</td>"
        body += f"<tr>{cells}</tr>\n"
    return f"<table><tr>{head}</tr>\n{body}</table>"


def preformatted(text: str) -> str:
    """Return text as it is, in a box."""
    return f"<pre>{html.escape(text)}</pre>"


def curve(journal: Path, key: str, label: str) -> str:
    """Return an SVG of the training loss and of the dev score over the steps, read from train.jsonl."""
    from matplotlib.figure import Figure

    entries = (
        [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()] if journal.exists() else []
    )
    losses = [(entry["step"], entry["loss"]) for entry in entries if "loss" in entry]
    scores = [(entry["step"], entry[key]) for entry in entries if key in entry]
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    if losses:
        left.plot(*zip(*losses, strict=True), color="#2463a5")
    if scores:
        right.plot(*zip(*scores, strict=True), marker="o", color="#b3541e")
    left.set(xlabel="step", title="training loss")
    right.set(xlabel="step", title=f"dev {label}")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    drawing = buffer.getvalue()
    return drawing[drawing.index("<svg") :]
