"""A language model under study: Self-Extend as one way to read, what is saved, and what is refused before anything is read."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPTNeoXForCausalLM

from benchmarks.by_length import ByLength
from benchmarks.needle.config import NeedleConfig
from benchmarks.perplexity_config import PerplexityConfig
from finewise.config import ModelConfig, OptimConfig, SelectionConfig
from finewise.errors import InputError
from finewise.run import Run
from longctx.arms import arms_of, subject_of
from longctx.config import (
    InstructionTuning,
    LanguageModeling,
    LongContextExperiment,
    LongDataConfig,
    LoraConfig,
    StagesConfig,
)
from longctx.data import LongData
from longctx.language import LanguageModel
from longctx.rope_config import Abf, LongRope, SelfExtend, StretchConfig, Yarn
from longctx.tiny.language import Tiny

Make = Callable[..., LongContextExperiment]


def run_in(folder: Path) -> Run:
    return Run(folder, "longctx", "test", {"attempts": 1}, None)


def read(subject: LanguageModel, folder: Path) -> dict[str, dict[str, ByLength]]:
    """Return system -> benchmark -> result of all arms."""
    found = {}
    for arm in arms_of(subject.experiment):
        results = subject.read(subject.stretched(arm), arm, run_in(folder).inside(arm.folder))
        found[arm.system] = {result.benchmark: result for result in results}
    return found


def test_self_extend_reads_beside_the_others_and_with_groups_of_one_as_the_untuned_model(
    reading: Make, tmp_path: Path
) -> None:
    subject = LanguageModel(reading(compare=["self_extend"], rope=SelfExtend(group=1)), run_in(tmp_path), 0)
    found = read(subject, tmp_path)
    assert list(found) == ["untuned", "self_extend"]
    for benchmark, result in found["untuned"].items():
        np.testing.assert_allclose(found["self_extend"][benchmark].values, result.values, rtol=1e-4)
    assert not subject.model.config.to_dict().get("self_extend"), "the model itself stays as it is"

    subject = LanguageModel(reading(compare=["self_extend"]), run_in(tmp_path / "other"), 0)
    found = read(subject, tmp_path / "other")
    assert list(found) == ["untuned", "self_extend", "yarn"]
    extended, untuned = found["self_extend"]["perplexity"], found["untuned"]["perplexity"]
    assert extended.ids == untuned.ids
    assert not np.allclose(extended.at(256).values, untuned.at(256).values, rtol=1e-3)


def test_the_needles_of_self_extend_are_read_as_one_prompt_at_a_time(reading: Make, tmp_path: Path) -> None:
    experiment = reading(rope=SelfExtend(window=8, group=2))
    experiment.needle.tasks, experiment.needle.depths, experiment.needle.answer = ["tiny"], [0.0, 0.9], "generate"
    subject = LanguageModel(experiment, run_in(tmp_path), 0)
    subject.wording = Tiny()
    arm = subject_of(experiment)
    together = subject.read(subject.stretched(arm), arm, run_in(tmp_path).inside("together"))
    experiment.needle.batch_tokens = 1
    alone = subject.read(subject.stretched(arm), arm, run_in(tmp_path).inside("alone"))
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
    answers = [sorted((tmp_path / name / "needle.jsonl").read_text().splitlines()) for name in ("together", "alone")]
    assert answers[0] == answers[1]
    assert len(answers[0]) == 8


def test_what_is_saved_is_stretched_but_with_self_extend_untouched(reading: Make, tmp_path: Path) -> None:
    for method, window in ((Yarn(), 256), (SelfExtend(), 64)):
        experiment = reading(rope=method, compare=[])
        subject = LanguageModel(experiment, run_in(tmp_path), 0)
        subject.save(subject.stretched(subject_of(experiment)), tmp_path / "saved")
        opened = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
        assert opened.config.max_position_embeddings == window
        assert AutoTokenizer.from_pretrained(tmp_path / "saved").model_max_length == window
        assert (opened.config.rope_parameters["rope_type"] == "default") is (window == 64)
        assert "self_extend" not in json.loads((tmp_path / "saved/config.json").read_text())
        for old, new in zip(subject.model.parameters(), opened.parameters(), strict=True):
            assert torch.equal(old, new)


def test_facts(reading: Make, tmp_path: Path) -> None:
    facts = LanguageModel(reading(), run_in(tmp_path), 0).facts
    assert facts["model"]["original"] == 64
    assert facts["model"]["target"] == 256
    assert facts["lengths"] == [128, 256]
    assert facts["data"] is None, "nothing is trained on"
    assert facts["device"]["type"] == "cpu"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"rope": SelfExtend(window=64)}, r"below the 64 tokens .*; got rope\.window=64"),
        ({"rope": LongRope(long_factors=[1.0, 2.0])}, r"rope\.long_factors must have 16 factors"),
    ],
)
def test_methods_that_do_not_fit_are_told_when_the_model_is_opened(
    reading: Make, tmp_path: Path, parts: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=rf"^[^\n]*{message}[^\n]*$"):
        LanguageModel(reading(**parts), run_in(tmp_path), 0)


def test_stages_that_end_elsewhere_are_told_when_the_model_is_opened(
    reading: Make, long_documents: Path, tmp_path: Path
) -> None:
    experiment = reading(
        adapt=True,
        data=LongDataConfig(train=str(long_documents), dev_size=3, test_size=3),
        stretch=StretchConfig(target=256),
        stages=StagesConfig(factors=[2, 3]),
        optim=OptimConfig(max_steps=4),
        selection=SelectionConfig(metric="needle"),
    )
    message = r"^stages\.factors=\[2\.?0?, 3\.?0?\] ends at 192 tokens, and the new window has 256; let it end with 4$"
    with pytest.raises(InputError, match=message):
        LanguageModel(experiment, run_in(tmp_path), 0)


def test_a_base_that_a_stage_cannot_have_is_told_when_the_model_is_opened(
    reading: Make, long_documents: Path, tmp_path: Path
) -> None:
    experiment = reading(
        adapt=True,
        data=LongDataConfig(train=str(long_documents), dev_size=3, test_size=3),
        selection=SelectionConfig(metric="needle"),
        rope=Abf(),
        stages=StagesConfig(factors=[2, 4], thetas=[8e6, 200.0]),
        optim=OptimConfig(max_steps=9),
        compare=["none"],
    )
    assert isinstance(experiment.rope, Abf)
    assert experiment.rope.theta == 200.0, "what stands beside, untrained, has the base of the last stage"
    with pytest.raises(
        InputError, match=r"^stage 2 of stages\.factors=\[2.*\]: rope\.theta=200 is below the model's own"
    ):
        LanguageModel(experiment, run_in(tmp_path), 0)


def test_a_stage_that_its_data_does_not_fit_is_told_when_the_model_is_opened(
    reading: Make, long_documents: Path, tmp_path: Path
) -> None:
    experiment = reading(
        adapt=True,
        data=LongDataConfig(train=str(long_documents), dev_size=3, test_size=3),
        objective=LanguageModeling(window=256),
        stages=StagesConfig(factors=[2, 4]),
        optim=OptimConfig(max_steps=4),
        selection=SelectionConfig(metric="needle"),
    )
    with pytest.raises(InputError, match=r"^objective\.window=256 is longer than the new window of 128 tokens[^\n]*$"):
        LanguageModel(experiment, run_in(tmp_path), 0)


def test_lengths_are_read_in_order_and_once(reading: Make, tmp_path: Path) -> None:
    needle = NeedleConfig(tasks=["niah_single_1"], samples=1, depths=[0.0], lengths=[256, 64, 64])
    assert LanguageModel(reading(needle=needle), run_in(tmp_path), 0).lengths == (64, 256)


def test_perplexity_is_never_read_of_what_is_trained_on(
    reading: Make, long_documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def readings(perplexity: PerplexityConfig) -> list[tuple[str, set[str]]]:
        subject = LanguageModel(
            reading(
                adapt=True,
                data=LongDataConfig(train=str(long_documents), dev_size=3, test_size=3),
                selection=SelectionConfig(metric="needle"),
                perplexity=perplexity,
            ),
            run_in(tmp_path),
            0,
        )
        return [(name, {each.partition(",")[0] for each in pieces.ids}) for name, pieces in subject._readings()]

    same = PerplexityConfig(data=str(long_documents), documents=20, lengths=[64, 256])
    (name, held), *more = readings(same)
    assert (name, len(held), more) == ("perplexity of files", 3, [])
    assert "17 of 20 documents are trained on or choose the checkpoint: left out" in " ".join(
        capsys.readouterr().err.split()
    )
    assert readings(replace(same, data=None)) == [(name, held)]
    lines = long_documents.read_text().splitlines()
    other = tmp_path / "other.jsonl"  # the same texts by another name
    other.write_text("\n".join(reversed(lines)))
    assert readings(replace(same, data=str(other)))[0][0] == name
    new = [json.dumps({"text": " ".join(reversed(json.loads(line)["text"].split()))}) for line in lines[:4]]
    other.write_text("\n".join([*lines, *new]))
    (everywhere, read), own = readings(replace(same, data=str(other)))
    assert (everywhere, len(read), own) == ("perplexity", 7, (name, held))
    parts = LanguageModel(
        reading(
            adapt=True,
            data=LongDataConfig(train=str(long_documents), dev_size=3, test_size=3),
            selection=SelectionConfig(metric="needle"),
            perplexity=replace(same, data=None),
        ),
        run_in(tmp_path),
        0,
    )._rows[256]
    assert isinstance(parts, LongData)
    other.write_text("\n".join(json.dumps({"text": text}) for text in parts.test.texts()))
    assert [one for one, _ in readings(replace(same, data=str(other)))] == ["perplexity"], "read once"
    other.write_text("\n".join(line for line in lines if json.loads(line)["text"] not in set(parts.test.texts())))
    assert readings(replace(same, data=str(other))) == [(name, held)], "nothing of it is left"


def test_a_family_that_self_extend_is_not_made_for_is_told_when_the_model_is_opened(
    reading: Make, reader_folder: Path, tiny_causal: Callable[..., Any], tmp_path: Path
) -> None:
    model: GPTNeoXForCausalLM = tiny_causal("gpt_neox")
    model.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(reader_folder).save_pretrained(tmp_path / "model")
    experiment = reading(model=ModelConfig(name=str(tmp_path / "model")), compare=["self_extend"])
    with pytest.raises(InputError, match=r"^Self-Extend is made for the model types llama, [^\n]*; got 'gpt_neox'$"):
        LanguageModel(experiment, run_in(tmp_path), 0)


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("objective", [LanguageModeling(), InstructionTuning()])
def test_a_training_beyond_the_memory_is_told_when_the_model_is_opened(
    reading: Make, long_documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: Any, rank: int
) -> None:
    rows = [json.loads(line)["text"].split() for line in long_documents.read_text().splitlines()]
    chats = [{"prompt": " ".join(words[:200]), "completion": " " + " ".join(words[200:240])} for words in rows]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    train = long_documents if isinstance(objective, LanguageModeling) else tmp_path / "chats.jsonl"
    experiment = reading(
        adapt=True,
        objective=objective,
        data=LongDataConfig(train=str(train), dev_size=3, test_size=3),
        lora=LoraConfig(rank=rank),
        optim=OptimConfig(batch_size=4),
        selection=SelectionConfig(metric="needle"),
    )
    opened = LanguageModel(experiment, run_in(tmp_path), 0).model
    assert not any("lora" in name for name, _ in opened.named_parameters()), "others start from it"
    monkeypatch.setattr("longctx.memory.available", lambda device: 3_000_000)
    with pytest.raises(InputError, match=r"^a training step of (256|4 x 241) tokens takes about .* set \S+=[^\n]*$"):
        LanguageModel(experiment, run_in(tmp_path), 0)


def test_reading_beyond_the_memory_is_told_when_the_model_is_opened(
    reading: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.token_loss.available", lambda device: 100_000)
    with pytest.raises(InputError, match=r"^perplexity\.lengths: a window of 256 tokens needs about"):
        LanguageModel(reading(), run_in(tmp_path), 0)
