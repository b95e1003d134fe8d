"""The equations: against transformers' own computation, at the ramp's boundaries, and what must hold for all sizes."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from finewise.errors import InputError
from longctx import rope
from longctx.parameters import rope_parameters
from longctx.rope_config import (
    ROPES,
    Abf,
    DynamicNtk,
    Linear,
    Llama3,
    LongRope,
    NtkAware,
    NtkByParts,
    RopeConfig,
    StretchConfig,
    Unstretched,
    Yarn,
    name_of,
)

FACTORS = [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 8.0, 8.0, 8.0, 8.0]

METHODS: dict[str, RopeConfig] = {
    "none": Unstretched(),
    "linear": Linear(),
    "ntk": NtkAware(),
    "dynamic-paper": DynamicNtk(),
    "dynamic-factor": DynamicNtk(reading="factor"),
    "by_parts": NtkByParts(),
    "by_parts-rotations": NtkByParts(ramp="rotations"),
    "yarn": Yarn(),
    "yarn-rotations": Yarn(ramp="rotations"),
    "yarn-cold": Yarn(temperature=False, alpha=2, beta=16),
    "yarn-given": Yarn(attention_factor=1.25),
    "longrope": LongRope(long_factors=FACTORS),
    "longrope-short": LongRope(long_factors=FACTORS, short_factors=[1.1] * 16, attention_factor=1.1),
    "llama3": Llama3(),
    "abf": Abf(theta=1e6),
}


def test_every_row_of_the_group_is_tried() -> None:
    assert {name_of(method) for method in METHODS.values()} == set(ROPES) - {"self_extend"}, "which no frequencies say"


@pytest.mark.parametrize("length", [100, 4096, 20_000, 32_768])
@pytest.mark.parametrize("theta", [1e4, 5e5])
@pytest.mark.parametrize("name", METHODS)
def test_what_transformers_computes_from_the_parameters_is_the_equation(name: str, theta: float, length: int) -> None:
    method, original, target = METHODS[name], 4096, 32_768
    parameters = rope_parameters(method, 32, {"rope_theta": theta}, original, target)
    config = LlamaConfig(
        hidden_size=64,
        num_attention_heads=2,
        rope_parameters=parameters,
        max_position_embeddings=original if isinstance(method, DynamicNtk) else target,
    )
    kind = parameters["rope_type"]
    if kind == "default":
        base = config.rope_parameters["rope_theta"]
        found, scale = 1 / base ** (np.arange(0, 32, 2) / 32), 1.0
    else:
        tensor, scale = ROPE_INIT_FUNCTIONS[str(kind)](config, None, seq_len=length)
        found = tensor.double().numpy()
    wanted, factor = rope.inverse_frequencies(method, 32, theta, original, target, length=length)
    assert_allclose(found, wanted, rtol=1e-5)
    assert scale == pytest.approx(factor, rel=1e-12)


def test_published_numbers() -> None:
    # YaRN's Llama 2 at s=32 and Phi-3's long window at s=32 multiply cos and sin by these.
    assert rope.attention_factor(Yarn(), 4096, 4096 * 32) == pytest.approx(1.3466, abs=1e-4)
    assert rope.attention_factor(LongRope(long_factors=[2.0]), 4096, 131_072) == pytest.approx(1.1902, abs=1e-4)
    # NTK-aware divides the slowest pair by exactly s, and keeps the fastest.
    frequencies, _ = rope.inverse_frequencies(NtkAware(), 128, 1e4, 2048, 16_384)
    assert_allclose(rope.base_frequencies(128, 1e4)[[0, -1]] / frequencies[[0, -1]], [1, 8])


def test_dynamic_reads_the_length() -> None:
    paper, factor = DynamicNtk(), DynamicNtk(reading="factor")
    at_target = rope.inverse_frequencies(paper, 64, 1e4, 64, 512)[0]
    assert_allclose(at_target, rope.inverse_frequencies(NtkAware(), 64, 1e4, 64, 512)[0])
    within = rope.inverse_frequencies(factor, 64, 1e4, 64, 512, length=10)[0]
    assert_allclose(within, rope.base_frequencies(64, 1e4))
    assert rope.inverse_frequencies(factor, 64, 1e4, 64, 512)[0][-1] < at_target[-1]


@pytest.mark.parametrize("ramp", ["rotations", "dimension"])
def test_ends_of_the_ramp(ramp: str) -> None:
    method, size, theta, original = NtkByParts(ramp=ramp), 128, 1e4, 4096
    kept = rope.kept_share(method, size, theta, original)
    turns = original / rope.wavelengths(rope.base_frequencies(size, theta))
    assert (np.diff(kept) <= 0).all()
    if ramp == "rotations":
        assert (kept[turns >= method.beta] == 1).all()
        assert (kept[turns <= method.alpha] == 0).all()
        between = (turns > method.alpha) & (turns < method.beta)
        assert_allclose(kept[between], (turns[between] - 1) / 31)
    else:
        # Llama 2's published ramp runs from pair 20 to pair 46.
        assert (np.flatnonzero(kept < 1).min(), np.flatnonzero(kept > 0).max()) == (21, 45)
        assert_allclose(np.diff(kept[20:47]), -1 / 26)


def test_the_paper_s_ramp_divides_more_than_the_code_s() -> None:
    by_turns, by_index = (rope.kept_share(NtkByParts(ramp=ramp), 128, 1e4, 4096) for ramp in ("rotations", "dimension"))
    assert by_turns.sum() < by_index.sum() - 3
    # Llama 3 is the paper's ramp with other ends.
    llama, _ = rope.inverse_frequencies(Llama3(), 128, 5e5, 8192, 131_072)
    parts, _ = rope.inverse_frequencies(NtkByParts(alpha=1, beta=4, ramp="rotations"), 128, 5e5, 8192, 131_072)
    assert_allclose(llama, parts)


def test_ends_that_meet_are_a_step() -> None:
    assert set(rope.kept_share(NtkByParts(alpha=1, beta=1.0001), 8, 1e4, 7)) <= {0.0, 1.0}


sizes = st.tuples(
    st.integers(2, 64).map(lambda half: 2 * half),
    st.floats(100, 1e7),
    st.integers(32, 200_000),
    st.floats(1, 64),
)
stretching = st.sampled_from([name for name in METHODS if name not in ("abf", "longrope", "longrope-short")])


@settings(max_examples=200, deadline=None)
@given(stretching, sizes)
def test_frequencies_fall_and_stay_between_divided_and_kept(name: str, size: tuple[int, float, int, float]) -> None:
    head, theta, original, factor = size
    target = math.ceil(original * factor)
    found, scale = rope.inverse_frequencies(METHODS[name], head, theta, original, target)
    base = rope.base_frequencies(head, theta)
    assert (np.diff(found) < 0).all()
    assert (found <= base * (1 + 1e-12)).all()
    assert scale >= 1
    if name != "dynamic-factor":  # which stretches by more than s
        assert (found >= base / (target / original) * (1 - 1e-12)).all()


@settings(max_examples=200, deadline=None)
@given(stretching, sizes)
def test_stretching_by_one_changes_nothing(name: str, size: tuple[int, float, int, float]) -> None:
    head, theta, original, _ = size
    found, scale = rope.inverse_frequencies(METHODS[name], head, theta, original, original)
    assert_allclose(found, rope.base_frequencies(head, theta), rtol=1e-12)
    assert scale == (1.25 if name == "yarn-given" else 1)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["linear", "ntk", "by_parts", "by_parts-rotations", "yarn", "llama3"]), sizes)
def test_a_little_farther_is_a_little_different(name: str, size: tuple[int, float, int, float]) -> None:
    head, theta, original, factor = size
    target = math.ceil(original * factor)
    one, _ = rope.inverse_frequencies(METHODS[name], head, theta, original, target)
    other, _ = rope.inverse_frequencies(METHODS[name], head, theta, original, target + 1)
    assert_allclose(other, one, rtol=1.01 / target)


@settings(max_examples=100, deadline=None)
@given(st.floats(100, 1e6), st.integers(32, 200_000), st.floats(2, 64))
def test_llama3_and_the_paper_s_ramp_have_no_jump(theta: float, original: int, factor: float) -> None:
    """With more and more pairs per head, neighbours come together."""
    for method in (Llama3(), NtkByParts(ramp="rotations")):
        found, _ = rope.inverse_frequencies(method, 65_536, theta, original, math.ceil(original * factor))
        assert (np.abs(np.diff(np.log(found))) < 0.02).all()


def test_longrope_has_a_list_for_each_side_of_the_window() -> None:
    method = LongRope(long_factors=FACTORS)
    base = rope.base_frequencies(32, 1e4)
    assert_allclose(rope.inverse_frequencies(method, 32, 1e4, 64, 512, length=64)[0], base)
    assert_allclose(rope.inverse_frequencies(method, 32, 1e4, 64, 512, length=65)[0], base / np.array(FACTORS))


@pytest.mark.parametrize(
    ("method", "change", "words"),
    [
        (Linear(), {"target": 32}, "target=32 is shorter"),
        (Linear(), {"head_dim": 5}, "must be even"),
        (Linear(), {"theta": 1.0}, "must be above 1"),
        (NtkAware(), {"head_dim": 2}, "at least 4 rotary"),
        (DynamicNtk(), {"head_dim": 2}, "at least 4 rotary"),
        (Yarn(), {"original": 6}, "rope.ramp=rotations"),
        (LongRope(long_factors=[1.0, 2.0]), {}, "must have 16 factors"),
        (Abf(theta=100.0), {}, "would shorten"),
    ],
)
def test_what_cannot_be_computed_is_refused(method: RopeConfig, change: dict[str, Any], words: str) -> None:
    sizes = {"head_dim": 32, "theta": 1e4, "original": 64, "target": 512} | change
    with pytest.raises(InputError, match=words):
        rope.inverse_frequencies(method, **sizes)


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        (NtkByParts, {"alpha": 0.0}, "rope.alpha"),
        (Yarn, {"beta": 0.5}, "rope.beta must be above"),
        (Yarn, {"temperature": False, "attention_factor": 1.2}, "is not read"),
        (LongRope, {}, "got none"),
        (LongRope, {"long_factors": [1.0, 0.0]}, "rope.long_factors"),
        (LongRope, {"long_factors": [1.0, 2.0], "short_factors": [1.0]}, "got 1 and 2"),
        (Llama3, {"high_freq_factor": 1.0}, "rope.high_freq_factor"),
        (Abf, {"theta": 1.0}, "rope.theta"),
        (StretchConfig, {"factor": 0.5}, "stretch.factor must be at least 1"),
        (StretchConfig, {"factor": math.inf}, "finite"),
    ],
)
def test_wrong_settings_name_their_key(kind: Any, values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        kind(**values)


def test_the_window() -> None:
    assert StretchConfig(target=300).window(64) == 300
    assert StretchConfig(factor=1.1).window(8192) == 9012
    assert StretchConfig(factor=1.1).window(10) == 11
    assert StretchConfig(factor=4, target=256).window(64) == 256
    for how, words in [
        (StretchConfig(), "must say how far"),
        (StretchConfig(target=32), "shorter than the 64 tokens"),
        (StretchConfig(factor=2, target=256), "give one of the two"),
    ]:
        with pytest.raises(InputError, match=words):
            how.window(64)


def test_every_method_says_its_equation_and_its_limit() -> None:
    for kind in ROPES.values():
        assert "does not" in (kind.__doc__ or "") or kind is Unstretched
        assert all(field.metadata["help"] for field in dataclasses.fields(kind))
