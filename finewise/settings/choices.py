"""What is wrong with the choice of a group's file, such as data=debian or +exp=embed-quickstart."""

import itertools
from typing import Any

from hydra.core.default_element import GroupDefault
from hydra.plugins.config_source import ConfigResult

from finewise.errors import InputError
from finewise.names import unknown
from finewise.settings.arguments import Setter, no_match
from finewise.settings.library import Library
from finewise.settings.schema import Schema

APPENDED = ("exp", "sweep")
"""Groups that no primary file chooses from: their choice is always added."""


class Choices:
    """Checks the overrides that choose files.

    Args:
        name: The entry point's name.
        primary: Its primary file.
        schema: Its settings.
        library: The YAML files.
        folderless: Whether `--config-dir` is not there, so that an unknown choice says nothing.

    Attributes:
        broken: A chosen file's own defaults list is wrong: it cannot be composed, and that has been told.
    """

    def __init__(self, name: str, primary: str, schema: Schema, library: Library, folderless: bool) -> None:
        self.name = name
        self.schema = schema
        self.library = library
        self.folderless = folderless
        self.broken = False
        self.present = library.defaults(primary, []).overrides.known_choices

    def check(self, setter: Setter) -> tuple[bool, list[str]]:
        """Return whether the choices of an override can be composed, and what is wrong with them."""
        options = self.library.options(setter.key)
        problem = no_match(setter, options)
        if setter.key in self.schema.groups and any(isinstance(value, list) for value in setter.values()):
            problem = f"{setter.text}: {setter.key} takes one choice"
        if problem is not None:
            return False, [setter.where + problem]
        if setter.sign == "~":
            return True, []
        sound, told = True, []
        for value in itertools.chain.from_iterable(v if isinstance(v, list) else [v] for v in setter.values()):
            if value in options:
                usable, found = self._check_known(setter, value)
            else:
                usable, found = False, [] if self.folderless else [self._unknown(setter, value, options)]
            sound &= usable
            told += [setter.where + text for text in found]
        return sound, told

    def _owner(self, experiment: str) -> str | None:
        """Return the entry point whose prefix an experiment has; None for a name without one."""
        prefix = experiment.partition("-")[0]
        return prefix if "-" in experiment and prefix in self.library.options("") else None

    def _foreign(self, setter: Setter, value: str) -> str | None:
        owner = self._owner(value) if setter.key == "exp" else None
        if owner is None or owner == self.name:
            return None
        return f"{value} is an experiment of {owner}; this is {self.name}"

    def _unknown(self, setter: Setter, value: Any, options: list[str]) -> str:
        folder = self.library.config_dir
        if folder is not None and (folder / setter.key / f"{value}.yml").is_file():
            return f"{folder / setter.key / f'{value}.yml'} must end in .yaml to be found"
        what, shown = setter.key, setter.raw if value is None else str(value)
        if setter.key == "exp":
            what, options = "experiment", [option for option in options if self._owner(option) in (None, self.name)]
        return self._foreign(setter, shown) or unknown(what, shown, options)

    def _check_known(self, setter: Setter, value: str) -> tuple[bool, list[str]]:
        path = f"{setter.key}/{value}"
        foreign = self._foreign(setter, value)
        if foreign is not None:
            return False, [foreign]
        hidden = self.library.hidden(path)
        if hidden is not None:
            return False, [f"{hidden} is never read: a built-in {setter.key} has the same name; rename yours"]
        try:
            loaded = self.library.load(path)
        except InputError as error:
            return False, [str(error)]
        if loaded is None:
            return True, []
        package = setter.parsed.package if setter.parsed.package is not None else loaded.header.get("package")
        if package is None and setter.key == "exp":
            return False, [f"{self.library.file(path)}: the first line must be '# @package _global_'"]
        misplaced = self._misplaced(setter, value, package if package is not None else setter.key.replace("/", "."))
        if misplaced is not None:
            return False, [misplaced]
        told = self._check_defaults_list(path, loaded)
        self.broken |= bool(told)
        return True, told

    def _check_defaults_list(self, path: str, loaded: ConfigResult) -> list[str]:
        """Check the choices that a file itself makes."""
        told = []
        for item in loaded.defaults_list or []:
            if not isinstance(item, GroupDefault) or item.group is None or not isinstance(item.value, str):
                continue
            group = item.group.lstrip("/")
            options = self.library.options(group)
            if item.value not in options and not item.optional:
                told.append(f"{self.library.file(path)}: {unknown(group, item.value, options)}")
            elif group in self.present and item.package is None and not item.override:
                fix = f"write '- override /{group}: {item.value}'"
                told.append(f"{self.library.file(path)}: {group} is chosen already; {fix}")
        return told

    def _misplaced(self, setter: Setter, value: str, key: str) -> str | None:
        """Return why what a group's file sets has no place in the settings, or None if it has."""
        if key.split(".")[0] in ("hydra", "_global_", "") or self.schema.find(key, {}) is not None:
            return None
        table = next((item.key for item in self.schema.tables() if item.key == f"{setter.key}s"), None)
        if table is not None:
            return f"{setter.text}: write +{setter.key}@{table}.{value}={value}"
        return f"{setter.text}: {self.name} has no '{key}'"
