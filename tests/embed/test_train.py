"""A whole experiment on a tiny model: what it leaves behind, what it refuses, and when."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer

from benchmarks.config import BenchmarkConfig, ScoringConfig
from benchmarks.retrieval import load_per_query
from embed.config import EmbedExperiment
from embed.train import main
from finewise.config import AuditConfig, CurveConfig, DataConfig, ModelConfig, OptimConfig, RunConfig, SelectionConfig
from finewise.contrastive.config import (
    CachedMultipleNegativesRanking,
    CoSENT,
    LossConfig,
    MatryoshkaConfig,
    MultipleNegativesRanking,
    Triplet,
)
from finewise.errors import InputError

Pairs = Callable[..., list[tuple[str, str]]]
Make = Callable[..., EmbedExperiment]


def write_csv(path: Path, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def make(tiny_model: Path, tmp_path: Path, learnable_pairs: Pairs) -> Make:
    """Makes a small experiment; keyword arguments replace its parts."""

    def experiment(rows: int = 200, **parts: Any) -> EmbedExperiment:
        train = tmp_path / "train.csv"
        if not train.exists():
            write_csv(train, ("anchor", "positive"), learnable_pairs(rows))
        settings: dict[str, Any] = {
            "data": DataConfig(train=str(train)),
            "model": ModelConfig(name=str(tiny_model)),
            "optim": OptimConfig(epochs=2, batch_size=16, learning_rate=3e-3),
            "selection": SelectionConfig(evaluations=2),
            "scoring": ScoringConfig(metrics=["ndcg@10", "map"], depth=50),
            "run": RunConfig(root=str(tmp_path / "runs"), device="cpu"),
        }
        return EmbedExperiment(**settings | parts)

    return experiment


def only_run(tmp_path: Path) -> Path:
    (manifest,) = (tmp_path / "runs").rglob("run.json")
    return manifest.parent


def record_of(tmp_path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((only_run(tmp_path) / "record.json").read_text())
    return content


def test_what_a_run_leaves_behind(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = main(make())
    run, record = only_run(tmp_path), record_of(tmp_path)
    assert best == record["selection"]["best"] > record["selection"]["untuned"]
    systems = {(row["system"], row["metric"]) for row in record["scores"]}
    assert systems == {(name, metric) for name in ("tuned", "untuned", "bm25") for metric in ("ndcg@10", "map")}
    for row in record["scores"]:
        assert row["low"] <= row["value"] <= row["high"]
        assert row["n"] == 20
        assert row["data_revision"]
    assert {(row["a"], row["b"]) for row in record["comparisons"]} == {("tuned", "untuned"), ("tuned", "bm25")}
    assert record["data"]["rows"] == {"train": 160, "dev": 20, "test": 20}
    assert record["data"]["audit"]["truncation"]
    assert record["selection"]["test_reads"] == 1
    assert record["cost"]["texts"] == 160 * 2 * 2
    assert set(record["cost"]["seconds"]) == {*("start", "imports", "data", "model", "before", "train", "test", "save")}
    assert {"torch", "sentence-transformers"} <= set(record["versions"])
    for name in ("config.yaml", "report.html", "train.jsonl", "log.txt", "per_query.npz", "model/README.md"):
        assert (run / name).stat().st_size > 0
    assert {result.system for result in load_per_query(run / "per_query.npz")} == {"tuned", "untuned", "bm25"}
    shown = capsys.readouterr().out
    assert re.search(r"tuned (beats|is worse)|no difference between tuned and untuned|too few to test", shown)
    page = (run / "report.html").read_text()
    assert "<svg" in page
    assert "untuned" in page


def test_the_learning_curve_says_what_to_do(make: Make, tmp_path: Path) -> None:
    main(make(curve=True, learning_curve=CurveConfig(fractions=[0.25, 0.5, 1.0])))
    record, run = record_of(tmp_path), only_run(tmp_path)
    assert [point["rows"] for point in record["curve"]["points"]] == [40, 80, 160]
    assert record["curve"]["points"][-1]["score"] == pytest.approx(record["selection"]["best"], abs=1e-6)
    assert {baseline["name"] for baseline in record["curve"]["baselines"]} == {"untuned", "bm25"}
    assert record["curve"]["advice"] in record["words"]
    assert not list((run / "curve").iterdir())
    assert "Is it worth it?" in (run / "report.html").read_text()


def test_the_saved_model_needs_no_finewise_and_scores_as_recorded(make: Make, tmp_path: Path) -> None:
    main(make())
    folder = only_run(tmp_path) / "model"
    code = (
        "import sys\nfrom sentence_transformers import SentenceTransformer\n"
        f"model = SentenceTransformer({str(folder)!r}, device='cpu')\nprint(model.encode_query('bal bam').sum())\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('finewise', 'embed', 'benchmarks')]"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    plain = SentenceTransformer(str(folder), device="cpu")
    assert float(ran.stdout) == pytest.approx(float(plain.encode_query("bal bam").sum()), abs=1e-5)
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name:")
    for expected in ("| files | tuned |", "bm25", "learning rate 0.003", "160 train", "## Limits"):
        assert expected in card


@pytest.mark.parametrize(
    ("loss", "header"),
    [
        (CachedMultipleNegativesRanking(mini_batch_tokens=64), ("anchor", "positive")),
        (MultipleNegativesRanking(symmetric=False, mask_known_positives=False), ("anchor", "positive", "negative")),
        (Triplet(), ("anchor", "positive", "negative_1", "negative_2")),
        (CoSENT(), ("anchor", "positive", "score")),
        (MultipleNegativesRanking(), ("anchor", "positive", "score")),
    ],
    ids=["cached", "hard negatives", "triplet", "cosent", "positives by score"],
)
def test_every_loss_trains(
    make: Make, tmp_path: Path, learnable_pairs: Pairs, loss: LossConfig, header: tuple[str, ...]
) -> None:
    rows: list[tuple[Any, ...]] = []
    for number, (pair, other) in enumerate(zip(learnable_pairs(160, 1), learnable_pairs(160, 2), strict=True)):
        extra = {
            "score": round(0.6 + number / 400, 3),
            "negative": other[1],
            "negative_1": other[1],
            "negative_2": other[0],
        }
        rows.append((*pair, *(extra[name] for name in header[2:])))
        if "score" in header:
            rows.append((pair[0], other[1], 0.1))
    write_csv(tmp_path / "train.csv", header, rows)
    main(make(loss=loss, optim=OptimConfig(batch_size=16, learning_rate=3e-3)))
    assert record_of(tmp_path)["status"] == "finished"
    curve = [json.loads(line) for line in (only_run(tmp_path) / "train.jsonl").read_text().splitlines()]
    assert all(entry["loss"] > 0 for entry in curve if "loss" in entry)


def test_matryoshka_is_scored_at_every_dimension(make: Make, tmp_path: Path) -> None:
    main(make(matryoshka=MatryoshkaConfig(dims=[32, 8])))
    record = record_of(tmp_path)
    assert {row["system"] for row in record["scores"]} == {"tuned", "tuned@8", "untuned", "untuned@8", "bm25"}
    assert ("tuned@8", "untuned@8") in {(row["a"], row["b"]) for row in record["comparisons"]}


@pytest.mark.parametrize("dims", [[], [32, 8]], ids=["one dimension", "matryoshka"])
def test_warm_caches_change_the_time_and_nothing_else(
    make: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    dims: list[int],
) -> None:
    monkeypatch.setenv("FINEWISE_CACHE", str(tmp_path / "cache"))
    found = []
    for name in ("cold", "warm"):
        main(make(name=name, matryoshka=MatryoshkaConfig(dims=dims)))
        (folder,) = (tmp_path / "runs" / "embed" / name).iterdir()
        record = json.loads((folder / "record.json").read_text())
        for key in ("experiment", "started", "finished", "cost", "device"):
            record.pop(key)
        assert [row["reads"] for row in record["selection"].pop("test_sets")] == [len(found) + 1]
        lines = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
        curve = [
            {key: value for key, value in line.items() if not re.search("runtime|per_second", key)} for line in lines
        ]
        found.append(((folder / "model" / "model.safetensors").read_bytes(), record, curve))
        told = capsys.readouterr().err
        told_of = [line for line in told.splitlines() if "from the cache" in line]
        assert len(told_of) == (0 if name == "cold" else 4), told  # untuned and bm25, on dev and test
    assert found[0] == found[1]


def test_texts_that_only_the_library_can_tokenise_train_all_the_same(
    make: Make, tmp_path: Path, tiny_model: Path
) -> None:
    shutil.copytree(tiny_model, tmp_path / "own")
    path = tmp_path / "own" / "sentence_bert_config.json"
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | {"processing_kwargs": {"text": {"max_length": 5}}}))
    main(make(model=ModelConfig(name=str(tmp_path / "own"))))
    # Anchors of three words fill the five tokens; positives of six are cut there.
    assert record_of(tmp_path)["cost"]["tokens"] == 160 * 2 * 5 * 2


def test_patience_stops_early(make: Make, tmp_path: Path) -> None:
    optim = OptimConfig(epochs=40, batch_size=16, learning_rate=3e-3, scheduler="constant", warmup=0)
    main(make(optim=optim, selection=SelectionConfig(every_steps=5, patience=2)))
    selection = record_of(tmp_path)["selection"]
    assert selection["stopped_early"]
    assert selection["steps"] == selection["best_step"] + 10 < 400


def test_all_executions_agree(make: Make, tmp_path: Path, still_model: Path) -> None:
    losses = {}
    for execution in ("padded", "sorted", "packed"):
        optim = OptimConfig(max_steps=4, batch_size=16, learning_rate=1e-3)
        parts: dict[str, Any] = {"execution": execution, "name": execution, "model": ModelConfig(name=str(still_model))}
        run = RunConfig(root=str(tmp_path / "runs"), device="cpu", precision="fp32")
        main(make(optim=optim, micro_batch_tokens=None if execution == "padded" else 64, run=run, **parts))
        (folder,) = (tmp_path / "runs" / "embed" / execution).iterdir()
        lines = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
        losses[execution] = [entry["loss"] for entry in lines if "loss" in entry]
    assert len(losses["sorted"]) == 4
    assert losses["sorted"] == pytest.approx(losses["padded"], rel=1e-4)
    assert losses["packed"] == pytest.approx(losses["padded"], rel=1e-4)


def test_few_anchors_with_many_positives_are_told_and_all_rows_are_used(
    make: Make, tmp_path: Path, learnable_pairs: Pairs, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = learnable_pairs(200)
    write_csv(tmp_path / "train.csv", ("anchor", "positive"), [(pairs[n % 8][0], pairs[n][1]) for n in range(200)])
    held = write_csv(tmp_path / "held.csv", ("anchor", "positive"), learnable_pairs(20, 5))
    main(make(data=DataConfig(train=str(tmp_path / "train.csv"), dev=str(held), test=str(held))))
    batches = record_of(tmp_path)["data"]["batches"]
    assert batches["left_out"] <= 5
    assert batches["mean_rows"] == pytest.approx(8, abs=0.5)
    assert "rows share anchors or texts" in capsys.readouterr().err


def test_a_benchmark_is_scored_and_audited(make: Make, tmp_path: Path, learnable_pairs: Pairs) -> None:
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    pairs = learnable_pairs(15, 9)
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": f"d{n}", "text": p}) + "\n" for n, (_, p) in enumerate(pairs))
    )
    (folder / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": f"q{n}", "text": a}) + "\n" for n, (a, _) in enumerate(pairs))
    )
    lines = "".join(f"q{n}\td{n}\t1\n" for n in range(15))
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{lines}")
    benchmark = {"mine": BenchmarkConfig(name="mine", path=str(folder))}
    main(make(benchmarks=benchmark, own_test=False))
    record = record_of(tmp_path)
    assert {row["benchmark"] for row in record["scores"] if row["split"] == "test"} == {"mine"}
    assert record["data"]["audit"]["rows"]["mine test"] == 15
    write_csv(tmp_path / "leaking.csv", ("anchor", "positive"), [*learnable_pairs(200), *pairs[:3]])
    with pytest.raises(InputError, match=r"of .* training rows are in the held-out data .*mine test query"):
        main(make(benchmarks=benchmark, data=DataConfig(train=str(tmp_path / "leaking.csv")), name="leak"))


class TestRefusals:
    """Found before a minute is spent, with one line, and nothing half-written."""

    def test_accumulation_tells_what_it_would_not_do(self, make: Make) -> None:
        optim = OptimConfig(batch_size=32, gradient_accumulation_steps=4)
        with pytest.raises(
            ValueError, match=r"does not enlarge the set of negatives.*loss=cached_mnrl optim.batch_size=128"
        ):
            make(optim=optim)
        make(optim=optim, loss=Triplet())

    @pytest.mark.parametrize("loss", [Triplet(), CoSENT()])
    def test_a_sampler_that_the_loss_does_not_use(self, make: Make, loss: LossConfig) -> None:
        with pytest.raises(
            ValueError, match=r"sampler=random has no effect with loss=(triplet|cosent), .*leave it out"
        ):
            make(loss=loss, sampler="random")
        make(loss=loss)

    @pytest.mark.parametrize(("loss", "column"), [(Triplet(), "negative"), (CoSENT(), "score")])
    def test_a_loss_that_does_not_fit_the_columns(self, make: Make, loss: LossConfig, column: str) -> None:
        with pytest.raises(
            InputError, match=rf"needs a column '{column}'.*data\.columns\.{column}=.*loss=mnrl or cached_mnrl"
        ):
            main(make(loss=loss))

    def test_scores_that_call_nothing_positive(self, make: Make, tmp_path: Path, learnable_pairs: Pairs) -> None:
        rows = [(*pair, 0.9 if number < 60 else 0.1) for number, pair in enumerate(learnable_pairs(120))]
        write_csv(tmp_path / "train.csv", ("anchor", "positive", "score"), rows)
        held = write_csv(tmp_path / "held.csv", ("anchor", "positive"), learnable_pairs(20, 5))
        data = DataConfig(train=str(tmp_path / "train.csv"), dev=str(held), test=str(held), relevant_score=0.95)
        with pytest.raises(InputError, match=r"only 0 of 120 rows have a score of at least data\.relevant_score=0\.95"):
            main(make(data=data))

    def test_a_folder_that_cannot_be_written(self, make: Make, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match=r"cannot write there .*set run\.root or run\.dir"):
            main(make(run=RunConfig(root=str(tmp_path / "file" / "runs"), device="cpu")))

    def test_a_full_disk_is_told_before_the_training(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1_000_000))
        with pytest.raises(InputError, match=r"the run needs about \d+ MB on this disk, 1 MB are free"):
            main(make())

    def test_a_disk_that_fills_up_in_the_middle(self, make: Make, tmp_path: Path) -> None:
        def full(*args: Any, **kwargs: Any) -> None:
            raise RuntimeError(
                "[enforce fail at inline_container.cc] PytorchStreamWriter failed: No space left on device"
            )

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("torch.save", full)
            with pytest.raises(InputError, match=r"the disk is full; free some space.*resume=auto"):
                main(make(resume="auto"))
        assert not list(tmp_path.rglob("record.json"))
        main(make(resume="auto"))
        assert record_of(tmp_path)["cost"]["attempts"] == 2

    @pytest.mark.parametrize(
        ("name", "message"), [("tensorbord", "did you mean 'tensorboard'"), ("clearml", "pip install")]
    )
    def test_a_tracker_that_is_not_there(self, make: Make, tmp_path: Path, name: str, message: str) -> None:
        with pytest.raises(InputError, match=message):
            main(make(run=RunConfig(root=str(tmp_path / "runs"), report_to=[name])))
        assert not (tmp_path / "runs").exists()

    def test_a_device_that_is_not_there(self, make: Make, tmp_path: Path) -> None:
        if not torch.cuda.is_available():
            with pytest.raises(InputError, match=r"run\.device=cuda: torch .* sees no CUDA device"):
                main(make(run=RunConfig(root=str(tmp_path / "runs"), device="cuda")))
        with pytest.raises(ValueError, match=r"run\.device must be auto, cpu, cuda or mps; got 'gpu'"):
            RunConfig(device="gpu")
        with pytest.raises(ValueError, match=r"CUDA_VISIBLE_DEVICES=3"):
            RunConfig(device="cuda:3")

    def test_dimensions_that_the_model_does_not_have(self, make: Make) -> None:
        with pytest.raises(InputError, match=r"matryoshka\.dims must be at most 32.*\[64\]"):
            main(make(matryoshka=MatryoshkaConfig(dims=[64, 8])))

    def test_a_warm_up_that_never_ends(self, make: Make) -> None:
        with pytest.raises(InputError, match=r"optim\.warmup=500 steps, and the training has 20"):
            main(make(optim=OptimConfig(epochs=2, batch_size=16, warmup=500)))

    def test_a_loss_that_explodes(self, make: Make) -> None:
        with pytest.raises(InputError, match=r"the loss is (nan|inf) at step \d+; lower optim\.learning_rate"):
            main(
                make(
                    optim=OptimConfig(epochs=9, batch_size=16, learning_rate=1e12),
                    selection=SelectionConfig(evaluations=1),
                )
            )

    def test_data_that_changed_since_the_run_began(self, make: Make, tmp_path: Path, learnable_pairs: Pairs) -> None:
        experiment = make(resume="auto")
        experiment.model.max_seq_length = 32
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("embed.trainer.train", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                main(experiment)
        write_csv(tmp_path / "train.csv", ("anchor", "positive"), learnable_pairs(180, 3))
        with pytest.raises(InputError, match=r"the data\.train changed since this run began.*resume=never"):
            main(experiment)

    def test_a_model_that_changed_since_the_run_began(self, make: Make, tmp_path: Path, tiny_model: Path) -> None:
        shutil.copytree(tiny_model, tmp_path / "model")
        experiment = make(resume="auto", model=ModelConfig(name=str(tmp_path / "model")))
        main(experiment)
        weights = tmp_path / "model" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
        with pytest.raises(InputError, match=r"the model\.name changed since this run began"):
            main(experiment)

    def test_refused_data_leaves_no_run_behind(self, make: Make, tmp_path: Path) -> None:
        (tmp_path / "train.csv").write_text("anchor,positive\na,b\n")
        with pytest.raises(InputError, match="one row only"):
            main(make())
        assert not list((tmp_path / "runs").rglob("run.json"))

    def test_a_run_in_a_folder_that_holds_another(self, make: Make, tmp_path: Path) -> None:
        run = RunConfig(dir=str(tmp_path / "runs" / "one"), device="cpu")
        main(make(run=run))
        with pytest.raises(InputError, match="holds a finished run already"):
            main(make(run=run))
        with pytest.raises(InputError, match=r"holds a run with other settings"):
            main(make(run=run, seed=7, resume="auto"))

    def test_leaked_rows_refuse_and_are_dropped_on_request(
        self, make: Make, tmp_path: Path, learnable_pairs: Pairs
    ) -> None:
        held = write_csv(tmp_path / "held.csv", ("anchor", "positive"), learnable_pairs(30, 5))
        write_csv(tmp_path / "train.csv", ("anchor", "positive"), learnable_pairs(200) + learnable_pairs(10, 5))
        data = DataConfig(train=str(tmp_path / "train.csv"), test=str(held), dev_size=20)
        with pytest.raises(InputError, match=r"10 of \d+ training rows are in the held-out data.*audit\.leakage=drop"):
            main(make(data=data))
        main(make(data=data, audit=AuditConfig(leakage="drop"), name="dropped"))
        (path,) = (tmp_path / "runs" / "embed" / "dropped").rglob("record.json")
        assert json.loads(path.read_text())["data"]["audit"]["dropped_rows"] >= 10


def test_five_hundred_pairs_of_ones_own_with_one_override(tmp_path: Path, learnable_pairs: Pairs) -> None:
    """The command a newcomer types, with the default model, cut short by max_steps."""
    write_csv(tmp_path / "mine.csv", ("anchor", "positive"), learnable_pairs(500))
    command = [sys.executable, "-m", "embed.train", "data.train=mine.csv"]
    ran = subprocess.run(
        [*command, "optim.max_steps=2", "optim.batch_size=8"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "saved: runs/embed/default/" in ran.stdout.replace("\n", "")
    assert record_of(tmp_path)["data"]["rows"] == {"train": 400, "dev": 50, "test": 50}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.csv", "runs"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.train=nowhere.csv"], "nowhere.csv"),
        (["data.train=train.csv", "model.name=package:no_such/model"], "not installed"),
        (["data.train=train.csv", "selection.metric=ndgc@10"], "did you mean 'ndcg@10'"),
        (["data=debian", "+benchmark@benchmarks.mine=files", "benchmarks.mine.path=nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_answered_with_one_line_before_torch(
    tmp_path: Path, learnable_pairs: Pairs, arguments: list[str], message: str
) -> None:
    write_csv(tmp_path / "train.csv", ("anchor", "positive"), learnable_pairs(50))
    code = (
        "import sys, atexit\natexit.register(lambda: print('torch' in sys.modules))\n"
        "from embed.train import main\nmain()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert message in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1, ran.stderr
    assert ran.stdout.strip() == "False"
    assert not (tmp_path / "runs").exists()
