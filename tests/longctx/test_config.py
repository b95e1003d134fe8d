"""The settings of a long-context experiment refuse what they would not honour, in one line that names key and fix."""

from typing import Any

import pytest

from benchmarks.needle.config import NeedleConfig, PasskeyConfig
from benchmarks.perplexity_config import PerplexityConfig
from finewise.config import ColumnsConfig, ModelConfig, OptimConfig, RunConfig, SelectionConfig
from finewise.settings.edge import check
from finewise.settings.schema import Schema
from longctx.config import (
    OBJECTIVES,
    Contrastive,
    InstructionTuning,
    LanguageModeling,
    LongContextExperiment,
    LongDataConfig,
    LoraConfig,
    StagesConfig,
)
from longctx.rope_config import ROPES, Abf, DynamicNtk, LongRope, SelfExtend, StretchConfig
from longctx.train import main as _registered  # noqa: F401 - what the files of settings are read with

SCHEMA = Schema(LongContextExperiment, {"rope": ROPES, "objective": OBJECTIVES})
METRICS = {LanguageModeling: "neg_log_loss", InstructionTuning: "needle", Contrastive: "passkey"}


def made(objective: Any = LanguageModeling, **parts: Any) -> LongContextExperiment:
    settings = {
        "objective": objective(),
        "data": LongDataConfig(train="rows.jsonl"),
        "selection": SelectionConfig(metric=METRICS[objective]),
        "stretch": StretchConfig(factor=4),
    }
    return LongContextExperiment(**settings | parts)


@pytest.mark.parametrize("objective", METRICS)
def test_the_defaults_of_every_objective_stand(objective: Any) -> None:
    assert made(objective).embeds is (objective is Contrastive)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("stretch.factor=2 adapt=false compare=[none]", []),
        ("stretch.factor=2 adapt=false optim.learning_rate=1e-3 data=files", ["optim.learning_rate", "data"]),
        ("stretch.factor=2 adapt=false objective=sft objective.packing=false", ["objective.packing"]),
        ("stretch.factor=2 adapt=false execution=sorted run.report_to=[]", ["execution", "run.report_to"]),
        ("stretch.factor=2 adapt=false objective=contrastive execution=sorted", []),
        ("+exp=longctx-smollm2 adapt=false compare=[none] needle.samples=2", []),
        ("+exp=longctx-quickstart adapt=false lora.rank=4", ["lora.rank"]),
        ("--multirun +exp=longctx-quickstart adapt=true,false optim.max_steps=9", []),
    ],
)
def test_what_only_a_training_reads_is_refused_where_it_was_typed_but_not_in_files(line: str, told: list[str]) -> None:
    found = check("longctx", SCHEMA, line.split()).mistakes
    assert found == [f"{key} is not read with adapt=false; leave it out" for key in told]


def test_without_adapting_no_data_is_asked_for() -> None:
    assert made(data=LongDataConfig(), adapt=False).data.train == ""
    with pytest.raises(ValueError, match=r"^data\.train must name .*; give a file, or set adapt=false$"):
        made(data=LongDataConfig())


def data(**parts: Any) -> LongDataConfig:
    return LongDataConfig(train="rows.jsonl", **parts)


@pytest.mark.parametrize(
    ("objective", "parts", "message"),
    [
        (
            LanguageModeling,
            {"passkey": PasskeyConfig(queries=3)},
            "passkey is not read with objective=lm; leave it out",
        ),
        (LanguageModeling, {"chunked": False}, "chunked is not read with objective=lm"),
        (LanguageModeling, {"data": data(columns=ColumnsConfig(anchor="q"))}, "data.columns is not read"),
        (InstructionTuning, {"data": data(relevant_score=1)}, "data.relevant_score is not read with objective=sft"),
        (InstructionTuning, {"data": data(text="body")}, "data.text is not read with objective=sft"),
        (Contrastive, {"data": data(text="body")}, "data.text is not read with objective=contrastive"),
        (LanguageModeling, {"data": data(documents=True)}, "data.documents is not read with objective=lm"),
        (
            Contrastive,
            {"data": data(documents=True, columns=ColumnsConfig(anchor="q"))},
            "data.columns, data.relevant_score and data.split_by are not read with data.documents=true",
        ),
        (
            LanguageModeling,
            {"rope": SelfExtend()},
            "rope=self_extend only reads: nothing of it can be trained or saved",
        ),
        (LanguageModeling, {"compare": ["self_extend"], "execution": "packed"}, "packed does not go with self_extend"),
        (Contrastive, {"needle": NeedleConfig(samples=3)}, "needle is not read with objective=contrastive"),
        (Contrastive, {"perplexity": PerplexityConfig(data=None)}, "perplexity is not read"),
        (InstructionTuning, {"execution": "sorted"}, "execution is not read with objective=sft"),
        (InstructionTuning, {"micro_batch_tokens": 64}, "micro_batch_tokens is not read with objective=sft"),
        (LanguageModeling, {"recompute": "always"}, "set optim.activation_checkpointing=true"),
        (InstructionTuning, {"recompute": "never"}, "recompute=never is not read with objective=sft"),
        (Contrastive, {"optim": OptimConfig(batch_size=1)}, "optim.batch_size must be at least 2"),
        (Contrastive, {"lora": LoraConfig(rank=4)}, "lora.rank is for language models"),
        (Contrastive, {"selection": SelectionConfig(metric="needle")}, "selection.metric must be passkey with"),
        (
            LanguageModeling,
            {"selection": SelectionConfig(metric="passkey")},
            "needle or neg_log_loss with objective=lm",
        ),
        (
            InstructionTuning,
            {"needle": NeedleConfig(tasks=[]), "selection": SelectionConfig(metric="needle")},
            "selection.metric=needle is of needle.tasks, which is empty; set selection.metric=neg_log_loss",
        ),
        (
            LanguageModeling,
            {"needle": NeedleConfig(tasks=[]), "adapt": False},
            "leaves nothing to read with adapt=false; name a task",
        ),
        (LanguageModeling, {"compare": ["yran"]}, "did you mean 'yarn'"),
        (LanguageModeling, {"compare": ["none", "none"]}, "compare names a method twice"),
        (LanguageModeling, {"compare": ["longrope"]}, "make it the run's own method: rope=longrope"),
        (LanguageModeling, {"rope": DynamicNtk()}, "train rope=ntk or yarn, or set adapt=false"),
        (InstructionTuning, {"rope": LongRope(long_factors=[1.0])}, "take objective=lm, or another method"),
        (Contrastive, {"rope": LongRope(long_factors=[1.0])}, "take objective=lm, or another method"),
        (LanguageModeling, {"seeds": 2, "parallel_seeds": 3}, "parallel_seeds=3 is more than seeds=2; lower it"),
        (
            LanguageModeling,
            {"seeds": 2, "parallel_seeds": 2, "run": RunConfig(device="cuda")},
            "parallel_seeds=2 is for CPUs; got run.device=cuda",
        ),
        (LanguageModeling, {"model": ModelConfig(max_seq_length=64)}, "model.max_seq_length is not read here"),
        (LanguageModeling, {"model": ModelConfig(query_prompt="q: ")}, "are for embedding models; objective=lm"),
        (LanguageModeling, {"curve": True}, "curve=true is not measured"),
        (LanguageModeling, {"stages": StagesConfig(factors=[2, 4])}, "needs optim.max_steps"),
        (LanguageModeling, {"stages": StagesConfig(factors=[4]), "adapt": False}, "not read with adapt=false"),
        (Contrastive, {"stages": StagesConfig(factors=[4])}, "stages.factors is for language models"),
        (
            LanguageModeling,
            {"stages": StagesConfig(factors=[2, 4, 8]), "optim": OptimConfig(max_steps=2)},
            "leaves a stage of stages.factors=[2, 4, 8] without a step",
        ),
        (
            LanguageModeling,
            {"stages": StagesConfig(factors=[2, 3]), "optim": OptimConfig(max_steps=9)},
            "must end with stretch.factor=4",
        ),
        (
            LanguageModeling,
            {"stages": StagesConfig(factors=[4], thetas=[1e6]), "optim": OptimConfig(max_steps=9)},
            "stages.thetas is read with rope=abf alone; got rope=yarn",
        ),
        (
            LanguageModeling,
            {
                "rope": Abf(theta=1e6),
                "stages": StagesConfig(factors=[2, 4], thetas=[1e6, 8e6]),
                "optim": OptimConfig(max_steps=9),
            },
            "ends with another base than rope.theta=1e+06; leave rope.theta out",
        ),
    ],
)
def test_what_would_not_be_honoured_is_refused(objective: Any, parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        made(objective, **parts)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"factors": [4, 2]}, "must grow from stage to stage"),
        ({"factors": [0.5]}, "stages.factors must be at least 1"),
        ({"factors": [2, 4], "shares": [1]}, "one value per stage; got 1 for 2"),
        ({"factors": [2], "thetas": [0]}, "stages.thetas must be above 0"),
    ],
)
def test_stages_fit_together(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StagesConfig(**parts)


def test_steps_of_stages_follow_their_shares() -> None:
    assert StagesConfig(factors=[2, 4]).steps(10) == [5, 5]
    assert StagesConfig(factors=[2, 4, 8], shares=[1, 1, 2]).steps(100) == [25, 25, 50]
    assert made(
        rope=Abf(theta=1e6), stages=StagesConfig(factors=[2, 4], thetas=[1e5, 1e6]), optim=OptimConfig(max_steps=9)
    )
