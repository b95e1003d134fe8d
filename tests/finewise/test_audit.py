"""`python -m finewise.audit`: prints what was found; the exit status says whether training would be refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "finewise.audit", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    rows = [{"anchor": f"what is thing {n}?", "positive": f"a text about thing {n}"} for n in range(100)]
    for name, part in (("train", rows[:90]), ("test", rows[90:]), ("leaky", rows[:95])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    return tmp_path


def test_clean_data_exits_with_0_and_writes_the_findings(files: Path) -> None:
    done = run("data.train=train.jsonl", "data.test=test.jsonl", "data.dev_size=10", "output=found.json", folder=files)
    assert done.returncode == 0, done.stderr
    assert "train 80 rows, dev 10 queries, test 10 queries" in done.stdout
    assert "Texts cut at 256 tokens" in done.stdout
    found = json.loads((files / "found.json").read_text(encoding="utf-8"))
    assert found["rows"] == {"train": 80, "dev": 10, "test": 10}
    assert found["leaked_rows"] == 0


def test_a_leak_exits_with_1_and_says_what_to_do(files: Path) -> None:
    done = run("data.train=leaky.jsonl", "data.test=test.jsonl", "data.dev_size=10", folder=files)
    assert done.returncode == 1
    assert "refuse" in done.stdout
    assert "training rows are in the held-out data" in done.stderr
    assert "audit.leakage=drop" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_file_exits_with_2_and_one_line(files: Path) -> None:
    done = run("data.train=trian.jsonl", folder=files)
    assert done.returncode == 2
    assert "did you mean 'train.jsonl'?" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
