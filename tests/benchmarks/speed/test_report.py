import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.speed.agreement import agree
from benchmarks.speed.command import execute, parser
from benchmarks.speed.harness import Result, Round
from benchmarks.speed.report import Report, summary


def result(name: str, seconds: Sequence[float], memory: int | None = None) -> Result:
    rounds = [Round(seconds=each, items=8, tokens=64, flop=2e9, computed={"loss": 0.5}) for each in seconds]
    return Result(name=name, precision="fp32", rounds=rounds, warm_up=1.5, memory=memory)


def report(ours: float = 0.5) -> Report:
    return Report(
        bench="tiny",
        title="Tiny",
        compares="plain: as it is. ours: faster.",
        unit="pairs",
        bases=["plain"],
        results=[result("plain", [4.0, 6.0, 5.0], 3 * 2**20), result("ours", [2.0, 2.0, 1.0])],
        agreements=agree("loss", {"plain": 0.5, "ours": ours}, base="plain", tolerance=1e-5),
        peak={"fp32": 4e9, "bf16": 8e9},
        settings={"batch": 8},
    )


def test_json_says_what_ran_where_and_what_came_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], found: Callable[[], dict[str, Any]]
) -> None:
    status = execute(
        lambda given: [report()], parser("doc"), ["--device", "cpu", "--json", str(tmp_path / "found.json")]
    )
    assert status == 0
    content = found()
    assert {"schema", "command", "started", "finished", "git", "versions", "device"} <= set(content)
    assert content["ok"] is True
    assert content["device"]["type"] == "cpu"
    assert "torch" in content["versions"]
    (bench,) = content["benches"]
    plain, ours = bench["sides"]
    assert ours["ratio_to"] == {"plain": {"median": 3.0, "low": 2.0, "high": 5.0}}
    assert ours["median_seconds"] == 2.0
    assert ours["pairs_per_second"] == 4.0
    assert ours["share_of_peak"] == {"fp32": 0.25, "bf16": 0.125}
    assert (plain["peak_memory"], ours["peak_memory"]) == (3 * 2**20, None)
    assert bench["rounds"] == 3
    assert bench["agreements"][0]["ok"] is True


def test_the_table_has_ratio_share_and_memory_and_says_what_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    report().show()
    shown = capsys.readouterr().out
    for part in ("plain: as it is", "3.00", "2.00..5.00", "12.5%", "n/a", "agrees", "bf16 8 GFLOP/s"):
        assert part in shown, part


def test_sides_that_differ_are_told_loudly_and_fail_the_bench(capsys: pytest.CaptureFixture[str]) -> None:
    status = execute(lambda given: [report(ours=0.6)], parser("doc"), ["--device", "cpu"])
    shown = capsys.readouterr()
    assert status == 1
    assert "DIFFERS" in shown.out
    assert "did not compute the same" in shown.err


def test_a_loss_that_is_no_number_fails_and_is_null_in_the_json(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    assert (
        execute(lambda given: [report(ours=float("nan"))], parser("doc"), ["--device", "cpu", "--json", str(path)]) == 1
    )
    content = json.loads(path.read_text())
    assert content["ok"] is False
    assert content["benches"][0]["agreements"][0]["value"] is None


def test_the_summary_has_a_line_per_thing_and_one_per_side_that_differs() -> None:
    findings = agree("loss", {"plain": 1.0, "a": 1.0, "b": 2.0}, base="plain", tolerance=1e-5)
    findings += agree("norm", {"plain": 1.0, "a": 1.0, "b": 1.0}, base="plain", tolerance=1e-5)
    lines = summary(findings)
    assert [line.split()[0] for line in lines] == ["DIFFERS:", "DIFFERS:", "agrees:"]
    assert "b 2" in lines[1]


def test_mistakes_are_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    from finewise.errors import InputError

    def refuse(given: object) -> list[Report]:
        raise InputError("--sides: none")

    assert execute(refuse, parser("doc"), ["--device", "cpu"]) == 2
    assert capsys.readouterr().err == "error: --sides: none\n"
    with pytest.raises(SystemExit):
        parser("doc").parse_args(["--rounds", "0"])
