"""`entry`: a function of an experiment as a command-line program."""

import argparse
import errno
import functools
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from finewise.errors import InputError
from finewise.settings.arguments import read_flags
from finewise.settings.build import CHOICE_OF, build
from finewise.settings.check import Check, told
from finewise.settings.library import CONF, VERSION_BASE, Library
from finewise.settings.schema import Groups, Schema

Task = Callable[[Any], float | None]

_failed: dict[str, str] = {}
"""Jobs of the sweep that were refused -> why."""

_given: list[str] | None = None  # the arguments as typed; Hydra is given them with signs and quotes put right

DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


def entry(
    name: str, schema: type, groups: Groups | None = None, description: str = ""
) -> Callable[[Task], Callable[..., float | None]]:
    """Make `main(experiment)` a program: `main()` runs the command line, `main(experiment)` is the function itself.

    Args:
        name: The program's name: of its primary file in conf/, its experiments' prefix and its jobs.
        schema: The dataclass of its settings.
        groups: The typed groups, such as {"loss": LOSSES}: group → choice → dataclass.
        description: What the program does, for `--help`.
    """
    tree = Schema(schema, groups or {})
    register(name, tree)

    def decorate(function: Task) -> Callable[..., float | None]:
        @functools.wraps(function)
        def main(experiment: Any = None) -> float | None:
            if experiment is not None:
                return function(experiment)
            try:
                _stop_on_sigterm()
                _command_line(name, tree, description, function)
            except InputError as error:
                _stop(str(error))
            except Terminated:
                _stop("stopped by SIGTERM", status=143)
            except KeyboardInterrupt:
                _stop("stopped by the keyboard", status=130)
            return None  # a console script takes what is returned for its exit status

        return main

    return decorate


def register(name: str, schema: Schema) -> None:
    """Store the dataclasses where the YAML files find them: NAME_schema, and the choices of the typed groups."""
    store = ConfigStore.instance()
    store.store(name=f"{name}_schema", node=schema.template(), provider="finewise")
    for group, choices in schema.groups.items():
        for choice, cls in choices.items():
            store.store(group=group, name=choice, node=cls, provider="finewise")
            CHOICE_OF[cls] = (group, choice)
    OmegaConf.register_new_resolver("experiment", _experiment, replace=True)


def _experiment(default: str) -> str:
    """Resolve ${experiment:DEFAULT}: the file chosen with +exp=, or the files of +exp=[a,b] as "a+b"."""
    if not HydraConfig.initialized():
        return default
    lists = [text for text in HydraConfig.get().overrides.task if text.startswith("+exp=[")]
    if lists:
        return "+".join(part.strip() for part in lists[-1].partition("[")[2].rstrip("]").split(","))
    return str(HydraConfig.get().runtime.choices.get("exp") or default)


def check(name: str, schema: Schema, argv: list[str]) -> Check:
    """Return what is wrong with a command line, without running anything."""
    return Check(name, schema, read_flags(argv))


def _command_line(name: str, schema: Schema, description: str, function: Task) -> None:
    global _given
    _given = sys.argv[1:]
    flags = read_flags(_given)
    if flags.help:
        from finewise.settings.help import page

        _show(page(name, schema, description, _program(), Library(_folder(flags))))
        return
    if flags.hydra_help or flags.shell_completion or flags.experimental_rerun is not None:
        arguments = _given
    else:
        checked = Check(name, schema, flags)
        if checked.mistakes:
            raise InputError(told(name, checked.mistakes))
        arguments = checked.argv

    @functools.wraps(function)
    def task(config: DictConfig) -> float | None:
        return _run(name, schema, function, config)

    given = sys.argv
    _failed.clear()
    try:
        sys.argv = [given[0], *arguments]
        hydra.main(config_path=str(CONF), config_name=name, version_base=VERSION_BASE)(task)()
    finally:
        sys.argv = given
    if _failed:
        lines = "\n".join(f"  {job}: {message}" for job, message in _failed.items())
        _stop(f"{len(_failed)} jobs of the sweep failed; the others ran\n{lines}")


def _run(name: str, schema: Schema, function: Task, config: DictConfig) -> float | None:
    experiment, mistakes = build(config, schema)
    try:
        if mistakes:
            raise InputError(told(name, [mistake.text for mistake in mistakes]))
        return function(experiment)
    except InputError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno not in DISK:
            raise
        _fail(f"{error.strerror}{f': {error.filename}' if error.filename else ''}")
    return None  # the job of a sweep that failed


def _fail(message: str) -> None:
    """End a single run; in a sweep, say which job failed and let the others run.

    Raises:
        InputError: In a sweep whose jobs are other processes: only an exception tells the first that one failed.
    """
    job = HydraConfig.get() if HydraConfig.initialized() else None
    if job is None or job.mode != RunMode.MULTIRUN:
        _stop(message)
    if not str(job.launcher._target_).endswith(".BasicLauncher"):
        raise
    name = f"job {job.job.num} ({job.job.override_dirname.replace(',', ' ')})"
    _failed[name] = message
    sys.stderr.write(f"error: {name}: {message}\n")


class Terminated(KeyboardInterrupt):
    """SIGTERM, as cluster schedulers send it: the run ends as by the keyboard, its folder kept for resume=auto."""


def _stop_on_sigterm() -> None:
    """Raise `Terminated` on SIGTERM, in this process alone: the helpers of a data loader end as they always do."""
    if threading.current_thread() is not threading.main_thread():
        return
    own = os.getpid()

    def end(number: int, frame: object) -> None:
        if os.getpid() != own:
            os._exit(128 + number)
        raise Terminated

    signal.signal(signal.SIGTERM, end)


def _stop(message: str, status: int = 2) -> NoReturn:
    """Print one message and end, inside Hydra too; with HYDRA_FULL_ERROR=1, let the traceback through instead."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1" and sys.exc_info()[1] is not None:
        raise  # the exception that is being handled: this function is called nowhere else
    sys.stderr.write(f"error: {message}\n")
    sys.exit(status)


def _show(text: str) -> None:
    """Print a page, also into `head`, which closes the pipe early."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _folder(flags: argparse.Namespace) -> str | None:
    return flags.config_dir if flags.config_dir is not None and os.path.isdir(flags.config_dir) else None


def _program() -> str:
    """Return how this program was called, without its arguments: "python -m embed.train"."""
    given = sys.argv[1:] if _given is None else _given
    return shlex.join(["python", *sys.orig_argv[1 : len(sys.orig_argv) - len(given)]])


def sweep() -> str | None:
    """Return the folder of the sweep that this job is of; None for a single run."""
    job = HydraConfig.get() if HydraConfig.initialized() else None
    return None if job is None or job.mode != RunMode.MULTIRUN else str(job.sweep.dir)


def command() -> str:
    """Return the command line that made this run, for its record; in a sweep, the one that repeats this job alone."""
    hydra_config = HydraConfig.get() if HydraConfig.initialized() else None
    if hydra_config is None or OmegaConf.is_missing(hydra_config.job, "num"):
        return shlex.join(["python", *sys.orig_argv[1:]])
    sources = hydra_config.runtime.config_sources
    folders = [f"--config-dir={source.path}" for source in sources if source.provider == "command-line"]
    overrides = [text for text in hydra_config.overrides.task if not text.startswith("+sweep=")]
    return f"{_program()} {shlex.join([*folders, *overrides])}"
