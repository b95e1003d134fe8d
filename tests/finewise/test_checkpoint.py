"""What a checkpoint must bring, and what is taken where it says nothing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import BertTokenizer, RobertaConfig, RobertaModel, XLNetConfig

from classify.model import load_classifier
from finewise.config import ModelConfig
from finewise.data.labels.space import LabelSpace
from finewise.data.tokens import TokenLimit, token_limit
from finewise.encoder import load_encoder
from finewise.errors import InputError
from finewise.limits import reading_limit, usable_positions

Rename = Callable[[str], str | None]


def changed(model: Path, folder: Path, rename: Rename) -> ModelConfig:
    """Copy a model with other names of its weights; None leaves one out."""
    shutil.copytree(model, folder)
    file = folder / "model.safetensors"
    weights = {name: value for key, value in load_file(file).items() if (name := rename(key)) is not None}
    save_file(weights, file, metadata={"format": "pt"})
    return ModelConfig(name=str(folder))


@pytest.mark.parametrize(
    "rename",
    [
        lambda key: f"module.{key}",
        lambda key: f"_orig_mod.{key}",
        lambda key: None if ".layer.0." in key else key,
        lambda key: None if ".layer.1." in key else key,
        lambda key: None if key.endswith("layer.1.output.dense.weight") else key,
    ],
)
def test_random_weights_are_refused(tiny_model: Path, tmp_path: Path, rename: Rename) -> None:
    config = changed(tiny_model, tmp_path / "broken", rename)
    with pytest.raises(InputError, match="random"):
        load_encoder(config, "cpu")
    with pytest.raises(InputError, match="random"):
        load_classifier(config, LabelSpace(kind="single", names=("a", "b")), "cpu")


def test_a_pooler_that_nothing_reads_may_be_missing(tiny_model: Path, tmp_path: Path) -> None:
    config = changed(tiny_model, tmp_path / "plain", lambda key: None if "pooler" in key else key)
    expected = SentenceTransformer(str(tiny_model), device="cpu").encode(["bal bam"])
    assert load_encoder(config, "cpu").encode(["bal bam"]) == pytest.approx(expected, abs=1e-6)


def test_padding_on_the_left_does_not_move_absolute_positions(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "left")
    tokenizer = BertTokenizer.from_pretrained(str(tiny_model), padding_side="left")
    tokenizer.save_pretrained(str(tmp_path / "left"))
    model = load_encoder(ModelConfig(name=str(tmp_path / "left")), "cpu", execution="padded")
    texts = ["bal bam ban bar dol dom don", "kil"]
    alone = np.concatenate([model.encode([text]) for text in texts])
    assert model.encode(texts) == pytest.approx(alone, abs=1e-5)
    model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    assert SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(texts) == pytest.approx(alone, abs=1e-5)


def test_pooling_and_similarity_are_set_or_one_warning_says_what_is_taken(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tiny_model.with_name(tiny_model.name + "-base")
    name = str(shutil.copytree(bare, tmp_path / "bare"))
    for _ in range(2):
        model = load_encoder(ModelConfig(name=name), "cpu")
    assert capsys.readouterr().err.count("mean pooling and cosine similarity are taken") == 1
    model = load_encoder(ModelConfig(name=name, pooling="cls", similarity="dot"), "cpu")
    assert "warning" not in capsys.readouterr().err
    features = model.tokenizer(["bal bam"], return_tensors="pt")
    with torch.no_grad():
        expected = model[0].model.eval()(**features).last_hidden_state[:, 0].numpy()
    assert model.encode(["bal bam"]) == pytest.approx(expected, abs=1e-5)
    model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    plain = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert plain.similarity_fn_name == "dot"
    assert plain.encode(["bal bam"]) == pytest.approx(expected, abs=1e-5)


def test_a_document_prompt_of_any_name_is_the_document_prompt(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "prompted"))
    stated = json.loads((folder / "config_sentence_transformers.json").read_text())
    stated["prompts"] = {"query": "bal ", "passage": "dol "}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(stated))
    model = load_encoder(ModelConfig(name=str(folder)), "cpu")
    plain = SentenceTransformer(str(folder), device="cpu")
    assert model.encode_document(["kil"]) == pytest.approx(plain.encode(["dol kil"]), abs=1e-6)
    limit = token_limit(ModelConfig(name=str(folder)))
    assert isinstance(limit, TokenLimit)
    assert limit.document_prompt == model.prompts["document"] == "dol "
    classifier, _ = load_classifier(ModelConfig(name=str(folder)), LabelSpace(kind="single", names=("a", "b")), "cpu")
    assert classifier.config.prompt == "bal "


def test_roberta_uses_two_positions_fewer_than_it_has(tiny_model: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    folder = tmp_path / "roberta"
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    RobertaModel(RobertaConfig(vocab_size=80, max_position_embeddings=66, pad_token_id=1, **sizes)).save_pretrained(
        folder
    )
    BertTokenizer.from_pretrained(str(tiny_model), model_max_length=512).save_pretrained(str(folder))
    model = load_encoder(ModelConfig(name=str(folder), pooling="mean", similarity="cosine"), "cpu")
    _, tokenizer = load_classifier(ModelConfig(name=str(folder)), LabelSpace(kind="single", names=("a", "b")), "cpu")
    limit = token_limit(ModelConfig(name=str(folder)))
    assert isinstance(limit, TokenLimit)
    assert model.max_seq_length == tokenizer.model_max_length == limit.max_seq_length == 64
    assert np.isfinite(model.encode(["bal " * 200])).all()
    with pytest.raises(InputError, match="at most 64"):
        load_encoder(ModelConfig(name=str(folder), max_seq_length=65), "cpu")


def test_no_limit_is_none() -> None:
    assert usable_positions(XLNetConfig().to_dict()) is None
    assert reading_limit({"model_type": "t5", "n_positions": 512}, None, 1e30) is None
    assert reading_limit({"model_type": "bert", "max_position_embeddings": 64}, 128) == 64
