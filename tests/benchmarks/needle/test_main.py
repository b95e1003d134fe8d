"""`python -m benchmarks.needle` reads a grid, leaves a whole record, and answers mistakes in one line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import by_length
from benchmarks.needle import run
from benchmarks.needle.__main__ import main
from benchmarks.needle.config import NeedleConfig, NeedleRunConfig
from benchmarks.needle.names import RULER
from benchmarks.needle.show import with_average
from finewise import record
from finewise.config import ModelConfig, PlaceConfig
from finewise.errors import InputError


@pytest.fixture
def saved(tmp_path: Path, tiny_causal: Any, words_tokenizer: Any) -> Path:
    folder = tmp_path / "model"
    tiny_causal("llama").save_pretrained(folder)
    words_tokenizer.save_pretrained(folder)
    return folder


def config(model: Path | str, tmp_path: Path, **more: Any) -> NeedleRunConfig:
    return NeedleRunConfig(
        model=ModelConfig(name=str(model)),
        needle=NeedleConfig(tasks=["niah_single_2", "vt"], lengths=[90, 60]),
        run=PlaceConfig(root=str(tmp_path / "runs"), device="cpu", precision="fp32"),
        **more,
    )


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch, word_prompts: Any) -> None:
    monkeypatch.setattr(run, "prompts", lambda config, task, length, *rest: word_prompts(length, task=task))


@pytest.mark.usefixtures("words")
def test_a_grid_leaves_a_whole_record(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    headline = main(config(saved, tmp_path))
    (path,) = (tmp_path / "runs" / "needle" / "niah_single_2+vt").glob(f"*/{record.FILE}")
    content = record.read(path)
    assert [(score["benchmark"], score["metric"], score["n"]) for score in content["scores"]] == [
        ("needle niah_single_2", "exact@60", 9), ("needle niah_single_2", "exact@90", 9),
        ("needle vt", "exact@60", 9), ("needle vt", "exact@90", 9),
    ]  # fmt: skip
    assert content["answer"] == {"way": "forced", "chat_template": False}
    assert content["model"]["original"] == content["model"]["window"] == 512
    assert set(content["effective_length"]) == {"needle niah_single_2", "needle vt"}
    results = by_length.load(path.parent / by_length.FILE)
    assert headline == pytest.approx(np.mean([result.mean(90) for result in results]))
    page = (path.parent / "report.html").read_text()
    assert page.count("<svg") == 4
    assert sorted(file.suffix for file in (path.parent / "pictures").iterdir()) == [".png", ".png", ".svg", ".svg"]
    assert "niah_single_2" in capsys.readouterr().out


@pytest.mark.usefixtures("words")
def test_a_finished_run_is_shown_again(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = main(config(saved, tmp_path, resume="auto"))
    shown = capsys.readouterr().out
    assert main(config(saved, tmp_path, resume="auto")) == first
    assert capsys.readouterr().out == shown
    assert len(list(tmp_path.rglob(record.FILE))) == 1


def test_an_encoder_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a BertModel writes no text; give a causal language model"):
        main(config(tiny_model, tmp_path))
    assert not list(tmp_path.rglob("run.json"))


def test_a_file_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "benchmarks.needle", f"model.name={tmp_path / 'no.gguf'}", "needle.tasks=[vt]"]
    refused = subprocess.run(call, capture_output=True, text=True, check=False, timeout=120)
    assert refused.returncode == 2
    assert "no.gguf: no such folder" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_settings_of_embedding_models_are_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.query_prompt is for embedding models"):
        NeedleRunConfig(model=ModelConfig(query_prompt="query: "))


def test_rulers_average_counts_every_task_the_same() -> None:
    def result(task: str, values: list[float]) -> by_length.ByLength:
        size = len(values)
        return by_length.ByLength(
            system="a", benchmark=f"needle {task}", split="test", data_revision=f"{task}-revision", metric="exact",
            ids=tuple(map(str, range(size))), lengths=np.full(size, 64), depths=np.full(size, 0.5),
            groups=np.zeros(size, int), values=np.array(values), weights=np.ones(size),
        )  # fmt: skip

    parts = [result(task, [1.0] * 5 if task == "vt" else [0.0, 0.0]) for task in RULER]
    assert with_average(parts[1:]) == parts[1:]
    *_, average = with_average(parts)
    assert average.benchmark == "needle ruler"
    assert average.mean(64) == pytest.approx(1 / 13)
    assert json.dumps([score.value for score in by_length.scores(average)])
