"""`entry`: a function of an experiment as a command-line program."""

import argparse
import errno
import functools
import itertools
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from finewise.errors import InputError, ReportedError, Terminated
from finewise.settings.arguments import read_flags
from finewise.settings.build import CHOICE_OF, build
from finewise.settings.check import Check, told
from finewise.settings.library import CONF, VERSION_BASE, Library
from finewise.settings.schema import Groups, Schema

Task = Callable[[Any], float | None]

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
                _handle_sigterm()
                _command_line(name, tree, description, function)
            except InputError as error:
                _stop(str(error), quiet=isinstance(error, ReportedError))
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
    # The name is one folder of the run's path, also of an experiment in a folder of its own.
    return str(HydraConfig.get().runtime.choices.get("exp") or default).replace("/", "-")


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

    failures: list[str] = []
    jobs = itertools.count()

    @functools.wraps(function)
    def task(config: DictConfig) -> float | None:
        if not _is_sweep():
            return _run(name, schema, function, config)
        next(jobs)
        return _run_job(name, schema, function, config, failures)

    given = sys.argv
    try:
        sys.argv = [given[0], *arguments]
        hydra.main(config_path=str(CONF), config_name=name, version_base=VERSION_BASE)(task)()
    finally:
        sys.argv = given
    if failures:
        raise InputError("\n".join([f"{len(failures)} of {next(jobs)} jobs of the sweep failed:", *failures]))


def _run(name: str, schema: Schema, function: Task, config: DictConfig) -> float | None:
    try:
        return _call(name, schema, function, config)
    except InputError as error:
        _stop(str(error), quiet=isinstance(error, ReportedError))


def _call(name: str, schema: Schema, function: Task, config: DictConfig) -> float | None:
    """Build the experiment and run it; errors of the disk are raised as InputError."""
    experiment, mistakes = build(config, schema)
    if mistakes:
        raise InputError(told(name, [mistake.text for mistake in mistakes]))
    try:
        return function(experiment)
    except OSError as error:
        if error.errno not in DISK:
            raise
        raise InputError(f"{error.strerror}{f': {error.filename}' if error.filename else ''}") from error


def _is_sweep() -> bool:
    return HydraConfig.initialized() and not OmegaConf.is_missing(HydraConfig.get().job, "num")


def _run_job(name: str, schema: Schema, function: Task, config: DictConfig, failures: list[str]) -> float | None:
    """Run one job of a sweep; print why it failed and let the next one run.

    Hydra's own sweeper and launcher need no more than the list of failures at the end. Any other sweeper is given the
    exception, as an optimiser must not take a failed job for a score, and a launcher in other processes has no other way.
    """
    hydra_config = HydraConfig.get()
    try:
        return _call(name, schema, function, config)
    except Exception as error:
        overrides = shlex.join(hydra_config.overrides.task)
        first = (str(error).splitlines() or [""])[0]
        message = first if isinstance(error, InputError) else f"{type(error).__name__}: {first}"
        if not isinstance(error, InputError):
            traceback.print_exc()
        if not isinstance(error, ReportedError):
            sys.stderr.write(f"error: job {hydra_config.job.num} ({overrides}): {error}\n")
        own = ("BasicSweeper", "BasicLauncher")
        if not all(str(node._target_).endswith(own) for node in (hydra_config.sweeper, hydra_config.launcher)):
            raise
        failures.append(f"  job {hydra_config.job.num} ({overrides}): {message}")
        return None


def sweep_folder() -> str | None:
    """Return the folder of the sweep that this job belongs to, which tells sweeps apart; None outside a sweep."""
    return str(HydraConfig.get().sweep.dir) if _is_sweep() else None


def _handle_sigterm() -> None:
    """Let SIGTERM end this process as Ctrl-C does; forked children, such as data workers, end as they did."""
    process = os.getpid()

    def end(number: int, frame: object) -> None:
        if os.getpid() == process:
            raise Terminated
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    try:
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, end)
    except ValueError:
        pass  # not in the main thread, which alone is told of signals


def _stop(message: str, status: int = 2, *, quiet: bool = False) -> NoReturn:
    """Print one message and end, inside Hydra too; with HYDRA_FULL_ERROR=1, let the traceback through instead."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1" and sys.exc_info()[1] is not None:
        raise  # the exception that is being handled: this function is called nowhere else
    if not quiet:
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


def command() -> str:
    """Return the command line that made this run, for its record; in a sweep, the one that repeats this job alone."""
    hydra_config = HydraConfig.get() if HydraConfig.initialized() else None
    if hydra_config is None or OmegaConf.is_missing(hydra_config.job, "num"):
        return shlex.join(["python", *sys.orig_argv[1:]])
    sources = hydra_config.runtime.config_sources
    folders = [f"--config-dir={source.path}" for source in sources if source.provider == "command-line"]
    overrides = [text for text in hydra_config.overrides.task if not text.startswith("+sweep=")]
    return f"{_program()} {shlex.join([*folders, *overrides])}"
