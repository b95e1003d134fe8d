"""Scores that are read at several lengths, as a table: a row per system, a column per length."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from benchmarks.table import at_length, higher_is_better, label, markdown, number, probability, significance
from finewise.record import Comparison, Score

DIFFERENCE = "{subject} minus it"


def length_table(scores: Sequence[Score], comparisons: Sequence[Comparison]) -> Table:
    """Return the table for the terminal; five lengths fit into 80 columns.

    Args:
        scores: Of one benchmark, called METRIC@LENGTH; the systems in their order.
        comparisons: Those at the greatest length are shown in the row of the system that they compare with.
    """
    header, rows = _cells(scores, comparisons)
    lower = "" if higher_is_better(scores[0].metric) else " (lower is better)"
    table = Table(
        title=escape(scores[0].benchmark),
        title_justify="left",
        title_style="bold",
        caption=escape(f"{_family(scores)}{lower} by tokens; [...]: 95% interval over examples"),
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=0,
    )
    for index, name in enumerate(header):
        table.add_column(
            escape(name.replace(" minus ", "\nminus ")), justify="right" if index else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(
            *(escape(cell.replace(" [", "\n[").replace(", ", ",") if n else cell) for n, cell in enumerate(row))
        )
    return table


def length_markdown(scores: Sequence[Score], comparisons: Sequence[Comparison]) -> str:
    """Return the same table in Markdown, for model cards and READMEs."""
    (_, *header), rows = _cells(scores, comparisons)
    return markdown([f"{scores[0].benchmark}: {_family(scores)} at ... tokens", *header], rows)


def longest(scores: Sequence[Score]) -> str:
    """Return the metric at the greatest length of all, the headline."""
    return max((score.metric for score in scores), key=lambda metric: _parts(metric)[1])


def _cells(scores: Sequence[Score], comparisons: Sequence[Comparison]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows as text; the greatest length stands last and has its interval."""
    lengths = sorted({_parts(score.metric)[1] for score in scores})
    by_system: dict[str, dict[int, Score]] = {}
    for score in scores:
        by_system.setdefault(score.system, {})[_parts(score.metric)[1]] = score
    compared = {item.b: item for item in comparisons if _parts(item.metric)[1] == lengths[-1]}
    header = ["", *(f"{length:,}" for length in lengths)]
    if compared:
        header += [DIFFERENCE.format(subject=next(iter(compared.values())).a), "p"]
    rows = []
    for system, found in by_system.items():
        row = [system]
        for length in lengths:
            cell = _number(found[length].value) if length in found else ""
            if cell and length == lengths[-1]:
                cell = f"{cell} {_bracket(found[length].low, found[length].high)}".rstrip()
            row.append(cell)
        if compared:
            item = compared.get(system)
            row += [
                f"{_number(item.difference, sign=True)} {_bracket(item.low, item.high)}" if item else "",
                probability(significance(item)).removeprefix("p ").removeprefix("= ") if item else "",
            ]
        rows.append(row)
    return header, rows


def _bracket(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"[{_number(low)}, {_number(high)}]"


def _number(value: float, *, sign: bool = False) -> str:
    """Return a value with three decimals below 10, and about as many digits above, where perplexities are.

    >>> _number(0.5), _number(12.345), _number(-123.45), _number(12345.6, sign=True)
    ('.500', '12.35', '-123.5', '+12,346')
    """
    if abs(value) < 10:
        return number(value, sign=sign)
    decimals = 2 if abs(value) < 100 else 1 if abs(value) < 1000 else 0
    return f"{value:{'+' if sign else ''},.{decimals}f}"


def _parts(metric: str) -> tuple[str, int]:
    found = at_length(metric)
    assert found is not None
    return found


def _family(scores: Sequence[Score]) -> str:
    return label(_parts(scores[0].metric)[0])
