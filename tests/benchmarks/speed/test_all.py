import importlib

import pytest

from benchmarks.speed.__main__ import BENCHES, PLANS, main, run


def test_the_list_names_every_bench(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in BENCHES)


def test_an_unknown_bench_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trainnig"]) == 2
    assert "did you mean 'training'" in capsys.readouterr().err


def test_a_bench_runs_in_its_own_process_and_hands_back_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    found, status = run("audit", ["--rows", "200", "--rounds", "1", "--device", "cpu"])
    assert status == 0
    assert [bench["bench"] for bench in found] == ["audit"]
    assert "audit: done" in capsys.readouterr().out


def test_a_bench_that_fails_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("audit", ["--rows", "none"]) == ([], 2)
    assert "ended with status 2" in capsys.readouterr().out


@pytest.mark.parametrize("bench", sorted({bench for plan in PLANS.values() for bench in plan}))
def test_the_plan_has_settings_that_its_benches_know(bench: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"benchmarks.speed.{bench}")
    for plan in PLANS.values():
        for settings in plan[bench]:
            with pytest.raises(SystemExit) as ended:
                module.main([*settings, "--help"])
            assert ended.value.code == 0
            shown = capsys.readouterr().out
            assert [name for name in settings if name.startswith("--") and name not in shown] == []
