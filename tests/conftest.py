"""Shared by all tests: a tiny real model, built on the spot, and a quiet, offline, private surrounding."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

WORDS = [f"{first}{second}" for first in ("ba", "do", "ki", "lu", "me", "no", "pa", "ri") for second in "lmnrstvz"]


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["FINEWISE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


def build_tiny_model(folder: Path, *, dimension: int = 32, dropout: float = 0.1) -> Path:
    """Save a sentence-transformers model of a few thousand weights that knows WORDS; seeded."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    torch.manual_seed(0)
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=dimension,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * dimension,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    base = folder.with_name(folder.name + "-base")
    BertModel(config).save_pretrained(str(base))
    BertTokenizer(vocab=vocabulary, model_max_length=64).save_pretrained(str(base))
    transformer = Transformer(str(base))
    pooling = Pooling(dimension)
    SentenceTransformer(modules=[transformer, pooling, Normalize()], device="cpu").save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny sentence-transformers model with dropout."""
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def still_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without dropout: equal batches give equal losses, however they are computed."""
    return build_tiny_model(tmp_path_factory.mktemp("models") / "still", dropout=0.0)


@pytest.fixture(scope="session")
def vocabulary() -> list[str]:
    """The words that the tiny model knows."""
    return WORDS


@pytest.fixture(scope="session")
def learnable_pairs() -> Callable[[int, int], list[tuple[str, str]]]:
    """Makes pairs that a tiny model can learn: the positive holds the anchor's words among others."""

    def make(count: int, seed: int = 0) -> list[tuple[str, str]]:
        rng = random.Random(seed)
        pairs = []
        for _ in range(count):
            words = rng.sample(WORDS, 4)
            pairs.append((" ".join(words[:3]), " ".join(rng.sample([*words, rng.choice(WORDS), rng.choice(WORDS)], 6))))
        return pairs

    return make
