"""Search among the data's own long documents: by their length, beside BM25."""

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from benchmarks.by_length import compare
from finewise.data.retrieval import RetrievalSet
from longctx.retrieval import LongRetrieval

WINDOW = 8
WORDS = [f"word{number}" for number in range(12)]


class Reader:
    """An encoder that counts words, of which it reads the first few."""

    def __init__(self, window: int) -> None:
        self.window = window

    def encode(self, texts: list[str], **more: object) -> NDArray[np.float32]:
        return np.array(
            [[1e-3 + text.split()[: self.window].count(word) for word in WORDS] for text in texts], np.float32
        )


@pytest.fixture
def held() -> LongRetrieval:
    """Six short documents and six long ones, whose word stands at the end."""
    vocabulary = {word: number for number, word in enumerate(["[UNK]", *WORDS, "and"])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    task = RetrievalSet(
        name="pairs",
        split="test",
        query_ids=[f"q{number}" for number in range(12)],
        queries=WORDS,
        corpus_ids=[f"d{number}" for number in range(12)],
        corpus=[("and " * (2 if number < 6 else 20)) + word for number, word in enumerate(WORDS)],
        qrels={f"q{number}": {f"d{number}": 1} for number in range(12)},
        revision="r",
    )
    return LongRetrieval(
        task=task,
        tokenizer=PreTrainedTokenizerFast(tokenizer_object=backend),
        buckets=[WINDOW, 16],
        bf16=False,
        group=1,
    )


def test_what_reads_short_finds_the_short_documents_alone(held: LongRetrieval) -> None:
    short, whole, bm25 = held.read(Reader(WINDOW), "short"), held.read(Reader(100), "whole"), held.bm25()
    assert {result.benchmark for result in (short, whole, bm25)} == {"retrieval pairs"}
    assert [result.system for result in (short, whole, bm25)] == ["short", "whole", "bm25"]
    assert short.read() == [8, 32]  # beyond the last bucket: its doubling
    for result in (whole, bm25):
        assert result.mean() == 1
    assert short.mean(8) == 1
    assert short.mean(32) < 0.7  # all six look alike to it
    assert [row.metric for row in compare(whole, bm25)] == ["ndcg@10@8", "ndcg@10@32"]
    assert short.groups.tolist() == [1] * 12
