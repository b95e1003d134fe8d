"""The package index and the tag vocabulary of a Debian release, through apt's own configured sources.

Nothing of the system's apt is touched: lists, cache and settings go to a folder of our own, and apt's hooks are left
out. Needs apt on a Debian system whose sources name the release.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.datasets.debian_text import parse_stanzas

_APT_HELPER = "/usr/lib/apt/apt-helper"
_HOOKS = ("APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "DPkg::")


@dataclass(slots=True, kw_only=True, frozen=True)
class Snapshot:
    """What one build reads: the release's own words about itself, and the texts."""

    codename: str
    version: str
    suite: str
    date: str
    architecture: str
    packages: str  # the Packages file
    translations: str  # the Translation-en file: the descriptions
    vocabulary: str  # of the tags
    vocabulary_package: str  # name_version of the package that it came in


def system_codename() -> str:
    """The release of this system, from os-release."""
    path = Path("/etc/os-release")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in lines:
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise ValueError("cannot tell this system's Debian release from /etc/os-release; name it with --release")


def fetch(folder: Path, *, codename: str, architecture: str) -> Snapshot:
    """Download the release's index into `folder`, unless it is there already, and read it."""
    for tool in ("apt-get", "apt-config", "dpkg-deb", _APT_HELPER):
        if shutil.which(tool) is None:
            raise ValueError(
                f"{tool} is not on this system; the data sets can only be built on Debian or a system with its apt"
            )
    lists = folder / "lists"
    environment = _private_apt(folder, architecture)
    if not any(lists.glob("*_Packages*")):
        _run(["apt-get", "update"], folder, environment)

    packages = _target(folder, environment, codename, "Packages", f"Architecture: {architecture}")
    translations = _target(folder, environment, codename, "Translations", "Language: en")
    release = _release(lists, codename)

    if not list(folder.glob("debtags_*.deb")):
        _run(["apt-get", "download", "debtags"], folder, environment)
    deb = sorted(folder.glob("debtags_*.deb"))[-1]
    unpacked = folder / "debtags"
    _run(["dpkg-deb", "-x", str(deb), str(unpacked)], folder, environment)
    statement = (unpacked / "usr/share/doc/debtags/copyright").read_text(encoding="utf-8")
    if "GNU General Public License" not in statement or "GPL-2" not in statement:
        raise ValueError(
            f"{deb.name} is not under GPL-2, as the card of debtags says; read its copyright file, then the card"
        )
    return Snapshot(
        codename=codename,
        version=release["Version"],
        suite=release["Suite"],
        date=release["Date"],
        architecture=architecture,
        packages=_run([_APT_HELPER, "cat-file", packages], folder, environment),
        translations=_run([_APT_HELPER, "cat-file", translations], folder, environment),
        vocabulary=(unpacked / "usr/share/debtags/vocabulary").read_text(encoding="utf-8"),
        vocabulary_package=deb.stem.rpartition("_")[0],
    )


def _private_apt(folder: Path, architecture: str) -> dict[str, str]:
    """An environment in which apt works inside `folder`: the system's settings, less the hooks, plus our folders."""
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    settings = [
        line
        for line in _run(["apt-config", "dump"], folder, dict(os.environ)).splitlines()
        if not line.startswith(_HOOKS)
    ]
    ours = {
        "Dir::Etc::main": "/dev/null",  # what they hold is in the dump already, hooks included
        "Dir::Etc::parts": "/dev/null",
        "Dir::State::lists": str(folder.resolve() / "lists"),
        "Dir::Cache": str(folder.resolve() / "cache"),
        "Acquire::Languages": "en",
        "APT::Architecture": architecture,
        "APT::Sandbox::User": "root",  # the download user may not enter a private folder
    }
    settings = [line for line in settings if not line.startswith("Acquire::Languages")]
    settings += [f'{key} "{value}";' for key, value in ours.items()]
    config = folder / "apt.conf"
    config.write_text("\n".join(settings) + "\n", encoding="utf-8")
    return {**os.environ, "APT_CONFIG": str(config.resolve()), "LC_ALL": "C.UTF-8"}


def _target(folder: Path, environment: dict[str, str], codename: str, created_by: str, more: str) -> str:
    wanted = ["Origin: Debian", f"Codename: {codename}", "Component: main", f"Created-By: {created_by}", more]
    found = _run(["apt-get", "indextargets", "--format", "$(FILENAME)", *wanted], folder, environment).split()
    if len(found) != 1:
        raise ValueError(
            f"apt's sources must name Debian {codename} main exactly once; found {len(found)} index files "
            f"for {', '.join(wanted)}. Look at `apt-get indextargets`, or choose another --release"
        )
    return found[0]


def _release(lists: Path, codename: str) -> dict[str, str]:
    for path in sorted([*lists.glob("*_InRelease"), *lists.glob("*_Release")]):
        text = path.read_text(encoding="utf-8")
        # An InRelease file is the Release file within a signature: its fields start after the first empty line.
        body = text.partition("\n\n")[2] if text.startswith("-----BEGIN PGP") else text
        fields = next(parse_stanzas(body.partition("\n-----BEGIN PGP")[0]))
        if fields.get("Origin") == "Debian" and fields.get("Codename") == codename:
            return fields
    raise ValueError(
        f"no Release file of Debian {codename} in {lists}; empty the folder given with --index and run again"
    )


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    if done.returncode:
        message = done.stderr.decode("utf-8", "replace").strip() or f"exit status {done.returncode}"
        raise ValueError(f"`{' '.join(command)}` failed: {message}")
    return done.stdout.decode("utf-8")
