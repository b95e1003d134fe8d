"""The cache of converted data: folders named by the sha256 of what they were made from, whole or not there."""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from finewise.errors import InputError

STALE_SECONDS = 24 * 3600


def cache_root() -> Path:
    """Return $FINEWISE_CACHE, else $XDG_CACHE_HOME/finewise, else ~/.cache/finewise."""
    if own := os.environ.get("FINEWISE_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "finewise"


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def entry(key: str, build: Callable[[Path], dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
    """Return the folder of a cache entry and what `build` said of it, building it when it is not there.

    Args:
        key: sha256 of everything that decides the content.
        build: Fills the given empty folder and returns plain JSON to keep with it.

    Raises:
        InputError: The cache folder cannot be written.
    """
    root = cache_root() / "data"
    final = root / key
    if (found := _read(final)) is not None:
        return final, found
    part = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        part = Path(tempfile.mkdtemp(prefix="part-", dir=root))
        about = build(part)
        sizes = {file.name: file.stat().st_size for file in part.iterdir()}
        (part / "meta.json").write_text(json.dumps({"sizes": sizes, "about": about}), encoding="utf-8")
        if final.exists() and _read(final) is None:
            shutil.rmtree(final)
        try:
            part.rename(final)
        except OSError:
            if _read(final) is None:  # else another process was faster, with the same content
                raise
    except OSError as error:
        raise InputError(
            f"{root}: the cache folder cannot be written ({error.strerror or error}); set FINEWISE_CACHE to a "
            "folder that can"
        ) from None
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
    return final, about


def _read(folder: Path) -> dict[str, Any] | None:
    """Return what was kept with an entry, or None unless all its files are there in full."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        whole = all((folder / name).stat().st_size == size for name, size in meta["sizes"].items())
    except (OSError, ValueError, KeyError):
        return None
    about: dict[str, Any] = meta["about"]
    return about if whole else None


def _sweep(root: Path) -> None:
    """Remove what killed processes left half-written more than a day ago."""
    for part in root.glob("part-*"):
        with suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(part, ignore_errors=True)
