"""Scores and comparisons as rows of a record, whatever the benchmark."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from benchmarks.stats.inference import Interval, PairedTest
from benchmarks.stats.multiple import holm
from finewise.errors import InputError
from finewise.record import Comparison, Score


class Scored(Protocol):
    """A result of any benchmark."""

    @property
    def system(self) -> str:
        """Whose it is."""
        ...

    @property
    def benchmark(self) -> str:
        """Name of the data."""
        ...

    @property
    def split(self) -> str:
        """Which part of it."""
        ...

    @property
    def data_revision(self) -> str:
        """Its content."""
        ...


def score_rows(result: Scored, n: int, found: Mapping[str, Interval], clusters: int | None = None) -> list[Score]:
    """Return the record's rows of a result of n queries or examples, given each metric's interval."""
    return [
        Score(
            benchmark=result.benchmark,
            data_revision=result.data_revision,
            split=result.split,
            system=result.system,
            metric=metric,
            value=value,
            low=low,
            high=high,
            n=n,
            clusters=clusters,
        )
        for metric, (value, low, high) in found.items()
    ]


def comparison_rows(a: Scored, b: Scored, found: Mapping[str, PairedTest]) -> list[Comparison]:
    """Return the record's rows of a minus b, given each metric's test."""
    return [
        Comparison(benchmark=a.benchmark, metric=metric, a=a.system, b=b.system, split=a.split, **test._asdict())
        for metric, test in found.items()
    ]


def corrected(comparisons: list[Comparison]) -> list[Comparison]:
    """Return the comparisons of one table with Holm's correction: those of one metric (at all lengths), over all
    benchmarks and systems of a split. What could not be tested is not counted.
    """
    families: dict[tuple[str, str], list[int]] = {}
    for place, item in enumerate(comparisons):
        if item.p is not None and item.p == item.p:  # no NaN of an old record
            families.setdefault((family(item.metric), item.split), []).append(place)
    found = list(comparisons)
    for places in families.values():
        adjusted = holm([comparisons[place].p or 0.0 for place in places])
        for place, p in zip(places, adjusted, strict=True):
            found[place] = replace(found[place], p_adjusted=p)
    return found


def family(metric: str) -> str:
    """Return the metric without the length of text at which it is read.

    >>> family("exact@1024"), family("ndcg@10"), family("ndcg@10@512")
    ('exact', 'ndcg@10', 'ndcg@10')
    """
    from benchmarks.table import at_length

    found = at_length(metric)
    return found[0] if found else metric


def check_same_data(a: Scored, b: Scored) -> None:
    """Refuse two results of different data.

    Raises:
        InputError: They differ in benchmark, split or revision of the data.
    """
    for what in ("benchmark", "split", "data_revision"):
        first, second = getattr(a, what), getattr(b, what)
        if first != second:
            raise InputError(
                f"cannot compare {a.system} with {b.system}: they were scored on different data "
                f"({what.replace('_', ' ')} {first} and {second}); score both on the same benchmark"
            )
