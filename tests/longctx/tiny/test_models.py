from dataclasses import replace
from functools import partial

import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForCausalLM, AutoTokenizer

from finewise.errors import InputError
from longctx.tiny import causal, embedding
from longctx.tiny.models import is_tiny, tiny_model


@pytest.fixture
def reduced(monkeypatch, tmp_path):
    """Let the models be built within a second, in a cache of their own: under the same key others shall find whole ones."""
    monkeypatch.setenv("FINEWISE_CACHE", str(tmp_path))
    for module, steps in ((causal, 2), (embedding, 2)):
        short = tuple(replace(stage, steps=steps) for stage in module.CURRICULUM)
        monkeypatch.setattr(module, "build", partial(module.build, curriculum=short))


def test_the_language_model_opens_in_plain_transformers(tmp_path, capsys):
    short = tuple(replace(stage, steps=2) for stage in causal.CURRICULUM)
    accuracies = causal.build(0, tmp_path, short)
    assert list(accuracies) == [stage.name for stage in short]
    assert "copying ended at an accuracy" in " ".join(capsys.readouterr().err.split())
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert model.num_parameters() == 88_128
    assert model.config.max_position_embeddings == tokenizer.model_max_length == 64
    tokens = tokenizer("SET kalan 1 2 3 4 END ba ASK kalan", return_tensors="pt")
    assert tokens["input_ids"].shape == (1, 10)
    assert torch.isfinite(model(**tokens).logits).all()


def test_the_embedding_model_opens_as_a_sentence_transformer(tmp_path):
    embedding.build(0, tmp_path, tuple(replace(stage, steps=2) for stage in embedding.CURRICULUM))
    model = SentenceTransformer(str(tmp_path), device="cpu")
    assert model.max_seq_length == 64
    short, long = model.encode(["ASK Arba Corka", "ba " * 20 + "SET Arba Corka END"])
    assert short.shape == long.shape == (64,)


def test_a_model_is_built_once_for_each_seed(reduced, capsys):
    first = tiny_model("tiny:causal", 0)
    assert "training tiny:causal with seed 0" in capsys.readouterr().err
    assert tiny_model("tiny:causal", 0) == first
    assert "training" not in capsys.readouterr().err
    assert tiny_model("tiny:causal", 1) != first
    assert SentenceTransformer(str(tiny_model("tiny:embedding", 0)), device="cpu").max_seq_length == 64
    assert tiny_model("tiny:embedding", 0) != first


def test_the_same_seed_gives_the_same_weights(tmp_path):
    short = tuple(replace(stage, steps=2) for stage in causal.CURRICULUM)
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        causal.build(5, tmp_path / name, short)
        found.append(AutoModelForCausalLM.from_pretrained(tmp_path / name).state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_a_wrong_name_is_told_with_the_nearest_one():
    assert is_tiny("tiny:casual")
    assert not is_tiny("tiny-random-llama")
    with pytest.raises(InputError, match="did you mean 'tiny:causal'"):
        tiny_model("tiny:casual", 0)
