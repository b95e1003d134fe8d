"""What tells runs of one experiment apart: the settings in which they differ."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

FILE = "config.yaml"
SHOWN = 3
"""Settings that are named; of more, the number is."""

_PLACE = ("run.", "resume", "name", "parallel_")
"""Where and how a run is carried out, not what it does."""


def settings_of(folder: Path) -> dict[str, Any]:
    """Return a run's settings by their keys, such as "optim.epochs"; chosen groups by their names; empty where it kept none."""
    try:
        content = yaml.safe_load((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    if not isinstance(content, Mapping):
        return {}
    groups = [
        pair for choice in content.get("defaults") or () if isinstance(choice, Mapping) for pair in choice.items()
    ]
    chosen = {str(group).removeprefix("override /"): name for group, name in groups}
    values = _flat({key: value for key, value in content.items() if key != "defaults"})
    return chosen | {key: value for key, value in values.items() if not key.startswith(_PLACE)}


def differing(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return of each run the settings whose values are not the same in all; a setting that it does not have is left out.

    >>> differing([{"seed": 1, "lora.rank": 8}, {"seed": 2, "lora.rank": 8}, {"seed": 2}])
    [{'seed': 1, 'lora.rank': 8}, {'seed': 2, 'lora.rank': 8}, {'seed': 2}]
    >>> differing([{"seed": 1, "lora.rank": 8}, {"seed": 2, "lora.rank": 8}])
    [{'seed': 1}, {'seed': 2}]
    """
    keys = dict.fromkeys(key for run in runs for key in run)
    told = [key for key in keys if len({repr(run.get(key, KeyError)) for run in runs}) > 1]
    return [{key: run[key] for key in told if key in run} for run in runs]


def spelled(settings: Mapping[str, Any]) -> str:
    """Return settings as they are typed, a few of them.

    >>> spelled({"method": "lora", "optim.max_steps": None, "seeds": [1, 2], "seed": 1, "curve": True})
    'method=lora optim.max_steps=null seeds=[1,2] and 2 more'
    """
    words = [f"{key}={_spell(value)}" for key, value in settings.items()]
    return " ".join(words[:SHOWN]) + (f" and {len(words) - SHOWN} more" if len(words) > SHOWN else "")


def _spell(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"[{','.join(map(_spell, value))}]" if isinstance(value, list) else str(value)


def _flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return found
