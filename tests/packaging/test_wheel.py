"""The wheel holds every package, every YAML and every built-in data file, and works outside the checkout."""

import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("finewise", "benchmarks", "embed", "classify", "longctx", "conf")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, so that nothing is left in the checkout."""
    source = tmp_path_factory.mktemp("source")
    for name in (*PACKAGES, "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install it, without its dependencies, into an empty environment; return its Python."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(command, check=True)
    return python


def shipped_files() -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }


def test_every_file_of_every_package_is_in_the_wheel(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    missing = shipped_files() - inside
    assert not missing
    assert any(name.endswith("licenses/NOTICE") for name in inside)


def test_nothing_else_is_in_the_wheel(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in tops if not name.endswith(".dist-info")} == set(PACKAGES)


def test_the_empty_environment_finds_packages_settings_and_data(installed: Path, tmp_path: Path) -> None:
    code = """
import importlib.util, pathlib, sys
import finewise, benchmarks, embed, conf
from finewise.references import package_path
root = pathlib.Path(finewise.__file__).parents[1]
assert "site-packages" in str(root), root
files = [p for name in sys.argv[1:] for p in (root / name).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
print("\\n".join(sorted(str(p.relative_to(root)) for p in files)))
assert package_path("package:benchmarks/datasets/debian/train.parquet").stat().st_size > 1_000_000
"""
    command = [str(installed), "-c", code, *PACKAGES]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert set(ran.stdout.split()) == shipped_files()


def test_the_makefile_installs_what_the_project_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = (ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    for requirement in project["dependencies"] + project["optional-dependencies"]["dev"]:
        name = requirement.split(">=")[0].lower().replace("_", "-")
        assert f"\n{name}==" in pins, f"{name} is not pinned in constraints.txt"
