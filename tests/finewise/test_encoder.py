"""The encoder: micro-batches change the work, not the numbers; and models that cannot be loaded say why."""

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
from finewise.encoder import Encoder, load_encoder, token_budget
from finewise.errors import InputError
from finewise.references import model_reference

words = st.integers(0, 63)


@pytest.fixture(scope="module", params=["mean", "cls", "max", "lasttoken", "weightedmean"])
def encoder(request: pytest.FixtureRequest, tiny_model: Path) -> Encoder:
    model = load_encoder(ModelConfig(name=str(tiny_model)), "cpu").eval()
    model[1] = Pooling(32, pooling_mode=request.param)
    return model


def gradient_of(
    model: Encoder, features: dict[str, torch.Tensor], budget: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    model.micro_batch_tokens = budget
    model.zero_grad()
    embeddings = model(dict(features))["sentence_embedding"]
    weights = torch.arange(embeddings.numel(), dtype=torch.float32).reshape(embeddings.shape).sin()
    (embeddings * weights).sum().backward()
    gradient = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
    return embeddings.detach(), gradient


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(words, min_size=1, max_size=40), min_size=2, max_size=24), st.integers(1, 400))
def test_micro_batches_give_the_padded_batchs_embeddings_and_gradients(
    encoder: Encoder, vocabulary: list[str], lists: list[list[int]], budget: int
) -> None:
    features = encoder.preprocess([" ".join(vocabulary[index] for index in text) for text in lists])
    embeddings, gradient = gradient_of(encoder, features, None)
    again, again_gradient = gradient_of(encoder, features, budget)
    torch.testing.assert_close(again, embeddings, rtol=1e-5, atol=1e-5)
    scale = gradient.abs().max()
    torch.testing.assert_close(again_gradient / scale, gradient / scale, rtol=0, atol=1e-5)


def test_padding_on_the_left_keeps_absolute_positions(tiny_model: Path) -> None:
    model = load_encoder(ModelConfig(name=str(tiny_model)), "cpu").eval()
    model[1] = Pooling(32, pooling_mode="lasttoken")
    model.tokenizer.padding_side = "left"
    features = model.preprocess(["bal bam ban bar", "bal", "dol dom", "kil kim kin kir kis kit kiv"])
    assert features["attention_mask"][1, 0] == 0
    whole = model(dict(features))["sentence_embedding"]
    model.micro_batch_tokens = 12
    torch.testing.assert_close(model(dict(features))["sentence_embedding"], whole, rtol=1e-5, atol=1e-5)


def test_saved_model_is_a_plain_sentence_transformer(tiny_model: Path, tmp_path: Path) -> None:
    model = load_encoder(ModelConfig(name=str(tiny_model), query_prompt="bal "), "cpu", micro_batch_tokens=16)
    model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    plain = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert type(plain) is SentenceTransformer
    texts = ["bal bam", "dol dom don kil"]
    assert (plain.encode_query(texts) == model.encode_query(texts)).all()
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


def test_token_budget() -> None:
    assert token_budget("padded", 100, "cpu") is None
    assert token_budget("sorted", 100, "cpu") == 100
    assert token_budget("sorted", None, "cpu") == 2048


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
