"""The table of ways: its runs compose, what is there is not repeated, and it lands where it belongs."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from classify.config import METHODS, ClassifyExperiment
from classify.losses_config import LOSSES
from classify.ways_table import BEGIN, END, SETS, WAYS, Cell, main, plan, table, write
from finewise.errors import InputError
from finewise.settings.edge import check, register
from finewise.settings.schema import Schema


def score(system: str, metric: str, value: float) -> dict[str, Any]:
    return {
        "split": "test",
        "system": system,
        "metric": metric,
        "value": value,
        "low": value - 0.02,
        "high": value + 0.02,
    }


def record(command: str = "", *, data: str = "debian-tags", second: str = "average_precision") -> dict[str, Any]:
    systems = {"tuned": 0.61, "majority": 0.01, "tfidf_lr": 0.55, "knn": 0.5, "linear_probe": 0.52}
    return {
        "schema": 1,
        "command": command,
        "finished": "2026-11-22T10:00:00+00:00",
        "git": {"commit": "0123456789abcdef", "dirty": False},
        "device": {"name": "some CPU", "threads": 2},
        "data": {"name": data, "rows": {"train": 4000, "dev": 1000, "test": 3656}},
        "scores": [score(name, metric, value) for name, value in systems.items() for metric in ("f1_macro", second)],
        "comparisons": [
            {"b": "tfidf_lr", "metric": "f1_macro", "difference": 0.06, "low": 0.02, "high": 0.1, "p": 0.0004},
            {"b": "knn", "metric": "f1_macro", "difference": 0.11, "low": 0.05, "high": 0.2, "p": 0.0002},
        ],
        "cost": {"seconds": {"data": 2.5, "train": 1234.5}, "baseline_seconds": dict.fromkeys(systems, 7.25)},
    }


def finish(cell: Cell, arguments: tuple[str, ...]) -> None:
    """Leave the record of a run with these arguments."""
    cell.folder.mkdir(parents=True)
    command = "python -m classify.train " + shlex.join([*arguments, "resume=auto"])
    (cell.folder / "record.json").write_text(json.dumps(record(command)))


def test_every_way_and_every_set_composes(tmp_path: Path) -> None:
    schema = Schema(ClassifyExperiment, {"loss": LOSSES, "method": METHODS})
    register("classify", schema)
    assert set(WAYS) == set(METHODS)
    cells = plan(tmp_path, SETS, list(WAYS), rows=300, epochs=0.5)
    assert len({cell.folder for cell in cells}) == len(SETS) * len(WAYS)
    for cell in [*cells[: len(WAYS)], *cells[len(WAYS) :: len(WAYS)]]:
        checked = check("classify", schema, list(cell.arguments))
        assert checked.mistakes == []
        experiment = checked.build()
        assert type(experiment.method) is METHODS[cell.way]
        assert (experiment.data.name, experiment.data.max_train_rows) == (cell.data, 300)
        assert experiment.model.max_seq_length == 128


def test_a_row_for_each_baseline_and_each_way() -> None:
    found = table({("debian-tags", "full"): record(), ("debian-sections", "linear_probe"): record(second="accuracy")})
    assert found.splitlines()[:9] == [
        "| data | way | macro-F1 | minus tfidf_lr | accuracy or AP | training | whole run |",
        "| :-- | :-- | --: | --: | --: | --: | --: |",
        "| debian-tags | majority | .010 [-.010, .030] |  | .010 | 7.2 s |  |",
        "| debian-tags | tfidf_lr | .550 [.530, .570] |  | .550 | 7.2 s |  |",
        "| debian-tags | knn | .500 [.480, .520] |  | .500 | 7.2 s |  |",
        "| debian-tags | linear_probe | .520 [.500, .540] |  | .520 | 7.2 s |  |",
        "| debian-tags | full | .610 [.590, .630] | +.060 [.020, .100], p < .001 | .610 | 1,234 s | 1,237 s |",
        "| debian-sections | majority | .010 [-.010, .030] |  | .010 | 7.2 s |  |",
        "| debian-sections | tfidf_lr | .550 [.530, .570] |  | .550 | 7.2 s |  |",
    ]
    assert found.count("linear_probe") == 2  # on the second set it is a way, and no baseline besides
    assert "2026-11-22, commit 0123456, some CPU, 2 threads." in found
    assert "4,000 / 1,000 / 3,656" in found


def test_it_is_written_between_its_lines_and_nowhere_else(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write("new", file)
    write("newer", file)
    assert file.read_text() == f"before\n{BEGIN}\nnewer\n{END}\nafter\n"
    file.write_text("no such lines")
    with pytest.raises(InputError, match=f"has no lines {BEGIN}"):
        write("new", file)
    assert file.read_text() == "no such lines"


def test_what_is_there_is_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = plan(tmp_path, ["debian-tags"], ["full", "lora"], rows=200, epochs=1, more=["seed=1"])
    for cell in cells:
        finish(cell, cell.arguments)
    file = tmp_path / "page.md"
    file.write_text(f"{BEGIN}\n{END}\n")
    given = ["--folder", str(tmp_path), "--sets", "debian-tags", "--ways", "lora,full", "--rows", "200"]
    given += ["--epochs", "1"]
    assert main([*given, "--write", str(file), "--", "seed=1"]) == 0
    assert "| debian-tags | lora | .610" in capsys.readouterr().out
    assert "| debian-tags | full | .610" in file.read_text()
    assert main([*given, "seed=2"]) == 2
    assert "full holds a run with other settings" in capsys.readouterr().err


def test_a_run_that_fails_is_told_and_the_table_made_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = ["nonsense=1"]
    done, _ = plan(tmp_path, ["debian-tags"], ["linear_probe", "zero_shot"], rows=4000, epochs=1, more=bad)
    finish(done, done.arguments)
    given = ["--folder", str(tmp_path), "--sets", "debian-tags", "--ways", "linear_probe,zero_shot", *bad]
    assert main(given) == 1
    printed = capsys.readouterr()
    assert "error: debian-tags, zero_shot did not come to its end" in printed.err
    assert "| debian-tags | linear_probe | .610" in printed.out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--ways", "lorra"], "--ways: unknown name 'lorra'; did you mean 'lora'?"),
        (["--sets", "debian-tag"], "--sets: unknown name 'debian-tag'; did you mean 'debian-tags'?"),
    ],
)
def test_an_unknown_name_is_one_line(given: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(given) == 2
    assert message in capsys.readouterr().err
