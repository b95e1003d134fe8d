"""Chunk-and-pool and late chunking: what they give is what their definitions say, and short texts are as the model has them."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

from benchmarks.chunked import ChunkPool, LateChunking, windows
from benchmarks.dense import EncoderSearcher
from benchmarks.passkey import encoding_of
from finewise.config import ModelConfig
from finewise.data.retrieval import RetrievalSet
from finewise.encoder import load_encoder
from finewise.errors import InputError


@pytest.fixture(scope="module")
def model(still_model):
    return SentenceTransformer(str(still_model), device="cpu")


@pytest.fixture(scope="module")
def texts(vocabulary):
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(vocabulary, size)) for size in (3, 14, 40, 150)]


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@given(st.integers(0, 300), st.integers(1, 40), st.floats(0, 0.9))
def test_windows_cover_all_tokens_and_overlap_as_asked(tokens, room, overlap):
    spans = list(windows(tokens, room, overlap))
    assert spans[0][0] == 0
    assert spans[-1][1] == tokens
    for (start, stop), (following, _) in itertools.pairwise(spans):
        assert stop - start == room
        assert start < following <= stop
        assert stop - following >= min(int(room * overlap), room - 1)


@pytest.mark.parametrize("kind", [ChunkPool, LateChunking])
@pytest.mark.parametrize("prompt", ["", "bal dos "])
def test_a_text_that_fits_has_the_models_own_embedding(model, texts, kind, prompt):
    found = kind(model, window=40).encode(texts[:2], prompt=prompt)
    np.testing.assert_allclose(unit(found), model.encode(texts[:2], prompt=prompt or None), atol=1e-6)


def test_chunk_pool_is_the_mean_of_its_windows_embeddings(model, texts):
    words = texts[2].split()
    parts = [" ".join(words[start:stop]) for start, stop in windows(40, 20 - 2 - 2, 0.5)]
    found = ChunkPool(model, window=20, overlap=0.5).encode([texts[0], texts[2]])
    np.testing.assert_allclose(found[1], model.encode(parts).mean(axis=0), atol=1e-6)
    assert len(parts) == 4


def test_late_chunking_pools_states_that_know_their_window(model, texts):
    words = texts[2].split()
    before, after = model.tokenizer("bal")["input_ids"][::2]
    ids = model.tokenizer(words, add_special_tokens=False, is_split_into_words=True)["input_ids"]
    states, known = [], 0
    spans = list(windows(40, 18, 0.5))
    for start, stop in spans:
        row = torch.tensor([[before, *ids[start:stop], after]])
        with torch.no_grad():
            found = model[0]({"input_ids": row, "attention_mask": torch.ones_like(row)})["token_embeddings"][0]
        if start == 0:
            states.append(found[:1])
        states.append(found[1 + known - start : -1])
        known = stop
    states.append(found[-1:])
    every = torch.cat(states)
    assert len(spans) == 4
    assert len(every) == 42
    chunks = np.split(every.numpy(), [1 + 10, 1 + 20, 1 + 30])
    expected = unit(np.stack([chunk.mean(axis=0) for chunk in chunks])).mean(axis=0)
    found = LateChunking(model, window=20, overlap=0.5, chunk=10).encode([texts[3], texts[2], texts[0]])
    np.testing.assert_allclose(found[1], expected, atol=1e-6)


@pytest.mark.parametrize("kind", [ChunkPool, LateChunking])
def test_both_can_be_searched_with_and_see_the_end_of_a_document(still_model, vocabulary, kind):
    encoder = load_encoder(ModelConfig(name=str(still_model)), "cpu")
    filler = " ".join(vocabulary[:5] * 16)
    corpus = [f"{filler} {' '.join([word] * 30)}" for word in vocabulary[10:20]]
    ids = [str(number) for number in range(10)]
    task = RetrievalSet(
        name="ends", split="test", query_ids=ids, queries=corpus, corpus_ids=[f"d{one}" for one in ids], corpus=corpus,
        qrels={one: {f"d{one}": 1} for one in ids}, revision="r",
    )  # fmt: skip
    found = EncoderSearcher("chunked", kind(encoder)).search(task, 1)
    assert found.indices[:, 0].tolist() == list(range(10))
    assert np.ptp(encoder.encode(corpus), axis=0).max() < 1e-5  # the model alone reads the first 62 words of each
    vectors = encoding_of(kind(encoder))(corpus, False)
    np.testing.assert_allclose(vectors, kind(encoder).encode_document(corpus), atol=1e-6)


def test_the_models_own_prompts_are_used_and_may_stay_out_of_the_mean(still_model, texts):
    base = Transformer(str(still_model))
    pooling = Pooling(32, include_prompt=False)
    model = SentenceTransformer(
        modules=[base, pooling, Normalize()], device="cpu", prompts={"query": "bal dos ", "document": ""}
    )
    for kind in (ChunkPool, LateChunking):
        found = kind(model).encode_query(texts[:2])
        np.testing.assert_allclose(unit(found), model.encode_query(texts[:2]), atol=1e-6)
        assert np.abs(unit(found) - kind(model).encode_document(texts[:2])).max() > 1e-3


def test_what_cannot_be_done_is_refused(still_model, model):
    first = SentenceTransformer(modules=[Transformer(str(still_model)), Pooling(32, "cls")], device="cpu")
    with pytest.raises(InputError, match="late chunking needs a transformer with mean pooling; this model has cls"):
        LateChunking(first)
    with pytest.raises(InputError, match="the window must be at most 64 tokens"):
        ChunkPool(model, window=65)
    with pytest.raises(InputError, match="no room for text: prompt and special tokens take 12"):
        ChunkPool(model, window=10).encode(["bal"], prompt="bal " * 10)
