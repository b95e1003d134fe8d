"""From a composed config to plain dataclasses, with everything that their own checks find; and back to YAML."""

import dataclasses
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from finewise.config import MISSING
from finewise.settings.schema import Mistake, Schema, Setting, settings_of

CHOICE_OF: dict[type, tuple[str, str]] = {}
"""Class of a typed group → its group and choice; filled by `entry`."""


@dataclass(slots=True)
class _Tree:
    """A composed config as plain values, and the class of every node by its key ("" is the root)."""

    values: dict[str, Any]
    classes: dict[str, type] = field(default_factory=dict)


def build(config: DictConfig, schema: Schema) -> tuple[Any, list[Mistake]]:
    """Return the settings as dataclasses, or None with everything that is wrong with them.

    The checks of `__post_init__` stop at their first finding. To tell all of them at once, the setting that a finding
    names is put back to its default and the checks run again, until they find nothing new.
    """
    values: dict[str, Any] = {}
    mistakes: list[Mistake] = []
    classes = dict(_classes(config, ""))
    tree = _Tree(values, classes)
    for node, name, full in _leaves(config, ""):
        try:
            _put(values, full, _plain(node, name))
        except OmegaConfBaseException as error:
            raw = OmegaConf.to_container(node, resolve=False)
            text = raw[name] if isinstance(raw, dict) else raw
            mistakes.append(Mistake(f"{full}: cannot resolve {text!r}: {str(error).splitlines()[0]}"))
    mistakes += schema.check(values, classes)
    mistakes += [missing(setting) for setting in schema.missing(values, classes)]
    if mistakes:
        return None, mistakes
    reset: set[str] = set()
    while True:
        made, findings = _construct(tree, schema.root, "")
        if not findings:
            return (None if mistakes else made), list(dict.fromkeys(mistakes))
        before = len(reset)
        for above, text in findings:
            key = _named_key(text, above, tree)
            blamed = [name for name in reset if re.search(rf"\b{re.escape(name)}\b", text)]
            if not blamed:
                told = text if key is None or key in text else f"{key}: {text}"
                if key is None and above:
                    told = f"{above}: {text}"
                mistakes.append(Mistake(told))
            if key is not None and key not in reset and _reset(tree, key, schema):
                reset.add(key)
        if len(reset) == before:
            return None, list(dict.fromkeys(mistakes))


def missing(setting: Setting) -> Mistake:
    """Return the message for a setting that must be given."""
    return Mistake(f"{setting.key} must be given ({setting.help})", setting.key, (setting.key,))


def _leaves(node: DictConfig, above: str) -> Iterator[tuple[DictConfig, Any, str]]:
    """Yield (holder, name, full key) of everything that is not itself a group with members."""
    for name in map(str, node):
        full = f"{above}{name}"
        inner = node._get_node(name)
        if _has_members(inner) and len(inner):
            yield from _leaves(inner, f"{full}.")
        else:
            yield node, name, full


def _has_members(node: Any) -> TypeGuard[DictConfig]:
    return isinstance(node, DictConfig) and not (node._is_none() or node._is_missing() or node._is_interpolation())


def _plain(node: DictConfig, name: Any) -> Any:
    if OmegaConf.is_missing(node, name):
        return MISSING
    value = node[name]
    return OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig | ListConfig) else value


def _classes(node: DictConfig, above: str) -> Iterator[tuple[str, type]]:
    cls = OmegaConf.get_type(node)
    if cls is not None and dataclasses.is_dataclass(cls):
        yield above.rstrip("."), cls
    for name in map(str, node):
        inner = node._get_node(name)
        if _has_members(inner):
            yield from _classes(inner, f"{above}{name}.")


def _put(values: dict[str, Any], full: str, value: Any) -> None:
    *above, name = full.split(".")
    for part in above:
        values = values.setdefault(part, {})
    values[name] = value


def _construct(tree: _Tree, cls: type, above: str) -> tuple[Any, list[tuple[str, str]]]:
    """Build the node at `above`; return it, or None and (node, message) for each class that refused its values."""
    node = tree.values
    for part in above.split(".") if above else []:
        node = node.get(part, {})
    arguments: dict[str, Any] = {}
    findings: list[tuple[str, str]] = []

    def member(kind: type, full: str) -> Any:
        made, found = _construct(tree, tree.classes.get(full, kind), full)
        findings.extend(found)
        return made

    for name, setting in settings_of(cls).items():
        full = f"{above}.{name}" if above else name
        value = node.get(name)
        if setting.is_node:
            arguments[name] = None if value is None and setting.optional else member(setting.kind, full)
        elif dataclasses.is_dataclass(setting.entries):
            kind = typing.cast(type, setting.entries)
            arguments[name] = {entry: member(kind, f"{full}.{entry}") for entry in value or {}}
        elif name in node:
            arguments[name] = value
    if findings:
        return None, findings
    try:
        return cls(**arguments), []
    except ValueError as error:
        return None, [(above, str(error))]


def _named_key(text: str, above: str, tree: _Tree) -> str | None:
    """Return the setting that a finding is about: the first key in it, else the one setting whose value it quotes."""
    leaves = dict(flat(tree.values))
    words: list[str] = re.findall(r"(?:^|\b)([A-Za-z_][\w.]*\w)", text)
    named = [word for word in words if word in leaves and ("." in word or re.search(rf"^{word}\b|\b{word}=", text))]
    if named:
        return named[0]
    quoted = re.findall(r"'([^']+)'", text)[:1]  # what follows it is what could stand there instead
    holders = [
        key
        for key, value in leaves.items()
        if key.startswith(f"{above}." if above else "")
        and any(str(item) in quoted for item in (value if isinstance(value, list) else [value]))
    ]
    return holders[0] if len(holders) == 1 else None


def flat(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (full key, value) of everything that holds no further keys."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _reset(tree: _Tree, key: str, schema: Schema) -> bool:
    """Put a setting back to its default; return False if it has none."""
    setting = schema.find(key, tree.classes)
    if setting is None or setting.is_node or setting.default == MISSING or setting.default is dataclasses.MISSING:
        return False
    # An experiment may give its groups other defaults than their classes have.
    group = schema.find(key.rpartition(".")[0], tree.classes)
    made = group.default() if group is not None and group.is_node and group.default is not group.kind else None
    _put(tree.values, key, getattr(made, setting.key) if isinstance(made, setting.owner) else setting.default)
    return True


def to_yaml(experiment: Any) -> str:
    """Return the settings of a dataclass instance as YAML.

    The text is a complete experiment: saved as FOLDER/exp/NAME.yaml, `--config-dir FOLDER +exp=NAME` sets it all again.
    """
    chosen = {
        f"override /{group}": choice
        for group, choice in (CHOICE_OF[type(value)] for value in _members(experiment) if type(value) in CHOICE_OF)
    }
    defaults = "defaults:\n" + "".join(f"- {key}: {choice}\n" for key, choice in chosen.items()) if chosen else ""
    values = OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(experiment)), resolve=False)
    return f"# @package _global_\n{defaults}{values}"


def _members(experiment: Any) -> Iterator[Any]:
    for item in dataclasses.fields(experiment):
        yield getattr(experiment, item.name)
