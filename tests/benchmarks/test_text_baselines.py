"""All baselines at once, computed only where something that decides them is new."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import text_baselines
from benchmarks.embedded import Embedded
from benchmarks.text.probe import LinearProbe
from benchmarks.text_baselines import KeptProbe, baselines, measured
from finewise.config import ModelConfig
from finewise.data.arrow import TextColumn
from finewise.data.keys import text_keys
from finewise.data.labels.columns import Rows, as_is
from finewise.data.labels.rows import Labelled
from finewise.data.labels.space import LabelSpace
from finewise.data.labels.splits import sample


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINEWISE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def rows(vocabulary):
    def make(count: int, seed: int = 0) -> Labelled:
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 2, count)
        texts = [" ".join(rng.choice(vocabulary[20 * label : 20 * label + 10], 4)) for label in labels]
        return Labelled(
            name="t", split="train", reference="t.csv", unit="line", numbers=np.arange(count), texts=texts,
            labels=labels, space=LabelSpace(kind="single", names=("a", "b")), groups=None, columns={},
            keys=text_keys(texts), revision="r",
        )  # fmt: skip

    return make


def test_all_are_given_in_the_order_of_tables_and_told(rows, tiny_model, capsys):
    embed = Embedded(ModelConfig(name=str(tiny_model)), "cpu", "fp32")
    sets = [rows(20, 1), rows(10, 2)]
    found = baselines(rows(60), sets, embed)
    assert list(found) == ["majority", "tfidf_lr", "knn", "linear_probe"]
    for probabilities in found.values():
        assert [each.shape for each in probabilities] == [(20, 2), (10, 2)]
    assert (found["tfidf_lr"][0].argmax(axis=1) == sets[0].labels).mean() > 0.9
    assert "linear_probe on t: 0." in capsys.readouterr().err
    again = baselines(rows(60), sets, Embedded(ModelConfig(name=str(tiny_model)), "cpu", "fp32"))
    assert "linear_probe on t: as before, from the cache" in capsys.readouterr().err
    for name, probabilities in found.items():
        assert all(np.array_equal(*pair) for pair in zip(probabilities, again[name], strict=True))


def test_a_probe_is_learnt_once_for_the_same_rows(rows, tiny_model):
    def embed():
        return Embedded(ModelConfig(name=str(tiny_model)), "cpu", "fp32")

    expected = LinearProbe(embed()).fit(rows(60))
    first = KeptProbe(embed()).fit(rows(60))
    assert np.array_equal(first.coef_, expected.coef_)
    assert np.array_equal(first.intercept_, expected.intercept_)
    again = KeptProbe(embed()).fit(rows(60))
    assert again.seconds == first.seconds > 0
    assert again.chosen == first.chosen
    assert np.array_equal(again.predict_proba(["a"]), expected.predict_proba(["a"]))
    assert KeptProbe(embed()).fit(rows(60, 5)).seconds != first.seconds


def test_only_words_without_an_encoder(rows):
    found = measured(rows(60), [rows(5, 1)], None)
    assert list(found) == ["majority", "tfidf_lr"]
    assert found["tfidf_lr"].chosen["C"] > 0
    assert found["tfidf_lr"].seconds > 0


def test_of_too_many_rows_a_sample_is_learnt_and_the_note_names_it(rows, monkeypatch, capsys):
    monkeypatch.setattr(text_baselines, "MOST_ROWS", 40)
    train = rows(100)
    train = replace(train, texts=Rows(TextColumn(pa.chunked_array([pa.array(train.texts)])), None, as_is))
    found = measured(train, [rows(50, 1)], None)
    said = capsys.readouterr().err
    assert "40 of the 100 training rows" in said
    expected = measured(sample(train, 40, 42), [rows(50, 1)], None)
    assert "baselines are fitted" not in capsys.readouterr().err
    for name, baseline in found.items():
        assert np.array_equal(baseline.probabilities[0], expected[name].probabilities[0])
    assert text_baselines.capped(40) is None


@pytest.mark.parametrize("changed", ["label", "text", "set", "seed", "metric", "group", "name"])
def test_whatever_decides_them_makes_them_anew(changed, rows):
    train, test = rows(60), rows(5, 1)
    measured(train, [test], None)
    settings = {}
    if changed == "label":
        train = replace(train, labels=1 - train.labels)
    elif changed == "text":
        train = replace(train, texts=[*train.texts[1:], "bal"])
    elif changed == "group":
        train = replace(train, groups=np.arange(60) // 2)
    elif changed == "name":
        train = replace(train, space=LabelSpace(kind="single", names=("a", "c")))
    elif changed == "set":
        test = rows(5, 2)
    else:
        settings = {"seed": {"seed": 1}, "metric": {"metric": "accuracy"}}[changed]
    assert not any(each.cached for each in measured(train, [test], None, **settings).values())
    assert all(each.cached for each in measured(train, [test], None, **settings).values())
