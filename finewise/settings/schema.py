"""What can be set: the tree of dataclasses behind an entry point, and the check of values against it."""

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from finewise.config import MISSING
from finewise.names import nearest

Groups = Mapping[str, Mapping[str, type]]
"""Typed groups: group → choice → the dataclass that stands in the group's place, such as {"loss": {"mnrl": ...}}."""

Chosen = Mapping[str, type | None]
"""Key of a typed group → the chosen class; None where the choice itself is a mistake."""

WANTED = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One field of a settings dataclass."""

    key: str
    owner: type
    kind: Any
    optional: bool
    default: Any
    help: str
    choices: tuple[str, ...] | None

    @property
    def is_node(self) -> bool:
        """Whether it holds settings of its own."""
        return dataclasses.is_dataclass(self.kind)

    @property
    def entries(self) -> Any | None:
        """The type of the values of a dictionary, else None."""
        return typing.get_args(self.kind)[1] if typing.get_origin(self.kind) is dict else None

    @property
    def wanted(self) -> str:
        """What a value must be, in words."""
        if self.choices:
            text = f"one of {', '.join(self.choices)}"
        elif typing.get_origin(self.kind) is list:
            (item,) = typing.get_args(self.kind)
            plural = {int: "whole numbers", float: "numbers", str: "texts"}.get(item, "values")
            text = f"a list of {plural}, such as {'[a,b]' if item is str else '[1,2]'}"
        elif self.is_node or self.entries is not None:
            text = "a group of settings"
        else:
            text = WANTED.get(self.kind, "a value")
        return f"{text} or null" if self.optional else text


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong with the settings: the message, the key that is wrong, and the keys that were probably meant."""

    text: str
    key: str = field(default="", compare=False)
    meant: tuple[str, ...] = field(default=(), compare=False)


@cache
def settings_of(cls: type) -> dict[str, Setting]:
    """Return the settings of one dataclass by their names in it."""
    hints = typing.get_type_hints(cls)
    found = {}
    for item in dataclasses.fields(cls):
        kind, optional = hints[item.name], False
        if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
            options = [option for option in typing.get_args(kind) if option is not type(None)]
            optional = len(options) < len(typing.get_args(kind))
            kind = options[0] if len(options) == 1 else Any
        default = item.default
        if item.default_factory is not dataclasses.MISSING:
            default = item.default_factory if dataclasses.is_dataclass(kind) else item.default_factory()
        found[item.name] = Setting(
            key=item.name,
            owner=cls,
            kind=kind,
            optional=optional,
            default=default,
            help=item.metadata.get("help", ""),
            choices=item.metadata.get("choices"),
        )
    return found


@cache
def _probe(owner: type) -> DictConfig:
    node: DictConfig = OmegaConf.structured(owner)
    return node


def refusal(setting: Setting, value: Any) -> str | None:
    """Return why a leaf cannot hold `value`, or None if it can. OmegaConf itself is asked, so that both agree."""
    try:
        _probe(setting.owner)[setting.key] = value
    except OmegaConfBaseException:
        return f"must be {setting.wanted}; got {show(value)}"
    if setting.choices and value is not None and value not in setting.choices:
        guess = nearest(str(value), setting.choices)
        return f"must be {setting.wanted}; got {show(value)}" + (f" (did you mean {guess}?)" if guess else "")
    return None


def show(value: Any) -> str:
    """Return a value as the user would write it, quoted where it is text."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)


class Schema:
    """The settings of one entry point.

    Args:
        root: The dataclass of all settings.
        groups: The typed groups; each stands at the key of its own name.
    """

    def __init__(self, root: type, groups: Groups) -> None:
        self.root = root
        self.groups = groups

    def template(self) -> DictConfig:
        """Return the defaults as a typed config, with the typed groups left open.

        OmegaConf would let nothing but a subclass of a group's default take its place.
        """
        node: DictConfig = OmegaConf.structured(self.root)
        for group in self.groups:
            OmegaConf.update(node, group, MISSING)
        return node

    def walk(self, chosen: Chosen) -> Iterator[Setting]:
        """Yield all settings, groups before their members, each with its full key."""
        yield from self._walk(self.root, "", chosen)

    def _walk(self, cls: type, above: str, chosen: Chosen) -> Iterator[Setting]:
        for name, setting in settings_of(cls).items():
            full = f"{above}{name}"
            yield dataclasses.replace(setting, key=full)
            inner = chosen.get(full, setting.kind) if setting.is_node else None
            if inner is not None:
                yield from self._walk(inner, f"{full}.", chosen)

    def find(self, key: str, chosen: Chosen) -> Setting | None:
        """Return the setting at a full key, also inside a dictionary of settings; None if there is none.

        The `key` of what is returned is its name in its dataclass.
        """
        cls: Any = self.root
        found: Setting | None = None
        parts = key.split(".")
        while parts:
            if not dataclasses.is_dataclass(cls):
                return None
            found = settings_of(typing.cast(type, cls)).get(parts[0])
            if found is None:
                return None
            done = len(key.split(".")) - len(parts) + 1
            cls = chosen.get(".".join(key.split(".")[:done]), found.kind)
            parts = parts[1:]
            if found.entries is not None and parts:
                cls, parts = found.entries, parts[1:]
        return found

    def tables(self) -> list[Setting]:
        """Return the settings that are tables of named entries, such as benchmarks."""
        return [setting for setting in self.walk({}) if dataclasses.is_dataclass(setting.entries)]

    def entry_of(self, key: str) -> tuple[str, str] | None:
        """Return (table, entry) of a key in a table: benchmarks.mine.path is in ("benchmarks", "mine"); else None."""
        for setting in self.tables():
            if key.startswith(f"{setting.key}."):
                return setting.key, key.removeprefix(f"{setting.key}.").partition(".")[0]
        return None

    def check(self, tree: Mapping[str, Any], chosen: Chosen) -> Iterator[Mistake]:
        """Yield every unknown key, wrong type and value outside the allowed ones in a tree of plain values."""
        yield from self._check_node(self.root, tree, "", chosen)

    def _check_node(self, cls: type, tree: Mapping[str, Any], above: str, chosen: Chosen) -> Iterator[Mistake]:
        known = settings_of(cls)
        for name, value in tree.items():
            full = f"{above}{name}"
            if name in known:
                yield from self._check_value(known[name], value, full, chosen)
            else:
                while isinstance(value, dict) and len(value) == 1:  # a.b.c=1 is told as a.b.c, not as a
                    ((inner, value),) = value.items()
                    full = f"{full}.{inner}"
                yield self.unknown(full, chosen)

    def _check_value(self, setting: Setting, value: Any, full: str, chosen: Chosen) -> Iterator[Mistake]:
        if value == MISSING or (isinstance(value, str) and "${" in value) or (value is None and setting.optional):
            return  # missing values are counted elsewhere, interpolations are checked when they are resolved
        if setting.is_node:
            cls = chosen.get(full, setting.kind)
            if cls is None:
                return
            if isinstance(value, dict):
                yield from self._check_node(cls, value, f"{full}.", chosen)
            else:
                example = next(iter(settings_of(cls)), "key")
                yield Mistake(f"{full} is a group of settings, such as {full}.{example}=...; got {show(value)}", full)
        elif setting.entries is not None and dataclasses.is_dataclass(setting.entries):
            yield from self._check_entries(setting, value, full, chosen)
        elif (why := refusal(setting, value)) is not None:
            yield Mistake(f"{full} {why}", full)

    def _check_entries(self, setting: Setting, value: Any, full: str, chosen: Chosen) -> Iterator[Mistake]:
        entry = typing.cast(type, setting.entries)
        if not isinstance(value, dict):
            example = f"{full}.NAME.{next(iter(settings_of(entry)))}=..."
            yield Mistake(f"{full} is a table of named entries, such as {example}; got {show(value)}", full)
            return
        for name, inner in value.items():
            if isinstance(inner, dict):
                yield from self._check_node(entry, inner, f"{full}.{name}.", chosen)
            else:
                yield Mistake(f"{full}.{name} is a group of settings; got {show(inner)}", f"{full}.{name}")

    def missing(self, tree: Mapping[str, Any], chosen: Chosen) -> Iterator[Setting]:
        """Yield the settings that must be given and are not, with their full keys."""
        yield from self._missing(self.root, tree, "", chosen)

    def _missing(self, cls: type, tree: Mapping[str, Any], above: str, chosen: Chosen) -> Iterator[Setting]:
        for name, setting in settings_of(cls).items():
            full = f"{above}{name}"
            value = tree.get(name, None if setting.is_node else setting.default)
            if setting.is_node:
                inner = chosen.get(full, setting.kind)
                if inner is not None and not (setting.optional and value is None):
                    yield from self._missing(inner, value if isinstance(value, dict) else {}, f"{full}.", chosen)
            elif dataclasses.is_dataclass(setting.entries) and isinstance(value, dict):
                for entry, content in value.items():
                    given = content if isinstance(content, dict) else {}
                    yield from self._missing(typing.cast(type, setting.entries), given, f"{full}.{entry}.", chosen)
            elif isinstance(value, str) and value == MISSING:
                yield dataclasses.replace(setting, key=full)

    def unknown(self, key: str, chosen: Chosen) -> Mistake:
        """Return the message for a key that does not exist, with what was probably meant."""
        for group, choices in self.groups.items():
            if not key.startswith(f"{group}."):
                continue
            having = [name for name, cls in choices.items() if key.removeprefix(f"{group}.") in settings_of(cls)]
            current = next((name for name, cls in choices.items() if cls is chosen.get(group)), None)
            if having and current:
                return Mistake(
                    f"{key} is a setting of {group}={' or '.join(having)}; the chosen {group} is {current}", key
                )
        meant = self._meant(key, chosen)
        if meant:
            return Mistake(f"unknown setting {key}; did you mean {' or '.join(meant)}?", key, tuple(meant))
        parent = self.find(key.rpartition(".")[0], chosen)
        if parent is not None and parent.is_node:
            cls = chosen.get(key.rpartition(".")[0], parent.kind)
            members = ", ".join(settings_of(typing.cast(type, cls)))
            return Mistake(f"unknown setting {key}; {key.rpartition('.')[0]} has: {members}", key)
        return Mistake(f"unknown setting {key}; --help lists all settings", key)

    def _meant(self, key: str, chosen: Chosen) -> list[str]:
        """Return the known keys that a wrong key is likely to stand for, at most three."""
        known = [setting.key for setting in self.walk(chosen)]
        above, _, leaf = key.replace("/", ".").rpartition(".")
        same = [name for name in known if name.rpartition(".")[2] == leaf]
        if same:  # the right name at the wrong place
            return same[:3]
        siblings = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == above}
        table, _, _ = above.rpartition(".")
        holder = self.find(table, chosen) if table else None
        if holder is not None and dataclasses.is_dataclass(holder.entries):
            siblings = {name: f"{above}.{name}" for name in settings_of(typing.cast(type, holder.entries))}
        guess = nearest(leaf, siblings)
        if guess:
            return [siblings[guess]]
        if above and not siblings and (guess := nearest(key, known)):
            return [guess]
        leaves = {name.rpartition(".")[2]: name for name in known}
        if guess := nearest(leaf, leaves):
            return [leaves[guess]]
        words = {name: name.rpartition(".")[2].split("_") for name in known}
        initials = [name for name in known if leaf == "".join(word[0] for word in words[name])]  # lr, bs
        return (initials or [name for name in known if get_close_matches(leaf, words[name], cutoff=0.75)])[:3]
