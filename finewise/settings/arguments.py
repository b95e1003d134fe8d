"""The command line: Hydra's flags, and the overrides as Hydra's grammar reads them."""

import argparse
import itertools
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, OverrideType, Quote, QuotedString, ValueType
from hydra.errors import HydraException

import finewise
from finewise.errors import InputError
from finewise.names import nearest
from finewise.settings.library import first_line
from finewise.settings.schema import Schema

UNQUOTABLE = re.compile(r"[,()\[\]{}'\"$\\]")
"""Characters by which a value may be meant as more than plain text."""

REFERENCES = {"model": "model.name", "data": "data.train", "benchmark": "benchmark.path"}
PLAIN = {"model": "model.folder", "data": "data.file"}
"""Groups whose choices people also name by a path, a hub id or package:..., and the setting that is then meant."""

SIGNS = {OverrideType.CHANGE: "", OverrideType.ADD: "+", OverrideType.FORCE_ADD: "++", OverrideType.DEL: "~"}


@dataclass(slots=True)
class Setter:
    """One override: `KEY[@PACKAGE]=VALUE`, with a sign before it.

    Attributes:
        parsed: As Hydra reads it.
        sign: "", "+", "++" or "~"; may differ from what the user wrote, where only one sign can work.
        where: The file it comes from, or "" for the command line.
    """

    parsed: Override
    sign: str
    where: str = ""

    @property
    def key(self) -> str:
        """The key or group, without its package."""
        return str(self.parsed.key_or_group)

    @property
    def full_key(self) -> str:
        """The key with its package."""
        return self.key if self.parsed.package is None else f"{self.key}@{self.parsed.package}"

    @property
    def raw(self) -> str:
        """The value as written."""
        return str(self.parsed.input_line).partition("=")[2]

    @property
    def text(self) -> str:
        """The override to hand to Hydra."""
        has_value = "=" in str(self.parsed.input_line)
        return f"{self.sign}{self.full_key}={self.raw}" if has_value else f"{self.sign}{self.full_key}"

    @property
    def is_hydra(self) -> bool:
        """Whether it sets Hydra's own, not ours."""
        return bool(self.parsed.is_hydra_override())

    @property
    def is_sweep(self) -> bool:
        """Whether it has more than one value."""
        return bool(self.parsed.is_sweep_override())

    @property
    def is_interval(self) -> bool:
        """Whether its values cannot be enumerated."""
        return self.parsed.value_type is ValueType.INTERVAL_SWEEP

    def values(self) -> list[Any]:
        """Return every value that it can take, as plain values; none of an interval."""
        if not self.is_sweep:
            return [self.parsed.value()]
        if self.is_interval:
            return []
        return list(self.parsed.sweep_iterator(transformer=Override._convert_value))

    def jobs(self) -> list[str]:
        """Return the single-valued overrides that a sweep takes one after the other."""
        if not self.is_sweep:
            return [self.text]
        return [f"{self.sign}{self.full_key}={value}" for value in self.parsed.sweep_string_iterator()]


class _Parser:
    """Hydra's own argument parser, with messages that name the fix."""

    def __init__(self) -> None:
        self.parser = get_args_parser()
        self.parser.error = self._error  # type: ignore[method-assign]
        for action in self.parser._actions:
            if isinstance(action, argparse._VersionAction):
                action.version = f"finewise {finewise.__version__} (hydra-core {hydra.__version__})"

    def _error(self, message: str) -> NoReturn:
        dashed = re.search(r"unrecognized arguments: (--?[\w.@/-]+)", message)
        if dashed:
            flag = dashed.group(1)
            setting = f"{flag.lstrip('-')}=VALUE"
            raise InputError(
                f"unknown option {flag}; settings are written without dashes: {setting} (--help lists them)"
            )
        raise InputError(message)


def read_flags(argv: list[str]) -> argparse.Namespace:
    """Return Hydra's flags, with the overrides in `overrides`. Flags may stand anywhere between them.

    Raises:
        InputError: A flag is unknown or lacks its value.
    """
    parser = _Parser().parser
    flags, rest = parser.parse_known_intermixed_args(argv)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return flags


def write_flags(flags: argparse.Namespace) -> list[str]:
    """Return the flags as arguments again, in an order that Hydra's own parser can read."""
    written = []
    for name, value in vars(flags).items():
        option = f"--{name.replace('_', '-')}"
        if name == "overrides" or value in (None, False):
            continue
        written += [option] if value is True else [f"{option}={value}"]
    return written


def read_overrides(texts: Iterable[str], schema: Schema, parser: OverridesParser) -> tuple[list[Setter], list[str]]:
    """Return the overrides, and a message for each that cannot be read."""
    setters: list[Setter] = []
    mistakes: list[str] = []
    given = list(texts)
    while "=" in given:
        at = given.index("=")
        pieces = given[max(at - 1, 0) : at + 2]
        mistakes.append(f"'{' '.join(pieces)}': write {''.join(pieces)}, without spaces around '='")
        del given[max(at - 1, 0) : at + 2]
    for text in given:
        try:
            setters.append(_read(_reference(text, schema), schema, parser))
        except InputError as error:
            mistakes.append(str(error))
    return setters, mistakes


def _reference(text: str, schema: Schema) -> str:
    """Let `model=REFERENCE` stand for `model.name=REFERENCE`, where a path or a hub id cannot be meant as a choice.

    Settings that take a folder or a file and nothing else have no files to choose: there `model=X` is always `model.folder=X`.
    """
    key, _, value = text.partition("=")
    plain = PLAIN.get(key.lstrip("+"))
    if plain is not None and schema.find(plain, {}) is not None:
        return f"{plain}={value}"
    setting = REFERENCES.get(key.lstrip("+"))
    if setting is None or not re.search(r"[/:]", value) or schema.find(setting, {}) is None:
        return text
    return f"{setting}={value}"


def _read(text: str, schema: Schema, parser: OverridesParser) -> Setter:
    try:
        parsed = parser.parse_override(_keep_text(text, schema, parser))
    except HydraException as error:
        quoted = _quoted(text)
        plain = quoted is not None and not UNQUOTABLE.search(text)
        if not (plain and _takes_text(text.partition("=")[0].lstrip("+"), schema)):
            raise InputError(_why_unreadable(text, quoted, first_line(error))) from error
        parsed = parser.parse_override(str(quoted))
    if not parsed.key_or_group:
        raise InputError(_why_unreadable(text, None))
    parsed.config_loader = parser.config_loader
    return Setter(parsed, SIGNS[parsed.type])


def _keep_text(text: str, schema: Schema, parser: OverridesParser) -> str:
    """Quote a value that Hydra would read as a number where the setting takes text: revision=12e4567 is no infinity."""
    parsed = parser.parse_override(text)
    if isinstance(parsed._value, int | float) and _takes_text(str(parsed.key_or_group), schema):
        return _quoted(text) or text
    return text


def _takes_text(key: str, schema: Schema) -> bool:
    for group, choices in schema.groups.items():
        for cls in choices.values():
            setting = schema.find(key, {group: cls})
            if setting is not None:
                return setting.kind is str and setting.choices is None
    setting = schema.find(key, {})
    return setting is not None and setting.kind is str and setting.choices is None


def _quoted(text: str) -> str | None:
    found = re.fullmatch(r"(\+{0,2}[\w$./@-]+)=(.*)", text, re.DOTALL)
    return f"{found.group(1)}={QuotedString(found.group(2), quote=Quote.double).with_quotes()}" if found else None


def _why_unreadable(text: str, quoted: str | None, found: str = "") -> str:
    if "=" not in text:
        return f"'{text}' is not a setting; settings are written KEY=VALUE, experiments +exp=NAME (--help lists them)"
    if quoted is None:
        key = text.partition("=")[0]
        return f"'{text}': '{key}' cannot be a key; settings are written KEY=VALUE (--help lists them)"
    if "function" not in found and "evaluating" not in found:
        found = "brackets, quotes, commas and '=' have a meaning"
    return f"cannot read '{text}': {found.rstrip(':')}; if it is text, quote it: {shlex.quote(quoted)}"


def sweep_combinations(setters: list[Setter], limit: int = 48) -> list[list[str]]:
    """Return the overrides of every job of a sweep; of too many, each value once beside the others' first."""
    alternatives = [setter.jobs() for setter in setters if not setter.is_interval]
    count = 1
    for jobs in alternatives:
        count *= len(jobs)
    if count <= limit:
        return [list(job) for job in itertools.product(*alternatives)]
    base = [jobs[0] for jobs in alternatives]
    varied = [[*base[:i], job, *base[i + 1 :]] for i, jobs in enumerate(alternatives) for job in jobs[1:]]
    return [base, *varied]


def no_match(setter: Setter, options: list[str]) -> str | None:
    """Return why a glob gives no jobs, or None if it gives some."""
    glob: Any = setter.parsed._value
    if not isinstance(glob, Glob) or glob.filter(options):
        return None
    guess = nearest(" ".join(glob.include), options)
    hint = f"; did you mean '{guess}'?" if guess else "."
    return f"{setter.full_key}={setter.raw} matches nothing{hint} Known: {', '.join(options) or 'none'}"
