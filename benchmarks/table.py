"""How scores and comparisons are shown: a table in the terminal or in Markdown, and a verdict in one sentence."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from benchmarks.metrics.classes import METRICS
from benchmarks.metrics.ranking import METRICS as RANKING
from finewise.names import markdown_text, printable
from finewise.record import Comparison, Score

ALPHA = 0.05
"""A difference counts as shown when its p-value, corrected for the comparisons of its table, is below this."""

_WRITTEN = {"ndcg": "nDCG", "mrr": "MRR", "map": "MAP"}
_AT_LENGTHS = {
    "exact": "exact match",
    "substring_recall": "recall of answers",
    "accuracy": "accuracy",
    "perplexity": "perplexity",
    "mean": "mean of tasks",
}
"""Metrics that are read at several lengths of text, and how they are written."""


def label(metric: str) -> str:
    """Return a metric as papers write it.

    >>> label("ndcg@10"), label("map"), label("recall@100"), label("f1_macro"), label("ece")
    ('nDCG@10', 'MAP', 'recall@100', 'macro-F1', 'ECE')
    >>> label("substring_recall@4096"), label("ndcg@10@512"), label("exact")
    ('recall of answers at 4,096 tokens', 'nDCG@10 at 512 tokens', 'exact match')
    """
    if metric in METRICS:
        return METRICS[metric].label
    if metric in _AT_LENGTHS:
        return _AT_LENGTHS[metric]
    if found := at_length(metric):
        return f"{label(found[0])} at {found[1]:,} tokens"
    family, at, cutoff = metric.partition("@")
    return f"{_WRITTEN.get(family, family)}{at}{cutoff}"


def at_length(metric: str) -> tuple[str, int] | None:
    """Return the metric and the length in tokens of one that is read at several (`benchmarks.by_length`), else None.

    >>> at_length("exact@1024"), at_length("ndcg@10@512"), at_length("ndcg@10")
    (('exact', 1024), ('ndcg@10', 512), None)
    """
    family, _, length = metric.rpartition("@")
    return (family, int(length)) if family in _AT_LENGTHS or "@" in family else None


def higher_is_better(metric: str) -> bool:
    """Return whether more of a metric is better.

    >>> higher_is_better("ndcg@10"), higher_is_better("log_loss"), higher_is_better("perplexity@4096")
    (True, False, False)
    >>> higher_is_better("exact@64"), higher_is_better("accuracy@64"), higher_is_better("substring_recall@64")
    (True, True, True)
    """
    if found := at_length(metric):
        metric = found[0]
    if metric == "perplexity":
        return False
    return metric not in METRICS or METRICS[metric].higher


def number(value: float, *, sign: bool = False) -> str:
    """Return a value with three decimals and no leading zero.

    >>> number(0.8441), number(-0.0124), number(1.0), number(0.0721, sign=True), number(-0.0001)
    ('.844', '-.012', '1.000', '+.072', '.000')
    """
    text = f"{value:+.3f}" if sign else f"{value:.3f}"
    if float(text) == 0:
        return ".000"
    return text.replace("0.", ".", 1) if abs(value) < 0.9995 else text


def bracket(low: float | None, high: float | None) -> str:
    """Return an interval, "[.831, .857]"; nothing where there is none."""
    return "" if low is None or high is None else f"[{number(low)}, {number(high)}]"


def probability(p: float | None) -> str:
    """Return a p-value as it is written in text.

    >>> probability(0.0004), probability(0.0312), probability(0.21), probability(1.0), probability(None)
    ('p < .001', 'p = .031', 'p = .210', 'p = 1.000', 'not tested')
    """
    if p is None:
        return "not tested"
    return "p < .001" if p < 0.001 else f"p = {number(p)}"


def significance(comparison: Comparison) -> float | None:
    """Return the p-value that decides: corrected for the comparisons of its table, where that was done."""
    p = comparison.p if comparison.p_adjusted is None else comparison.p_adjusted
    return None if p is None or p != p else p


def shown(comparison: Comparison) -> bool:
    """Return whether a difference is shown: the corrected p-value is below ALPHA and the interval excludes 0."""
    p = significance(comparison)
    if p is None or comparison.low is None or comparison.high is None:
        return False
    return p < ALPHA and not comparison.low <= 0 <= comparison.high


def verdict(comparison: Comparison) -> str:
    """Return in one sentence what a comparison shows; where lower is better, it says so."""
    metric, where = label(comparison.metric), comparison.benchmark
    higher = higher_is_better(comparison.metric)
    metric += "" if higher else " (lower is better)"
    change = number(comparison.difference, sign=True)
    p = significance(comparison)
    if p is None:
        return (
            f"{comparison.a} and {comparison.b} are not compared on {where} ({comparison.test}): "
            f"{change} {metric} {bracket(comparison.low, comparison.high)}".rstrip()
        )
    proof = f"{bracket(comparison.low, comparison.high)}, {probability(p)}"
    if not shown(comparison):
        least = comparison.detectable
        power = f"; such a sample shows {number(least)} with 80% probability" if least else ""
        return (
            f"no difference between {comparison.a} and {comparison.b} could be shown on {where}: "
            f"{change} {metric} {proof}{power}"
        )
    assert comparison.low is not None
    assert comparison.high is not None
    verb = "beats" if (comparison.difference > 0) == higher else "is worse than"
    if comparison.difference < 0:
        proof = f"{bracket(-comparison.high, -comparison.low)}, {probability(p)}"
    return f"{comparison.a} {verb} {comparison.b} on {where} by {number(abs(comparison.difference))} {metric} {proof}"


def verdicts(comparisons: Iterable[Comparison], headline: str) -> list[str]:
    """Return the verdict of every comparison of the headline metric."""
    return [verdict(comparison) for comparison in comparisons if comparison.metric == headline]


def of_test(scores: Sequence[Score]) -> list[Score]:
    """Return the test scores, which tables show; those of dev where there are no others."""
    return [score for score in scores if score.split == "test"] or list(scores)


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """The table for the terminal: a row per benchmark and system.

    Attributes:
        scores: In the order in which rows and metrics are to appear.
        comparisons: Those of the headline metric are shown in the row of the system that they compare with.
        headline: The metric shown first, and with its interval.
    """

    scores: Sequence[Score]
    comparisons: Sequence[Comparison]
    headline: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give the table; where it is too wide, intervals stand below their values, and only systems' names may break."""
        table = self._table(narrow=False)
        fits = Measurement.get(console, options.update(width=10_000), table).maximum <= options.max_width
        yield table if fits else self._table(narrow=True)

    def _table(self, *, narrow: bool) -> Table:
        over = "queries" if self.headline.partition("@")[0] in RANKING else "examples, or clusters of them"
        table = Table(
            caption=escape(f"[...]: 95% interval over {over}; p: Holm's"),
            caption_justify="left",
            box=SIMPLE_HEAD,
            padding=0,
        )
        (_, *header), rows = _cells(self.scores, self.comparisons, self.headline)
        for index, name in enumerate(header):
            # Seven metrics and a comparison shall fit into 80 columns: "recall@100" stands on two lines, as "R" and "@100".
            short = re.sub(r" |(?=@|-F)", "\n", name.replace("recall", "R").replace("precision", "P"))
            table.add_column(
                escape(short), justify="right" if index else "left", overflow="fold", no_wrap=narrow and index > 0
            )
        for benchmark, group in groupby(rows, key=lambda row: row[0]):
            table.add_row(Text(printable(benchmark), style="bold"))
            for _, *cells in group:
                close = [printable(cell).replace(", ", ",").replace("< ", "<") for cell in cells]
                table.add_row(*(escape(cell.replace(" [", "\n[") if narrow else cell) for cell in close))
            table.add_section()
        return table


def score_markdown(scores: Sequence[Score], comparisons: Sequence[Comparison], headline: str) -> str:
    """Return the same table in Markdown, for model cards and READMEs."""
    return markdown(*_cells(scores, comparisons, headline), left=2)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table whose first `left` columns are aligned to the left and the others to the right.

    >>> print(markdown(["system", "MAP"], [["a|b", ".5"]]))
    | system | MAP |
    | :-- | --: |
    | a\\|b | .5 |
    """
    lines = [header, [":--" if index < left else "--:" for index in range(len(header))], *rows]
    return "\n".join("| " + " | ".join(map(markdown_text, line)) + " |" for line in lines)


def _cells(
    scores: Sequence[Score], comparisons: Sequence[Comparison], headline: str
) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of the table as text."""
    scores = of_test(scores)
    metrics = list(dict.fromkeys(score.metric for score in scores))
    metrics.sort(key=lambda metric: metric != headline)
    by_row: dict[tuple[str, str, str], dict[str, Score]] = {}
    for score in scores:
        by_row.setdefault((score.benchmark, score.split, score.system), {})[score.metric] = score
    compared = {
        (item.benchmark, item.b): item for item in comparisons if item.metric == headline and item.split != "dev"
    }
    subjects = {item.a.partition("@")[0] for item in compared.values()}  # tuned@128 is tuned, cut to 128 dimensions
    header = ["benchmark", "system", *map(label, metrics)]
    if compared:
        header += [f"{min(subjects)} minus system" if len(subjects) == 1 else "difference", "p"]
    rows = []
    for (benchmark, split, system), found in by_row.items():
        row = [benchmark if split == "test" else f"{benchmark} ({split})", system]
        for metric in metrics:
            cell = number(found[metric].value) if metric in found else ""
            if metric == headline and cell:
                cell = f"{cell} {bracket(found[metric].low, found[metric].high)}".rstrip()
            row.append(cell)
        if compared:
            item = compared.get((benchmark, system))
            row += _difference(item, named=len(subjects) > 1) if item else ["", ""]
        rows.append(row)
    return header, rows


def _difference(item: Comparison, *, named: bool) -> list[str]:
    """Return the cells for the difference and for p; the difference is named where the column's header cannot."""
    name = f"{item.a}: " if named else ""
    difference = f"{name}{number(item.difference, sign=True)} {bracket(item.low, item.high)}"
    return [difference, probability(significance(item)).removeprefix("p ").removeprefix("= ")]
