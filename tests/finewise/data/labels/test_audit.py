"""The audit of labelled rows finds what is wrong with them, says where, and keeps what it found."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from finewise.config import LabelAuditConfig, LabelAuditRunConfig, LabelDataConfig, ModelConfig
from finewise.data.labels.load import LabelledData
from finewise.data.labels.show import show_audit
from finewise.data.labels.suspects import advice, out_of_fold, suspects
from finewise.data.report import AuditReport, Finding
from finewise.data.store import cache_root
from finewise.data.tokens import token_limit

Writer = Callable[..., str]
Maker = Callable[..., list[dict[str, Any]]]
Prepare = Callable[..., LabelledData]


def found(data: LabelledData, split: str = "train") -> dict[str, Finding]:
    return {finding.kind: finding for finding in data.report.findings if finding.split == split}


def shown(report: AuditReport) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(report, report.brief())
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


@pytest.fixture
def files(jsonl: Writer, rows: Maker) -> Callable[..., dict[str, Any]]:
    """Writes train, dev and test, so that no row is held out of train."""

    def write(train: list[dict[str, Any]], test: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        jsonl(train, "train.jsonl")
        jsonl(rows(5, seed=1), "dev.jsonl")
        jsonl(rows(5, seed=2) if test is None else test, "test.jsonl")
        return {"train": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"}

    return write


Files = Callable[..., dict[str, Any]]


def test_clean_rows_have_no_findings(files: Files, rows: Maker, prepared: Prepare) -> None:
    data = prepared(**files(rows(100)), audit={"near_duplicates": True})
    assert data.report.findings == ()
    assert "train 300 rows, dev 15 rows, test 15 rows: nothing found" in shown(data.report)


def test_repeated_and_contradicting_rows_are_told_apart(files: Files, rows: Maker, prepared: Prepare) -> None:
    given = rows(20)
    given += [given[0], given[4] | {"text": given[4]["text"].upper(), "label": "pets"}]
    findings = found(prepared(**files(given)))
    assert findings["duplicate_rows"].count == 1
    assert findings["duplicate_rows"].examples[0].where == "train.jsonl line 61"
    assert "= train.jsonl line 1 [pets]" in findings["duplicate_rows"].examples[0].text
    conflict = findings["conflicting_labels"]
    assert (conflict.count, [one.where for one in conflict.examples]) == (
        2,
        ["train.jsonl line 5", "train.jsonl line 62"],
    )
    assert "1 texts occur with different ones; audit.conflicts=drop leaves them out" in conflict.message


def test_conflicting_rows_can_be_left_out(files: Files, rows: Maker, prepared: Prepare) -> None:
    given = rows(20)
    data = prepared(**files([*given, given[4] | {"label": "pets"}]), audit={"conflicts": "drop"})
    assert (len(data.train), data.dropped, data.report.dropped) == (59, 2, 0)
    assert not {5, 61} & set(data.train.numbers.tolist())


def test_multi_label_rows_with_equal_sets_do_not_contradict(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    given = [row | {"label": [row["label"], "new"]} for row in rows(20)]
    given += [given[0] | {"label": ["new", "pets"]}, given[1] | {"label": ["food"]}]
    data = prepared(jsonl(given), dev_size=2, test_size=2)
    assert data.audited.label_keys().shape == (len(data.audited),)
    assert sum(one.count for one in data.report.findings if one.kind == "duplicate_rows") == 1
    assert sum(one.count for one in data.report.findings if one.kind == "conflicting_labels") == 2


def test_nearly_equal_texts_are_found_within_and_across(files: Files, rows: Maker, prepared: Prepare) -> None:
    given = rows(20)
    long = " ".join(f"word{n}" for n in range(60))
    given += [{"text": f"{long} a", "label": "pets"}, {"text": f"{long} b", "label": "food"}]
    given += [{"text": f"{long[::-1]} a", "label": "cars"}, {"text": f"{long[::-1]} b", "label": "cars"}]
    test = [*rows(5, seed=2), {"text": f"{long} c", "label": "pets"}]
    data = prepared(**files(given, test), audit={"near_duplicates": True})
    findings = found(data)
    assert findings["near_conflicts"].count == 1
    assert "≈ train.jsonl line 61 [pets]" in findings["near_conflicts"].examples[0].text
    assert findings["near_duplicate_texts"].count == 1
    assert (findings["near_text"].count, findings["near_text"].severity) == (2, "warn")
    dropped = prepared(**files(given, test), audit={"near_duplicates": True, "leakage": "drop"})
    assert dropped.dropped == 2


def test_groups_in_two_files_are_a_leak(files: Files, rows: Maker, prepared: Prepare) -> None:
    given = [row | {"user": f"u{number // 6}"} for number, row in enumerate(rows(20))]
    test = [row | {"user": "u3"} for row in rows(5, seed=2)]
    settings = files(given, test)
    (Path("dev.jsonl")).write_text("\n".join(json.dumps(row | {"user": None}) for row in rows(5, seed=1)))
    data = prepared(**settings, columns={"group": "user"})
    assert found(data)["leaked_group"].count == 6
    assert len(data.report.leaked) == 6


def test_small_and_uneven_classes_are_named(files: Files, rows: Maker, prepared: Prepare) -> None:
    given = [*rows(40, ["pets"]), *rows(20, ["food"]), *rows(3, ["cars"])]
    findings = found(prepared(**files(given)))
    assert findings["rare_classes"].message.endswith("training rows: cars (3)")
    assert "the smallest, cars, has 3 (ratio 13)" in findings["imbalance"].message
    share = np.array([40, 20, 3]) / 63
    assert f"as even as {np.exp(-(share * np.log(share)).sum()):.1f} equal ones" in findings["imbalance"].message


def test_classes_without_held_out_rows_are_named(files: Files, rows: Maker, prepared: Prepare) -> None:
    data = prepared(**files(rows(20), rows(5, ["pets", "food"], seed=2)))
    assert "test says nothing of them: cars" in found(data, "test")["untested_classes"].message


def test_the_name_of_the_class_in_its_texts_is_found(files: Files, rows: Maker, prepared: Prepare) -> None:
    given = rows(40)
    for number, row in enumerate(given):
        if row["label"] == "pets" and number % 2:
            row["text"] += " Pets!"
    finding = found(prepared(**files(given)))["label_in_text"]
    assert (finding.count, finding.severity) == (20, "warn")
    assert "pets 50%, in no other class" in finding.message


def test_a_token_that_tells_a_class_alone_is_found(files: Files, rows: Maker, prepared: Prepare) -> None:
    given = rows(40)
    for row in given:
        if row["label"] == "food":
            row["text"] += " from-template-7"
    finding = found(prepared(**files(given)))["telling_token"]
    assert finding.count == 40
    assert "→ food (precision 1.00, recall 1.00)" in finding.message


def test_broken_texts_and_cut_texts_are_counted(files: Files, rows: Maker, prepared: Prepare) -> None:
    given = rows(20)
    given[3]["text"] += " cafÃ©"
    from finewise.data.labels.load import prepare_labels

    limit = token_limit(ModelConfig(max_seq_length=8))
    quick = LabelAuditConfig(near_duplicates=False, label_errors=False)
    data = prepare_labels(LabelDataConfig(**files(given)), quick, 0, limit=limit)
    assert found(data)["mojibake"].examples[0].where == "train.jsonl line 4"
    assert [(cut.split, cut.column, cut.over) for cut in data.report.truncation] == [
        ("train", "text", 60), ("dev", "text", 15), ("test", "text", 15),
    ]  # fmt: skip


def test_the_report_is_kept(files: Files, rows: Maker, prepared: Prepare) -> None:
    settings = files([*rows(40, ["pets"]), *rows(20, ["food"]), *rows(3, ["cars"])])
    first, again = (prepared(**settings, audit={"label_errors": True}) for _ in range(2))
    assert len(list((cache_root() / "audits").iterdir())) == 2  # the report, and the suspects
    assert again.report.summary() == first.report.summary()
    assert (again.report.unit, again.report.command) == ("rows", "classify.audit")
    prepared(**settings, audit={"label_errors": True, "min_rows": 2})
    assert len(list((cache_root() / "audits").iterdir())) == 3


@pytest.fixture
def wrong(files: Files, rows: Maker) -> tuple[dict[str, Any], list[int]]:
    """Rows of which some have the label of another class."""
    given = rows(60)
    changed = [7, 50, 101, 160]
    for row in changed:
        given[row]["label"] = {"pets": "food", "food": "cars", "cars": "pets"}[given[row]["label"]]
    return files(given), changed


def test_wrong_labels_come_first(wrong: tuple[dict[str, Any], list[int]], prepared: Prepare) -> None:
    settings, changed = wrong
    data = prepared(**settings, audit={"label_errors": True})
    assert data.suspects is not None
    assert set(data.suspects.rows[:4].tolist()) == set(changed)
    assert data.suspects.likely >= 4
    assert (np.diff(data.suspects.quality) >= 0).all()
    row = int(data.suspects.rows[0])
    original = {"food": "pets", "cars": "food", "pets": "cars"}[data.audited.shown(row)]
    assert advice(data.audited, row, int(data.suspects.suggested[0])) == original
    assert f"→ {original}? (" in found(data)["label_errors"].examples[0].text


def test_wrong_labels_of_multi_label_rows_come_first(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    given = [row | {"label": [row["label"]]} for row in rows(80)]
    given[30]["label"] = []
    data = prepared(jsonl(given), dev_size=3, test_size=3).audited
    place = int(np.flatnonzero(data.numbers == 31)[0]) if 31 in data.numbers else None
    result = suspects(data, 0)
    if place is not None:
        assert int(result.rows[0]) == place
        assert advice(data, place, int(result.suggested[0])) == "+pets"


def test_better_probabilities_can_be_given(files: Files, rows: Maker, prepared: Prepare) -> None:
    data = prepared(**files(rows(20))).audited
    sure = np.full((60, 3), 0.01)
    sure[np.arange(60), data.labels] = 0.98
    sure[13] = [0.98, 0.01, 0.01] if data.labels[13] != 0 else [0.01, 0.98, 0.01]
    assert int(suspects(data, 0, probabilities=sure).rows[0]) == 13


def test_classes_too_small_to_judge_are_said_not_guessed(files: Files, rows: Maker, prepared: Prepare) -> None:
    given = [*rows(20, ["pets", "food"]), *rows(2, ["cars"]), *rows(1, ["lone"])]
    data = prepared(**files(given), audit={"label_errors": True})
    assert data.suspects is not None
    assert len(data.suspects) == 40
    assert "rows of 2 classes with fewer than 5 rows could not be judged" in " ".join(data.report.remarks)
    tiny = prepared(**files(rows(2)), audit={"label_errors": True})
    assert "not looked for: the classes have too few rows" in " ".join(tiny.report.remarks)


def test_probabilities_are_probabilities(files: Files, rows: Maker, prepared: Prepare) -> None:
    probabilities = out_of_fold(prepared(**files(rows(20))).audited, 0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_a_single_label_that_texts_have_or_not_is_no_crash(files: Files, rows: Maker, prepared: Prepare) -> None:
    def some(count: int, seed: int) -> list[dict[str, Any]]:
        found = rows(count, ["pets", "food"], seed=seed)
        return [{"text": row["text"], "label": [row["label"]] if row["label"] == "food" else []} for row in found]

    named = files(some(30, 0), some(5, 2))
    Path("dev.jsonl").write_text("\n".join(json.dumps(row) for row in some(5, 1)))
    data = prepared(**named, audit={"label_errors": True})
    assert len(data.space) == 1
    assert out_of_fold(data.audited, 0).shape == (60, 1)
    assert "not looked for: there is one label" in " ".join(data.report.remarks)


def test_the_audit_alone_prints_and_writes(
    wrong: tuple[dict[str, Any], list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    config = LabelAuditRunConfig(data=LabelDataConfig(**wrong[0]), output="audit.json", suspects="suspects.csv", show=2)
    assert show_audit(config)
    assert "Likely label errors: the first 2 of" in capsys.readouterr().out
    written = json.loads(Path("audit.json").read_text())
    with Path("suspects.csv").open(encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    assert len({int(row["row"]) - 1 for row in listed[:4]} & set(wrong[1])) >= 3
    assert [row["where"] for row in written["suspects"]] == [row["where"] for row in listed]
    assert written["rows"] == {"train": 180, "dev": 15, "test": 15}


def test_the_audit_alone_says_when_training_would_be_refused(
    files: Files, rows: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    given = rows(20)
    config = LabelAuditRunConfig(data=LabelDataConfig(**files(given, [*rows(5, seed=2), given[0]])))
    assert not show_audit(config)
    assert "training would be refused: data.train: 1 of 60 training rows" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "kind", "essence"),
    [
        (("Caf\u00e9", "Cafe\u0301"), "alike_classes", "Unicode form"),
        (("a", "A"), "alike_classes", "'A' = 'a'"),
        (("1", "1.0"), "alike_classes", "'1' = '1.0'"),
        (("nan", "pets"), "gap_classes", "'nan'"),
        (("-1", "2"), "gap_classes", "'-1'"),
        (("['a', 'rare']", "a"), "list_classes", "data.columns.delimiter"),
        (("cars,pets", "cars"), "joined_classes", "'cars,pets'"),
    ],
)
def test_odd_names_of_classes_are_found(
    names: tuple[str, str], kind: str, essence: str, jsonl: Writer, rows: Maker, prepared: Prepare
) -> None:
    given = rows(20)
    for number, row in enumerate(given):
        row["label"] = names[number % 2] if number % 3 else "pets"
    findings = found(prepared(jsonl(given)))
    assert essence in findings[kind].message
