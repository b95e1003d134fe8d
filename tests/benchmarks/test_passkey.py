"""Passkey and needle retrieval: documents of the length that was asked for, each with its own fact, found or not."""

import json
import zlib

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from benchmarks.needle.config import PasskeyConfig
from benchmarks.passkey import FACTS, Needle, Passkey, hidden, passkey, passkey_sets
from finewise.errors import InputError

SMALL = PasskeyConfig(queries=10, documents=20, kinds=["passkey"])


@pytest.fixture(scope="module")
def tokenizer():
    """A token per letter group or sign, and one special token on each side."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    inner = Tokenizer(models.WordLevel({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")


def bag(texts, is_query):
    """Names as vectors: a reader that finds everything."""
    vectors = np.zeros((len(texts), 512), np.float32)
    for row, text in enumerate(texts):
        for word in text.replace(".", " ").replace("?", " ").split():
            if word[0].isupper():
                vectors[row, zlib.crc32(word.encode()) % 512] += 1
    return vectors


def nothing(texts, is_query):
    return np.ones((len(texts), 8), np.float32)


def test_documents_are_as_long_as_asked_and_hide_their_fact_anywhere(tokenizer):
    for one in passkey_sets([64, 256], SMALL, tokenizer, seed=0):
        sizes = [len(tokenizer(text)["input_ids"]) for text in one.documents]
        assert max(sizes) <= one.length
        assert min(sizes) >= one.length - 6
        assert len(set(one.documents)) == 20
        assert min(one.depths) < 0.25
        assert max(one.depths) > 0.75
        for query, document, depth in zip(one.queries, one.documents, one.depths, strict=False):
            name = query.removeprefix("What is the pass key of ").removesuffix("?")
            before, _, behind = document.partition(f"The pass key of {name} is")
            assert name in behind
            behind = behind.partition(f"is the pass key of {name}.")[2]
            assert len(before) / len(before + behind) == pytest.approx(depth, abs=0.05)


def test_who_finds_all_scores_one_and_ties_count_as_wrong(tokenizer):
    (found,) = passkey(bag, "bag", [64, 128], SMALL, tokenizer, seed=0, group=3)
    assert (found.benchmark, found.metric, found.split) == ("passkey retrieval", "accuracy", "test")
    assert found.mean(64) > 0.8
    assert found.read() == [64, 128]
    assert len(found.ids) == 20
    assert set(found.groups.tolist()) == {3}
    (none,) = passkey(nothing, "none", [64, 128], SMALL, tokenizer, seed=0)
    assert none.mean() == 0
    assert (none.ids, none.data_revision) == (found.ids, found.data_revision)
    (other,) = passkey(bag, "bag", [64, 128], SMALL, tokenizer, seed=1)
    assert other.data_revision != found.data_revision


def test_the_settings_lengths_come_first(tokenizer):
    config = PasskeyConfig(queries=2, documents=3, kinds=["passkey"], lengths=[48])
    assert [one.length for one in passkey_sets([64], config, tokenizer, seed=0)] == [48]


def test_a_wording_of_ones_own(tokenizer):
    class Pairs:
        name = "pairs"

        def keys(self, rng, count):
            return [f"N{number}" for number in range(count)]

        def document(self, rng, key, tokens, tokenizer):
            return hidden(f"SET {key} END", iter(["a b c."] * tokens), 0.5, tokens, tokenizer)

        def query(self, key):
            return f"ASK {key}"

    (found,) = passkey(bag, "bag", [32], SMALL, tokenizer, seed=0, wording=Pairs())
    assert found.benchmark == "pairs retrieval"
    assert found.mean() > 0.8


def test_facts_are_hidden_between_the_sentences_of_a_book(tokenizer, tmp_path):
    book = " ".join(f"Somebody said the {number} words." for number in range(500))
    (tmp_path / "test.jsonl").write_text(json.dumps({"text": book}))
    needle = Needle(str(tmp_path))
    rng = np.random.default_rng(0)
    for key in needle.keys(rng, 20):
        text, depth = needle.document(rng, key, 100, tokenizer)
        assert 92 <= len(tokenizer(text)["input_ids"]) <= 100
        said = FACTS[int(key[0])][0].format(key[2:], "|").partition("|")[0]
        assert text.count(said) == 1
        assert 0 <= depth <= 1
        assert key[2:] in needle.query(key)


def test_a_book_that_is_too_short_is_begun_again(tokenizer, tmp_path):
    book = " ".join(f"Somebody said the {number} words." for number in range(50))
    (tmp_path / "test.jsonl").write_text(json.dumps({"text": book}))
    needle = Needle(str(tmp_path))
    rng = np.random.default_rng(0)
    texts = [needle.document(rng, key, 2000, tokenizer)[0] for key in needle.keys(rng, 8)]
    assert all(1990 <= len(tokenizer(text)["input_ids"]) <= 2000 for text in texts)
    assert len({text[:60] for text in texts}) > 4, "they begin in different places"


def test_the_prompt_before_a_document_is_counted(tokenizer):
    for one in passkey_sets([64], SMALL, tokenizer, seed=0, prompt="search document : "):
        sizes = [len(tokenizer("search document : " + text)["input_ids"]) for text in one.documents]
        assert 58 <= min(sizes) <= max(sizes) <= 64


def test_too_short_and_too_many(tokenizer):
    with pytest.raises(InputError, match=r"passkey.lengths: 16 tokens are too few: what is hidden takes 2\d; set at"):
        passkey_sets([16], SMALL, tokenizer, seed=0)
    with pytest.raises(InputError, match=r"passkey\.documents must be at most 576"):
        Passkey().keys(np.random.default_rng(0), 577)
    with pytest.raises(InputError, match="bad: an embedding at 64 tokens is not finite"):
        passkey(lambda texts, is_query: bag(texts, is_query) * np.nan, "bad", [64], SMALL, tokenizer, seed=0)
