"""The cache gives back what was put in, or nothing: cut, damaged, half-written and long unused entries are made again or go."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finewise.data.store import KEEP_DAYS, cache_root, entry, made_by

KEY, OTHER = "a" * 64, "b" * 64


def builder(text: str = "content") -> tuple[Callable[[Path], dict[str, Any]], list[str]]:
    """Return a build function, and a list that tells how often it was called."""
    calls: list[str] = []

    def build(folder: Path) -> dict[str, Any]:
        calls.append(text)
        (folder / "file").write_text(text)
        return {"told": text}

    return build, calls


def test_an_entry_is_built_once() -> None:
    build, calls = builder()
    for _ in range(3):
        folder, about = entry(KEY, build)
        assert (folder / "file").read_text() == "content"
        assert about == {"told": "content"}
    assert calls == ["content"]


@pytest.mark.parametrize("name", ["file", "meta.json"])
@pytest.mark.parametrize("how", ["cut", "changed", "gone"])
def test_what_was_damaged_is_made_again(name: str, how: str) -> None:
    build, calls = builder()
    folder, _ = entry(KEY, build)
    path = folder / name
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if how == "cut" else content.replace(b"content", b"c0ntent"))
    folder, about = entry(KEY, build)
    assert (folder / "file").read_text() == about["told"] == "content"
    assert len(calls) == 2


def test_files_in_folders_of_an_entry_are_kept_and_looked_at() -> None:
    def build_folder(part: Path) -> dict[str, Any]:
        (part / "inner").mkdir()
        (part / "inner" / "file").write_text("whole")
        return {}

    key = "d" * 64
    folder, _ = entry(key, build_folder, "models")
    (folder / "inner" / "file").write_text("damaged")
    assert (entry(key, build_folder, "models")[0] / "inner" / "file").read_text() == "whole"


def test_a_build_that_fails_leaves_nothing_behind() -> None:
    def fail(folder: Path) -> dict[str, Any]:
        (folder / "file").write_text("half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        entry(KEY, fail)
    assert list((cache_root() / "data").iterdir()) == []
    build, calls = builder()
    entry(KEY, build)
    assert calls == ["content"]


def test_two_processes_that_want_the_same_build_it_once(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom finewise.data.store import entry\n"
        f"log = Path({str(tmp_path / 'log')!r})\n"
        "def build(folder):\n"
        "    with log.open('a') as file:\n        file.write('built\\n')\n"
        "    time.sleep(0.5)\n    (folder / 'file').write_text('x' * 1000)\n    return {}\n"
        f"folder, _ = entry({KEY!r}, build)\nassert (folder / 'file').stat().st_size == 1000"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "built\n"


def test_what_nothing_used_for_long_goes_and_all_else_stays() -> None:
    build, calls = builder()
    old, used = entry(KEY, build)[0], entry(OTHER, build)[0]
    foreign = cache_root() / "data" / "notes"
    foreign.mkdir()
    half = cache_root() / "tokens" / "part-killed"
    half.mkdir(parents=True)
    past = time.time() - (KEEP_DAYS + 1) * 24 * 3600
    for path in (old / "meta.json", used / "meta.json", foreign, half):
        os.utime(path, (past, past))
    entry(OTHER, build)  # a use
    entry("c" * 64, build)
    assert not old.exists()
    assert not half.exists()
    assert used.exists()
    assert foreign.exists()
    assert len(calls) == 3


def test_the_makers_are_known_by_their_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_maker.py").write_text("A = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    first = made_by(("some_maker",), ("numpy",))
    assert first != made_by(("some_maker",), ("numpy", "scipy"))
    assert "some_maker" not in sys.modules
    (tmp_path / "some_maker.py").write_text("A = 2")
    made_by.cache_clear()
    assert made_by(("some_maker",), ("numpy",)) != first
    assert made_by(("finewise.data",), ()) != made_by(("finewise",), ())
