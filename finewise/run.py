"""One run = one folder: manifest, lock, stages, log, record. Imports nothing heavy.

A folder holds run.json from its first moment and record.json only at its end. A folder with the first and without the second
is an unfinished run, which `resume=auto` finishes.
"""

import copy
import errno
import hashlib
import importlib.util
import itertools
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from finewise import processes, record
from finewise.config import PlaceConfig, RunConfig
from finewise.console import say
from finewise.errors import InputError, ReportedError, Terminated
from finewise.names import check_folder_name, unknown
from finewise.settings import command, sweep_folder, to_yaml

MANIFEST = "run.json"
MACHINE = "machine.json"
"""What the machine decided in the first attempt, which a resumed run takes over."""

MODEL = "model"
REPORT = "report.html"
TRACKERS = {
    "clearml": "clearml",
    "codecarbon": "codecarbon",
    "comet_ml": "comet_ml",
    "dvclive": "dvclive",
    "mlflow": "mlflow",
    "swanlab": "swanlab",
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "wandb": "wandb",
}
"""The Trainer's trackers, and the package that each needs."""

LIBRARIES = (
    "finewise",
    "torch",
    "transformers",
    "sentence-transformers",
    "datasets",
    "accelerate",
    "faiss-cpu",
    "bm25s",
    "numpy",
)

log = logging.getLogger("finewise")

_imported = time.monotonic()
_opened = itertools.count()


class Run:
    """A run folder that this process holds. Use as a context manager: `with Run.open("embed", experiment) as run`.

    Attributes:
        dir: The folder.
        finished: The record of an earlier, finished run of the same command, when `resume=auto` found one; else None.
        resumed: True when an unfinished run goes on.
        is_first: Whether this process writes and prints; False in all but one of several that train together.
    """

    def __init__(self, directory: Path, task: str, name: str, manifest: dict[str, Any], lock: FileLock | None) -> None:
        self.dir = directory
        self.task = task
        self.name = name
        self.manifest = manifest
        self.resumed = manifest["attempts"] > 1
        self.is_first = lock is not None
        self.finished: dict[str, Any] | None = None
        self._lock = lock
        self._handler: logging.Handler | None = None
        self._announced = False
        self._is_part = False
        self._root = directory.parent
        self._home = directory
        self._made: list[Path] = []  # folders above this one that were made for it, the innermost first
        self._inside: list[float] = []  # per open stage, the seconds of the stages inside it
        # The later runs of a sweep begin where the one before ended.
        self._began = time.monotonic() - (since_start() if next(_opened) == 0 else 0.0)

    @classmethod
    def open(cls, task: str, experiment: Any, *, name: str | None = None, resume: str = "never") -> Self:
        """Make the folder of a new run, or take up the unfinished run of the same settings.

        Args:
            task: "embed", "score", ...: the first folder under `run.root`.
            experiment: The settings, a dataclass with a `run: PlaceConfig` field.
            name: Name of the experiment; the second folder.
            resume: "never" starts afresh; "auto" finishes the newest unfinished run with equal settings.

        Raises:
            InputError: The folder cannot be written, is in use by another process, or holds a run already.
        """
        settings: PlaceConfig = experiment.run
        if settings.device in ("auto", "cpu") and (busy := processes.yield_cores(cores())):
            say(busy)
        if processes.world() == 1:
            return cls._open(task, experiment, name, resume)
        run, refusal = None, None
        if processes.is_first():
            try:
                run = cls._open(task, experiment, name, resume)
            except InputError as error:
                refusal = str(error)
        told = processes.share((str(run.dir), run.manifest, run.finished) if run else refusal, settings.device)
        if isinstance(told, str):
            raise InputError(told) if processes.is_first() else ReportedError(told)
        if run is None:
            run = cls(Path(told[0]), task, name or "", told[1], None)
            run.finished = told[2]
        return run

    @classmethod
    def _open(cls, task: str, experiment: Any, name: str | None, resume: str) -> Self:
        settings: PlaceConfig = experiment.run
        name = name or str(getattr(experiment, "name", "default"))
        try:
            check_folder_name("name", name)
        except ValueError as error:
            raise InputError(str(error)) from None
        fingerprint = fingerprint_of(experiment)
        base = Path(settings.root) / task / name
        directory = base if settings.dir is None else Path(settings.dir)
        above = base if settings.dir is None else directory.parent
        made = [folder for folder in (above, *above.parents) if not folder.exists()]
        if settings.dir is not None:
            _check_given(directory, fingerprint, resume)
        else:
            found = _find(base, fingerprint)
            if resume == "auto" and found is not None:
                directory = found
            else:
                unfinished = found is not None and not (found / record.FILE).exists() and not _is_held(found)
                if unfinished and hasattr(experiment, "resume"):
                    say(f"note: an unfinished run of these settings is in {found}; resume=auto would finish it")
                directory = _new_directory(base)
        lock = _take(directory)
        try:
            run = cls(directory, task, name, _manifest(directory, task, name, fingerprint), lock)
            run._made = made
            run._root = Path(settings.root)
            if (directory / record.FILE).exists():
                run.finished = record.read(directory / record.FILE)
                return run
            run._add("start", time.monotonic() - run._began)
            record.write_json(directory / MANIFEST, run.manifest)
            (directory / "config.yaml").write_text(to_yaml(experiment), encoding="utf-8")
        except OSError as error:
            lock.release()
            raise _cannot_write(directory, error) from error
        except BaseException:
            lock.release()
            raise
        return run

    def __enter__(self) -> Self:
        """Start the log file."""
        if self.finished is None and self.is_first:
            self._handler = logging.FileHandler(self.dir / "log.txt", encoding="utf-8")
            self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
            logging.getLogger().addHandler(self._handler)
            log.setLevel(logging.INFO)
            log.info("command: %s", command())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the log file and let the folder go. An unfinished run stays, to be resumed."""
        if error is not None and not isinstance(error, SystemExit):
            how = "SIGTERM" if isinstance(error, Terminated) else type(error).__name__
            log.error("stopped: %s: %s", how, error)
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if isinstance(error, KeyboardInterrupt) and self.manifest["pins"]:
            say(f"unfinished: {self.dir}; the same command with resume=auto goes on from its last checkpoint")
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
            self._handler.close()
        if self._lock is not None:
            refused = isinstance(error, InputError) and self.finished is None
            if refused and not self._announced and not self.resumed:
                shutil.rmtree(self.dir, ignore_errors=True)  # refused input: there is no run to keep or to resume
                self._lock.release()
                shutil.rmtree(self.dir, ignore_errors=True)  # Windows removes no file that is open
                _remove_empty(self._made)
            else:
                self._lock.release()
        if full:
            raise InputError(
                f"{self.dir}: the disk is full; free some space, then the same command with resume=auto goes on"
            ) from error

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, without the stages inside it.

        Seconds add up over stages of one name and all attempts of a resumed run, and survive a kill at the next stage's end.
        """
        start = time.perf_counter()
        log.info("stage %s", name)
        self._inside.append(0.0)
        try:
            yield
            if len(self._inside) == 1:
                self.announce()
        finally:
            took = time.perf_counter() - start
            self._add(name, took - self._inside.pop())
            if self._inside:
                self._inside[-1] += took
            self._write_manifest()

    def _add(self, name: str, seconds: float) -> None:
        known = self.manifest["seconds"]
        known[name] = round(known.get(name, 0.0) + seconds, 3)

    def note_first_step(self) -> None:
        """Write down how many seconds after the start of the program its first optimiser step began."""
        if self._is_part:
            return
        self.manifest["first_step"] = round(time.monotonic() - self._began, 3)
        self._write_manifest()

    def announce(self) -> None:
        """Say where the run is kept, once: there is something worth keeping, and refused input does not remove it any more."""
        if not self._announced and not self._is_part:
            self._announced = True
            say(f"resume (attempt {self.manifest['attempts']}): {self.dir}" if self.resumed else f"run: {self.dir}")

    def _write_manifest(self) -> None:
        if self.is_first:
            record.write_json(self.dir / MANIFEST, self.manifest)

    def inside(self, name: str) -> Self:
        """Return a run in a folder within this one, for a part of the work: it keeps checkpoints, but no manifest or record."""
        part = copy.copy(self)
        part.dir = self.dir / name
        part._is_part = True
        part.dir.mkdir(parents=True, exist_ok=True)
        return part

    def pin(self, key: str, value: Any) -> None:
        """Remember what this run's result depends on; a resumed run must find it unchanged.

        Raises:
            InputError: The run is resumed and the value is another one now.
        """
        pins = self.manifest["pins"]
        if key not in pins and self.finished is not None:
            return
        if key in pins and pins[key] != value:
            raise InputError(
                f"{self.dir}: the {key} changed since this run began (was {pins[key]}, is {value}); "
                "start afresh with resume=never, or restore it"
            )
        pins[key] = value
        self._write_manifest()

    def keep(self, key: str, value: Any, *, here: bool = True) -> Any:
        """Return what the first attempt took for something that the machine decides; say so where it is another value now.

        Args:
            key: What is decided, such as "micro_batch_tokens".
            value: What this machine decides now.
            here: Whether for this part of the run alone.
        """
        path = (self.dir if here else self._home) / MACHINE
        kept = self.kept(key, here=here)
        if kept is None:
            if self.is_first:
                known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
                record.write_json(path, {**known, key: value})
            return value
        if kept != value:
            say(f"note: resumed with {key}={kept} as the run began; this machine would take {value} now")
        return kept

    def kept(self, key: str, *, here: bool = False) -> Any:
        """Return what `keep` wrote down in an earlier attempt, or None."""
        path = (self.dir if here else self._home) / MACHINE
        return json.loads(path.read_text(encoding="utf-8")).get(key) if path.exists() else None

    def note_test_read(self, checkpoint: int) -> None:
        """Write down that a checkpoint is about to be scored on test. Scoring the same one again is no new reading."""
        if checkpoint not in self.manifest["tested"]:
            self.manifest["tested"].append(checkpoint)
            self._write_manifest()

    @property
    def test_reads(self) -> int:
        """How many different checkpoints of this run were scored on test; more than one is a fault."""
        return len(self.manifest["tested"])

    def check_space(self, needed: int) -> None:
        """Refuse early when the disk cannot hold what the run will write.

        Args:
            needed: Bytes.
        """
        free = shutil.disk_usage(self.dir).free
        if free < needed:
            raise InputError(
                f"{self.dir}: the run needs about {needed / 1e6:.0f} MB on this disk, {free / 1e6:.0f} MB are free; "
                "free some, or set run.root to a folder on another disk"
            )

    @contextmanager
    def whole_folder(self, name: str) -> Iterator[Path]:
        """Give a folder to write to, which gets its name only once it is whole; what was there before goes.

        Args:
            name: Of the folder in the run's own.
        """
        final, part = self.dir / name, self.dir / f"{name}.part"
        for folder in (final, part):
            if folder.exists():
                shutil.rmtree(folder)
        part.mkdir()
        yield part
        part.rename(final)

    def finish(
        self, content: dict[str, Any], report: Callable[[dict[str, Any]], None] = lambda record: None
    ) -> dict[str, Any]:
        """Write record.json, once and atomically, and return it.

        Args:
            content: The task's own part: data, scores, comparisons, selection, device, seed; `cost` is completed here.
            report: Writes what people look at from the whole record; called before the record closes the run.
        """
        cost = {
            "seconds": dict(self.manifest["seconds"]),
            "first_step": self.manifest.get("first_step"),
            "attempts": self.manifest["attempts"],
            **content.pop("cost", {}),
        }
        whole = {
            "schema": record.SCHEMA,
            "task": self.task,
            "experiment": self.name,
            "command": self.manifest["command"],
            "status": "finished",
            "started": self.manifest["started"],
            "finished": _now(),
            "git": self.manifest["git"],
            "versions": self.manifest["versions"],
            "sweep": self.manifest.get("sweep"),
            **content,
            "cost": cost,
        }
        if "selection" in whole and whole.get("scores"):
            own = whole["selection"].get("test_reads", 1)
            reads = record.test_reads(self._root, whole["scores"], whole["sweep"], own)
            whole["selection"] = {**whole["selection"], "test_sets": reads}
        report(whole)
        record.write_json(self.dir / record.FILE, whole)
        return whole


def check_trackers(names: list[str]) -> None:
    """Refuse a tracker that cannot work, before the data are read.

    Raises:
        InputError: Names the tracker and the fix: unknown, named twice, not installed, broken, or without a login.
    """
    for name in names:
        if name not in TRACKERS:
            raise InputError(f"run.report_to: {unknown('tracker', name, TRACKERS)}")
        if names.count(name) > 1:
            raise InputError(f"run.report_to: the tracker '{name}' is named {names.count(name)} times; name it once")
        if importlib.util.find_spec(TRACKERS[name]) is None:
            raise InputError(f"run.report_to: the tracker '{name}' is not installed; pip install {TRACKERS[name]}")
    for name in names:
        try:
            package = importlib.import_module(TRACKERS[name])
        except Exception as error:  # whatever a broken installation raises
            raise InputError(
                f"run.report_to: the tracker '{name}' cannot be imported ({type(error).__name__}: "
                f"{(str(error).splitlines() or [''])[0]}); reinstall {TRACKERS[name]}, or leave it out"
            ) from error
        if name == "wandb":
            _check_wandb(package)


def _check_wandb(package: Any) -> None:
    """Refuse wandb without a login where nobody could be asked for one."""
    if os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun") or os.environ.get("WANDB_DISABLED"):
        return
    key = os.environ.get("WANDB_API_KEY") or getattr(getattr(package, "api", None), "api_key", "unknown")
    if key is None and not sys.stdin.isatty():
        raise InputError(
            "run.report_to: the tracker 'wandb' has no login; run `wandb login`, or set WANDB_API_KEY or WANDB_MODE=offline"
        )


def fingerprint_of(experiment: Any) -> str:
    """Return the sha256 of the settings that decide the result; where it is written, and `resume`, do not."""
    run: PlaceConfig = replace(experiment.run, root="", dir=None)
    if isinstance(run, RunConfig):
        run = replace(run, report_to=[], keep_checkpoints=1)
    neutral: dict[str, Any] = {"run": run}
    if hasattr(experiment, "resume"):
        neutral["resume"] = "never"
    if hasattr(experiment, "parallel_seeds"):
        neutral["parallel_seeds"] = 1
    # The repr of nested dataclasses names every class and every value: two losses with equal fields still differ.
    return hashlib.sha256(repr(replace(experiment, **neutral)).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that numbers depend on."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def git() -> dict[str, Any] | None:
    """Return commit and dirtiness of the source checkout, or None for an installed package."""
    source = Path(__file__).resolve().parents[1]
    if not (source / ".git").exists():
        return None

    def call(*words: str) -> str:
        return subprocess.run(
            ("git", "-C", str(source), *words), capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return {"commit": call("rev-parse", "HEAD"), "dirty": bool(call("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _manifest(directory: Path, task: str, name: str, fingerprint: str) -> dict[str, Any]:
    path = directory / MANIFEST
    current = versions()
    if not path.exists():
        return {
            "task": task,
            "experiment": name,
            "fingerprint": fingerprint,
            "command": command(),
            "sweep": sweep_folder(),
            "started": _now(),
            "attempts": 1,
            "git": git(),
            "versions": current,
            "seconds": {},
            "pins": {},
            "tested": [],
        }
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if (directory / record.FILE).exists():
        return manifest
    changed = [key for key in current if manifest["versions"].get(key) != current[key]]
    if changed:
        say(
            f"warning: resumed with other versions than it began with ({', '.join(changed)}): results may differ slightly"
        )
    manifest["attempts"] += 1
    return manifest


def _find(base: Path, fingerprint: str) -> Path | None:
    """Return the newest unfinished run with this fingerprint, else the newest finished one, else None."""
    candidates = []
    for path in base.glob(f"*/{MANIFEST}"):
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            continue
        if manifest.get("fingerprint") == fingerprint:
            unfinished = not (path.parent / record.FILE).exists()
            candidates.append((unfinished, manifest["started"], path.parent))
    return max(candidates)[2] if candidates else None


def _check_given(directory: Path, fingerprint: str, resume: str) -> None:
    """Check that an explicitly named folder is free, or holds the run that is to be resumed."""
    path = directory / MANIFEST
    if not path.exists():
        if directory.is_dir() and any(entry.name != "run.lock" for entry in directory.iterdir()):
            raise InputError(f"run.dir={directory} is not empty and holds no run; choose a new folder")
        return
    if _is_held(directory):
        raise InputError(_in_use(directory))
    if resume != "auto":
        state = "a finished" if (directory / record.FILE).exists() else "an unfinished"
        fix = (
            "choose another folder"
            if state == "a finished"
            else "add resume=auto to finish it, or choose another folder"
        )
        raise InputError(f"run.dir={directory} holds {state} run already; {fix}")
    if json.loads(path.read_text(encoding="utf-8")).get("fingerprint") != fingerprint:
        raise InputError(
            f"run.dir={directory} holds a run with other settings (see its config.yaml), which resume=auto cannot finish; "
            "use the same settings or choose another folder"
        )


def _new_directory(base: Path) -> Path:
    """Make a folder that no other process has, named by the time."""
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    try:
        for number in range(1, 1000):
            directory = base / (stamp if number == 1 else f"{stamp}_{number}")
            try:
                directory.mkdir(parents=True)
            except FileExistsError:
                continue
            return directory
    except OSError as error:
        raise _cannot_write(base, error) from error
    raise InputError(f"{base}: 1000 runs were started in this second; set run.dir")


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, the innermost first, up to the first that holds something: another run may be in it by now."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def _take(directory: Path) -> FileLock:
    """Lock the folder against other processes; a killed process gives the lock back by dying."""
    lock = FileLock(directory / "run.lock")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(_in_use(directory)) from None
    except OSError as error:
        raise _cannot_write(directory, error) from error
    return lock


def _is_held(directory: Path) -> bool:
    lock = FileLock(directory / "run.lock")
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    lock.release()
    return False


def _in_use(directory: Path) -> str:
    return f"{directory}: another process is running in this folder; wait for it, or choose another run.dir"


def _cannot_write(directory: Path, error: OSError) -> InputError:
    reason = error.strerror or str(error)
    return InputError(
        f"{directory}: cannot write there ({reason}); set run.root or run.dir to a folder that can be written"
    )


def cpu_name() -> str:
    """Return the processor's name as the system gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def since_start() -> float:
    """Return the seconds since this process was started; where the system does not tell, since this module was imported."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        began = float(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - began)
    except (OSError, ValueError, IndexError, AttributeError):
        return time.monotonic() - _imported
