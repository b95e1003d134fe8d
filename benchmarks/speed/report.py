"""What a comparison found: as a table in the terminal, and as JSON that can be compared across machines."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from statistics import median
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from benchmarks.speed.agreement import Agreement
from benchmarks.speed.harness import Result
from finewise.console import out

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One comparison.

    Attributes:
        bench: Its name on the command line.
        title: One line.
        compares: What is done, and what each side is: everything needed to understand the table.
        unit: What the items are, such as "pairs".
        bases: The sides that ratios refer to, the first above all.
        results: Per side.
        agreements: The proof that all sides computed the same.
        peak: Matrix-product peak in FLOP/s per precision; empty where it was not measured.
        settings: What the numbers depend on.
        facts: What else was found, such as scores.
    """

    bench: str
    title: str
    compares: str
    unit: str
    bases: Sequence[str]
    results: Sequence[Result]
    agreements: Sequence[Agreement] = ()
    peak: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether all sides agree."""
        return all(each.ok for each in self.agreements)

    def result(self, name: str) -> Result:
        """Return the result of one side."""
        return next(each for each in self.results if each.name == name)

    def share(self, result: Result, precision: str) -> float:
        """Return which share of a precision's peak the real tokens used; NaN where it is unknown."""
        return result.rate("flop") / self.peak.get(precision, math.nan)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain JSON; what is unknown is null."""
        sides = []
        for result in self.results:
            ratios = {base: result.ratios(self.result(base)) for base in self.bases}
            sides.append(
                {
                    "name": result.name,
                    "precision": result.precision,
                    "seconds": [each.seconds for each in result.rounds],
                    "median_seconds": result.seconds,
                    "ratio_to": {
                        base: {"median": median(found), "low": min(found), "high": max(found)}
                        for base, found in ratios.items()
                    },
                    f"{self.unit}_per_second": result.rate("items"),
                    "tokens_per_second": result.rate("tokens"),
                    "flop_per_second": result.rate("flop"),
                    "share_of_peak": {precision: self.share(result, precision) for precision in self.peak},
                    "peak_memory": result.memory,
                    "warm_up_seconds": result.warm_up,
                    "computed": [dict(each.computed) for each in result.rounds],
                }
            )
        content = {
            "bench": self.bench,
            "title": self.title,
            "compares": self.compares,
            "settings": dict(self.settings),
            "unit": self.unit,
            "rounds": len(self.results[0].rounds),
            "ok": self.ok,
            "peak": dict(self.peak),
            "sides": sides,
            "agreements": [asdict(each) for each in self.agreements],
            "facts": dict(self.facts),
        }
        return {key: known(value) for key, value in content.items()}

    def show(self) -> None:
        """Print what is compared, the table, and the proof."""
        out.print(f"\n[bold]{escape(self.title)}[/]", soft_wrap=True)
        out.print(self.compares, markup=False)
        if self.peak:
            peaks = ", ".join(f"{name} {peak / 1e9:,.0f} GFLOP/s" for name, peak in self.peak.items())
            out.print(f"Matrix-product peak of this machine: {peaks}.", markup=False)
        out.print(self._table())
        for line in summary(self.agreements):
            out.print(line, markup=False, soft_wrap=True)

    def _table(self) -> Table:
        best = list(self.peak)[-1:]
        bases = [base.replace("-", "\n", 1) for base in self.bases]
        header = [f"{self.unit}\n/s", "tokens\n/s", *(f"x {base}" for base in bases), "\nfrom..to"]
        header += [*(f"of {name}\npeak" for name in best), "memory\nMB", "warm\nup s"]
        table = Table(box=SIMPLE_HEAD, padding=0)
        table.add_column("side", no_wrap=True)
        for name in header:
            table.add_column(escape(name), justify="right", no_wrap=True)
        for result in self.results:
            ratios = [result.ratios(self.result(base)) for base in self.bases]
            cells = [_number(result.rate("items"), ",.1f"), _number(result.rate("tokens"), ",.0f")]
            cells += [f"{median(found):.2f}" for found in ratios]
            cells += [f"{min(ratios[0]):.2f}..{max(ratios[0]):.2f}"]
            cells += [_number(self.share(result, name), ".1%") for name in best]
            cells += ["n/a" if result.memory is None else f"{result.memory / 2**20:,.0f}", f"{result.warm_up:.1f}"]
            table.add_row(escape(result.name), *cells)
        return table


def summary(agreements: Sequence[Agreement]) -> list[str]:
    """Return one line per thing that was compared, and one more for every side that differs."""
    lines = []
    for what, group in groupby(agreements, key=lambda each: (each.what, each.base)):
        found = list(group)
        worst = max(found, key=lambda each: (not each.ok, each.difference))
        names = ", ".join(each.side for each in found)
        kind = "relative difference" if worst.relative else "difference"
        lines.append(
            f"{'agrees: ' if worst.ok else 'DIFFERS:'} {what[0]}: {what[1]} {worst.expected:.6g}; {names}: "
            f"largest {kind} {worst.difference:.1e} ({worst.side}), allowed {worst.tolerance:.0e}"
        )
        lines += [f"  DIFFERS: {each}" for each in found if not each.ok]
    return lines


def known(value: Any) -> Any:
    """Return the value with null for every NaN and infinity, which JSON does not have.

    >>> known({"a": [1.0, float("nan")]})
    {'a': [1.0, None]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: known(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [known(each) for each in value]
    return value


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else ""
