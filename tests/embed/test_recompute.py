"""What a run reports can be recomputed by others, from what it left behind, without finewise."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmarks.config import ScoringConfig
from embed.config import EmbedExperiment
from embed.train import main
from finewise.config import DataConfig, ModelConfig, OptimConfig, RunConfig, SelectionConfig

Make = Callable[..., EmbedExperiment]


@pytest.fixture
def make(tiny_model: Path, tmp_path: Path, learnable_pairs: Callable[..., list[tuple[str, str]]]) -> Make:
    """Makes a small experiment."""
    lines = "".join(f'"{anchor}","{positive}"\n' for anchor, positive in learnable_pairs(200))
    (tmp_path / "train.csv").write_text(f"anchor,positive\n{lines}", encoding="utf-8")

    def experiment(**parts: Any) -> EmbedExperiment:
        return EmbedExperiment(
            data=DataConfig(train=str(tmp_path / "train.csv")),
            model=ModelConfig(name=str(tiny_model)),
            optim=OptimConfig(epochs=1, batch_size=16, learning_rate=3e-3),
            selection=SelectionConfig(evaluations=1),
            run=RunConfig(root=str(tmp_path / "runs"), device="cpu"),
            **parts,
        )

    return experiment


def finished(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    (file,) = (tmp_path / "runs").rglob("record.json")
    return file.parent, json.loads(file.read_text(encoding="utf-8"))


RECOMPUTE = """
import csv, json, sys
import pytrec_eval
from sentence_transformers import SentenceTransformer

run = sys.argv[1]
folder = f"{run}/scored/files-test"
corpus, queries = ([json.loads(line) for line in open(f"{folder}/{name}.jsonl")] for name in ("corpus", "queries"))
qrels = {}
for row in csv.DictReader(open(f"{folder}/qrels/test.tsv"), delimiter="\\t"):
    qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
model = SentenceTransformer(f"{run}/model", device="cpu")
scores = model.similarity(
    model.encode_query([row["text"] for row in queries]), model.encode_document([row["text"] for row in corpus])
)
ranking = {
    query["_id"]: {document["_id"]: float(score) for document, score in zip(corpus, of_query)}
    for query, of_query in zip(queries, scores)
}
found = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10"}).evaluate(ranking)
print(sum(row["ndcg_cut_10"] for row in found.values()) / len(found))
assert not any(name.split(".")[0] in ("finewise", "benchmarks", "embed") for name in sys.modules)
"""


def test_ndcg_is_recomputed_with_sentence_transformers_and_pytrec_eval(make: Make, tmp_path: Path) -> None:
    main(make(scoring=ScoringConfig(metrics=["ndcg@10"], depth=50, export=True)))
    run, record = finished(tmp_path)
    reported = next(row for row in record["scores"] if (row["system"], row["split"]) == ("tuned", "test"))
    done = subprocess.run(
        [sys.executable, "-c", RECOMPUTE, str(run)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(reported["value"], abs=2e-3)


def test_the_split_is_kept(make: Make, tmp_path: Path) -> None:
    main(make())
    run, record = finished(tmp_path)
    splits = {path.stem: pq.read_table(path) for path in (run / "splits").glob("*.parquet")}
    assert {"train", "dev", "test", "dev-corpus", "test-corpus"} == {*splits}
    assert len(splits["train"]) == record["data"]["rows"]["train"]
    assert splits["train"]["file"][0].as_py().endswith("train.csv")
    assert len(splits["test"]) == record["data"]["rows"]["test"]
    assert not (run / "scored").exists()
    dev = [row for row in record["scores"] if row["split"] == "dev"]
    assert {row["system"] for row in dev} == {"tuned", "untuned", "bm25"}
    assert {row["split"] for row in record["comparisons"]} == {"test"}
    assert [(row["benchmark"], row["reads"]) for row in record["selection"]["test_sets"]] == [("files", 1)]
