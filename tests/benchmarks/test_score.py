"""`python -m benchmarks.score` scores a model or BM25, proves the difference, and leaves a whole record."""

import json
import subprocess
import sys

import pytest

from benchmarks.config import BenchmarkConfig, ScoreConfig, ScoringConfig
from benchmarks.leaderboard import entries
from benchmarks.retrieval import PER_QUERY_FILE, load_per_query
from benchmarks.score import cut_texts, main
from finewise import record
from finewise.config import ModelConfig, RunConfig
from finewise.errors import InputError

ANIMALS = ["cat", "dog", "bird", "fish", "tree"]


@pytest.fixture
def folder(tmp_path):
    """A BEIR folder: the query "cat" is answered by "a cat"; one query has no judgement."""
    place = tmp_path / "animals"
    (place / "qrels").mkdir(parents=True)
    queries = [{"_id": f"q{index}", "text": word} for index, word in enumerate([*ANIMALS, "stone"])]
    corpus = [{"_id": f"d{index}", "text": f"a {word}"} for index, word in enumerate(ANIMALS)]
    for name, rows in (("queries", queries), ("corpus", corpus)):
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = "".join(f"q{index}\td{index}\t1\n" for index in range(len(ANIMALS)))
    (place / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return place


def config(folder, tmp_path, model="bm25", **changes):
    return ScoreConfig(
        model=ModelConfig(name=str(model)),
        benchmark=BenchmarkConfig(name="animals", path=str(folder)),
        scoring=ScoringConfig(metrics=["ndcg@10", "mrr@10"], depth=10),
        run=RunConfig(root=str(tmp_path / "runs"), device="cpu", precision="fp32"),
        **changes,
    )


def the_record(tmp_path):
    (path,) = (tmp_path / "runs" / "score" / "animals").glob(f"*/{record.FILE}")
    return path.parent, record.read(path)


def test_bm25_is_scored_alone(folder, tmp_path, capsys):
    assert main(config(folder, tmp_path)) == pytest.approx(1)
    place, content = the_record(tmp_path)
    assert [(score["system"], score["metric"], score["n"]) for score in content["scores"]] == [
        ("bm25", "ndcg@10", 5),
        ("bm25", "mrr@10", 5),
    ]
    assert content["comparisons"] == []
    for key in ("status", "command", "git", "versions", "device", "cost"):
        assert key in content
    assert content["data"]["unjudged"] == 1
    assert content["data"]["revision"] == content["scores"][0]["data_revision"]
    shown = capsys.readouterr()
    assert "1 of 6 queries have no judgement" in shown.err
    assert "bm25" in shown.out
    assert [result.system for result in load_per_query(place / PER_QUERY_FILE)] == ["bm25"]


def test_a_model_is_scored_beside_bm25_and_compared(folder, tmp_path, static_model, capsys):
    saved = tmp_path / "model"
    static_model.save_pretrained(str(saved))
    main(config(folder, tmp_path, saved))
    _, content = the_record(tmp_path)
    assert {score["system"] for score in content["scores"]} == {str(saved), "bm25"}
    assert [(item["a"], item["b"], item["metric"]) for item in content["comparisons"]] == [
        (str(saved), "bm25", "ndcg@10"),
        (str(saved), "bm25", "mrr@10"),
    ]
    assert content["device"]["type"] == "cpu"
    assert content["data"]["truncated"] == {"queries": 0, "documents": 0}
    assert "not compared on animals (too few to test: 5 rows, 50 are needed)" in capsys.readouterr().out
    assert len(list(entries(tmp_path / "runs"))) == 4


def test_without_baselines_only_the_model_is_scored(folder, tmp_path, static_model):
    saved = tmp_path / "model"
    static_model.save_pretrained(str(saved))
    main(config(folder, tmp_path, saved, baselines=False))
    assert {score["system"] for score in the_record(tmp_path)[1]["scores"]} == {str(saved)}


def test_a_folder_that_is_no_model_is_refused(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        main(config(folder, tmp_path, tmp_path / "empty"))
    assert not (tmp_path / "runs").exists()


def test_a_setting_of_training_is_no_setting_of_scoring(folder):
    call = [
        sys.executable,
        "-m",
        "benchmarks.score",
        "model=bm25",
        f"benchmark.path={folder}",
        "run.keep_checkpoints=5",
    ]
    refused = subprocess.run(call, capture_output=True, text=True, check=False, timeout=120)
    assert refused.returncode == 2
    assert "run.keep_checkpoints" in refused.stderr


def test_cut_texts_are_counted_by_tokens():
    class Model:
        max_seq_length = 8

        @staticmethod
        def tokenizer(texts, **_):
            return {"input_ids": [[1, *range(len(text.split())), 2] for text in texts]}

    texts = ["one two three four five six", "one two three four five six seven", "", "short"]
    assert cut_texts(Model, texts) == 1
    assert cut_texts(Model, texts, "query: ") == 2


def test_from_the_command_line(folder, tmp_path):
    def call(*words):
        return subprocess.run(
            [sys.executable, "-m", *words, f"hydra.sweep.dir={tmp_path}"],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    scored = call("benchmarks.score", "model=bm25", f"benchmark.path={folder}", f"run.root={tmp_path / 'runs'}")
    assert scored.returncode == 0, scored.stderr
    assert "bm25" in scored.stdout
    assert "Traceback" not in scored.stderr
    board = call("benchmarks.leaderboard", f"path={tmp_path / 'runs'}", "format=markdown")
    assert board.returncode == 0, board.stderr
    assert "| bm25 | score/files | 1.000 [.228, 1.000] | best | 1 |" in board.stdout
    wrong = call("benchmarks.score", "model=bm25", f"benchmark.path={tmp_path / 'nothing'}")
    assert wrong.returncode == 2
    assert "nothing" in wrong.stderr
    assert "Traceback" not in wrong.stderr
