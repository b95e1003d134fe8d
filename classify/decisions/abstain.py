"""Abstention: to leave undecided what is too unsure, and what that costs and gains.

Shapes: N rows; confidence (N,), any numbers of which higher is surer; right (N,) bool.

Source: El-Yaniv & Wiener 2010 (risk and coverage); Geifman et al. 2019 (the area under their curve).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classify.decisions.thresholds import lowest_reaching

Values = NDArray[np.float64]
Truth = NDArray[np.bool_]

NOTHING = math.inf
"""A floor that no confidence reaches."""


@dataclass(frozen=True, slots=True, eq=False)
class RiskCoverage:
    """How often the surest texts are wrong.

    Attributes:
        confidence: (C,) each distinct confidence, from the highest down.
        coverage: (C,) share of the rows with at least this confidence.
        risk: (C,) share of wrong ones among them.
        aurc: The mean risk over the N coverages 1/N, 2/N, ..., 1; rows of equal confidence in random order.
    """

    confidence: Values
    coverage: Values
    risk: Values
    aurc: float


def risk_coverage(confidence: Values, right: Truth) -> RiskCoverage:
    """Return the curve of rows that are decided from the surest on. There must be at least one row."""
    order = np.argsort(-confidence, kind="stable")
    ranked, wrong = confidence[order], ~right[order]
    ends = np.flatnonzero(np.append(ranked[:-1] != ranked[1:], True))
    kept = ends + 1
    errors = np.cumsum(wrong)[ends]
    sizes = np.diff(kept, prepend=0)
    rate = np.diff(errors, prepend=0) / sizes
    count = np.arange(1, len(ranked) + 1)
    expected = np.cumsum(np.repeat(rate, sizes)) / count
    return RiskCoverage(ranked[ends], kept / len(ranked), errors / kept, float(expected.mean()))


def floor_for_accuracy(confidence: Values, right: Truth, target: float) -> float:
    """Return the lowest confidence from which on the accuracy surely reaches the target; NOTHING where there is none.

    Surely: by the lower confidence bound of `thresholds.lowest_reaching`.
    """
    ranked, given, hits = nested(confidence, right)
    lowest = lowest_reaching(given, hits, target)
    return NOTHING if lowest is None else float(ranked[lowest])


def nested(confidence: Values, right: Truth) -> tuple[Values, NDArray[np.int64], NDArray[np.int64]]:
    """Return each distinct confidence from the highest down, the rows with at least it, and the right ones among them, (C,)."""
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    ends = np.flatnonzero(np.append(ranked[:-1] != ranked[1:], True))
    return ranked[ends], (ends + 1).astype(np.int64), np.cumsum(right[order])[ends].astype(np.int64)


def floor_for_coverage(confidence: Values, target: float) -> float:
    """Return the confidence that at least this share of the rows has (as few more as equal ones allow)."""
    ranked = np.sort(confidence)[::-1]
    return float(ranked[min(len(ranked), math.ceil(target * len(ranked) - 1e-9)) - 1])
