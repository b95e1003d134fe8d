"""Searching LongRoPE's list of factors (Ding et al. 2024, arXiv 2402.13753, section 3.2 and algorithm 1).

Evolution over lists lambda_d, one factor per pair: a generation mutates and crosses the best lists so far; a list must not
fall from one pair to the next, since slower pairs need more interpolation, and stays within 1 and 1.25 s. The first
generation is position interpolation, NTK-aware and NTK by parts, and mutations of them, so the result is never worse than
these by the score given. Of the paper's search, the number of first positions that are left unscaled is not there: no library
reads it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from finewise.errors import InputError
from longctx import rope
from longctx.rope_config import Linear, NtkAware, NtkByParts, RopeConfig
from longctx.search_config import SearchConfig

Factors = NDArray[np.float64]

ABOVE = 1.25
"""The largest factor, in units of s (the paper's table 4)."""

STEP = 0.01
"""Factors are multiples of this (the paper's table 4)."""


@dataclass(slots=True, kw_only=True, frozen=True)
class Found:
    """What a search found.

    Attributes:
        factors: The best list, (D/2,); for `LongRope.long_factors`.
        score: Its score; lower is better.
        start: Score of each method of the first generation, by name.
        curve: Best score so far, after each generation, the first included.
        scored: How many lists were scored.
    """

    factors: list[float]
    score: float
    start: dict[str, float]
    curve: list[float]
    scored: int


_STARTS: dict[str, RopeConfig] = {"linear": Linear(), "ntk": NtkAware(), "by_parts": NtkByParts(ramp="rotations")}


def check_longer(original: int, target: int) -> None:
    """Refuse a search for a window that is no longer than the trained one.

    Raises:
        InputError: Says both.
    """
    if target <= original:
        raise InputError(f"a search needs a target above the original window of {original} tokens; got {target}")


def search_factors(
    score: Callable[[list[float]], float],
    head_dim: int,
    theta: float,
    original: int,
    target: int,
    config: SearchConfig | None = None,
    seed: int = 0,
) -> Found:
    """Return the list of factors with the lowest score that evolution finds.

    Args:
        score: Of a list of D/2 factors, lower is better: such as the perplexity, on a few long texts, of the model stretched
            with `LongRope(long_factors=...)`. Each list is scored once.
        head_dim: D, the rotary dimensions of a head.
        theta: b, the model's base.
        original: L.
        target: L'.
        config: How long to search.
        seed: Of all chance.

    Raises:
        InputError: The window is not made longer, or a score is not a number.
    """
    config = config or SearchConfig()
    check_longer(original, target)
    chance = np.random.default_rng(seed)
    most = ABOVE * target / original
    scores: dict[tuple[float, ...], float] = {}

    def scored(factors: Factors) -> float:
        key = tuple(factors.tolist())
        if key not in scores:
            scores[key] = float(score(list(key)))
            if math.isnan(scores[key]):
                raise InputError(f"the score of the factors {list(key)} is not a number")
        return scores[key]

    starts = start_factors(head_dim, theta, original, target)
    pool = list(starts.values())
    while len(pool) < config.population:
        pool.append(mutate(pool[chance.integers(len(starts))], most, config.probability, chance))
    # sorted() is stable: among equal scores the earlier list stays ahead, so a run repeats exactly.
    best = sorted(pool, key=scored)[: config.parents]
    curve = [scored(best[0])]
    for _ in range(config.generations):
        made = [
            mutate(best[chance.integers(len(best))], most, config.probability, chance) for _ in range(config.mutations)
        ]
        for _ in range(config.crossovers):
            one, other = chance.choice(len(best), size=2, replace=False)
            made.append(cross(best[one], best[other], chance))
        best = sorted([*best, *made], key=scored)[: config.parents]
        curve.append(scored(best[0]))
    return Found(
        factors=best[0].tolist(),
        score=curve[-1],
        start={name: scored(factors) for name, factors in starts.items()},
        curve=curve,
        scored=len(scores),
    )


def mutate(factors: Factors, most: float, probability: float, chance: Generator) -> Factors:
    """Return the list with some factors drawn anew, each between its neighbours, so that it still never falls."""
    made = factors.copy()
    for pair in np.flatnonzero(chance.random(len(made)) < probability):
        low = made[pair - 1] if pair else 1.0
        high = made[pair + 1] if pair + 1 < len(made) else most
        made[pair] = np.clip(round(chance.uniform(low, high) / STEP) * STEP, low, high)
    return made


def cross(one: Factors, other: Factors, chance: Generator) -> Factors:
    """Return a list with each factor from one of two parents, raised where it would fall below the pair before it."""
    return np.maximum.accumulate(np.where(chance.random(len(one)) < 0.5, one, other))


def start_factors(head_dim: int, theta: float, original: int, target: int) -> dict[str, Factors]:
    """Return what a search begins with: the factors (D/2,) of three methods, by name. Arguments as `search_factors`."""
    plain = rope.base_frequencies(head_dim, theta)
    found = {}
    for name, method in _STARTS.items():
        stretched, _ = rope.inverse_frequencies(method, head_dim, theta, original, target)
        # Rounding errors must neither leave the bounds nor break the order.
        found[name] = np.maximum.accumulate(np.maximum(plain / stretched, 1.0))
    return found
