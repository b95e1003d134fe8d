"""Scores of entities with intervals, and paired tests: texts, or clusters of them, are the units."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.metrics.entities import Counts, Entity, count, measure, measured, too_rare
from benchmarks.rows import comparison_rows, score_rows
from benchmarks.stats.design import Design
from benchmarks.stats.inference import UNIT, intervals, paired_tests
from benchmarks.stats.jackknife import jackknife
from classify.spans.rows import Tagged
from finewise.data.report import shorten
from finewise.record import Comparison, Score

PREDICTIONS = "predictions.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """What one system found in one split.

    Attributes:
        system: "tuned" or a baseline's name.
        data: The texts.
        entities: N times the spans.
        counts: (N, T, 3), see benchmarks.metrics.entities.
    """

    system: str
    data: Tagged
    entities: Sequence[tuple[Entity, ...]]
    counts: Counts

    @property
    def benchmark(self) -> str:
        """Name of the data."""
        return self.data.name

    @property
    def split(self) -> str:
        """Which part of it."""
        return self.data.split

    @property
    def data_revision(self) -> str:
        """Its content."""
        return self.data.revision

    @classmethod
    def of(cls, system: str, data: Tagged, entities: Sequence[tuple[Entity, ...]]) -> "Found":
        """Count what is right."""
        return cls(system=system, data=data, entities=entities, counts=count(data.entities, entities, len(data.types)))


def scores(found: Found, metrics: Sequence[str]) -> list[Score]:
    """Return each metric with its interval over texts, or over the clusters that they belong to.

    The mean over types has no interval where a type has few entities.
    """
    design = Design.of(len(found.counts), clusters=found.data.groups)
    around = intervals(jackknife(measure(found.counts, metrics), design), [UNIT] * len(metrics))
    rare = too_rare(found.counts, metrics)
    around = [one.without_ends() if few else one for one, few in zip(around, rare, strict=True)]
    return score_rows(found, design.size, dict(zip(metrics, around, strict=True)), design.clusters)


def compare(a: Found, b: Found, metrics: Sequence[str]) -> list[Comparison]:
    """Return a minus b for each metric."""
    design = Design.of(len(a.counts), clusters=a.data.groups)
    first, second = measure(a.counts, metrics), measure(b.counts, metrics)
    found = paired_tests(jackknife(lambda weights: first(weights) - second(weights), design), [UNIT] * len(metrics))
    return comparison_rows(a, b, dict(zip(metrics, found, strict=True)))


def per_type(found: Found) -> list[dict[str, Any]]:
    """Return a row per type: precision, recall, F1, and how many spans it has."""
    sums = found.counts.sum(axis=0)
    each = measured(sums)
    return [
        {
            "type": name,
            "precision": round(float(each.precision[place]), 4),
            "recall": round(float(each.recall[place]), 4),
            "f1": round(float(np.nan_to_num(each.f1[place])), 4),
            "support": int(sums[place, 2]),
            "predicted": int(sums[place, 1]),
        }
        for place, name in enumerate(found.data.types)
    ]


def mistakes(found: Found, most: int) -> list[dict[str, Any]]:
    """Return some texts with spans that were missed or wrongly found, those with the most mistakes first."""
    wrong = [set(gold) ^ set(said) for gold, said in zip(found.data.entities, found.entities, strict=True)]
    order = sorted((row for row in range(len(wrong)) if wrong[row]), key=lambda row: (-len(wrong[row]), row))
    return [
        {
            "where": found.data.where(row),
            "text": shorten(found.data.texts[row], 200),
            "missed": _shown(found.data, row, sorted(set(found.data.entities[row]) - set(found.entities[row]))),
            "wrongly found": _shown(found.data, row, sorted(set(found.entities[row]) - set(found.data.entities[row]))),
        }
        for row in order[:most]
    ]


def save_predictions(path: Path, results: Sequence[Found]) -> None:
    """Write what every system found in each text, a JSON line per text, whole or not at all."""
    data = results[0].data
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        for row in range(len(data)):
            line = {"where": data.where(row), "text": data.texts[row], "gold": _spans(data, data.entities[row])}
            line |= {one.system: _spans(data, one.entities[row]) for one in results}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    part.replace(path)


def _spans(data: Tagged, entities: Sequence[Entity]) -> list[dict[str, Any]]:
    return [{"start": start, "end": end, "label": data.types[kind]} for kind, start, end in entities]


def _shown(data: Tagged, row: int, entities: Sequence[Entity]) -> str:
    text = data.texts[row]
    by_place = sorted(entities, key=lambda one: one[1:])
    return ", ".join(f"{data.types[kind]}: {shorten(text[start:end], 40)}" for kind, start, end in by_place)
