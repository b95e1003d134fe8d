"""Arrays of several results in one .npz file, and what is said of each as JSON: results query by query, example by example."""

import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from finewise.errors import InputError

Made = TypeVar("Made")


def save_arrays(path: Path, results: Iterable[tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]]) -> None:
    """Write (plain values, arrays) of each result, whole or not at all."""
    index, arrays = [], {}
    for number, (plain, own) in enumerate(results):
        index.append(dict(plain))
        arrays.update({f"{number}.{name}": array for name, array in own.items()})
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez_compressed(file, index=np.array(json.dumps(index)), **arrays)  # type: ignore[arg-type]
    part.replace(path)


def load_arrays(path: Path, what: str, make: Callable[[dict[str, Any], dict[str, Any]], Made]) -> list[Made]:
    """Read what `save_arrays` wrote.

    Args:
        path: The file.
        what: What it should hold, for messages: "per-query results".
        make: Makes a result of its plain values and arrays.

    Raises:
        InputError: The file is missing or is something else.
    """
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            index = json.loads(str(file["index"]))
            arrays: list[dict[str, Any]] = [{} for _ in index]
            for key in file.files:
                number, _, name = key.partition(".")
                if name:
                    arrays[int(number)][name] = file[key]
            return [make(plain, own) for plain, own in zip(index, arrays, strict=True)]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file of {what}") from None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a file of {what}: {error}") from None
