"""Everything that is wrong with a command line, found before anything runs."""

import argparse
import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra._internal.defaults_list import DefaultsList
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ValueType

from finewise.config import MISSING, ExperimentConfig
from finewise.errors import InputError
from finewise.names import unknown
from finewise.settings.arguments import Setter, read_overrides, sweep_combinations, write_flags
from finewise.settings.build import build, flat, missing
from finewise.settings.choices import APPENDED, Choices
from finewise.settings.library import Content, Library, as_job, line_of
from finewise.settings.schema import Chosen, Mistake, Schema, show

COMBINATIONS = 48
"""So many jobs of a sweep are composed and built beforehand; of more, each value is tried once."""


class Check:
    """Reads a command line against a schema. `mistakes` and `argv` are the result.

    Args:
        name: The entry point's name: its primary file, and the prefix of its experiments.
        schema: Its settings.
        flags: Hydra's flags and the overrides.

    Attributes:
        mistakes: What is wrong, one line each, in the order in which it was found.
        argv: The arguments to hand to Hydra, with signs and quotes put right where only one reading is possible.
    """

    def __init__(self, name: str, schema: Schema, flags: argparse.Namespace) -> None:
        self.name = name
        self.schema = schema
        self.mistakes: list[str] = []
        self._meant: set[str] = set()
        self._partial = False  # something could not be read, so what is missing cannot be told
        self._library, folderless = self._open(flags)
        self._primary = flags.config_name or name
        self._parser = OverridesParser.create(config_loader=self._library.loader)
        self._setters, unreadable = read_overrides(flags.overrides, schema, self._parser)
        self.mistakes += unreadable
        self._partial |= folderless or bool(unreadable)
        self._params: list[Setter] = []
        self._declared: list[str] = []
        self._multirun = bool(flags.multirun)
        if self._primary in self._library.options(""):
            self._choices = Choices(name, self._primary, schema, self._library, folderless)
            self._check(complete=flags.cfg is None and flags.info is None)
        else:
            self.mistakes.append(unknown("--config-name", self._primary, self._library.options("")))
        self.mistakes = list(dict.fromkeys(self.mistakes))
        self.argv = [*write_flags(flags), *self._declared, *(setter.text for setter in self._setters)]

    def _open(self, flags: argparse.Namespace) -> tuple[Library, bool]:
        """Return the YAML files, and whether the user's folder is not there."""
        if flags.config_path is not None:
            self.mistakes.append(f"--config-path={flags.config_path}: use --config-dir to add your own YAML files")
        folder = flags.config_dir
        if folder is not None and not Path(folder).is_dir():
            self.mistakes.append(f"--config-dir={folder}: no such folder (seen from {os.getcwd()})")
            return Library(), True
        return Library(folder), False

    # The steps, in order. Each hands on only what it found to be right.

    def _check(self, complete: bool) -> None:
        usable = self._check_repeated(self._usable(self._setters))
        self._put_signs(usable)
        defaults = self._defaults([setter.text for setter in self._of_files(usable) if not setter.is_sweep])
        if defaults is None:
            self._check_apart(usable)
            return
        self._read_sweep(self._content(defaults), usable)
        usable = [*self._usable(self._params), *usable]
        self._check_sweeps(usable)
        for texts in sweep_combinations(self._of_files(usable), COMBINATIONS):
            defaults = self._defaults(texts)
            if defaults is not None:
                self._check_job(defaults, usable, complete)
        self._declare(usable)
        if complete and not self.mistakes:
            self._check_built(usable)

    def _usable(self, setters: list[Setter]) -> list[Setter]:
        """Return the overrides that can be composed: all but wrong choices."""
        usable = []
        for setter in setters:
            sound, told = self._choices.check(setter) if self._is_group(setter) else (True, [])
            self.mistakes += told
            self._partial |= not sound
            if sound:
                usable.append(setter)
        return usable

    def _is_group(self, setter: Setter) -> bool:
        return self._library.is_group(setter.key) and not isinstance(setter.parsed.value(), dict)

    def _of_files(self, setters: list[Setter]) -> list[Setter]:
        """Return the overrides that decide which files are read."""
        return [setter for setter in setters if self._is_group(setter) or setter.key == "hydra.searchpath"]

    def _check_repeated(self, setters: list[Setter]) -> list[Setter]:
        chosen: dict[str, Setter] = {}
        kept = []
        for setter in setters:
            if self._is_group(setter) and setter.sign != "~":
                first = chosen.setdefault(setter.full_key, setter)
                if first is not setter:
                    text = f"{setter.full_key} is given twice ({first.raw} and {setter.raw}); give one"
                    self.mistakes.append(text)
                    continue
            kept.append(setter)
        return kept

    def _put_signs(self, setters: list[Setter]) -> None:
        """Set "+" where, and only where, Hydra needs it: nobody has to know which keys have a value already."""
        appended = [setter for setter in setters if setter.key in APPENDED and not setter.is_sweep]
        try:
            texts = [f"+{setter.full_key}={setter.raw}" for setter in appended]
            present = self._library.defaults(self._primary, texts).overrides.known_choices
        except InputError:
            present = self._choices.present
        for setter in setters:
            if setter.sign == "~" or setter.is_hydra:
                continue
            if self._is_group(setter):
                setter.sign = "" if setter.full_key in present and setter.key not in APPENDED else "+"
            elif setter.key in {table.key for table in self.schema.tables()}:
                setter.sign = "+"
            elif self.schema.find(setter.key, self._chosen()) is not None:
                setter.sign = ""

    def _defaults(self, texts: list[str]) -> DefaultsList | None:
        try:
            return self._library.defaults(self._primary, texts)
        except InputError as error:
            if not self._choices.broken:
                self.mistakes.append(str(error))
            self._partial = True
            return None

    def _content(self, defaults: DefaultsList) -> list[Content]:
        try:
            return self._library.content(defaults)
        except InputError as error:
            self.mistakes.append(str(error))
            self._partial = True
            return []

    def _read_sweep(self, contents: list[Content], setters: list[Setter]) -> None:
        """Take what files and overrides say of Hydra's mode and its sweeper's parameters."""
        given = {setter.full_key for setter in setters}
        for content in contents:
            self._multirun |= str(content.hydra.get("mode", "")).upper() == "MULTIRUN"
            params = (content.hydra.get("sweeper") or {}).get("params") or {}
            texts = [f"{key}={value}" for key, value in params.items()]
            found, unreadable = read_overrides(texts, self.schema, self._parser)
            self.mistakes += [f"{content.file}: {text}" for text in unreadable]
            for setter in found:
                setter.where = f"{content.file}: "
            self._params += [setter for setter in found if setter.full_key not in given]
        self._put_signs(self._params)
        modes = [str(setter.parsed.value()).upper() for setter in setters if setter.key == "hydra.mode"]
        self._multirun |= "MULTIRUN" in modes

    def _check_sweeps(self, setters: list[Setter]) -> None:
        draws = any(setter.key == "hydra/sweeper" for setter in setters)
        for setter in setters:
            text, key = setter.text, setter.key
            if not setter.is_sweep:
                continue
            if not self._multirun:
                told = f"{text} has several values: add --multirun to run each"
                if setter.parsed.value_type is ValueType.SIMPLE_CHOICE_SWEEP and not self._is_group(setter):
                    told += f"; a list is written {key}=[{setter.raw}], text with a comma '{key}=\"{setter.raw}\"'"
                self.mistakes.append(told)
            elif setter.is_interval and not draws:
                self.mistakes.append(
                    f"{text}: an interval needs a sweeper that draws values; write A,B,C or range(...)"
                )
            elif setter.parsed.value_type is ValueType.GLOB_CHOICE_SWEEP and not self._is_group(setter):
                self.mistakes.append(f"{text}: glob() chooses among the files of a group; {key} is none")

    def _chosen(self, defaults: DefaultsList | None = None) -> Chosen:
        """Return the classes that stand in the typed groups."""
        known = self._choices.present if defaults is None else defaults.overrides.known_choices
        choices = {group: known.get(group) for group in self.schema.groups}
        return {group: self.schema.groups[group].get(choice) for group, choice in choices.items() if choice is not None}

    def _check_apart(self, setters: list[Setter]) -> None:
        """Check experiments and overrides each on its own, where they cannot be composed."""
        for setter in setters:
            for value in setter.values() if setter.key == "exp" else []:
                self._check_content(self._library.content_of(f"exp/{value}", ""), self._chosen())
        self._check_values(setters, self._chosen())

    def _check_job(self, defaults: DefaultsList, setters: list[Setter], complete: bool) -> None:
        chosen = self._chosen(defaults)
        merged: dict[str, Any] = {}
        contents = self._content(defaults)
        self._check_overruled(contents, defaults, setters)
        for content in contents:
            _merge(merged, self._check_content(content, chosen))
        _merge(merged, self._check_values(setters, chosen))
        if complete and not self._partial:
            lacking = [setting for setting in self.schema.missing(merged, chosen) if setting.key not in self._meant]
            self._tell(self._with_ways(missing(setting)) for setting in lacking)

    def _check_overruled(self, contents: list[Content], defaults: DefaultsList, setters: list[Setter]) -> None:
        """Find what the user chose in vain: a group's file whose values an experiment's file, which is read later, replaces."""
        given = {setter.full_key for setter in setters}
        for setter in setters:
            choice = defaults.overrides.known_choices.get(setter.key)
            if not self._is_group(setter) or setter.key in APPENDED or setter.where or not isinstance(choice, str):
                continue
            file = self._library.file(f"{setter.key}/{choice}")
            place = next((at for at, content in enumerate(contents) if content.file == file), len(contents))
            for later in contents[place + 1 :]:
                wanted, won = dict(flat(contents[place].tree)), dict(flat(later.tree))
                self.mistakes += [
                    f"{setter.key}={choice} sets {key}={show(wanted[key])}, but {later.file} sets {show(won[key])} and would "
                    f"win; write the one that you mean too, such as {key}={show(wanted[key])}"
                    for key in wanted
                    if key not in given and key in won and won[key] != wanted[key]
                ]

    def _check_content(self, content: Content | None, chosen: Chosen) -> dict[str, Any]:
        if content is None:
            return {}
        for mistake in self.schema.check(content.tree, chosen):
            inside = mistake.key.split(".")[len(content.package.split(".")) if content.package else 0 :]
            line = line_of(content.file, inside)
            self._tell([mistake], f"{content.file}{f' line {line}' if line else ''}: ")
        return content.tree

    def _check_values(self, setters: list[Setter], chosen: Chosen) -> dict[str, Any]:
        """Check every value of every override; return the first of each as one tree."""
        merged: dict[str, Any] = {}
        for setter in setters:
            if self._is_group(setter) or setter.is_hydra:
                continue
            if setter.sign == "~":
                self._check_deletion(setter, chosen)
                continue
            if "/" in setter.key:
                self._tell([self.schema.unknown(setter.key, chosen)], setter.where)
                continue
            for value in reversed(setter.values()):
                tree: dict[str, Any] = {}
                inner = tree
                *above, name = setter.key.split(".")
                for part in above:
                    inner = inner.setdefault(part, {})
                inner[name] = value
                found = list(self.schema.check(tree, chosen))
                self._tell(map(self._with_group, found), setter.where)
                _merge(merged, tree)
        return merged

    def _tell(self, mistakes: Iterable[Mistake], where: str = "") -> None:
        for mistake in mistakes:
            self.mistakes.append(where + mistake.text)
            self._meant.update(mistake.meant)

    def _with_ways(self, mistake: Mistake) -> Mistake:
        """Add how a missing setting can be given."""
        group = mistake.key.partition(".")[0]
        options = self._library.options(group) if self._library.is_group(group) else []
        choices = "|".join(name for name in options if name != "files")
        text = f"{mistake.text}: write {mistake.key}=..." + (f" or choose {group}={choices}" if choices else "")
        return Mistake(text, mistake.key, mistake.meant)

    def _with_group(self, mistake: Mistake) -> Mistake:
        """Add the group that may have been meant."""
        key = mistake.key
        if not mistake.meant and "." not in key and self.schema.find(key, {}) is None:
            for guess in get_close_matches(key, self._library.groups(), n=1, cutoff=0.75):
                return Mistake(f"unknown setting {key}; did you mean {guess}?", key, (guess,))
        group = key.removesuffix("s")
        if key in {table.key for table in self.schema.tables()} and self._library.is_group(group):
            return Mistake(f"{mistake.text}; a choice is added with +{group}@{key}.NAME=CHOICE", key, mistake.meant)
        return mistake

    def _check_deletion(self, setter: Setter, chosen: Chosen) -> None:
        setting = self.schema.find(setter.key, chosen)
        if setting is None:
            self._tell([self.schema.unknown(setter.key, chosen)])
        elif self.schema.entry_of(setter.key) is None:
            known = not setting.is_node and setting.default != MISSING
            default = f"; its default is {show(setting.default)}" if known else ""
            self.mistakes.append(f"{setter.text}: a setting cannot be taken away{default}")

    def _declare(self, setters: list[Setter]) -> None:
        """Make the entries of tables that overrides fill: Hydra sets benchmarks.mine.path only where mine is there."""
        tables: dict[str, list[str]] = {}
        for setter in setters:
            place = None if self._is_group(setter) or setter.sign == "~" else self.schema.entry_of(setter.key)
            if place is not None and place[1] not in tables.setdefault(place[0], []):
                tables[place[0]].append(place[1])
        for table, entries in tables.items():
            self._declared.append(f"++{table}={{{','.join(f'{entry}:{{}}' for entry in entries)}}}")

    def build(self) -> Any:
        """Return the settings as dataclasses.

        Raises:
            InputError: There are mistakes, or the command line stands for several jobs.
        """
        if self.mistakes:
            raise InputError(told(self.name, self.mistakes))
        if self._multirun:
            raise InputError("the command line stands for several jobs")
        config = self._library.compose(self._primary, [*self._declared, *(setter.text for setter in self._setters)])
        with as_job(config) as settings:
            return build(settings, self.schema)[0]

    def _check_built(self, setters: list[Setter]) -> None:
        """Compose and build what will run, for what the dataclasses themselves check."""
        constant = {setter.text for setter in setters}
        unread: list[dict[str, str]] = []
        for job in sweep_combinations(setters, COMBINATIONS):
            try:
                config = self._library.compose(self._primary, [*self._declared, *job])
            except InputError as error:
                self.mistakes.append(str(error))
                continue
            swept = " ".join(text for text in job if text not in constant)
            with as_job(config) as settings:
                made, mistakes = build(settings, self.schema)
            self._tell(mistakes, f"with {swept}: " if swept else "")
            unread.append(made.unread() if isinstance(made, ExperimentConfig) else {})
        self._check_unread(setters, unread)

    def _check_unread(self, setters: list[Setter], unread: list[dict[str, str]]) -> None:
        """Find what the user typed in vain: what no job reads. Files may hold it, for other runs."""
        for setter in setters:
            if setter.where:
                continue
            above = [".".join(setter.key.split(".")[:end]) for end in range(1, setter.key.count(".") + 2)]
            why = [next((keys[key] for key in above if key in keys), None) for keys in unread]
            if why and None not in why:
                self.mistakes.append(f"{setter.key} is not read with {why[0]}; leave it out")


def told(name: str, mistakes: list[str]) -> str:
    """Return all mistakes as one message."""
    if len(mistakes) == 1:
        return mistakes[0]
    lines = "".join(f"\n  {text}" for text in mistakes)
    return f"{len(mistakes)} mistakes in the settings of {name}:{lines}"


def _merge(into: dict[str, Any], tree: dict[str, Any]) -> None:
    for key, value in tree.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
