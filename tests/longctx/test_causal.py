"""Documents of a row do not see each other; a step is the mean over its targets, however it is computed; training learns."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from finewise.config import ModelConfig, OptimConfig, RunConfig, SelectionConfig
from finewise.data.tokenised import Tokenised
from finewise.errors import InputError
from finewise.execution import Execution, choose
from finewise.fit import Outcome
from finewise.run import Run
from longctx.blocks import Blocks, cut, whole
from longctx.causal import dev_loss, joined, packs, train_lm
from longctx.config import LanguageModeling, LongContextExperiment, LongDataConfig, LoraConfig
from longctx.cross_entropy import gives_nll
from longctx.data import reading_blocks
from longctx.lora import merged, with_lora
from longctx.pose import positions
from longctx.rope_config import DynamicNtk, StretchConfig, Yarn
from longctx.stretch import stretch

Build = Callable[..., PreTrainedModel]
LENGTHS = (40, 7, 23, 2, 31)
FOUR = StretchConfig(factor=4)


def documents(lengths: Sequence[int] = LENGTHS, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(4, 60, length).astype(np.int32) for length in lengths]


def tokens_of(texts: Sequence[np.ndarray]) -> Tokenised:
    sizes = [len(text) for text in texts]
    return Tokenised(ids=np.concatenate(texts), offsets=np.cumsum([0, *sizes]), whole=np.array(sizes, dtype=np.int32))


def batch_of(texts: Sequence[np.ndarray]) -> dict[str, Tensor]:
    return joined([(ids, np.arange(len(ids))) for ids in texts])


def chosen(model: PreTrainedModel, mode: str) -> Execution:
    assert isinstance(model.base_model, PreTrainedModel)
    return choose(model.base_model, mode, None)


def summed(logits: Tensor, row: Tensor) -> float:
    """The plain loss of one text, summed over its tokens."""
    return float(functional.cross_entropy(logits[0, :-1], row[0, 1:], reduction="sum").detach())


def logits_apart(model: PreTrainedModel, texts: Sequence[np.ndarray], execution: Execution) -> list[Tensor]:
    """The logits of each document, longest first, computed with the others."""
    found = []
    for part in packs(batch_of(texts), execution, 32):
        targets = part.pop("targets")
        with torch.no_grad():
            logits = model(**part).logits
        if execution.mode == "packed":
            found += list(torch.split(logits[0], list(part["packing"].lengths)))
        else:
            found += [row[: int(mask.sum())] for row, mask in zip(logits, part["attention_mask"], strict=True)]
        assert targets.shape == logits.shape[:2]
    return found


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gpt_neox"])
@pytest.mark.parametrize("stretched", [False, True])
@pytest.mark.parametrize("mode", ["packed", "sorted"])
def test_each_document_reads_as_it_does_alone(tiny_causal: Build, family: str, stretched: bool, mode: str) -> None:
    model = tiny_causal(family)
    if stretched:
        model = stretch(model, Yarn(), FOUR)
    texts = sorted(documents(), key=lambda ids: -len(ids))
    with torch.no_grad():
        alone = [model(input_ids=torch.from_numpy(ids).long()[None]).logits[0] for ids in texts]
    execution = replace(chosen(model, mode), tokens=70)
    for one, other in zip(logits_apart(model, texts, execution), alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["packed", "sorted", "padded"])
def test_the_loss_of_a_row_is_the_sum_of_each_document_alone(tiny_causal: Build, mode: str) -> None:
    model = tiny_causal("qwen2")
    expected = 0.0
    for ids in documents():
        row = torch.from_numpy(ids).long()[None]
        expected += summed(model(input_ids=row).logits, row)
    execution = replace(chosen(model, mode), tokens=50)
    with gives_nll(model, 9):
        found = sum(float(model(**part).loss.detach()) for part in packs(batch_of(documents()), execution, 32))
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mode", ["packed", "sorted"])
def test_skipped_positions_do_not_part_a_document(tiny_causal: Build, mode: str) -> None:
    """Against the same positions given by hand with a mask of ones, which says that all tokens are one text."""
    model = stretch(tiny_causal(), Yarn(), FOUR)
    texts = documents((20, 32, 11))
    rng = np.random.default_rng(0)
    places = [positions(len(ids), 128, rng) for ids in texts]
    expected = 0.0
    for ids, where in zip(texts, places, strict=True):
        row = torch.from_numpy(ids).long()[None]
        logits = model(
            input_ids=row, position_ids=torch.from_numpy(where)[None], attention_mask=torch.ones_like(row)
        ).logits
        expected += summed(logits, row)
    execution = replace(chosen(model, mode), tokens=1000)
    batch = joined(list(zip(texts, places, strict=True)))
    with gives_nll(model, 9):
        found = sum(float(model(**part).loss.detach()) for part in packs(batch, execution, 32))
    assert found == pytest.approx(expected, rel=1e-5)


def test_what_transformers_makes_of_positions_and_masks(tiny_causal: Build) -> None:
    """Why pieces are kept apart by our own packing: its rule would part PoSE's rows, and a mask or a cache joins documents."""
    model = tiny_causal()
    first, second = (torch.from_numpy(ids).long() for ids in documents((12, 9)))
    row = torch.cat([first, second])[None]
    places = torch.cat([torch.arange(12), torch.arange(9)])[None]
    with torch.no_grad():
        alone = model(input_ids=second[None]).logits[0]
        apart = model(input_ids=row, position_ids=places, use_cache=False).logits[0, 12:]
        masked = model(input_ids=row, position_ids=places, use_cache=False, attention_mask=torch.ones_like(row)).logits[
            0, 12:
        ]
        cached = model(input_ids=row, position_ids=places, use_cache=True).logits[0, 12:]
        skipping = torch.cat([torch.arange(12), torch.arange(9) + 20])[None]
        parted = model(input_ids=row, position_ids=skipping, use_cache=False).logits[0, 12:]
        whole_row = model(
            input_ids=row, position_ids=skipping, use_cache=False, attention_mask=torch.ones_like(row)
        ).logits[0, 12:]
    torch.testing.assert_close(apart, alone, rtol=1e-4, atol=1e-4)
    assert float((masked - alone).abs().max()) > 0.1
    assert float((cached - alone).abs().max()) > 0.1
    torch.testing.assert_close(parted, alone, rtol=1e-4, atol=1e-4)  # rotary: a shift of a whole text changes nothing
    assert float((whole_row - alone).abs().max()) > 0.1


def test_dev_loss_is_the_mean_over_all_predicted_tokens(tiny_causal: Build) -> None:
    model = tiny_causal()
    texts = documents((50, 33, 9))
    rows = reading_blocks(tokens_of(texts), 32, 20)
    total, count = 0.0, 0
    for ids in texts:
        for start in range(0, len(ids) - 1, 19):
            row = torch.from_numpy(ids[start : start + 20]).long()[None]
            total += summed(model(input_ids=row).logits, row)
            count += row.shape[1] - 1
    assert rows.predicted == count == sum(len(ids) - 1 for ids in texts)
    assert dev_loss(model, rows, bf16=False) == pytest.approx(-total / count, rel=1e-5)
    chosen(model, "packed")
    assert dev_loss(model, rows, bf16=False) == pytest.approx(-total / count, rel=1e-5)


def test_dev_loss_of_dynamic_positions_is_that_of_each_piece_read_first(tiny_causal: Build) -> None:
    plain = tiny_causal()
    texts = documents((120, 50, 33, 100))
    rows = reading_blocks(tokens_of(texts), 32, 128)
    total = 0.0
    for ids in texts:
        row = torch.from_numpy(ids).long()[None]
        total += summed(stretch(plain, DynamicNtk(), FOUR)(input_ids=row).logits, row)
    assert dev_loss(stretch(plain, DynamicNtk(), FOUR), rows, bf16=False) == pytest.approx(
        -total / rows.predicted, rel=1e-5
    )


def test_pieces_that_skip_and_pieces_that_stay_are_never_in_one_part(tiny_causal: Build) -> None:
    texts, rng = documents((20, 30, 11, 25)), np.random.default_rng(0)
    places = [positions(len(ids), 128, rng) if number % 2 else np.arange(len(ids)) for number, ids in enumerate(texts)]
    for mode in ("packed", "sorted"):
        execution = replace(chosen(tiny_causal(), mode), tokens=1000)
        parts = list(packs(joined(list(zip(texts, places, strict=True))), execution, 32))
        assert sorted(int(part["position_ids"].max()) >= 32 for part in parts) == [False, True]


def periodic(count: int, length: int, seed: int = 0) -> list[np.ndarray]:
    """Documents that repeat a few tokens: a model learns them at once."""
    rng = np.random.default_rng(seed)
    return [np.resize(rng.permutation(np.arange(4, 10)), length).astype(np.int32) for _ in range(count)]


def experiment_of(root: Path, **more: object) -> LongContextExperiment:
    settings: dict[str, object] = {
        "data": LongDataConfig(train="unused"),
        "model": ModelConfig(name="unused"),
        "stretch": FOUR,
        "objective": LanguageModeling(logits_chunk=50),
        "optim": OptimConfig(learning_rate=5e-3, batch_size=2, epochs=2),
        "selection": SelectionConfig(metric="neg_log_loss", evaluations=2),
        "run": RunConfig(root=str(root), device="cpu", precision="fp32"),
    }
    return LongContextExperiment(**{**settings, **more})  # type: ignore[arg-type]


def rows_of(texts: Sequence[np.ndarray], window: int = 64, *, skip: bool = False) -> Blocks:
    tokens = tokens_of(texts)
    pieces = cut(whole(tokens.lengths), window)
    some = np.arange(len(pieces)) % 3 == 0
    near, far = cut(pieces.take(some), 32), pieces.take(~some)
    return Blocks.of(tokens, near, far, window=window, original=32, target=128, seed=1, skip=skip)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer(WordLevel({str(number): number for number in range(60)}, unk_token="0")),
        unk_token="0",
    )


def trained(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerFast,
    experiment: LongContextExperiment,
    rows: Blocks,
) -> Outcome:
    dev = reading_blocks(tokens_of(periodic(3, 100, seed=9)), 32, 128)
    with Run.open("longctx", experiment) as run:
        return train_lm(
            model,
            tokenizer,
            rows,
            experiment,
            run.inside("part"),
            score=lambda one: dev_loss(one, dev, bf16=False),
        )


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("skip", [False, True])
def test_training_learns_and_ends_as_a_plain_model(
    tiny_causal: Build, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, lora: bool, skip: bool
) -> None:
    model = stretch(tiny_causal("llama-tied"), Yarn(), FOUR)
    dev = reading_blocks(tokens_of(periodic(3, 100, seed=9)), 32, 128)
    before = dev_loss(model, dev, bf16=False)
    rows = rows_of(periodic(8, 100), 32 if skip else 64, skip=skip)
    subject = with_lora(model, LoraConfig(rank=4)) if lora else model
    outcome = trained(
        subject,
        tokenizer,
        experiment_of(tmp_path, objective=LanguageModeling(pose=skip, logits_chunk=50), lora=LoraConfig(rank=4 * lora)),
        rows,
    )
    assert outcome.best_score > before + 1
    assert outcome.seen.tokens == 2 * int(rows.pieces.tokens.sum())
    assert outcome.seen.texts == 2 * len(rows.pieces)
    made = merged(subject) if isinstance(subject, PeftModel) else model
    assert "forward" not in made.__dict__
    assert made.config._attn_implementation == "sdpa"
    assert not made.is_activation_checkpointing
    assert dev_loss(made, dev, bf16=False) == pytest.approx(outcome.best_score, rel=1e-4)
    made.save_pretrained(str(tmp_path / "saved"))
    again = AutoModelForCausalLM.from_pretrained(str(tmp_path / "saved"))
    assert dev_loss(again, dev, bf16=False) == pytest.approx(outcome.best_score, rel=1e-4)


def test_a_step_is_the_same_however_it_is_computed(
    tiny_causal: Build, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """Packed or sorted, in small parts, in accumulated batches of other sizes, with recomputed activations: one gradient."""
    rows = rows_of(periodic(8, 100))
    ways: dict[str, dict[str, Any]] = {
        "packed": {"execution": "packed"},
        "sorted": {"execution": "sorted"},
        "small parts": {"micro_batch_tokens": 20},
        "accumulated": {"optim": {"batch_size": 1, "gradient_accumulation_steps": 4}},
        "checkpointed": {"optim": {"activation_checkpointing": True}},
    }
    found = {}
    for name, way in ways.items():
        optim: dict[str, Any] = {
            "learning_rate": 1e-2,
            "batch_size": 4,
            "max_steps": 1,
            "warmup": 0,
            "optimizer": "sgd",
        }
        more = {key: value for key, value in way.items() if key != "optim"}
        model = stretch(tiny_causal(), Yarn(), FOUR)
        trained(
            model,
            tokenizer,
            experiment_of(
                tmp_path / name.replace(" ", "-"), optim=OptimConfig(**{**optim, **way.get("optim", {})}), **more
            ),
            rows,
        )
        found[name] = torch.cat([weight.detach().flatten() for weight in model.parameters()])
    start = torch.cat([weight.detach().flatten() for weight in tiny_causal().parameters()])
    step = found["packed"] - start
    assert float(step.abs().max()) > 1e-4
    for name, weights in found.items():
        assert float((weights - found["packed"]).abs().max()) < 2e-3 * float(step.abs().max()), name


def test_the_loss_that_is_shown_is_the_mean_over_the_targets(
    tiny_causal: Build, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    rows = rows_of(periodic(4, 70))
    model = tiny_causal()
    expected = -dev_loss(model, rows, bf16=False)
    optim = OptimConfig(batch_size=len(rows) // 2, gradient_accumulation_steps=2, max_steps=1, warmup=0)
    assert len(rows) % 2 == 0
    trained(model, tokenizer, experiment_of(tmp_path, optim=optim), rows)
    (journal,) = tmp_path.rglob("train.jsonl")
    shown = json.loads(journal.read_text().splitlines()[0])["loss"]
    assert shown == pytest.approx(expected, rel=2e-4)


def test_a_step_that_does_not_fit_is_refused(
    tiny_causal: Build, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longctx.memory.available", lambda device: 400_000)
    with pytest.raises(InputError, match=r"a training step of 64 tokens takes about .* are free on cpu; set "):
        trained(tiny_causal(), tokenizer, experiment_of(tmp_path), rows_of(periodic(8, 100)))


def test_stages_may_follow_one_another(tiny_causal: Build, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path, optim=OptimConfig(learning_rate=5e-3, batch_size=2, max_steps=3))
    model = tiny_causal()
    dev = reading_blocks(tokens_of(periodic(3, 100, seed=9)), 32, 128)
    with Run.open("longctx", experiment) as run:
        for number, factor in enumerate((2, 4), 1):
            model = stretch(model, Yarn(), StretchConfig(factor=factor, original=32)) if number == 1 else model
            outcome = train_lm(
                model, tokenizer, rows_of(periodic(8, 100)), experiment, run.inside(f"stage-{number}"),
                score=lambda one: dev_loss(one, dev, bf16=False),
            )  # fmt: skip
            assert outcome.steps == 3
        kept = sorted(str(path.parent.parent.parent.name) for path in run.dir.rglob("model.safetensors"))
    assert set(kept) == {"stage-1", "stage-2"}
    assert load_file(next(run.dir.rglob("model.safetensors")))
