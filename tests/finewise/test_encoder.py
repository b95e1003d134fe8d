"""The encoder: how it computes changes the work, not the numbers; and models that cannot be loaded say why."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling

from finewise.config import ModelConfig
from finewise.encoder import Encoder, load_encoder
from finewise.errors import InputError
from finewise.references import model_reference

words = st.integers(0, 63)


@pytest.fixture(scope="module", params=["mean", "cls", "max", "lasttoken", "weightedmean"])
def encoder(request: pytest.FixtureRequest, tiny_model: Path) -> Encoder:
    model = load_encoder(ModelConfig(name=str(tiny_model)), "cpu").eval()
    model[1] = Pooling(32, pooling_mode=request.param)
    return model


def gradient_of(model: Encoder, features: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    model.zero_grad()
    embeddings = model(dict(features))["sentence_embedding"]
    weights = torch.arange(embeddings.numel(), dtype=torch.float32).reshape(embeddings.shape).sin()
    (embeddings * weights).sum().backward()
    gradient = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
    return embeddings.detach(), gradient


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(words, min_size=1, max_size=40), min_size=1, max_size=24), st.integers(1, 400))
def test_every_execution_gives_the_padded_batchs_embeddings_and_gradients(
    encoder: Encoder, vocabulary: list[str], lists: list[list[int]], tokens: int
) -> None:
    features = encoder.preprocess([" ".join(vocabulary[index] for index in text) for text in lists])
    encoder.execute("padded")
    embeddings, gradient = gradient_of(encoder, features)
    for execution in ("sorted", "packed"):
        encoder.execute(execution, tokens)
        again, again_gradient = gradient_of(encoder, features)
        torch.testing.assert_close(again, embeddings, rtol=1e-5, atol=1e-5)
        assert float((again_gradient - gradient).norm()) <= 1e-5 * float(gradient.norm())


@pytest.mark.parametrize("execution", ["sorted", "packed"])
def test_recomputed_activations_change_no_bit(tiny_model: Path, vocabulary: list[str], execution: str) -> None:
    model = load_encoder(ModelConfig(name=str(tiny_model)), "cpu", execution=execution, micro_batch_tokens=40).train()
    features = model.preprocess([" ".join(vocabulary[:size]) for size in (30, 2, 9, 9, 17)])
    found = []
    for recompute in (False, True):
        model.recompute = recompute
        torch.manual_seed(7)  # the tiny model has dropout: its masks must be the same in both passes
        found.append(gradient_of(model, features))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_padding_on_the_left_keeps_absolute_positions(tiny_model: Path) -> None:
    model = load_encoder(ModelConfig(name=str(tiny_model)), "cpu").eval()
    model[1] = Pooling(32, pooling_mode="lasttoken")
    model.tokenizer.padding_side = "left"
    features = model.preprocess(["bal bam ban bar", "bal", "dol dom", "kil kim kin kir kis kit kiv"])
    assert features["attention_mask"][1, 0] == 0
    model.execute("padded")
    whole = model(dict(features))["sentence_embedding"]
    for execution in ("sorted", "packed"):
        model.execute(execution, 12)
        torch.testing.assert_close(model(dict(features))["sentence_embedding"], whole, rtol=1e-5, atol=1e-5)


def test_saved_model_is_a_plain_sentence_transformer(tiny_model: Path, tmp_path: Path) -> None:
    model = load_encoder(ModelConfig(name=str(tiny_model), query_prompt="bal "), "cpu", micro_batch_tokens=16)
    assert model.execution.mode == "packed"
    model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    plain = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert type(plain) is SentenceTransformer
    texts = ["bal bam", "dol dom don kil"]
    assert plain.encode_query(texts) == pytest.approx(model.encode_query(texts), abs=1e-6)
    assert plain.prompts["query"] == "bal "


def test_weights_are_fp32_whatever_the_checkpoint_holds(tiny_model: Path, tmp_path: Path) -> None:
    half = SentenceTransformer(str(tiny_model), device="cpu")
    half.to(torch.bfloat16).save_pretrained(str(tmp_path / "half"))
    model = load_encoder(ModelConfig(name=str(tmp_path / "half")), "cpu")
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_a_limit_beyond_the_positions_is_refused(tiny_model: Path) -> None:
    assert load_encoder(ModelConfig(name=str(tiny_model), max_seq_length=16), "cpu").max_seq_length == 16
    with pytest.raises(InputError, match="max_seq_length must be at most 64"):
        load_encoder(ModelConfig(name=str(tiny_model), max_seq_length=512), "cpu")


class TestReferences:
    """What is wrong with a model's reference is found without loading anything."""

    def test_folder_without_weights(self, tiny_model: Path, tmp_path: Path) -> None:
        shutil.copytree(tiny_model, tmp_path / "model")
        (tmp_path / "model" / "model.safetensors").unlink()
        with pytest.raises(InputError, match=r"has no weights \(model.safetensors or pytorch_model.bin\)"):
            model_reference(str(tmp_path / "model"))

    def test_folder_without_a_model(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"neither modules\.json nor config\.json"):
            model_reference(str(tmp_path))

    def test_empty_weights(self, tiny_model: Path, tmp_path: Path) -> None:
        shutil.copytree(tiny_model, tmp_path / "model")
        (tmp_path / "model" / "model.safetensors").write_bytes(b"")
        with pytest.raises(InputError, match=r"model.safetensors is empty"):
            model_reference(str(tmp_path / "model"))

    def test_cut_weights_give_one_line(self, tiny_model: Path, tmp_path: Path) -> None:
        shutil.copytree(tiny_model, tmp_path / "model")
        weights = tmp_path / "model" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        with pytest.raises(InputError, match=r"model\.safetensors is cut off or damaged"):
            model_reference(str(tmp_path / "model"))

    def test_a_model_that_the_library_cannot_read_gives_one_line(self, tiny_model: Path, tmp_path: Path) -> None:
        shutil.copytree(tiny_model, tmp_path / "model")
        (tmp_path / "model" / "config.json").write_text('{"model_type": "abacus"}')
        with pytest.raises(InputError, match="cannot load it") as caught:
            load_encoder(ModelConfig(name=str(tmp_path / "model")), "cpu")
        assert "\n" not in str(caught.value)

    def test_a_model_without_its_tokenizer(self, tiny_model: Path, tmp_path: Path) -> None:
        shutil.copytree(tiny_model, tmp_path / "model")
        for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
            (tmp_path / "model" / name).unlink(missing_ok=True)
        with pytest.raises(InputError, match=r"has no tokenizer .* every text would look the same"):
            model_reference(str(tmp_path / "model"))

    def test_a_local_model_has_no_revision(self, tiny_model: Path) -> None:
        with pytest.raises(InputError, match=r"model\.revision=v1: only a hub model has revisions"):
            model_reference(str(tiny_model), "v1")

    def test_broken_modules_file(self, tiny_model: Path, tmp_path: Path) -> None:
        shutil.copytree(tiny_model, tmp_path / "model")
        (tmp_path / "model" / "modules.json").write_text("[{")
        with pytest.raises(InputError, match=r"modules.json is broken"):
            model_reference(str(tmp_path / "model"))

    @pytest.mark.parametrize("name", ["./nowhere", "/nowhere/model", "a/b/c", "~nobody/x y"])
    def test_no_such_folder(self, name: str) -> None:
        with pytest.raises(InputError, match="no such folder"):
            model_reference(name)

    def test_a_package_that_is_not_installed(self) -> None:
        with pytest.raises(InputError, match="pip install no-such-package"):
            model_reference("package:no_such_package/model")

    def test_hub_ids_pass(self) -> None:
        assert model_reference("sentence-transformers/all-MiniLM-L6-v2") == "sentence-transformers/all-MiniLM-L6-v2"
        assert model_reference("hub:BAAI/bge-small-en-v1.5") == "BAAI/bge-small-en-v1.5"

    def test_weights_in_a_subfolder_are_found(self, tiny_model: Path, tmp_path: Path) -> None:
        shutil.copytree(tiny_model, tmp_path / "model")
        modules = json.loads((tmp_path / "model" / "modules.json").read_text())
        modules[0]["path"] = "0_Transformer"
        (tmp_path / "model" / "modules.json").write_text(json.dumps(modules))
        (tmp_path / "model" / "0_Transformer").mkdir()
        with pytest.raises(InputError, match=r"0_Transformer has no weights"):
            model_reference(str(tmp_path / "model"))
        shutil.move(tmp_path / "model" / "model.safetensors", tmp_path / "model" / "0_Transformer")
        assert model_reference(str(tmp_path / "model")) == tmp_path / "model"


def test_scoring_takes_the_fast_path(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    model = load_encoder(ModelConfig(name=str(tiny_model), query_prompt="ask: "), "cpu").eval()
    texts = ["w1 w2 w3", "w4"]
    expected = {name: getattr(SentenceTransformer, name)(model, texts) for name in ("encode_query", "encode_document")}

    def slow(*_: object, **__: object) -> None:
        raise AssertionError("the library's own loop was taken")

    monkeypatch.setattr(SentenceTransformer, "encode", slow)
    for name, embeddings in expected.items():
        np.testing.assert_allclose(getattr(model, name)(texts), embeddings, atol=1e-5)
    assert not np.allclose(expected["encode_query"], expected["encode_document"])
