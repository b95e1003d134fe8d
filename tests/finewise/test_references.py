"""What pins a file: its bytes, read once per process."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from finewise.references import content_of, file_sha256


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    real, calls = hashlib.file_digest, []

    def counted(file: Any, kind: str) -> Any:
        calls.append(file.name)
        return real(file, kind)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    assert file_sha256(path) == hashlib.sha256(b"one").hexdigest()
    pinned = content_of(path)
    assert content_of(path) == pinned
    assert calls == [str(path)]
    path.write_bytes(b"two!")
    assert file_sha256(path) == hashlib.sha256(b"two!").hexdigest()
    assert content_of(path) != pinned
    assert len(calls) == 2
