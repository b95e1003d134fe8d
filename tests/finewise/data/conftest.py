"""Every test has a cache of its own, and writes its files into a folder of its own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FINEWISE_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def jsonl(own_folder: Path) -> Callable[..., str]:
    """Write rows as JSON lines and return the file's name."""

    def write(rows: list[Any], name: str = "pairs.jsonl") -> str:
        lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
        (own_folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return name

    return write


@pytest.fixture
def pairs() -> Callable[[int], list[dict[str, Any]]]:
    """Make n different pairs."""
    return lambda count: [
        {"anchor": f"what is thing number {n}?", "positive": f"thing {n} is described at length here"}
        for n in range(count)
    ]
