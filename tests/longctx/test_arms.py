"""What is compared: the model as it is first, what the experiment is about last, nothing twice."""

from typing import Any

import pytest

from finewise.config import SelectionConfig
from longctx.arms import arms_of, subject_of
from longctx.config import LongContextExperiment, LongDataConfig
from longctx.rope_config import SelfExtend, StretchConfig, Unstretched, Yarn, name_of


def made(**parts: Any) -> LongContextExperiment:
    return LongContextExperiment(
        data=LongDataConfig(train="rows.jsonl"),
        selection=SelectionConfig(metric="needle"),
        stretch=StretchConfig(factor=4),
        **parts,
    )


@pytest.mark.parametrize(
    ("parts", "systems"),
    [
        ({}, ["untuned", "linear", "ntk", "yarn", "tuned"]),
        ({"compare": []}, ["untuned", "yarn", "tuned"]),
        ({"compare": ["linear", "none"]}, ["untuned", "linear", "yarn", "tuned"]),
        ({"adapt": False}, ["untuned", "linear", "ntk", "yarn"]),
        ({"compare": ["linear"], "rope": Unstretched()}, ["untuned", "linear", "tuned"]),
        ({"compare": ["linear"], "rope": Unstretched(), "adapt": False}, ["untuned", "linear"]),
        (
            {"compare": ["linear"], "compare_adapted": True},
            ["untuned", "linear", "yarn", "none, adapted", "linear, adapted", "tuned"],
        ),
        (
            {"compare": ["self_extend", "linear"], "compare_adapted": True},
            ["untuned", "self_extend", "linear", "yarn", "none, adapted", "linear, adapted", "tuned"],
        ),
        ({"compare": ["linear"], "rope": SelfExtend(), "adapt": False}, ["untuned", "linear", "self_extend"]),
    ],
)
def test_arms(parts: dict[str, Any], systems: list[str]) -> None:
    arms = arms_of(made(**parts))
    assert [arm.system for arm in arms] == systems
    assert len({arm.folder for arm in arms}) == len(arms)
    assert [arm.adapted for arm in arms] == ["adapted" in name or name == "tuned" for name in systems]


@pytest.mark.parametrize(
    ("parts", "system"),
    [({}, "tuned"), ({"adapt": False}, "yarn"), ({"adapt": False, "rope": Unstretched()}, "untuned")],
)
def test_the_subject(parts: dict[str, Any], system: str) -> None:
    assert subject_of(made(**parts)).system == system


def test_the_runs_own_settings_of_a_method_are_kept() -> None:
    method = Yarn(attention_factor=1.1)
    arms = {arm.system: arm for arm in arms_of(made(rope=method, compare_adapted=True))}
    assert arms["yarn"].method == arms["tuned"].method == method
    assert name_of(arms["linear, adapted"].method) == "linear"
    assert arms["tuned"].title == "yarn, adapted"
