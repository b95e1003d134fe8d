"""The metrics are usable as any module of the `evaluate` library, without a hub."""

from pathlib import Path

import pytest

import benchmarks.metrics.retrieval

PREDICTIONS = [
    {"documents": ["a", "b"], "scores": [0.2, 0.9]},
    {"documents": ["a", "c", "b"], "scores": [0.5, 0.5, 0.1]},  # c comes before a: a tie goes to the higher id
]
REFERENCES = [{"documents": ["a"], "grades": [1]}, {"documents": ["a", "x"], "grades": [2, 1]}]


@pytest.fixture
def retrieval():
    from benchmarks.metrics.retrieval.retrieval import Retrieval

    return Retrieval


def test_it_is_used_directly(retrieval):
    assert retrieval("mrr@10").compute(predictions=PREDICTIONS, references=REFERENCES) == {"mrr@10": 0.5}
    assert list(retrieval().compute(predictions=PREDICTIONS, references=REFERENCES)) == ["ndcg@10"]


def test_it_is_filled_bit_by_bit_and_gives_the_values_of_each_query(retrieval):
    metric = retrieval()
    metric.add(prediction=PREDICTIONS[0], reference=REFERENCES[0])
    metric.add_batch(predictions=PREDICTIONS[1:], references=REFERENCES[1:])
    assert metric.compute(metrics=["map", "recall@2"], per_query=True) == {
        "map": 0.375,
        "map_per_query": [0.5, 0.25],
        "recall@2": 0.75,
        "recall@2_per_query": [1.0, 0.5],
    }


def test_it_is_combined(retrieval):
    import evaluate

    both = evaluate.combine([retrieval("mrr@10"), retrieval("map")])
    assert both.compute(predictions=PREDICTIONS, references=REFERENCES) == {"mrr@10": 0.5, "map": 0.375}


def test_it_is_loaded_from_its_folder(tmp_path, monkeypatch):
    import evaluate

    monkeypatch.setattr("evaluate.loading.HF_MODULES_CACHE", str(tmp_path / "modules"), raising=False)
    monkeypatch.setattr("evaluate.config.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    folder = Path(benchmarks.metrics.retrieval.__file__).parent
    metric = evaluate.load(str(folder), "recall@2", cache_dir=str(tmp_path))
    assert metric.compute(predictions=PREDICTIONS, references=REFERENCES) == {"recall@2": 0.75}


def test_mistakes_are_refused(retrieval):
    with pytest.raises(ValueError, match=r"unknown metric 'ndgc@10'; did you mean 'ndcg@10'"):
        retrieval("ndgc@10")
    with pytest.raises(ValueError, match=r"query 0: documents and scores must be equally many; got 1 and 2"):
        retrieval().compute(predictions=[{"documents": ["a"], "scores": [1, 2]}], references=REFERENCES[:1])
    with pytest.raises(ValueError, match=r"query 0: a document stands there more than once"):
        retrieval().compute(predictions=[{"documents": ["a", "a"], "scores": [1, 2]}], references=REFERENCES[:1])
