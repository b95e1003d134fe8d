from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("small_products")
Found = Callable[[], dict[str, Any]]


def test_audit_finds_the_same_again(tmp_path: Path, found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    from benchmarks.speed.audit import main

    monkeypatch.setenv("FINEWISE_CACHE", str(tmp_path / "mine"))
    assert main(["--rows", "300", "--rounds", "2", "--device", "cpu", "--json", str(tmp_path / "found.json")]) == 0
    (bench,) = found()["benches"]
    assert bench["ok"]
    assert [side["name"] for side in bench["sides"]] == ["first", "again"]
    assert os.environ["FINEWISE_CACHE"] == str(tmp_path / "mine")
