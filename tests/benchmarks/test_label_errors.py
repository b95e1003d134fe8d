"""Planted label errors are where they are said to be, and the bench finds most of them."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.label_errors import main, plant
from finewise.config import LabelAuditConfig, LabelDataConfig
from finewise.data.labels.load import prepare_labels
from finewise.data.labels.rows import Labelled

WORDS = {
    "pets": "dog cat tail paw fur bark",
    "food": "bread soup salt oven dish rice",
    "cars": "wheel motor brake road fuel gear",
}


def file(folder: Path, *, multi: bool = False) -> str:
    draw = np.random.default_rng(0)
    rows = [
        {"text": " ".join([*draw.choice(words.split(), 3), f"n{number}"]), "label": [name] if multi else name}
        for number in range(100)
        for name, words in WORDS.items()
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(folder / "rows.jsonl")


def rows(name: str) -> Labelled:
    quick = LabelAuditConfig(near_duplicates=False, label_errors=False, leakage="allow")
    return prepare_labels(LabelDataConfig(train=name), quick, 0).audited


@pytest.mark.parametrize("multi", [False, True])
def test_planted_rows_have_another_label(tmp_path: Path, multi: bool) -> None:
    data = rows(file(tmp_path, multi=multi))
    copy, changed = plant(data, 0.05, 3)
    differs = (copy.labels != data.labels).reshape(len(data), -1).sum(axis=1)
    assert np.flatnonzero(differs).tolist() == changed.tolist()
    assert differs.max() == 1
    assert len(changed) == round(0.05 * len(data))
    assert copy.revision != data.revision


def test_the_bench_says_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", file(tmp_path), "--seed", "0", "1", "--json", str(tmp_path / "found.json")]) == 0
    results = json.loads((tmp_path / "found.json").read_text())
    assert results["found"] > 0.8
    assert [one["seed"] for one in results["results"]] == [0, 1]
    assert "mean" in capsys.readouterr().out


def test_a_wrong_share_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--share", "1.5"]) == 2
    assert "--share must be above 0 and below 1" in capsys.readouterr().err
