"""Features looked up in the cache of tokens are, bit by bit, what the model's own preprocessing makes of the texts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from finewise.config import ColumnsConfig
from finewise.data.pairs import Pairs
from finewise.data.sources import read_pairs
from finewise.features import features_of

MakePairs = Callable[..., list[tuple[str, str]]]


@pytest.fixture
def pairs(tmp_path: Path, learnable_pairs: MakePairs) -> Pairs:
    rows = [
        (anchor, f"{positive} " * (1 + number % 12)) for number, (anchor, positive) in enumerate(learnable_pairs(40))
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"anchor": anchor, "positive": positive}) + "\n" for anchor, positive in rows))
    return read_pairs(str(path), ColumnsConfig())


@pytest.fixture
def model(tiny_model: Path) -> Any:
    return SentenceTransformer(str(tiny_model), device="cpu")


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(found) == list(expected)
    for key, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert found[key].dtype == value.dtype
            assert torch.equal(found[key], value)
        else:
            assert found[key] == value


@pytest.mark.parametrize("column", ["anchor", "positive"])
@pytest.mark.parametrize("prompt", ["", "bal bam "])
@pytest.mark.parametrize("side", ["left", "right"])
def test_they_are_the_librarys_own(model: Any, pairs: Pairs, column: str, prompt: str, side: str) -> None:
    model.tokenizer.padding_side = side
    features = features_of(model, pairs, column, prompt)
    assert features is not None
    for rows in ([0], [3, 1, 2], list(range(40)), [7, 7]):
        texts = pairs.texts(column, rows)
        assert_same(features(np.array(rows)), dict(model.preprocess(texts, prompt=prompt or None, task=None)))


def test_inputs_that_the_model_does_not_read_are_left_out(model: Any, pairs: Pairs) -> None:
    model.tokenizer.model_input_names = ["input_ids", "attention_mask"]
    features = features_of(model, pairs, "anchor", "")
    assert features is not None
    assert set(features(np.array([0, 1]))) == {"input_ids", "attention_mask", "modality"}


def test_a_model_that_does_more_than_its_tokenizer_says_keeps_its_own_way(model: Any, pairs: Pairs) -> None:
    model[0].processing_kwargs = {"text": {"max_length": 7}}
    assert features_of(model, pairs, "positive", "") is None


def test_what_is_no_plain_text_transformer_keeps_its_own_way(model: Any, pairs: Pairs, vocabulary: list[str]) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(
        models.WordLevel({word: place for place, word in enumerate(vocabulary)}, unk_token=vocabulary[0])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = np.zeros((len(vocabulary), 4), dtype=np.float32)
    static = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")
    assert features_of(static, pairs, "anchor", "") is None

    class Own(type(model[0])):  # type: ignore[misc]
        pass

    model[0].__class__ = Own
    assert features_of(model, pairs, "anchor", "") is None
