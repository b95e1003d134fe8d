"""The encoder searcher finds what comparing everything with everything finds, in bounded memory."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.relevant import Relevant
from benchmarks.retrieval import EncoderSearcher, evaluate_dims, evaluate_retrieval
from finewise.data.retrieval import RetrievalSet
from finewise.errors import InputError


class Vectors:
    """A model whose texts name their own vectors: "3 4" is embedded as (3, 4)."""

    def __init__(self) -> None:
        self.largest = 0
        self.calls: list[tuple[str, list[str], dict[str, object]]] = []

    def encode_query(self, texts, **settings):
        self.calls.append(("query", texts, settings))
        return np.array([[float(word) for word in text.split()] for text in texts])

    def encode_document(self, texts, **settings):
        self.largest = max(self.largest, len(texts))
        self.calls.append(("document", texts, settings))
        return np.array([[float(word) for word in text.split()] for text in texts])

    encode = encode_query


def task_of(queries, corpus, corpus_ids=None, query_ids=None):
    corpus_ids = corpus_ids or [f"d{index:04}" for index in range(len(corpus))]
    query_ids = query_ids or [f"q{index}" for index in range(len(queries))]
    return RetrievalSet(
        name="t", split="test", query_ids=query_ids, queries=queries, corpus_ids=corpus_ids, corpus=corpus,
        qrels={query: {corpus_ids[0]: 1} for query in query_ids}, revision="r",
    )  # fmt: skip


def random_texts(rng, count, dim=6):
    # Halves and quarters: equal vectors give exactly equal scores, so that there are real ties.
    return [" ".join(map(str, row)) for row in rng.integers(-2, 3, (count, dim)) / 2]


def vectors(texts):
    array = np.array([[float(word) for word in text.split()] for text in texts], np.float32)
    return array / np.maximum(np.linalg.norm(array, axis=1, keepdims=True), 1e-30)


@pytest.mark.parametrize("chunk", [7, 50, 1000])
def test_it_finds_the_highest_cosines(chunk):
    rng = np.random.default_rng(1)
    task = task_of(random_texts(rng, 30), random_texts(rng, 200))
    model = Vectors()
    ranking = EncoderSearcher("m", model, corpus_chunk=chunk).search(task, 20)
    cosines = vectors(task.queries) @ vectors(task.corpus).T
    best = -np.sort(-cosines, axis=1)[:, :20]
    assert np.allclose(ranking.scores, best, atol=1e-6)
    assert np.allclose(np.take_along_axis(cosines, ranking.indices, axis=1), best, atol=1e-6)
    assert all(len(set(row)) == 20 for row in ranking.indices.tolist())
    assert model.largest <= chunk


@pytest.mark.parametrize("chunk", [40, 1000])
@pytest.mark.parametrize("queries", [1, 40])
def test_ties_over_the_cut_are_broken_by_the_document_id(chunk, queries):
    corpus = ["1 0"] * 100 + ["0 1"] * 100
    rng = np.random.default_rng(0)
    ids = [f"d{number:03}" for number in rng.permutation(200)]
    ranking = EncoderSearcher("m", Vectors(), corpus_chunk=chunk).search(task_of(["1 0"] * queries, corpus, ids), 5)
    best = sorted(ids[:100], reverse=True)[:5]
    assert [[ids[index] for index in row] for row in ranking.indices] == [best] * queries


def test_fewer_documents_than_the_depth_leave_empty_ranks():
    ranking = EncoderSearcher("m", Vectors()).search(task_of(["1 0"], ["1 0", "0 1"]), 4)
    assert ranking.indices.tolist() == [[0, 1, -1, -1]]


def test_the_query_itself_is_not_found():
    task = task_of(["1 0"], ["1 0", "1 1", "0 1"], corpus_ids=["same", "near", "far"], query_ids=["same"])
    ranking = EncoderSearcher("m", Vectors()).search(replace(task, qrels={"same": {"near": 1}}), 2)
    assert ranking.indices.tolist() == [[1, 2]]


@pytest.mark.parametrize("chunk", [7, 50, 1000])
def test_scoring_gives_the_ranks_of_the_ranking(chunk):
    rng = np.random.default_rng(4)
    # Four halves each: norms and scores are exact, so that ties are the same in any way of computing.
    texts = [" ".join(map(str, rng.permutation([0.5, 0.5, 0.5, 0.5, 0, 0]))) for _ in range(209)]
    ids = [f"d{number:03}" for number in rng.permutation(200)]
    task = task_of(texts[200:], texts[:200], ids, [*ids[:3], *(f"q{row}" for row in range(6))])
    task = replace(task, qrels={query: {ids[row]: 1 for row in rng.integers(0, 200, 5)} for query in task.query_ids})
    relevant = Relevant.of(task)
    model = Vectors()
    searcher = EncoderSearcher("m", model, corpus_chunk=chunk)
    (ranks,) = searcher.ranks(task, relevant, 60, [None])
    assert sum(len(texts) for kind, texts, _ in model.calls if kind == "document") == 200
    assert model.largest <= chunk
    assert ranks.tolist() == relevant.ranks(searcher.search(task, 60)).tolist()
    assert 0 < (ranks == 0).sum() < len(ranks)


def test_without_any_relevant_document_everything_scores_zero():
    task = replace(task_of(["1 0"], ["1 0", "0 1"]), qrels={"q0": {"d0000": 0}})
    assert evaluate_retrieval(task, EncoderSearcher("m", Vectors(), corpus_chunk=1), ["map"], 2).mean("map") == 0


def test_several_dimensions_from_one_encoding_equal_one_by_one():
    rng = np.random.default_rng(2)
    task = task_of(random_texts(rng, 10), random_texts(rng, 60))
    model = Vectors()
    together = EncoderSearcher("m", model, corpus_chunk=25).search_dims(task, 10, [6, 4, 2])
    assert sum(len(texts) for kind, texts, _ in model.calls if kind == "document") == 60
    for dim, ranking in together.items():
        alone = EncoderSearcher("m", Vectors(), corpus_chunk=25, truncate_dim=dim).search(task, 10)
        assert np.array_equal(ranking.indices, alone.indices)
        assert np.array_equal(ranking.scores, alone.scores)


def test_several_dimensions_are_scored_as_one_by_one():
    rng = np.random.default_rng(2)
    task = task_of(random_texts(rng, 10), random_texts(rng, 60))
    together = evaluate_dims(task, EncoderSearcher("m", Vectors(), corpus_chunk=25), ["map"], 10, [6, 4])
    assert [result.system for result in together] == ["m", "m@4"]
    for dim, result in zip([6, 4], together, strict=True):
        alone = evaluate_retrieval(task, EncoderSearcher("m", Vectors(), truncate_dim=dim), ["map"], 10)
        assert result.per_query["map"].tolist() == alone.per_query["map"].tolist()


@pytest.mark.parametrize("dim", [0, 3])
def test_more_dimensions_than_the_model_has_are_refused(dim):
    with pytest.raises(InputError, match=f"must be from 1 to the model's 2; got {dim}"):
        EncoderSearcher("m", Vectors(), truncate_dim=dim).search(task_of(["1 0"], ["0 1"]), 1)
    with pytest.raises(InputError, match=f"must be from 1 to the model's 2; got {dim}"):
        evaluate_retrieval(task_of(["1 0"], ["0 1"]), EncoderSearcher("m", Vectors(), truncate_dim=dim), ["map"], 1)


def test_a_prompt_is_passed_on_only_when_given():
    model = Vectors()
    EncoderSearcher("m", model, query_prompt="query: ").search(task_of(["1 0"], ["0 1"]), 1)
    given = {kind: settings.get("prompt") for kind, _, settings in model.calls}
    assert given == {"query": "query: ", "document": None}


def test_an_embedding_that_is_not_finite_names_its_text():
    with pytest.raises(InputError, match=r"m: the embedding of document 'd0001' is not finite"):
        EncoderSearcher("m", Vectors()).search(task_of(["1 0"], ["0 1", "nan 1"]), 1)


def test_an_embedding_of_zeros_is_found_last():
    ranking = EncoderSearcher("m", Vectors()).search(task_of(["1 0"], ["0 0", "1 0"]), 2)
    assert ranking.indices.tolist() == [[1, 0]]


def test_a_sentence_transformer_is_searched_with_its_own_prompts(static_model, monkeypatch):
    task = task_of(["cat", "dog"], ["dog dog", "a cat", "a bird"])
    ranking = EncoderSearcher("m", static_model).search(task, 3)
    assert ranking.indices[:, 0].tolist() == [1, 0]
    result = evaluate_retrieval(task, EncoderSearcher("m", static_model), ["mrr@1"], 3)
    assert result.per_query["mrr@1"].tolist() == [0, 1]
    monkeypatch.setitem(static_model.prompts, "query", "bird bird bird ")
    assert EncoderSearcher("m", static_model).search(task, 3).indices[:, 0].tolist() == [2, 2]
    own = EncoderSearcher("m", static_model, query_prompt="a ")
    assert own.search(task, 3).indices[:, 0].tolist() == [1, 0]
