"""The one cache: folders named by the sha256 of all that decides their content, whole or not there.

What is kept lies under `cache_root()/KIND/KEY`. An entry is written aside and renamed; each file's size and checksum are kept
with it and looked at before it is used, so that a cut or damaged entry is made again. What nothing has used for `KEEP_DAYS`
days goes when something new is written; the whole folder may be deleted at any time, at the price of making it again.
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import xxhash
from filelock import FileLock, Timeout

from finewise import __version__
from finewise.console import say
from finewise.data.keys import combine
from finewise.errors import InputError
from finewise.references import expanded

ENVIRONMENT = "FINEWISE_CACHE"
KINDS = ("data", "splits", "audits", "tokens", "embeddings", "results", "models")
STALE_SECONDS = 24 * 3600
KEEP_DAYS = 30
META = "meta.json"
LOCKS = "locks"

_sound: dict[Path, tuple[Any, ...]] = {}  # entries whose checksums this process has looked at, and their files' times


def cache_root() -> Path:
    """Return $FINEWISE_CACHE, else $XDG_CACHE_HOME/finewise, else ~/.cache/finewise."""
    if own := os.environ.get(ENVIRONMENT):
        return expanded(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "finewise"


def entry(key: str, build: Callable[[Path], dict[str, Any]], kind: str = "data") -> tuple[Path, dict[str, Any]]:
    """Return the folder of a cache entry and what `build` said of it, building it when it is not there.

    Args:
        key: sha256 of everything that decides the content.
        build: Fills the given empty folder and returns plain JSON to keep with it.
        kind: What is kept: one of KINDS, each a folder of the cache.

    Raises:
        InputError: The cache folder cannot be written.
    """
    assert kind in KINDS
    root = cache_root() / kind
    final = root / key
    if (found := peek(key, kind)) is not None:
        return found
    part = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _turn(key):
            if (found := peek(key, kind)) is not None:
                return found
            _sweep()
            part = Path(tempfile.mkdtemp(prefix="part-", dir=root))
            about = build(part)
            files = {
                file.relative_to(part).as_posix(): _sum_of(file) for file in sorted(part.rglob("*")) if file.is_file()
            }
            content = {"about": about, "files": files}
            (part / META).write_text(json.dumps({"sum": _sum(content), **content}), encoding="utf-8")
            if final.exists() and _read(final) is None:
                shutil.rmtree(final)
            try:
                part.rename(final)
            except OSError:
                if _read(final) is None:  # else another process was faster, with the same content
                    raise
    except OSError as error:
        raise InputError(
            f"{root}: the cache folder cannot be written ({error.strerror or error}); set {ENVIRONMENT} to a "
            "folder that can"
        ) from None
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
    return final, about


def peek(key: str, kind: str = "data") -> tuple[Path, dict[str, Any]] | None:
    """Return a whole, undamaged entry, or None."""
    folder = cache_root() / kind / key
    about = _read(folder)
    if about is None:
        return None
    with suppress(OSError):  # a cache that others own can be read all the same
        os.utime(folder / META)
    return folder, about


@cache
def made_by(modules: tuple[str, ...], libraries: tuple[str, ...]) -> str:
    """Return the sha256 over the source of some modules and the versions of some libraries.

    As a part of a key it sees to it that what other code computed is computed again.

    Args:
        modules: Names of our own modules, which are read, not imported; a package stands for the modules right in it.
        libraries: Names of distributions.
    """
    parts: list[object] = [__version__]
    for module in modules:
        spec = importlib.util.find_spec(module)
        assert spec is not None, module
        source = Path(spec.origin or "")
        files = sorted(source.parent.glob("*.py")) if spec.submodule_search_locations else [source]
        parts += [
            (module, file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files if file.is_file()
        ]
    parts += [f"{library}={metadata.version(library)}" for library in libraries]
    return combine(*parts)


def _read(folder: Path) -> dict[str, Any] | None:
    """Return what was kept with an entry, or None unless all its files are there in full and as they were written."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        content = {"about": meta["about"], "files": meta["files"]}
        state = tuple(_state(folder / name) for name in sorted(meta["files"]))
        if meta["sum"] != _sum(content) or [size for _, size, _ in state] != [
            meta["files"][name][0] for name in sorted(meta["files"])
        ]:
            return None
        if _sound.get(folder) != state:
            if any(_sum_of(folder / name) != tuple(known) for name, known in meta["files"].items()):
                return None
            _sound[folder] = state
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    about: dict[str, Any] = meta["about"]
    return about


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _sum_of(path: Path) -> tuple[int, str]:
    """Return a file's size and xxh3 checksum: several GB per second, and enough against damage."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
        return file.tell(), digest.hexdigest()


def _sum(content: Any) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True).encode())


@contextmanager
def _turn(key: str) -> Iterator[None]:
    """Wait while another process builds the same entry: what takes long is done once."""
    folder = cache_root() / LOCKS
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / key)
    try:
        try:
            lock.acquire(timeout=1)
        except Timeout:
            say("waiting for another process that is making the same cache entry")
            lock.acquire()
    except (OSError, NotImplementedError):
        pass  # a file system without locks: both build it, and the first to end is kept
    try:
        yield
    finally:
        lock.release()


def _sweep() -> None:
    """Remove what killed processes left half-written more than a day ago, and what nothing has used for a month."""
    now = time.time()
    # Only what is named as we name it: somebody may have pointed FINEWISE_CACHE at a folder with other things in it.
    for path in [path for kind in (*KINDS, LOCKS) for path in (cache_root() / kind).glob("*")]:
        with suppress(FileNotFoundError):
            if path.name.startswith("part-"):
                if now - path.stat().st_mtime > STALE_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)
            elif re.fullmatch("[0-9a-f]{64}", path.name) and now - _last_use(path) > KEEP_DAYS * 24 * 3600:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()


def _last_use(folder: Path) -> float:
    meta = folder / META
    return (meta if meta.exists() else folder).stat().st_mtime
