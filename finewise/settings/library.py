"""The YAML files that can be composed: ours, the user's `--config-dir`, and the typed groups."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.defaults_list import DefaultsList
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException, MissingConfigException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from finewise.errors import InputError
from finewise.names import unknown

CONF = Path(__file__).resolve().parents[2] / "conf"
"""Found by absolute path: the same from a checkout and a wheel, and never taken for somebody else's `conf`."""

VERSION_BASE = "1.3"


@dataclass(frozen=True, slots=True)
class Content:
    """What one file sets: `tree` starts at the root of the settings; `hydra` is what it sets of Hydra's own."""

    file: Path | None
    package: str
    tree: dict[str, Any]
    hydra: dict[str, Any]


class Library:
    """The folders of YAML files that an entry point composes from.

    Args:
        config_dir: The user's own folder, searched after ours.
        conf: Our folder.
    """

    def __init__(self, config_dir: str | None = None, conf: Path = CONF) -> None:
        version.setbase(VERSION_BASE)
        search_path = create_config_search_path(str(conf))
        if config_dir is not None:
            location = f"file://{Path(config_dir).resolve()}"
            search_path.prepend(provider="command-line", path=location, anchor=SearchPathQuery(provider="schema"))
        self.conf = conf
        self.config_dir = Path(config_dir) if config_dir is not None else None
        self.loader = ConfigLoaderImpl(search_path)
        self._defaults: dict[tuple[str, ...], DefaultsList] = {}

    def is_group(self, name: str) -> bool:
        """Whether there is a group of that name."""
        return bool(name) and self.loader.repository.group_exists(name)

    def groups(self, above: str = "") -> list[str]:
        """Return the groups."""
        found: list[str] = self.loader.repository.get_group_options(above, ObjectType.GROUP)
        return found

    def options(self, group: str) -> list[str]:
        """Return the choices of a group; "" gives the primary files."""
        found: list[str] = self.loader.repository.get_group_options(group, ObjectType.CONFIG)
        return [name for name in found if self.file(f"{group}/{name}" if group else name) or group]

    def file(self, path: str) -> Path | None:
        """Return the file behind `group/choice`, as short as it can be written; None for a typed group's class."""
        for folder in (self.conf, self.config_dir):
            if folder is not None and (folder / f"{path}.yaml").is_file():
                return short(folder / f"{path}.yaml")
        return None

    def hidden(self, path: str) -> Path | None:
        """Return the user's file that is never read because ours has the same name."""
        if self.config_dir is None or self.config_dir.resolve() == self.conf.resolve():
            return None
        file = self.config_dir / f"{path}.yaml"
        return short(file) if file.is_file() and (self.conf / f"{path}.yaml").is_file() else None

    def load(self, path: str) -> ConfigResult | None:
        """Read one file.

        Raises:
            InputError: It is not valid YAML; the message has the file and the line.
        """
        file = self.file(path)
        try:
            return self.loader.repository.load_config(path)
        except yaml.MarkedYAMLError as error:
            line = f" line {error.problem_mark.line + 1}" if error.problem_mark is not None else ""
            raise InputError(f"{file}{line}: not valid YAML: {error.problem or error.context}") from error
        except (yaml.YAMLError, HydraException, OmegaConfBaseException, OSError, ValueError) as error:
            raise InputError(f"{file}: {first_line(error)}") from error

    def defaults(self, name: str, overrides: list[str]) -> DefaultsList:
        """Return which files these overrides choose.

        Raises:
            InputError: A defaults list is wrong; the message names its file.
        """
        asked = (name, *overrides)
        try:
            if asked not in self._defaults:
                self._defaults[asked] = self.loader.compute_defaults_list(name, overrides, RunMode.MULTIRUN)
            return self._defaults[asked]
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{short(Path(mark.name))} line {mark.line + 1}" if mark is not None else "a YAML file"
            raise InputError(f"{where}: not valid YAML: {getattr(error, 'problem', None) or error}") from error
        except MissingConfigException as error:
            raise InputError(self._not_found(error)) from error
        except (HydraException, OmegaConfBaseException, ValueError, AssertionError) as error:
            raise InputError(self._with_file(error)) from error

    def _not_found(self, error: MissingConfigException) -> str:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        source = str(error).partition("In '")[2].partition("'")[0]
        where = f"{self.file(source) or source}: " if source else ""
        if not group:
            return f"{where}{unknown('config', choice, self.options(''))}"
        return where + unknown(group, choice, self.options(group))

    def _with_file(self, error: Exception) -> str:
        text = first_line(error)
        source = text.partition("In '")[2].partition("'")[0]
        if source and text.startswith("In '"):
            text = str(self.file(source) or source) + text.removeprefix(f"In '{source}'")
        if "Multiple values for" in text:
            text += " (in an experiment, write '- override /GROUP: CHOICE')"
        return text

    def content(self, defaults: DefaultsList) -> list[Content]:
        """Return what every chosen file sets; later ones win. Typed groups and Hydra's own files are left out."""
        found = []
        for item in defaults.defaults:
            path = item.config_path
            if path is None or path.startswith("hydra/") or (item.package or "").split(".")[0] == "hydra":
                continue
            content = self.content_of(path, item.package or "")
            if content is not None:
                found.append(content)
        return found

    def content_of(self, path: str, package: str) -> Content | None:
        """Return what one file sets, put at `package`; None for a typed group's class.

        Raises:
            InputError: The file cannot be read, or does not hold keys and values.
        """
        result = self.load(path)
        if result is None or result.is_schema_source:
            return None
        tree = OmegaConf.to_container(result.config, resolve=False)
        if not isinstance(tree, dict):
            raise InputError(f"{self.file(path)}: must hold keys and values; got a list")
        keyed = {str(key): value for key, value in tree.items()}
        own = keyed.pop("hydra", None) if not package else None
        for part in reversed(package.split(".") if package else []):
            keyed = {part: keyed}
        return Content(self.file(path), package, keyed, own if isinstance(own, dict) else {})

    def compose(self, name: str, overrides: list[str]) -> DictConfig:
        """Compose the settings of one job, Hydra's own included.

        Raises:
            InputError: Hydra refuses them.
        """
        try:
            return self.loader.load_configuration(name, overrides, RunMode.RUN)
        except (HydraException, OmegaConfBaseException, ValueError, AssertionError) as error:
            cause = f": {first_line(error.__cause__)}" if error.__cause__ is not None else ""
            raise InputError(f"{self._with_file(error).rstrip('.')}{cause}") from error


@contextmanager
def as_job(config: DictConfig) -> Iterator[DictConfig]:
    """Show a composed config to resolvers as Hydra shows them a job's, and yield it without Hydra's own part."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        settings = copy.deepcopy(config)
        with read_write(settings), open_dict(settings):
            del settings["hydra"]
        yield settings
    finally:
        HydraConfig.instance().cfg = before


def short(path: Path) -> Path:
    """Return a path as seen from here, if it is below."""
    path = path.resolve()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def first_line(error: BaseException) -> str:
    """Return the first line of an error message that says anything."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def line_of(file: Path | None, keys: list[str]) -> int | None:
    """Return the line of a key in a YAML file, counted from 1."""
    if file is None:
        return None
    node = yaml.compose(file.read_text(encoding="utf-8"))
    line = None
    for key in keys:
        if not isinstance(node, yaml.MappingNode):
            break
        for name, inner in node.value:
            if str(name.value) == key:
                node, line = inner, name.start_mark.line + 1
                break
        else:
            break
    return line
