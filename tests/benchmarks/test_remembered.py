"""A baseline is scored once; whatever decides its result makes it be scored again."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.baselines import BM25
from benchmarks.config import ScoringConfig
from benchmarks.remembered import identity, known, remembered
from benchmarks.retrieval import EncoderSearcher, Result, evaluate_dims, evaluate_retrieval
from finewise.config import ModelConfig
from finewise.data.beir import retrieval_set
from finewise.data.retrieval import RetrievalSet
from finewise.data.splits import digest_corpus
from finewise.data.store import cache_root
from finewise.encoder import load_encoder

METRICS = ["ndcg@10", "map"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINEWISE_CACHE", str(tmp_path / "cache"))


def task_of(pairs: list[tuple[str, str]], name: str = "t") -> RetrievalSet:
    queries, corpus = zip(*pairs, strict=True)
    query_ids, corpus_ids = [[f"{kind}{n}" for n in range(len(pairs))] for kind in "qd"]
    return retrieval_set(
        name=name, split="test", query_ids=query_ids, queries=queries, corpus_ids=corpus_ids, corpus=corpus,
        qrels={query: {document: 1} for query, document in zip(query_ids, corpus_ids, strict=True)},
        corpus_digest=digest_corpus(corpus_ids, corpus),
    )  # fmt: skip


@pytest.fixture
def task(learnable_pairs: Callable[..., list[tuple[str, str]]]) -> RetrievalSet:
    return task_of(learnable_pairs(30))


class Scored:
    """Scores BM25 through the cache, and counts how often it really was."""

    def __init__(self, bm25: BM25 | None = None) -> None:
        self.count = 0
        self.bm25 = bm25 or BM25()

    def __call__(self, task: RetrievalSet, metrics: list[str] = METRICS, depth: int = 20, name: str = "bm25") -> Result:
        def score() -> list[Result]:
            self.count += 1
            return [evaluate_retrieval(task, self.bm25, metrics, depth)]

        (result,) = remembered(identity(self.bm25), name, task, metrics, depth, score)
        return result


def same(one: Result, other: Result) -> bool:
    assert list(one.per_query) == list(other.per_query)
    return one.query_ids == other.query_ids and all(
        np.array_equal(values, other.per_query[metric]) for metric, values in one.per_query.items()
    )


def test_the_second_time_it_comes_from_the_cache_and_says_so(
    task: RetrievalSet, capsys: pytest.CaptureFixture[str]
) -> None:
    scored = Scored()
    first = scored(task)
    assert "cache" not in capsys.readouterr().err
    again = scored(task)
    assert scored.count == 1
    assert same(first, again)
    assert "bm25 on t test: as scored before, from the cache" in capsys.readouterr().err
    assert same(first, evaluate_retrieval(task, BM25(), METRICS, 20))


def test_names_decide_nothing_and_are_the_own_ones(task: RetrievalSet) -> None:
    scored = Scored()
    scored(task)
    found = scored(replace(task, name="other", split="dev"), name="words")
    assert scored.count == 1
    assert (found.system, found.benchmark, found.split) == ("words", "other", "dev")


def test_other_metrics_depths_data_and_settings_are_scored_again(
    task: RetrievalSet, learnable_pairs: Callable[..., list[tuple[str, str]]]
) -> None:
    scored = Scored()
    scored(task)
    assert list(scored(task, ["mrr@10"]).per_query) == ["mrr@10"]
    assert scored(task, depth=10).depth == 10
    scored(task_of(learnable_pairs(30, 1)))
    assert scored.count == 4
    other = Scored(BM25(k1=2.0))
    other(task)
    assert other.count == 1


def test_other_code_and_other_versions_are_another_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity(BM25())
    monkeypatch.setattr("benchmarks.remembered.SCHEMA", 2)
    assert identity(BM25()) != before
    monkeypatch.undo()
    assert identity(BM25()) == before
    monkeypatch.setattr("benchmarks.remembered.WORDS", ("numpy", "bm25s"))
    assert identity(BM25()) != before


def test_a_damaged_result_is_computed_again(task: RetrievalSet) -> None:
    scored = Scored()
    first = scored(task)
    (folder,) = (cache_root() / "results").iterdir()
    path = folder / "per_query.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert not known(identity(BM25()), task, METRICS, 20)
    assert same(first, scored(task))
    assert scored.count == 2


def searcher(folder: Path, precision: str = "fp32", **settings: Any) -> EncoderSearcher:
    model = load_encoder(ModelConfig(name=str(folder), **settings), "cpu")
    return EncoderSearcher.of("untuned", model, ScoringConfig(), precision)


def test_an_encoder_is_known_by_its_content_and_how_it_computes(tiny_model: Path, still_model: Path) -> None:
    found = [
        identity(searcher(tiny_model)),
        identity(searcher(tiny_model, "bf16")),
        identity(searcher(tiny_model, document_prompt="bal ")),
        identity(searcher(tiny_model, max_seq_length=8)),
        identity(searcher(still_model)),
    ]
    assert None not in found
    assert len(set(found)) == len(found)
    assert identity(searcher(tiny_model)) == found[0]


def test_dimensions_are_kept_together(tiny_model: Path, task: RetrievalSet) -> None:
    one = searcher(tiny_model)
    who, dims = identity(one), [32, 8]
    fresh = evaluate_dims(task, one, METRICS, 20, dims)
    for _ in range(2):
        results = remembered(who, "untuned", task, METRICS, 20, lambda: fresh, dims)
        assert [result.system for result in results] == ["untuned", "untuned@8"]
        assert all(same(*pair) for pair in zip(results, fresh, strict=True))
    assert known(who, task, METRICS, 20, dims)
    assert not known(who, task, METRICS, 20, [32, 16])
    assert not known(None, task, METRICS, 20, dims)


def test_what_cannot_be_told_is_never_kept(task: RetrievalSet) -> None:
    for _ in range(2):
        (result,) = remembered(None, "bm25", task, METRICS, 20, lambda: [evaluate_retrieval(task, BM25(), METRICS, 20)])
        assert result.system == "bm25"
    assert not cache_root().exists()
