"""The search for LongRoPE's factors: what it may return, that it repeats, and that it finds what there is to find."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finewise.errors import InputError
from longctx import rope
from longctx.evolution import cross, mutate, search_factors
from longctx.rope_config import Linear, LongRope, NtkAware
from longctx.search_config import SearchConfig

HIDDEN = np.array([1, 1, 1, 1.4, 1.9, 2.6, 3.2, 4])


def distance(factors: list[float]) -> float:
    return float(np.square(np.log(np.array(factors) / HIDDEN)).sum())


def test_it_finds_a_better_list_than_it_starts_with() -> None:
    found = search_factors(distance, 16, 1e4, 64, 256, SearchConfig(generations=40))
    assert found.score < 0.2 * min(found.start.values())
    assert found.score == distance(found.factors)
    assert found.curve == sorted(found.curve, reverse=True)
    assert len(found.curve) == 41
    assert set(found.start) == {"linear", "ntk", "by_parts"}
    rope.inverse_frequencies(LongRope(long_factors=found.factors), 16, 1e4, 64, 256)  # takes the list as it is


def test_the_same_seed_finds_the_same_and_another_seed_does_not() -> None:
    one, again, other = (
        search_factors(distance, 16, 1e4, 64, 256, SearchConfig(generations=3), seed) for seed in (0, 0, 1)
    )
    assert one == again
    assert one.factors != other.factors


def test_without_generations_the_best_start_wins_and_no_list_is_scored_twice() -> None:
    asked: list[tuple[float, ...]] = []

    def score(factors: list[float]) -> float:
        asked.append(tuple(factors))
        return -min(factors)  # position interpolation is the best possible, but for the bound of 1.25 s

    found = search_factors(score, 16, 1e4, 64, 256, SearchConfig(generations=0, population=3))
    assert np.allclose(found.factors, 4)
    assert found.scored == len(asked) == len(set(asked)) == 3
    for method, name in ((Linear(), "linear"), (NtkAware(), "ntk")):
        wanted = rope.base_frequencies(16, 1e4) / rope.inverse_frequencies(method, 16, 1e4, 64, 256)[0]
        assert found.start[name] == pytest.approx(-wanted.min())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(1, 5), min_size=2, max_size=40), st.integers(0, 1000), st.floats(0.05, 1))
def test_children_never_fall_and_stay_within_bounds(values: list[float], seed: int, probability: float) -> None:
    chance = np.random.default_rng(seed)
    parent = np.sort(np.array(values))
    child = mutate(parent, 5.0, probability, chance)
    both = cross(parent, child, chance)
    for made in (child, both):
        assert (np.diff(made) >= 0).all()
        assert made.min() >= 1
        assert made.max() <= 5


def test_what_cannot_be_searched_is_refused() -> None:
    with pytest.raises(InputError, match="target above the original"):
        search_factors(distance, 16, 1e4, 64, 64)
    with pytest.raises(InputError, match="is not a number"):
        search_factors(lambda _: float("nan"), 16, 1e4, 64, 256)
    with pytest.raises(ValueError, match=r"search.population must be at least 3"):
        SearchConfig(population=1)
    with pytest.raises(ValueError, match=r"search.probability must be above 0"):
        SearchConfig(probability=0)
