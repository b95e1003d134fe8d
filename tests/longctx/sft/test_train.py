"""TRL's trainer inside our own: the loss, what it leaves behind, LoRA, and a run that was killed."""

import copy
import json
import logging
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from finewise.config import AuditConfig, OptimConfig, RunConfig, SelectionConfig
from finewise.run import Run
from longctx.config import InstructionTuning, LongContextExperiment, LongDataConfig, LoraConfig
from longctx.lora import merged, with_lora
from longctx.sft.data import SftData, load_chats
from longctx.sft.ends import learnt_ends, name_ends
from longctx.sft.loss import dev_loss
from longctx.sft.train import train_sft

Tokenizers = Callable[[str], PreTrainedTokenizerFast]
WINDOW = 256
POINTS = ["between checkpoints", "in the middle of a checkpoint", "before the checkpoint is marked whole"]


def write_chats(path: Path, count: int) -> Path:
    """Write chats whose answer is the question's word, said again."""
    rng = random.Random(0)
    lines = []
    for number in range(count):
        word = "".join(rng.choices("abcdefgh", k=4))
        turns = [{"role": "user", "content": f"{number} {word}"}, {"role": "assistant", "content": word}]
        lines.append(json.dumps({"messages": turns}))
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def settings(tmp_path: Path) -> LongContextExperiment:
    return LongContextExperiment(
        data=LongDataConfig(train=str(write_chats(tmp_path / "chats.jsonl", 120))),
        objective=InstructionTuning(),
        optim=OptimConfig(max_steps=6, batch_size=16, learning_rate=1e-2),
        selection=SelectionConfig(metric="neg_log_loss", evaluations=2),
        run=RunConfig(root=str(tmp_path / "runs"), device="cpu", precision="fp32"),
    )


def loaded(settings: LongContextExperiment, tokenizer: PreTrainedTokenizerFast) -> SftData:
    assert isinstance(settings.objective, InstructionTuning)
    audit, most = AuditConfig(near_duplicates=False), settings.optim.batch_size
    return load_chats(settings.data, settings.objective, tokenizer, audit, 128, WINDOW, 0, most=most)


def trained(
    model: Any, settings: LongContextExperiment, tokenizer: PreTrainedTokenizerFast
) -> tuple[Any, SftData, Run]:
    data = loaded(settings, tokenizer)
    with Run.open("longctx", settings) as run:
        outcome = train_sft(model, tokenizer, data, settings, run, score=lambda model: -dev_loss(model, data.dev))
    return outcome, data, run


def curve(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.dir / "train.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("change", [{}, {"activation_checkpointing": True}])
def test_it_learns_and_leaves_the_model_as_it_was(
    language_model: PreTrainedModel, tokenizer: Tokenizers, settings: LongContextExperiment, change: dict[str, Any]
) -> None:
    settings = replace(settings, optim=replace(settings.optim, **change))
    template = tokenizer("chatml")
    outcome, data, run = trained(language_model, settings, template)
    assert outcome.best_score == pytest.approx(-dev_loss(language_model, data.dev), rel=1e-5)
    assert outcome.best_score > -5.0, "a random model's is -log 263 = -5.57"
    assert outcome.seen.texts == pytest.approx(6 * settings.optim.batch_size, abs=6), "a batch counts chats, not packs"
    assert "forward" not in language_model.__dict__
    assert not list(run.dir.glob("checkpoints/*/README.md"))
    losses = [entry["loss"] for entry in curve(run) if "loss" in entry]
    assert losses[-1] < losses[0]


def test_the_first_loss_is_the_mean_over_the_answers_tokens(
    language_model: PreTrainedModel, tokenizer: Tokenizers, settings: LongContextExperiment
) -> None:
    """Of the whole optimiser step, however it is cut into batches; packing changes nothing."""
    data = loaded(settings, tokenizer("chatml"))
    expected = dev_loss(language_model, data.train)
    found = []
    for packing, rows, steps in ((True, 100, 1), (False, 100, 1), (False, 48, 2)):
        one = replace(
            settings,
            objective=InstructionTuning(packing=packing),
            optim=OptimConfig(
                max_steps=1, batch_size=rows, gradient_accumulation_steps=steps, learning_rate=1e-9, warmup=0
            ),
        )
        _, _, run = trained(language_model, one, tokenizer("chatml"))
        found.append(curve(run)[0]["loss"])
    assert found == pytest.approx([expected] * 3, rel=1e-3)


def test_bf16(language_model: PreTrainedModel, tokenizer: Tokenizers, settings: LongContextExperiment) -> None:
    settings = replace(settings, run=replace(settings.run, precision="bf16"))
    outcome, _, _ = trained(language_model, settings, tokenizer("chatml"))
    assert outcome.best_score > -5.3
    assert next(language_model.parameters()).dtype == torch.float32


def test_lora(language_model: PreTrainedModel, tokenizer: Tokenizers, settings: LongContextExperiment) -> None:
    model = with_lora(language_model, LoraConfig(rank=4))
    before = language_model.model.layers[0].mlp.up_proj.base_layer.weight.clone()
    outcome, data, _ = trained(model, settings, tokenizer("chatml"))
    assert torch.equal(language_model.model.layers[0].mlp.up_proj.base_layer.weight, before)
    assert outcome.best_score > -5.4
    assert -dev_loss(merged(model), data.dev) == pytest.approx(outcome.best_score, rel=1e-3)


def test_the_checkpoint_of_a_tied_model_misses_nothing(
    language_model: PreTrainedModel,
    tokenizer: Tokenizers,
    settings: LongContextExperiment,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = copy.deepcopy(language_model.config)
    config.tie_word_embeddings = True
    tied = type(language_model)(config)
    optim = replace(settings.optim, learning_rate=1.0)  # the first checkpoint is better, and is loaded at the end
    transformers_logger = logging.getLogger("transformers")
    transformers_logger.addHandler(caplog.handler)
    try:
        trained(tied, replace(settings, optim=optim), tokenizer("chatml"))
    finally:
        transformers_logger.removeHandler(caplog.handler)
    assert "missing keys" not in caplog.text


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, saved_model: Path) -> dict[str, dict[str, Any]]:
    """Run every scenario once, beside an undisturbed run."""
    root = tmp_path_factory.mktemp("runs")
    file = write_chats(root / "chats.jsonl", 200)
    command = [sys.executable, "-W", "error::RuntimeWarning", str(Path(__file__).with_name("crash.py"))]
    ran = subprocess.run(
        [*command, str(saved_model), str(file), str(root), "none", *POINTS],
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"point"')]
    return {outcome["point"]: outcome for outcome in found}


def result_of(folder: str) -> tuple[bytes, dict[str, Any], list[dict[str, Any]]]:
    """The weights, what the record claims (times aside), and the curve without its speeds."""
    record = json.loads((Path(folder) / "record.json").read_text())
    cost = {key: record["cost"][key] for key in ("texts", "tokens")}
    kept = {key: record[key] for key in ("data", "selection")} | {"cost": cost}
    lines = [json.loads(line) for line in (Path(folder) / "train.jsonl").read_text().splitlines()]
    lines = [{k: v for k, v in line.items() if "runtime" not in k and "per_second" not in k} for line in lines]
    return (Path(folder) / "model" / "model.safetensors").read_bytes(), kept, lines


@pytest.mark.parametrize("point", POINTS)
def test_same_weights_record_and_curve_after_a_kill(outcomes: dict[str, dict[str, Any]], point: str) -> None:
    outcome, whole = outcomes[point], outcomes["none"]
    assert (outcome["killed"], outcome["resumed"]) == (-signal.SIGKILL, 0)
    assert (whole["killed"], whole["resumed"]) == (0, 0)
    assert len(outcome["folders"]) == 1, "the killed run was not taken up"
    assert result_of(outcome["folders"][0]) == result_of(whole["folders"][0])


@pytest.mark.parametrize("packing", [True, False])
def test_an_epoch_has_as_many_steps_packed_or_not(
    language_model: PreTrainedModel,
    tokenizer: Tokenizers,
    settings: LongContextExperiment,
    packing: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = replace(
        settings,
        objective=InstructionTuning(packing=packing),
        optim=OptimConfig(batch_size=8, learning_rate=1e-3),
        selection=SelectionConfig(metric="neg_log_loss", evaluations=1),
    )
    outcome, data, _ = trained(language_model, one, tokenizer("chatml"))
    assert outcome.steps == pytest.approx(len(data.train) / 8, abs=2)
    assert (outcome.seen.texts, outcome.seen.tokens) == (len(data.train), data.train.lengths.sum())
    assert f"the training has {outcome.steps} steps, fewer than 50" in " ".join(capsys.readouterr().err.split())


def test_the_token_that_ends_a_turn_ends_generation(
    language_model: PreTrainedModel, tokenizer: Tokenizers, settings: LongContextExperiment, tmp_path: Path
) -> None:
    """Also where the model ends its texts with another, and where the token has no role in the tokenizer."""
    chatml = tokenizer("chatml")
    chatml.eos_token = "</s>"
    end, own = chatml.convert_tokens_to_ids(["<|im_end|>", "</s>"])
    data = loaded(settings, chatml)
    assert learnt_ends(data.train, chatml) == [end]
    for before, after in ((own, [own, end]), ([own, end], [own, end]), (None, [end])):
        language_model.generation_config.eos_token_id = own  # the library's trainer sets the tokenizer's
        name_ends(language_model, chatml, data.train, before)
        assert language_model.generation_config.eos_token_id == after
    language_model.save_pretrained(tmp_path / "model")
    assert json.loads((tmp_path / "model/generation_config.json").read_text())["eos_token_id"] == [end]
