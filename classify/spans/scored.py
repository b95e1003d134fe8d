"""Scores of entities with intervals, and paired tests: whole texts are drawn, and the metric is computed anew each time."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.entities import Counts, Entity, Values, count, evaluated, measured, resampled
from benchmarks.resampling import bootstrap, together
from benchmarks.significance import LEVEL
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

    @classmethod
    def of(cls, system: str, data: Tagged, entities: Sequence[tuple[Entity, ...]]) -> "Found":
        """Count what is right."""
        return cls(system=system, data=data, entities=entities, counts=count(data.entities, entities, len(data.types)))


def scores(found: Found, metrics: Sequence[str], resamples: int, seed: int) -> list[Score]:
    """Return each metric with its 95% percentile interval over texts, or over the groups that they belong to."""
    centers = evaluated(found.counts.sum(axis=0), metrics)
    drawn = [
        evaluated(resampled(found.counts, weights), metrics)
        for weights in bootstrap(len(found.counts), together(found.data.groups), resamples, seed)
    ]
    low, high = _ends(np.concatenate(drawn, axis=1), centers)
    return [
        Score(
            benchmark=found.data.name,
            data_revision=found.data.revision,
            split=found.data.split,
            system=found.system,
            metric=metric,
            value=float(centers[place]),
            low=float(low[place]),
            high=float(high[place]),
            n=len(found.data),
        )
        for place, metric in enumerate(metrics)
    ]


def compare(a: Found, b: Found, metrics: Sequence[str], resamples: int, seed: int) -> list[Comparison]:
    """Return a minus b for each metric, with its bootstrap interval and a paired permutation test.

    The test swaps what the two systems said, text by text (group by group), by a coin flip (Yeh 2000).
    """
    groups = together(a.data.groups)
    size = len(a.counts)

    def difference(one: Any, other: Any) -> Values:
        found: Values = evaluated(one, metrics) - evaluated(other, metrics)
        return found

    first, second = a.counts.sum(axis=0), b.counts.sum(axis=0)
    centers = difference(first, second)
    drawn = [
        difference(resampled(a.counts, weights), resampled(b.counts, weights))
        for weights in bootstrap(size, groups, resamples, seed)
    ]
    low, high = _ends(np.concatenate(drawn, axis=1), centers)
    rng = np.random.default_rng(seed)
    units = size if groups is None else int(groups.max()) + 1
    reach = np.abs(centers) * (1 - 1e-9) - 1e-12
    as_far = np.zeros(len(metrics))
    change = b.counts - a.counts
    for start in range(0, resamples, 100):
        swapped = rng.integers(0, 2, (units, min(100, resamples - start))).astype(np.float64)
        moved = resampled(change, swapped if groups is None else swapped[groups])
        as_far += (np.abs(difference(first + moved, second - moved)) >= reach[:, None]).sum(axis=1)
    unit = "" if groups is None else " of groups"
    return [
        Comparison(
            benchmark=a.data.name,
            metric=metric,
            a=a.system,
            b=b.system,
            difference=float(centers[place]),
            low=float(low[place]),
            high=float(high[place]),
            p=float((as_far[place] + 1) / (resamples + 1)),
            test=f"paired permutation{unit} ({resamples})",
        )
        for place, metric in enumerate(metrics)
    ]


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


def _ends(drawn: Values, centers: Values) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of the intervals of `drawn` (M, R), none beyond its center; resamples without a value do not count."""
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail], axis=1)
    return np.fmin(low, centers), np.fmax(high, centers)
