"""Classifiers load with a seeded head, compute packed what they compute padded, and save folders that need no finewise."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    Trainer,
    TrainingArguments,
)

from classify.heads import (
    body,
    encode,
    freeze,
    head_features,
    head_linear,
    init_head,
    parameter_groups,
    trainable,
)
from classify.lora import add_lora
from classify.losses import build
from classify.losses_config import BinaryCrossEntropy, CrossEntropy
from classify.model import load_classifier
from classify.model_config import LoraConfig, TuningConfig
from classify.pooled import PooledForSequenceClassification
from finewise.config import ModelConfig
from finewise.data.labels.space import LabelSpace
from finewise.errors import InputError
from finewise.execution import attach
from finewise.lora import fold

SPACE = LabelSpace(kind="single", names=("bad", "fair", "good"))
MULTI = LabelSpace(kind="multi", names=("bad", "fair", "good"))
TEXTS = ["bal bam ban bar", "dol", "kil kin bal bam bar ban mel nol", "lul lum", "pal ril"]
HEADS = ("transformers", "pooled")
Load = Callable[..., tuple[PreTrainedModel, Any]]


def logits(model: Any, tokenizer: Any, texts: list[str] = TEXTS) -> Tensor:
    with torch.no_grad():
        found: Tensor = model.eval()(**tokenizer(texts, padding=True, truncation=True, return_tensors="pt")).logits
    return found


def words(model: PreTrainedModel) -> Tensor:
    """Return the token embeddings."""
    weight = body(model).get_input_embeddings().weight
    assert isinstance(weight, Tensor)
    return weight.detach()


def load(folder: Path, space: LabelSpace = SPACE, **more: Any) -> tuple[PreTrainedModel, Any]:
    model = more.pop("model", {})
    return load_classifier(ModelConfig(name=str(folder), **model), space, "cpu", **more)


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory, still_model: Path) -> dict[str, Path]:
    """Folders of tiny encoders of several architectures, without dropout."""
    root = tmp_path_factory.mktemp("encoders")
    tokenizer = AutoTokenizer.from_pretrained(str(still_model))
    size = len(tokenizer)
    common: dict[str, Any] = {"vocab_size": size, "pad_token_id": 0}
    plain = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, **common}
    still: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    torch.manual_seed(0)
    made: dict[str, PreTrainedModel] = {
        "roberta": RobertaModel(RobertaConfig(**plain, **still, max_position_embeddings=65)),
        "distilbert": DistilBertModel(
            DistilBertConfig(
                dim=32,
                n_layers=2,
                n_heads=2,
                hidden_dim=64,
                dropout=0.0,
                attention_dropout=0.0,
                seq_classif_dropout=0.0,
                max_position_embeddings=64,
                **common,
            )
        ),
        "modernbert": ModernBertModel(
            ModernBertConfig(
                **plain, max_position_embeddings=64, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3
            )
        ),
    }
    for name, model in made.items():
        model.save_pretrained(str(root / name))
        tokenizer.save_pretrained(str(root / name))
    return {"bert": still_model, **{name: root / name for name in made}}


CASES = [(name, "transformers") for name in ("bert", "roberta", "distilbert", "modernbert")] + [
    ("bert", "pooled"),
    ("roberta", "pooled"),
    ("modernbert", "pooled"),
]


@pytest.mark.parametrize(("name", "head"), CASES)
@pytest.mark.parametrize("execution", ["packed", "sorted"])
def test_packed_and_sorted_batches_give_the_padded_logits_and_gradients(
    encoders: dict[str, Path], name: str, head: str, execution: str
) -> None:
    model, tokenizer = load(encoders[name], head=head, execution="padded")
    assert head_linear(model).weight.shape[0] == 3
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    objective = build(CrossEntropy(), SPACE, np.array([2, 2, 1]), 5)

    def step() -> tuple[Tensor, dict[str, Tensor]]:
        model.zero_grad()
        outputs = model.train()(**batch)
        objective(outputs, torch.tensor([0, 1, 2, 0, 1])).backward()  # type: ignore[no-untyped-call]
        gradients = {key: value.grad.clone() for key, value in model.named_parameters() if value.grad is not None}
        return outputs.logits.detach(), gradients

    expected, slopes = step()
    assert attach(model, execution=execution, micro_batch_tokens=12).mode == execution
    found, others = step()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert slopes.keys() == others.keys()
    for key, slope in slopes.items():
        torch.testing.assert_close(others[key], slope, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("head", HEADS)
def test_the_configuration_says_what_the_labels_are(tiny_model: Path, head: str) -> None:
    model, _ = load(tiny_model, head=head)
    assert model.config.id2label == {0: "bad", 1: "fair", 2: "good"}
    assert model.config.label2id == {"bad": 0, "fair": 1, "good": 2}
    assert model.config.problem_type == "single_label_classification"
    assert all(weight.dtype is torch.float32 for weight in model.parameters())
    several, _ = load(tiny_model, MULTI, head=head)
    assert several.config.problem_type == "multi_label_classification"
    one, _ = load(tiny_model, LabelSpace(kind="multi", names=("urgent",)), head=head)
    assert one.config.num_labels == 1
    assert one.config.problem_type == "multi_label_classification"


@pytest.mark.parametrize("head", HEADS)
def test_the_head_is_drawn_by_the_seed_alone(tiny_model: Path, head: str) -> None:
    before = torch.get_rng_state()
    first, _ = load(tiny_model, head=head, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    second, _ = load(tiny_model, head=head, seed=1)
    other, _ = load(tiny_model, head=head, seed=2)
    assert torch.equal(head_linear(first).weight, head_linear(second).weight)
    assert not torch.equal(head_linear(first).weight, head_linear(other).weight)


@pytest.mark.parametrize("head", HEADS)
def test_a_new_head_for_several_labels_starts_with_how_frequent_they_are(tiny_model: Path, head: str) -> None:
    shares = np.array([0.5, 0.01, 0.2])
    model, tokenizer = load(tiny_model, MULTI, head=head, shares=shares)
    np.testing.assert_allclose(logits(model, tokenizer).detach().sigmoid().mean(0), shares, rtol=0.5)


def test_pooled_features_are_the_embeddings_of_sentence_transformers(tiny_model: Path) -> None:
    model, tokenizer = load(tiny_model, head="pooled")
    expected = SentenceTransformer(str(tiny_model), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(head_features(model, tokenizer, TEXTS) / 32**0.5, expected, atol=1e-5)


@pytest.mark.parametrize(("pooling", "expected"), [("cls", "cls"), ("lasttoken", "last")])
def test_other_poolings_are_taken_over(still_model: Path, tmp_path: Path, pooling: str, expected: str) -> None:
    parts = [Transformer(str(still_model)), Pooling(32, pooling_mode=pooling)]
    encoder = SentenceTransformer(modules=parts, device="cpu")
    encoder.save_pretrained(str(tmp_path / "m"))
    model, tokenizer = load(tmp_path / "m", head="pooled")
    assert model.config.pooling == expected
    assert not model.config.normalize
    np.testing.assert_allclose(head_features(model, tokenizer, TEXTS), encoder.encode(TEXTS), atol=1e-5)


def test_a_pooling_that_the_head_does_not_have_is_refused(still_model: Path, tmp_path: Path) -> None:
    parts = [Transformer(str(still_model)), Pooling(32, pooling_mode="max"), Normalize()]
    SentenceTransformer(modules=parts, device="cpu").save_pretrained(str(tmp_path / "m"))
    with pytest.raises(InputError, match=r"has pooling max; set tuning.head=transformers"):
        load(tmp_path / "m", head="pooled")


def test_the_head_is_pooled_where_it_can_be(encoders: dict[str, Path], still_model: Path, tmp_path: Path) -> None:
    assert isinstance(load(still_model)[0], PooledForSequenceClassification)
    parts = [Transformer(str(still_model)), Pooling(32, pooling_mode="max"), Normalize()]
    SentenceTransformer(modules=parts, device="cpu").save_pretrained(str(tmp_path / "max"))
    trained, tokenizer = load(still_model, head="transformers")
    trained.save_pretrained(str(tmp_path / "trained"))
    tokenizer.save_pretrained(str(tmp_path / "trained"))
    for folder in (encoders["roberta"], tmp_path / "max", tmp_path / "trained"):
        assert not isinstance(load(folder)[0], PooledForSequenceClassification)


@pytest.mark.parametrize("head", HEADS)
def test_a_probe_on_the_features_becomes_the_head(tiny_model: Path, head: str) -> None:
    model, tokenizer = load(tiny_model, head=head)
    features = head_features(model, tokenizer, TEXTS)
    assert features.shape == (5, 32)
    rng = np.random.default_rng(0)
    coef, intercept = rng.normal(size=(3, 32)), rng.normal(size=3)
    init_head(model, coef, intercept)
    np.testing.assert_allclose(logits(model, tokenizer).numpy(), features @ coef.T + intercept, atol=1e-4)
    with pytest.raises(ValueError, match=r"coef must be \(3, 32\)"):
        init_head(model, coef[:1], intercept)


def test_logits_are_fp32_under_bf16_autocast(tiny_model: Path) -> None:
    model, tokenizer = load(tiny_model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert logits(model, tokenizer).dtype is torch.float32


OUTSIDE = """
import json, sys
# No import finds these now.
sys.modules.update(dict.fromkeys(("finewise", "classify", "benchmarks", "sentence_transformers", "peft")))
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
folder, trust, texts = sys.argv[1], sys.argv[2] == "pooled", json.loads(sys.argv[3])
model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=trust)
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
answers = pipeline("text-classification", model=folder, trust_remote_code=trust, device="cpu")(texts, top_k=None)
print(json.dumps([logits.tolist(), answers]))
"""


@pytest.mark.parametrize("head", HEADS)
def test_the_saved_folder_works_where_finewise_is_not(tiny_model: Path, tmp_path: Path, head: str) -> None:
    model, tokenizer = load(tiny_model, head=head)
    expected = logits(model, tokenizer)
    model.save_pretrained(str(tmp_path / "m"))
    tokenizer.save_pretrained(str(tmp_path / "m"))
    assert (tmp_path / "m" / "pooled.py").is_file() == (head == "pooled")
    found = subprocess.run(
        [sys.executable, "-P", "-c", OUTSIDE, str(tmp_path / "m"), head, json.dumps(TEXTS)],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        env={
            **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            "HF_MODULES_CACHE": str(tmp_path / "code"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    outside, answers = json.loads(found.stdout.splitlines()[-1])
    torch.testing.assert_close(torch.tensor(outside), expected, atol=1e-5, rtol=1e-4)
    for row, answer in zip(expected.softmax(1), answers, strict=True):
        by_label = {entry["label"]: entry["score"] for entry in answer}
        assert [by_label[name] for name in SPACE.names] == pytest.approx(row.tolist(), abs=1e-5)


def test_the_pooled_folder_is_not_loaded_as_something_else(tiny_model: Path, tmp_path: Path) -> None:
    model, tokenizer = load(tiny_model, head="pooled")
    model.save_pretrained(str(tmp_path / "m"))
    tokenizer.save_pretrained(str(tmp_path / "m"))
    saved = json.loads((tmp_path / "m" / "config.json").read_text())
    assert saved["model_type"] == "pooled-classifier"
    assert saved["auto_map"] == {
        "AutoConfig": "pooled.PooledConfig",
        "AutoModelForSequenceClassification": "pooled.PooledForSequenceClassification",
    }


@pytest.mark.parametrize("head", HEADS)
def test_a_saved_head_is_kept_for_the_same_labels_and_drawn_anew_for_others(
    tiny_model: Path, tmp_path: Path, head: str
) -> None:
    model, tokenizer = load(tiny_model, head=head, seed=7)
    model.save_pretrained(str(tmp_path / "m"))
    tokenizer.save_pretrained(str(tmp_path / "m"))
    again, _ = load(tmp_path / "m", head=head)
    torch.testing.assert_close(logits(again, tokenizer), logits(model, tokenizer))
    turned, _ = load(tmp_path / "m", LabelSpace(kind="single", names=("good", "fair", "bad")), head=head)
    assert not torch.allclose(head_linear(turned).weight, head_linear(model).weight)
    four, _ = load(tmp_path / "m", LabelSpace(kind="single", names=("a", "b", "c", "d")), head=head)
    assert head_linear(four).weight.shape == (4, 32)
    torch.testing.assert_close(words(four), words(model))


@pytest.mark.parametrize("head", HEADS)
def test_a_checkpoint_without_weights_of_its_body_is_refused(
    encoders: dict[str, Path], tmp_path: Path, head: str
) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    for file in encoders["roberta"].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    gone = next(key for key in weights if "layer.1" in key and "query.weight" in key)
    save_file(
        {key: value for key, value in weights.items() if key != gone}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(
        InputError, match=r"1 weights of Roberta\w+ are missing or of another size, such as .*query.weight"
    ):
        load(folder, head=head)


def test_one_label_is_no_classifier(tiny_model: Path) -> None:
    with pytest.raises(InputError, match="two labels at least"):
        load(tiny_model, LabelSpace(kind="single", names=("only",)))


def test_the_limit_is_the_models_own_or_the_given_one(encoders: dict[str, Path]) -> None:
    for name, limit in (("bert", 64), ("roberta", 64), ("distilbert", 64)):
        _, tokenizer = load(encoders[name])
        assert tokenizer.model_max_length == limit
        model, tokenizer = load(encoders[name], model={"max_seq_length": 8})
        assert len(encode(model, tokenizer, ["bal " * 50])["input_ids"][0]) == 8
    with pytest.raises(InputError, match=r"model.max_seq_length must be at most 64"):
        load(encoders["roberta"], model={"max_seq_length": 65})


def test_the_prompt_is_put_before_every_text_and_kept_with_the_model(tiny_model: Path, tmp_path: Path) -> None:
    model, tokenizer = load(tiny_model, model={"query_prompt": "mel nol "})
    assert encode(model, tokenizer, ["bal", ""]) == dict(tokenizer(["mel nol bal", "mel nol "], truncation=True))
    model.save_pretrained(str(tmp_path / "m"))
    tokenizer.save_pretrained(str(tmp_path / "m"))
    again, _ = load(tmp_path / "m")
    assert again.config.prompt == "mel nol "


@pytest.mark.parametrize(("name", "head"), CASES)
def test_lora_trains_a_share_and_is_folded_into_a_plain_folder(
    encoders: dict[str, Path], tmp_path: Path, name: str, head: str
) -> None:
    model, tokenizer = load(encoders[name], head=head)
    frozen = words(model).clone()
    tuned = add_lora(model, LoraConfig(rank=4, dropout=0.0))
    learn, weights = trainable(tuned)
    assert 0 < learn < weights
    optimiser = torch.optim.SGD([weight for weight in tuned.parameters() if weight.requires_grad], lr=0.5)
    objective = build(CrossEntropy(), SPACE, np.array([2, 2, 1]), 5)
    for _ in range(3):
        optimiser.zero_grad()
        outputs = tuned.train()(**tokenizer(TEXTS, padding=True, return_tensors="pt"))
        objective(outputs, torch.tensor([0, 1, 2, 0, 1])).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    before = logits(tuned, tokenizer)
    merged = fold(tuned)
    torch.testing.assert_close(logits(merged, tokenizer), before, atol=1e-5, rtol=1e-4)
    merged.save_pretrained(str(tmp_path / "m"))
    assert not any("lora" in key or "modules_to_save" in key for key in load_file(tmp_path / "m" / "model.safetensors"))
    plain = AutoModelForSequenceClassification.from_pretrained(str(tmp_path / "m"), dtype=torch.float32)
    torch.testing.assert_close(logits(plain, tokenizer), before, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(words(plain), frozen)


def test_lora_of_layers_that_are_not_there_is_refused(tiny_model: Path) -> None:
    model, _ = load(tiny_model)
    with pytest.raises(InputError, match=r"has none of \['q_proj'\]; it has dense, key, query, value"):
        add_lora(model, LoraConfig(targets=["q_proj"]))


@pytest.mark.parametrize(("name", "head"), CASES)
def test_layers_learn_the_slower_the_lower_they_are(encoders: dict[str, Path], name: str, head: str) -> None:
    model, _ = load(encoders[name], head=head)
    config = TuningConfig(layer_decay=0.5, head_learning_rate=0.1)
    groups = parameter_groups(model, config, learning_rate=1.0, weight_decay=0.01, decayed=[])
    rates = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    assert len(rates) == len(list(model.parameters()))
    by_name = {key: rates[id(weight)] for key, weight in model.named_parameters()}
    assert {rate for key, rate in by_name.items() if "embeddings" in key} == {0.125}
    assert {rate for key, rate in by_name.items() if "layer.0." in key or "layers.0." in key} == {0.25}
    assert {rate for key, rate in by_name.items() if "layer.1." in key or "layers.1." in key} == {0.5}
    assert {rates[id(weight)] for weight in head_linear(model).parameters()} == {0.1}


def test_frozen_parts_do_not_learn(tiny_model: Path) -> None:
    model, _ = load(tiny_model)
    freeze(model, TuningConfig(freeze_layers=1))
    learns = {key for key, weight in model.named_parameters() if weight.requires_grad}
    assert not any("embeddings" in key or "layer.0." in key for key in learns)
    assert any("layer.1." in key for key in learns)
    assert any("classifier" in key for key in learns)
    with pytest.raises(InputError, match=r"tuning.freeze_layers must be at most 2"):
        freeze(model, TuningConfig(freeze_layers=3))


@pytest.mark.parametrize("space", [SPACE, MULTI], ids=["single", "multi"])
def test_the_trainer_takes_the_same_step_however_it_accumulates(
    still_model: Path, tmp_path: Path, space: LabelSpace
) -> None:
    labels: list[Any] = (
        [0, 1, 2, 0] if space is SPACE else [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    )

    def trained(batch: int, accumulation: int) -> Tensor:
        model, tokenizer = load(still_model, space)
        config = CrossEntropy(weights="balanced") if space is SPACE else BinaryCrossEntropy(weights="balanced")
        rows = [
            {"input_ids": ids, "labels": label}
            for ids, label in zip(tokenizer(TEXTS[:4])["input_ids"], labels, strict=True)
        ]
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=str(tmp_path),
                per_device_train_batch_size=batch,
                gradient_accumulation_steps=accumulation,
                max_steps=1,
                learning_rate=0.1,
                optim="sgd",
                use_cpu=True,
                disable_tqdm=True,
                save_strategy="no",
                train_sampling_strategy="sequential",
            ),
            train_dataset=rows,
            processing_class=tokenizer,
            compute_loss_func=build(config, space, np.array([2, 1, 1]), 4),
        )
        trainer.train()
        return torch.cat([weight.detach().flatten() for weight in model.parameters()])

    torch.testing.assert_close(trained(1, 4), trained(4, 1), atol=1e-6, rtol=1e-5)
