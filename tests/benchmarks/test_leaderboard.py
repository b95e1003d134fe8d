"""The leaderboard ranks what can be compared, tests where it can, and names what it cannot read."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.significance import scores

from benchmarks.config import LeaderboardConfig
from benchmarks.leaderboard import as_json, as_markdown, entries, rank, terminal
from benchmarks.retrieval import PER_QUERY_FILE, Result, save_per_query
from finewise import record
from finewise.errors import InputError

BASE = np.random.default_rng(0).random(200)


def result(system, shift=0.0, noise=0.0, seed=0, **changes):
    values = BASE * 0.5 + shift + np.random.default_rng(seed).normal(0, noise, 200)
    made = Result(
        system=system, benchmark="pets", split="test", data_revision="r1", query_ids=tuple(map(str, range(200))),
        per_query={"ndcg@10": values, "map": values / 2}, unjudged=0, depth=10,
    )  # fmt: skip
    return replace(made, **changes)


def write_run(folder: Path, results, *, date="2026-01-01T10:00:00+00:00", per_query=True):
    folder.mkdir(parents=True)
    content = {
        "schema": record.SCHEMA, "task": "embed", "experiment": folder.parent.name, "finished": date,
        "scores": record.rows([item for each in results for item in scores(each, 200)]),
    }  # fmt: skip
    record.write_json(folder / record.FILE, content)
    if per_query:
        save_per_query(folder / PER_QUERY_FILE, results)


def boards(path, **settings):
    config = LeaderboardConfig(path=str(path), **settings)
    return rank(list(entries(path)), config)


def test_best_first_and_each_row_tested_against_the_best(tmp_path):
    write_run(tmp_path / "embed/good/1", [result("tuned", 0.2), result("bm25", 0.05, 0.05)])
    write_run(tmp_path / "embed/near/1", [result("tuned", 0.2, noise=0.05, seed=1)])
    (board,) = boards(tmp_path)
    assert {row.experiment for row in board.rows} == {"embed/good", "embed/near"}
    assert [row.value for row in board.rows] == sorted((row.value for row in board.rows), reverse=True)
    best, second, third = board.rows
    assert best.p is None
    assert second.p is not None
    assert second.p > 0.05
    assert third.system == "bm25"
    assert third.p < 0.001
    assert third.difference[0] == pytest.approx(third.value - best.value)
    text = as_markdown([board])
    assert "| tuned | embed/" in text
    assert "| best |" in text
    assert "no difference shown, p = " in text


def test_a_baseline_that_many_runs_scored_is_shown_once_and_tuned_models_each(tmp_path):
    for day in (1, 2, 3):
        both = [result("tuned", 0.2), result("untuned")]
        write_run(tmp_path / f"embed/x/{day}", both, date=f"2026-01-0{day}T10:00:00+00:00")
    (board,) = boards(tmp_path)
    assert [row.system for row in board.rows] == ["tuned"] * 3 + ["untuned"]
    assert board.rows[3].runs == 3
    assert board.rows[3].date.startswith("2026-01-01")


@pytest.mark.parametrize(
    ("times", "shown"),
    [
        (["2026-01-01T10:00:00", "2026-01-02T10:00:00"], ["2026-01-01", "2026-01-02"]),
        (["2026-01-01T10:00:00", "2026-01-01T11:30:00"], ["2026-01-01 10:00", "2026-01-01 11:30"]),
        (["2026-01-01T10:00:05", "2026-01-01T10:00:40"], ["2026-01-01 10:00:05", "2026-01-01 10:00:40"]),
    ],
)
def test_runs_of_one_experiment_are_told_apart_by_their_time(tmp_path, times, shown):
    for number, time in enumerate(times):
        write_run(tmp_path / f"embed/x/{number}", [result("tuned")], date=f"{time}+00:00")
    write_run(tmp_path / "embed/other/1", [result("tuned")], date=f"{times[0]}+00:00")
    text = as_markdown(boards(tmp_path))
    assert [line.split(" | ")[-1].removesuffix(" |") for line in text.splitlines() if "embed/x" in line] == shown
    assert "| 1 | 2026-01-01 |" in next(line for line in text.splitlines() if "embed/other" in line)


def test_runs_of_one_experiment_name_the_settings_in_which_they_differ(tmp_path):
    for number, (rate, lora) in enumerate([("1e-05", "none"), ("2e-05", "lora")]):
        folder = tmp_path / f"embed/x/{number}"
        write_run(folder, [result("tuned", number / 10), result("bm25")])
        (folder / "config.yaml").write_text(
            f"defaults:\n- override /method: {lora}\noptim:\n  learning_rate: {rate}\n  epochs: 1\nrun:\n  root: r{number}\n"
        )
    write_run(tmp_path / "embed/other/1", [result("tuned", 0.3)])
    (board,) = boards(tmp_path)
    assert [row.settings for row in board.rows if row.experiment == "embed/x" and row.system == "tuned"] == [
        {"method": "lora", "optim.learning_rate": "2e-05"},  # YAML 1.1 reads no number without a point
        {"method": "none", "optim.learning_rate": "1e-05"},
    ]
    assert [row.settings for row in board.rows if row.system == "bm25" or row.experiment == "embed/other"] == [{}, {}]
    text = as_markdown([board])
    assert "| tuned | embed/x method=lora optim.learning_rate=2e-05 |" in text
    assert "| bm25 | embed/x |" in text


def test_settings_that_cannot_be_read_leave_the_row_as_it_is(tmp_path):
    for number, content in enumerate([b"\xff", b"a: [", b"- 1"]):
        write_run(tmp_path / f"embed/x/{number}", [result("tuned", number / 10)])
        (tmp_path / f"embed/x/{number}/config.yaml").write_bytes(content)
    (board,) = boards(tmp_path)
    assert [row.settings for row in board.rows] == [{}] * 3


def test_only_equal_data_share_a_table(tmp_path):
    write_run(tmp_path / "a/x/1", [result("tuned"), result("tuned", data_revision="r2"), result("bm25", split="dev")])
    assert [(board.data_revision, len(board.rows)) for board in boards(tmp_path)] == [("r1", 1), ("r2", 1)]
    assert [board.rows[0].system for board in boards(tmp_path, split="dev")] == ["bm25"]
    assert [board.metric for board in boards(tmp_path, metric="map", only="pets")] == ["map", "map"]


def test_runs_without_per_query_values_are_not_tested_and_say_so(tmp_path):
    write_run(tmp_path / "a/x/1", [result("tuned", 0.3)])
    write_run(tmp_path / "a/y/1", [result("tuned", 0.29)], per_query=False)
    write_run(tmp_path / "a/z/1", [result("tuned", 0.0)])
    (tmp_path / "a/z/1" / PER_QUERY_FILE).write_bytes(b"broken")
    text = as_markdown(boards(tmp_path))
    assert "not tested; intervals overlap" in text
    assert "not tested; intervals do not overlap" in text


def test_broken_records_are_named_and_the_others_shown(tmp_path, capsys):
    write_run(tmp_path / "a/x/1", [result("tuned")])
    for name, content in {
        "cut": '{"schema": 1, "sco',
        "old": '{"schema": 0}',
        "empty": "",
        "strange": '{"schema": 1, "scores": [{"value": 1}]}',
        "without": '{"schema": 1}',
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / record.FILE).write_text(content)
    (board,) = boards(tmp_path)
    assert len(board.rows) == 1
    told = capsys.readouterr().err
    for name in ("cut", "old", "empty", "strange", "without"):
        assert f"{name}/{record.FILE}" in told
    assert "5 of 6 records were skipped" in told


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        list(entries(tmp_path / "nothing"))
    with pytest.raises(InputError, match=r"no record.json below it"):
        list(entries(tmp_path))
    write_run(tmp_path / "a/x/1", [result("tuned")])
    with pytest.raises(
        InputError, match=r"no score of cars test ndcg@10; the records hold: pets test map, pets test ndcg@10"
    ):
        boards(tmp_path, only="cars")


def test_the_json_is_the_table(tmp_path):
    write_run(tmp_path / "a/x/1", [result("tuned", 0.2), result("bm25")])
    (board,) = json.loads(as_json(boards(tmp_path)))
    assert (board["benchmark"], board["metric"]) == ("pets", "ndcg@10")
    assert [row["system"] for row in board["rows"]] == ["tuned", "bm25"]
    assert board["rows"][1]["p"] < 0.001


def test_the_terminal_tables_print(tmp_path, capsys):
    from rich.console import Console

    write_run(tmp_path / "a/x/1", [result("tuned", 0.2), result("bm25")])
    Console(width=200).print(terminal(boards(tmp_path)))
    shown = capsys.readouterr().out
    assert "pets (test), 200 queries, data r1" in shown
    assert "bm25" in shown
