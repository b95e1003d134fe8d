"""Programs that run as one process say so, once, when a launcher starts several."""

import subprocess
import sys

import pytest

from finewise.errors import InputError
from finewise.processes import refuse_several


def test_several_processes_are_refused_by_the_first_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_several("longctx.train")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        InputError, match=r"longctx.train runs as one process, and WORLD_SIZE is 2: .* without torchrun"
    ):
        refuse_several("longctx.train")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as ended:
        refuse_several("longctx.train")
    assert ended.value.code == 2


PROGRAMS = {
    "longctx.train": ["model.name=nowhere", "adapt=false"],
    "benchmarks.perplexity": ["model.name=nowhere", "perplexity.data=nowhere.jsonl"],
    "benchmarks.score": ["benchmark.path=nowhere"],
    "classify.audit": ["data.train=nowhere.jsonl"],
}
"""Program -> arguments that it would refuse after that."""


@pytest.mark.parametrize("module", PROGRAMS)
def test_a_program_says_it_before_it_reads_anything(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    command = [sys.executable, "-m", module, *PROGRAMS[module]]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"error: {module} runs as one process"), ran.stderr
