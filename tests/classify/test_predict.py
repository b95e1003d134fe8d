import csv
import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer, pipeline

from classify import predict
from classify.decide import FILE, Decisions
from classify.decisions.config import DecideConfig
from classify.predict_config import FileConfig, FolderConfig, PredictConfig
from classify.predictor import Predictor
from classify.table import Texts
from finewise.errors import InputError

NAMES = ("animal", "plant", "stone")


def saved(folder, vocabulary, *, multi=False):
    """Save a tiny classifier with random weights, and decisions fitted on random labels."""
    torch.manual_seed(0)
    words = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *vocabulary])}
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,
        id2label=dict(enumerate(NAMES)),
        label2id={name: index for index, name in enumerate(NAMES)},
        problem_type="multi_label_classification" if multi else "single_label_classification",
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizer(vocab=words, model_max_length=64).save_pretrained(folder)
    rng = np.random.default_rng(0)
    gold = rng.random((200, 3)) < 0.4 if multi else rng.integers(0, 3, 200)
    raw = rng.normal(size=(200, 3)) + (gold if multi else np.eye(3)[gold])
    config = DecideConfig(target_coverage=0.7)
    Decisions.fit(raw, gold, "multi" if multi else "single", NAMES, config).save(folder)
    return folder


@pytest.fixture(scope="session")
def classifier(tmp_path_factory, vocabulary):
    return saved(tmp_path_factory.mktemp("classifier"), vocabulary)


@pytest.fixture(scope="session")
def tagger(tmp_path_factory, vocabulary):
    return saved(tmp_path_factory.mktemp("tagger"), vocabulary, multi=True)


@pytest.fixture
def texts(vocabulary):
    rng = random.Random(0)
    return [" ".join(rng.sample(vocabulary, rng.randint(1, 20))) for _ in range(40)]


def run(model, data, output, **more):
    return predict.main(config(model=str(model), data=str(data), output=str(output), device="cpu", **more))


def config(model, data, **more):
    return PredictConfig(model=FolderConfig(folder=model), data=FileConfig(file=data), **more)


def test_probabilities_are_those_of_transformers_before_calibration(classifier, texts, tmp_path):
    plain = Predictor.load(classifier, device="cpu", precision="fp32")
    plain.decisions = Decisions(kind="single", names=NAMES, calibration=type(plain.decisions.calibration)())
    expected = pipeline("text-classification", model=str(classifier), device="cpu")(texts)
    found = plain.predict(texts)
    assert [row["predicted"] for row in found] == [row["label"] for row in expected]
    np.testing.assert_allclose([r["probability"] for r in found], [r["score"] for r in expected], atol=1e-4)


def test_predict_applies_the_decisions_of_the_folder(classifier, texts):
    loaded = Predictor.load(classifier, device="cpu", precision="fp32")
    rows = loaded.predict(texts, level=0.9)
    for row, other in zip(rows, loaded.predict(texts[::-1], level=0.9)[::-1], strict=True):
        assert row["probability"] == pytest.approx(other["probability"], abs=1e-5)
        assert [row[key] for key in ("predicted", "abstained", "set")] == [
            other[k] for k in ("predicted", "abstained", "set")
        ]
    assert {row["abstained"] for row in rows} == {True, False}
    assert all(row["predicted"] == row["set"][0] for row in rows)
    assert all(row["abstained"] == (row["probability"] < loaded.decisions.floor) for row in rows)
    assert loaded.predict([]) == []


@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("source", [".jsonl", ".csv", ".parquet"])
def test_all_columns_are_kept_in_every_format(classifier, texts, tmp_path, source, kind):
    rows = [{"id": str(place), "text": text, "note": 'a "b", c\n'} for place, text in enumerate(texts)]
    data, output = tmp_path / f"in{source}", tmp_path / f"out{kind}"
    if source == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), data)
    elif source == ".csv":
        with data.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(classifier, data, output, level=0.9)
    expected = Predictor.load(classifier, device="cpu").predict(texts, level=0.9)
    if kind == ".parquet":
        found = pq.read_table(output).to_pylist()
    elif kind == ".jsonl":
        found = [json.loads(line) for line in output.read_text().splitlines()]
    else:
        with output.open(newline="") as file:
            found = list(csv.DictReader(file, delimiter="\t" if kind == ".tsv" else ","))
        for row in found:
            row["set"], row["abstained"] = row["set"].split("|"), row["abstained"] == "true"
    assert [{key: row[key] for key in rows[0]} for row in found] == rows
    for row, other in zip(found, expected, strict=True):
        assert {key: row[key] for key in ("predicted", "abstained", "set")} == {
            key: other[key] for key in ("predicted", "abstained", "set")
        }
        assert float(row["probability"]) == pytest.approx(other["probability"], abs=1e-5)
    assert not list(tmp_path.glob("*.part"))


def test_parquet_columns_keep_their_types(classifier, texts, tmp_path):
    table = pa.table({"text": texts, "when": pa.array([5] * len(texts), pa.timestamp("s")), "n": [[1, 2]] * len(texts)})
    pq.write_table(table, tmp_path / "in.parquet")
    run(classifier, tmp_path / "in.parquet", tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.select(table.column_names).equals(pq.read_table(tmp_path / "in.parquet"))
    run(classifier, tmp_path / "in.parquet", tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])["n"] == [1, 2]


def test_a_tagger_gives_lists_and_is_scored(tagger, texts, tmp_path, capsys):
    expected = Predictor.load(tagger, device="cpu").predict(texts)
    data = tmp_path / "in.jsonl"
    data.write_text(
        "".join(json.dumps({"text": t, "tags": r["predicted"]}) + "\n" for t, r in zip(texts, expected, strict=True))
    )
    exact = run(tagger, data, tmp_path / "out.jsonl", score=True, gold="tags", level=0.8)
    assert exact == 1
    assert "exact match 1.0000" in capsys.readouterr().out
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert all(len(row["predicted"]) == len(row["probability"]) for row in found)
    assert all(row["probability"] == sorted(row["probability"], reverse=True) for row in found)


def test_the_share_of_right_labels_is_that_of_the_promise(tagger, texts, tmp_path, capsys):
    predictor = Predictor.load(tagger, device="cpu")
    sets = [set(row["set"]) for row in predictor.predict(texts, level=0.8)]
    names = predictor.decisions.names
    gold = [list(names) if number % 3 else [] for number in range(len(texts))]
    data = tmp_path / "in.jsonl"
    data.write_text("".join(json.dumps({"text": t, "tags": g}) + "\n" for t, g in zip(texts, gold, strict=True)))
    run(tagger, data, tmp_path / "out.jsonl", score=True, gold="tags", level=0.8)
    shares = [len(found & set(right)) / len(right) for found, right in zip(sets, gold, strict=True) if right]
    assert f"inside the sets of level 0.8: {np.mean(shares):.4f}" in capsys.readouterr().out


def test_labels_are_read_as_the_training_read_them(classifier, texts, tmp_path):
    data = tmp_path / "in.jsonl"
    data.write_text("".join(json.dumps({"text": text, "label": " stone "}) + "\n" for text in texts))
    assert 0 <= run(classifier, data, tmp_path / "out.jsonl", score=True) <= 1
    data.write_text(json.dumps({"text": "a", "label": None}) + "\n")
    with pytest.raises(InputError, match=r"line 1: 'label' says nothing"):
        run(classifier, data, tmp_path / "none.jsonl", score=True)


def test_chunks_are_seamless(classifier, texts, tmp_path, monkeypatch):
    data = tmp_path / "in.jsonl"
    data.write_text("".join(json.dumps({"text": text, "label": "stone"}) + "\n" for text in texts))
    run(classifier, data, tmp_path / "one.jsonl", score=True)
    monkeypatch.setattr("classify.table.CHUNK_ROWS", 7)
    run(classifier, data, tmp_path / "two.jsonl", score=True)
    one, two = ([json.loads(x) for x in (tmp_path / n).read_text().splitlines()] for n in ("one.jsonl", "two.jsonl"))
    assert [row["predicted"] for row in one] == [row["predicted"] for row in two]
    assert [row["probability"] for row in one] == pytest.approx([row["probability"] for row in two], abs=1e-5)


MISTAKES = [
    ({"text": "txt"}, "has no column 'txt'; it has: text, label; set text=text"),
    ({"output": "out.xls"}, "unknown kind of file"),
    ({"output": "nowhere/out.csv"}, "there is no folder"),
    ({"level": 0.5}, "fitted for the levels 0.8, 0.9, 0.95; got 0.5"),
    ({"score": True, "gold": "labl"}, "has no column 'labl'.*set gold=label"),
    ({"score": True}, "line 2: 'label' holds the text \"plnt\", which the model does not know; did you mean 'plant'"),
    ({"model": "nothing"}, "no folder"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_mistakes_are_one_line_and_leave_no_file(classifier, tmp_path, change, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").write_text(
        json.dumps({"text": "bal", "label": "stone"}) + "\n" + '{"text": "x", "label": "plnt"}'
    )
    settings = {"model": str(classifier), "data": "in.jsonl", "output": "out.jsonl"} | change
    with pytest.raises(InputError, match=message) as caught:
        predict.main(config(**settings))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": 5}', r"line 2: 'text' must be a text; got the number 5"),
        ('{"other": "x"}', "line 2 has no 'text'"),
    ],
)
def test_a_row_without_a_text_is_named(classifier, tmp_path, line, message):
    (tmp_path / "in.jsonl").write_text('{"text": "bal"}\n' + line)
    with pytest.raises(InputError, match=message):
        run(classifier, tmp_path / "in.jsonl", tmp_path / "out.jsonl")


def test_columns_that_would_be_overwritten(classifier, tmp_path):
    (tmp_path / "in.csv").write_text("text,predicted\nbal,x\n")
    with pytest.raises(InputError, match="has a column 'predicted' already; set prefix=model_"):
        run(classifier, tmp_path / "in.csv", tmp_path / "out.csv")
    run(classifier, tmp_path / "in.csv", tmp_path / "out.csv", prefix="model_")
    assert (tmp_path / "out.csv").read_text().startswith("text,predicted,model_predicted,")
    with pytest.raises(InputError, match="is the file that is read"):
        run(classifier, tmp_path / "in.csv", tmp_path / "in.csv", prefix="model_")


def test_folders_that_hold_no_fitting_classifier(classifier, tmp_path, vocabulary):
    folder = saved(tmp_path / "model", vocabulary)
    content = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps(content | {"names": ["animal", "plant", "stones"]}))
    with pytest.raises(InputError, match="fitted for other labels"):
        Predictor.load(folder, device="cpu")
    (folder / FILE).unlink()
    assert Predictor.load(folder, device="cpu").decisions.calibration.method == "none"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["BertModel"]}))
    with pytest.raises(InputError, match="holds BertModel, which is no text classifier"):
        Predictor.load(folder, device="cpu")


@pytest.mark.parametrize("source", [".jsonl", ".csv", ".parquet"])
def test_rows_without_a_text_are_kept_and_counted_in_every_format(classifier, tmp_path, capsys, source):
    rows = [{"id": "1", "text": "a b"}, {"id": "2", "text": None}]
    data, output = tmp_path / f"in{source}", tmp_path / "out.jsonl"
    if source == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), data)
    elif source == ".csv":
        data.write_text("id,text\n1,a b\n2,\n")
    else:
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(classifier, data, output)
    found = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["id"] for row in found] == ["1", "2"]
    assert found[1]["predicted"] == Predictor.load(classifier, device="cpu").predict([""])[0]["predicted"]
    assert "1 of 2 rows" in " ".join("".join(capsys.readouterr()).split())


@pytest.mark.parametrize("kind", [".csv", ".tsv"])
def test_carriage_returns_in_texts_are_read_back(classifier, tmp_path, kind):
    data, output = tmp_path / "in.jsonl", tmp_path / f"out{kind}"
    written = ["one\rtwo", "three", "\r\nfour\r"]
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in written))
    run(classifier, data, output)
    run(classifier, output, tmp_path / "again.jsonl", prefix="again_")
    again = [json.loads(line)["text"] for line in (tmp_path / "again.jsonl").read_text().splitlines()]
    assert again == written


def test_a_delimiter_that_a_label_holds_is_refused_at_the_start(tagger, texts, tmp_path):
    data = tmp_path / "in.jsonl"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    with pytest.raises(InputError, match=r"^delimiter=n: the label 'animal' holds it"):
        run(tagger, data, tmp_path / "out.csv", delimiter="n")
    assert not (tmp_path / "out.csv").exists()
    run(tagger, data, tmp_path / "out.jsonl", delimiter="n")


@pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.jsonl", "out.parquet"])
def test_what_is_written_is_read_back(tagger, tmp_path, name):
    given = ["one\rtwo", "a\tb\nc", 'say "x", y', "\r\n", " lead", "é\u2028x", "x\x1cy", "'q", "\x85"]
    data = tmp_path / "in.jsonl"
    data.write_text("".join(json.dumps({"text": text, "n": n}) + "\n" for n, text in enumerate(given)))
    run(tagger, data, tmp_path / name)
    assert [text for chunk in Texts(str(tmp_path / name), "text").chunks() for text in chunk.texts] == given


@pytest.mark.parametrize(
    ("row", "name", "message"),
    [
        ({"text": "\ud800"}, "out.parquet", "line 1: 'text' holds half of a surrogate pair"),
        ({"text": "a", "more": "\udfff"}, "out.jsonl", "line 1: 'more' holds half of a surrogate pair"),
        ({"text": "a\0b"}, "out.csv", "line 1: 'text' holds a NUL byte, which out.csv cannot"),
    ],
)
def test_characters_that_cannot_be_written_are_refused_first(classifier, tmp_path, row, name, message):
    data = tmp_path / "in.jsonl"
    data.write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=message):
        run(classifier, data, tmp_path / name)
    assert not (tmp_path / name).exists()
