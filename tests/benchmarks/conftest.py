"""A real sentence-transformers model that is built in a moment: one vector per word."""

import pytest

WORDS = ["[UNK]", "a", "cat", "dog", "bird", "fish", "tree"]


@pytest.fixture(scope="session")
def static_model():
    import numpy as np
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = np.eye(len(WORDS), dtype=np.float32)
    weights[:2] *= 0.1  # words without meaning weigh little
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")
