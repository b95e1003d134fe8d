"""The page that `--help` shows: what can be chosen and set, read from the dataclasses and the YAML files themselves."""

import dataclasses
import shutil
import textwrap
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from finewise.config import MISSING
from finewise.errors import InputError
from finewise.settings.library import Library, as_job
from finewise.settings.schema import Schema, Setting, settings_of

HELP_COLUMN = 38
KINDS = {int: "whole number", float: "number", bool: "true | false", str: "text"}


def page(name: str, schema: Schema, description: str, program: str, library: Library) -> str:
    """Return the help page of an entry point."""
    width = max(60, min(100, shutil.get_terminal_size((100, 24)).columns))
    title = (description or (schema.root.__doc__ or name).splitlines()[0]).rstrip(".") + "."
    forms = [
        "[+exp=EXPERIMENT]" if experiments(name, library) else "",
        "[GROUP=CHOICE ...]" if groups_of(name, schema, library) else "",
        "[KEY=VALUE ...]",
    ]
    parts = [
        textwrap.fill(title[0].upper() + title[1:], width),
        f"Usage: {program} {' '.join(filter(None, forms))}",
        _section("Examples", _examples(name, program, library)),
        _section("Experiments (+exp=...)", _experiments(name, library, width)),
        _section("Groups (GROUP=CHOICE)", _groups(name, schema, library, width)),
        _section("Settings (KEY=VALUE)", _settings(name, schema, library, width)),
        _section("Options", _options(width)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, lines: Iterator[str]) -> str:
    body = "\n".join(lines)
    return f"{title}:\n{body}" if body else ""


def row(left: str, right: str, width: int, indent: int = 2) -> Iterator[str]:
    """Yield the lines of a two-column row; a long left side has the right one below it."""
    lines = textwrap.wrap(right, width - HELP_COLUMN, break_on_hyphens=False) or [""]
    head = " " * indent + left
    if len(head) > HELP_COLUMN - 2:
        yield head
    else:
        yield f"{head:<{HELP_COLUMN}}{lines.pop(0)}".rstrip()
    for line in lines:
        yield " " * HELP_COLUMN + line if line else ""


def experiments(name: str, library: Library) -> list[str]:
    """Return the experiments of an entry point: those with its prefix, and those with no entry point's."""
    others = {option for option in library.options("") if option != name}
    return [option for option in library.options("exp") if option.partition("-")[0] not in others]


def summary(library: Library, path: str) -> str:
    """Return the first comment line of a file."""
    file = library.file(path)
    for line in file.read_text(encoding="utf-8").splitlines() if file is not None else []:
        text = line.strip()
        if text.startswith("#") and not text.startswith("# @") and text.strip("# "):
            return text.lstrip("# ")
        if text and not text.startswith("#"):
            break
    return ""


def examples(name: str, library: Library) -> list[str]:
    """Return the arguments that the primary file gives as examples, in comments "# Example: ARGUMENTS"."""
    file = library.file(name)
    lines = file.read_text(encoding="utf-8").splitlines() if file is not None else []
    return [line.removeprefix("# Example:").strip() for line in lines if line.startswith("# Example:")]


def _examples(name: str, program: str, library: Library) -> Iterator[str]:
    for arguments in examples(name, library):
        yield f"  {program} {arguments}".rstrip()


def _experiments(name: str, library: Library, width: int) -> Iterator[str]:
    for option in experiments(name, library):
        yield from row(option, summary(library, f"exp/{option}"), width)


def groups_of(name: str, schema: Schema, library: Library) -> list[tuple[str, str]]:
    """Return the groups that an entry point can choose from, each with how a choice is written."""
    chosen = library.defaults(name, []).overrides.known_choices
    found = [(group, f"{group}=") for group in reversed(chosen) if not group.startswith("hydra/")]
    for setting in schema.tables():
        group = setting.key.removesuffix("s")
        if library.is_group(group):
            found.append((group, f"+{group}@{setting.key}.NAME="))
    if sweeps(schema, library):
        found.append(("sweep", "+sweep="))
    return found


def sweeps(schema: Schema, library: Library) -> list[str]:
    """Return the sweeps over settings that this entry point has."""
    contents = {option: library.content_of(f"sweep/{option}", "") for option in library.options("sweep")}
    params = {
        option: (content.hydra.get("sweeper") or {}).get("params") or {}
        for option, content in contents.items()
        if content is not None
    }
    return [
        option for option, keys in params.items() if all(schema.find(key, {}) or library.is_group(key) for key in keys)
    ]


def _groups(name: str, schema: Schema, library: Library, width: int) -> Iterator[str]:
    defaults = library.defaults(name, []).overrides.known_choices
    for group, written in groups_of(name, schema, library):
        default = defaults.get(group)
        known = sweeps(schema, library) if group == "sweep" else library.options(group)
        options = [f"{option} (default)" if option == default else option for option in known]
        yield from row(written, ", ".join(options), width)


def _settings(name: str, schema: Schema, library: Library, width: int) -> Iterator[str]:
    config = _defaults(name, library)
    classes = {group: OmegaConf.get_type(config, group) for group in schema.groups}
    top = [setting for setting in schema.walk({}) if "." not in setting.key]
    for setting in (item for item in top if not item.is_node):
        yield from _leaf(setting, _default(config, setting), width)
    for setting in (item for item in top if item.is_node):
        yield ""
        yield f"  {setting.key}: {setting.help}"
        if setting.key in schema.groups:
            for choice, cls in schema.groups[setting.key].items():
                mark = " (default)" if cls is classes[setting.key] else ""
                title = f"{setting.key}={choice}{mark}: {(cls.__doc__ or '').splitlines()[0]}"
                yield from textwrap.wrap(title, width, initial_indent="   ", subsequent_indent="     ")
                for inner in settings_of(cls).values():
                    full = dataclasses.replace(inner, key=f"{setting.key}.{inner.key}")
                    yield from _leaf(full, inner.default, width, indent=4)
            continue
        for inner in schema.walk(classes):
            if inner.key.startswith(f"{setting.key}.") and not inner.is_node:
                yield from _leaf(inner, _default(config, inner), width)


def _leaf(setting: Setting, default: Any, width: int, indent: int = 2) -> Iterator[str]:
    if setting.entries is not None and dataclasses.is_dataclass(setting.entries):
        inner = ", ".join(f"{setting.key}.NAME.{name}" for name in settings_of(setting.entries))  # type: ignore[arg-type]
        yield from row(setting.key, f"{setting.help}; each has {inner}", width, indent)
        return
    kind = KINDS.get(setting.kind, "list" if isinstance(default, list) else "value")
    if setting.choices:
        kind = " | ".join(setting.choices)
    if setting.optional and "null" not in setting.help:
        kind += " | null"
    if default == MISSING:
        kind += ", must be given"
    shown = "" if default == MISSING else _value(default)
    yield from row(f"{setting.key}={shown}", f"{setting.help} [{kind}]", width, indent)


def _value(default: Any) -> str:
    if default is None:
        return "null"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, list):
        return f"[{','.join(_value(item) for item in default)}]"
    return str(default)


def _defaults(name: str, library: Library) -> DictConfig:
    try:
        with as_job(library.compose(name, [])) as config:
            return config
    except InputError as error:  # a file of ours, or one that the user put over it
        raise InputError(f"--help cannot be shown: {error}") from error


def _default(config: DictConfig, setting: Setting) -> Any:
    value = OmegaConf.select(config, setting.key, throw_on_missing=False, default=None)
    if OmegaConf.is_missing(config, setting.key) if "." not in setting.key else _is_missing(config, setting.key):
        return MISSING
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _is_missing(config: DictConfig, key: str) -> bool:
    above, _, name = key.rpartition(".")
    return OmegaConf.is_missing(OmegaConf.select(config, above), name)


def _options(width: int) -> Iterator[str]:
    yield from row("--multirun, -m", "run every combination of KEY=A,B,C", width)
    yield from row("--config-dir FOLDER", "also use your own YAML files: FOLDER/exp/NAME.yaml is +exp=NAME", width)
    yield from row("--cfg job", "print the composed settings instead of running (with --resolve, --package KEY)", width)
    yield from row("--info, --hydra-help", "what Hydra knows; its other options", width)
    yield from row("--version", "versions", width)
