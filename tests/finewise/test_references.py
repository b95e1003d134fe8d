"""What pins a file: its bytes, read once per process."""

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from finewise.errors import InputError
from finewise.references import content_of, file_sha256, hub_commit, model_reference


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


def test_a_gguf_file_is_a_model_where_one_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    package = tmp_path / "words_in_gguf"
    package.mkdir()
    (package / "__init__.py").touch()
    path.rename(package / "model.gguf")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in (str(package / "model.gguf"), "package:words_in_gguf/model.gguf"):
        assert model_reference(name, gguf=True) == package / "model.gguf"
        with pytest.raises(InputError, match=r"is a file; give the folder|is no folder"):
            model_reference(name)


def test_a_gguf_file_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gguf" else real(name))
    with pytest.raises(InputError, match="pip install gguf"):
        model_reference(str(path), gguf=True)


def test_a_model_that_is_made_here_has_no_commit(tmp_path: Path) -> None:
    assert hub_commit("tiny:causal", None) is None
    assert hub_commit(str(tmp_path), None) is None
