"""Texts are embedded once, whoever asks, until something that decides their embeddings is different."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.embedded import Embedded
from finewise.config import ModelConfig
from finewise.encoder import Encoder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINEWISE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What was really encoded, call by call."""
    calls: list[list[str]] = []
    encode = Encoder.encode

    def counted(self: Encoder, inputs: list[str], **settings: object) -> object:
        calls.append(inputs)
        return encode(self, inputs, **settings)

    monkeypatch.setattr(Encoder, "encode", counted)
    return calls


def embedded(folder: Path, **settings: object) -> Embedded:
    return Embedded(ModelConfig(name=str(folder), **settings), "cpu", "fp32")


def test_it_gives_the_models_own_embeddings_as_unit_vectors(tiny_model, vocabulary):
    texts = [vocabulary[0], " ".join(vocabulary[:5]), vocabulary[0]]
    embed = embedded(tiny_model)
    found = embed(texts)
    expected = embed.model.encode(texts)
    assert found.dtype == np.float32
    assert np.allclose(found, expected, atol=1e-5)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert embed([]).shape == (0, 32)


def test_a_text_is_embedded_once(tiny_model, vocabulary, encoded):
    embed = embedded(tiny_model)
    texts = vocabulary[:6]
    first = embed(texts)
    assert np.array_equal(embed(texts[::-1]), first[::-1])
    more = embed([texts[2], vocabulary[8], texts[2]])
    assert np.array_equal(more[0], first[2])
    assert encoded == [texts, [vocabulary[8]]]
    assert np.array_equal(embedded(tiny_model)(texts), first)
    assert len(encoded) == 2


def test_what_decides_the_embeddings_makes_them_anew(tiny_model, still_model, vocabulary, encoded):
    texts = [" ".join(vocabulary[:12])]
    others = [
        embedded(tiny_model),
        embedded(still_model),
        embedded(tiny_model, max_seq_length=8),
        embedded(tiny_model, query_prompt=f"{vocabulary[20]} "),
    ]
    for embed in others:
        embed(texts)
    assert len(encoded) == 4
    assert len({embed.identity for embed in others}) == 4
    assert not np.allclose(others[0](texts), others[3](texts))


def test_what_cannot_be_told_is_not_kept_for_others(tiny_model, vocabulary, encoded, monkeypatch):
    monkeypatch.setattr("benchmarks.embedded.fingerprint", lambda model, bf16: None)
    for _ in range(2):
        embed = embedded(tiny_model)
        embed(vocabulary[:2])
        embed(vocabulary[:2])
    assert len(encoded) == 2
