import random

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

from classify import onnx
from classify.onnx import export_onnx
from finewise.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory, vocabulary):
    place = tmp_path_factory.mktemp("classifier")
    words = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *vocabulary])}
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,
        num_labels=3,
        problem_type="single_label_classification",
    )
    BertForSequenceClassification(config).save_pretrained(place)
    BertTokenizer(vocab=words, model_max_length=64).save_pretrained(place)
    return place


@pytest.fixture
def texts(vocabulary):
    rng = random.Random(0)
    return [" ".join(rng.choices(vocabulary, k=rng.randint(1, 90))) for _ in range(9)]


def test_the_file_says_what_the_model_says(folder, texts, tmp_path):
    assert export_onnx(folder, tmp_path / "model.onnx", texts) < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_file_that_says_something_else_is_not_kept(folder, texts, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "TOLERANCE", -1.0)
    with pytest.raises(InputError, match="it was not kept"):
        export_onnx(folder, tmp_path / "model.onnx", texts)
    assert not list(tmp_path.iterdir())


def test_too_few_texts(folder, tmp_path):
    with pytest.raises(InputError, match="at least two texts; got 1"):
        export_onnx(folder, tmp_path / "model.onnx", ["bal"])


def test_difference_is_that_of_the_farthest_logit():
    assert onnx._difference(np.array([[1.0, 2.0]]), np.array([[1.0, 2.0005]])) == pytest.approx(5e-4)
    with pytest.raises(InputError):
        onnx._difference(np.array([[1.0, 1.0001]]), np.array([[1.0001, 1.0]]))
