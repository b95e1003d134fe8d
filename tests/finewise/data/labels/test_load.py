"""Every shape of labels is read as what it is, and every mistake is answered by one line that names it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finewise.config import LabelAuditConfig, LabelDataConfig
from finewise.data.labels.load import LabelledData, load_labels
from finewise.data.labels.space import LabelSpace
from finewise.errors import InputError

Writer = Callable[..., str]
Maker = Callable[..., list[dict[str, Any]]]
Prepare = Callable[..., LabelledData]


def cells(rows: list[dict[str, Any]], value: Callable[[int, str], Any]) -> list[dict[str, Any]]:
    return [row | {"label": value(number, row["label"])} for number, row in enumerate(rows)]


def csv(folder: Path, header: str, lines: list[str], name: str = "rows.csv") -> str:
    (folder / name).write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return name


def names_of(data: Any) -> list[str]:
    return [data.shown(row) for row in range(len(data))]


def test_a_single_label_is_read_with_its_row(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    given = rows(20)
    data = prepared(jsonl(given))
    assert data.space == LabelSpace(kind="single", names=("cars", "food", "pets"))
    assert data.rows == {"train": 40, "dev": 10, "test": 10}
    for part in (data.train, data.dev, data.test):
        for row in range(len(part)):
            original = given[part.numbers[row] - 1]
            assert (part.texts[row], part.shown(row)) == (original["text"], original["label"])
            assert part.where(row) == f"pairs.jsonl line {part.numbers[row]}"
    assert data.train.labels.dtype == np.int64


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (lambda number, name: number % 12, tuple(map(str, range(12)))),
        (lambda number, name: name == "pets", ("false", "true")),
        (lambda number, name: float(number % 2), ("0", "1")),
        (lambda number, name: f" {name} ", ("cars", "food", "pets")),
    ],
)
def test_numbers_and_truth_values_are_names(
    jsonl: Writer, rows: Maker, prepared: Prepare, value: Any, names: tuple[str, ...]
) -> None:
    assert prepared(jsonl(cells(rows(20), value))).space.names == names


def test_parquet_and_jsonl_give_the_same(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    given = cells(rows(20), lambda number, name: [name, "odd"] if number % 2 else [name])
    pq.write_table(pa.Table.from_pylist(given), "rows.parquet")
    one, other = prepared(jsonl(given)), prepared("rows.parquet")
    assert one.train.revision == other.train.revision
    assert names_of(one.test) == names_of(other.test)


def multi(names: list[str]) -> Callable[[int, str], list[str]]:
    return lambda number, name: sorted({name, names[number % len(names)]}) if number % 5 else []


def test_lists_are_multi_label(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    given = cells(rows(20), multi(["old", "new"]))
    data = prepared(jsonl([{"text": row["text"], "labels": row["label"]} for row in given]))
    assert (data.space.kind, data.space.names) == ("multi", ("cars", "food", "new", "old", "pets"))
    assert data.train.labels.dtype == np.bool_
    for part in (data.train, data.dev, data.test):
        for row in range(len(part)):
            assert part.shown(row) == (", ".join(given[part.numbers[row] - 1]["label"]) or "(none)")


def test_a_delimiter_and_a_column_per_label_give_what_lists_give(
    own_folder: Path, jsonl: Writer, rows: Maker, prepared: Prepare
) -> None:
    given = cells(rows(20), multi(["old", "new"]))
    lists = prepared(jsonl(given))
    joined = csv(own_folder, "text,label", [f"{row['text']},{' | '.join(row['label'])}" for row in given])
    split = prepared(joined, columns={"delimiter": "|"})
    columns = list(lists.space.names)
    ones = [",".join([row["text"], *(str(int(name in row["label"])) for name in columns)]) for row in given]
    each = prepared(csv(own_folder, ",".join(["text", *columns]), ones, "each.csv"), columns={"labels": columns})
    for other in (split, each):
        assert other.space == lists.space
        assert names_of(other.test) == names_of(lists.test)
        np.testing.assert_array_equal(other.train.labels, lists.train.labels)


def test_ordinal_labels_are_sorted_by_number_or_as_given(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    stars = jsonl(cells(rows(20), lambda number, name: (number % 11) / 2))
    assert prepared(stars, kind="ordinal").space.names[:3] == ("0", "0.5", "1")
    sizes = jsonl(cells(rows(20), lambda number, name: ["small", "large", "middle"][number % 3]))
    order = ["tiny", "small", "middle", "large"]
    data = prepared(sizes, kind="ordinal", order=order)
    assert data.space.names == tuple(order)
    assert "empty_classes" in {finding.kind for finding in data.report.findings}


def test_hierarchical_labels_know_their_ancestors(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    data = prepared(jsonl(cells(rows(20), lambda number, name: f"{'ab'[number % 2]}/{name}")), kind="hierarchical")
    assert data.space.nodes[:2] == ("a", "a/cars")
    assert data.space.ancestors.shape == (6, 8)
    assert [data.space.nodes[node] for node in np.flatnonzero(data.space.ancestors[0])] == ["a", "a/cars"]


def test_other_columns_keep_their_values(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    given = [row | {"year": 1990 + number, "who": None} for number, row in enumerate(rows(20))]
    test = prepared(jsonl(given)).test
    assert list(test.columns["year"]) == [1990 + number - 1 for number in test.numbers]
    assert test.columns["who"][0] is None


def test_selected_rows_keep_everything_together(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    given = rows(20)
    train = prepared(jsonl([row | {"id": number} for number, row in enumerate(given)])).train
    some = train.select(np.array([7, 3, 30])).select(np.array([2, 0]))
    assert list(some.texts) == [train.texts[30], train.texts[7]] == some.texts[:]
    assert list(some.columns["id"]) == [train.columns["id"][30], train.columns["id"][7]]
    assert some.revision != train.revision


def test_a_folder_brings_its_splits(rows: Maker, prepared: Prepare, own_folder: Path) -> None:
    (own_folder / "set").mkdir()
    for seed, split in enumerate(("train", "dev", "test")):
        pq.write_table(pa.Table.from_pylist(rows(10, seed=seed)), own_folder / "set" / f"{split}.parquet")
    data = prepared("set")
    assert data.rows == {"train": 30, "dev": 30, "test": 30}
    assert data.test.where(0) == "set/test.parquet row 1"


def test_the_same_data_is_read_once(
    jsonl: Writer, rows: Maker, prepared: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = jsonl(rows(20))
    first = prepared(name)
    monkeypatch.setattr("finewise.data.records.JsonLinesSource.batches", lambda *_: pytest.fail("read again"))
    assert prepared(name).revision == first.revision


def test_fewer_rows_can_be_asked_for(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    data = prepared(jsonl(rows(100)), max_train_rows=30, max_dev_rows=9, dev_size=0.1, test_size=0.1)
    assert (data.train.counts.tolist(), len(data.dev)) == ([10, 10, 10], 9)
    assert len(data.split) == 240


LABELS: list[tuple[Callable[[int, str], Any], dict[str, Any], str]] = [
    (lambda n, name: "pets", {}, "all 60 rows have the label 'pets'; there is nothing to learn"),
    (lambda n, name: None if n == 7 else name, {}, "1 of 60 rows have no label (first: line 8, 'label' is empty, null or NaN)"),
    (lambda n, name: float("nan") if n > 50 else n, {}, "9 of 60 rows have no label (first: line 52"),
    (lambda n, name: "  " if n == 3 else name, {}, "(first: line 4"),
    (lambda n, name: [name, None] if n == 3 else [name], {}, "1 of 60 rows have no label (first: line 4"),
    (lambda n, name: n % 3, {"kind": "multi"}, "line 1: data.kind=multi needs any number of labels per row, and 'label' holds "
     "one: 0 (class numbers are one label per row)"),
    (lambda n, name: [n % 2, 1, 1], {}, "line 1: 'label' is a list of zeros and ones ([0, 1, 1])"),
    (lambda n, name: [name], {"kind": "single"}, "line 1: 'label' holds a list ([\"pets\"]), and data.kind=single"),
    (lambda n, name: [name] if n == 4 else name, {}, "holds a list (pairs.jsonl line 5: [\"food\"]) and a single label"),
    (lambda n, name: name, {"kind": "multi"}, "'label' holds one: \"pets\"; give lists, a text with data.columns.delimiter"),
    (lambda n, name: str(n % 3) if n == 5 else n % 3, {}, "mixes the number 0 (pairs.jsonl line 1) and the text \"2\" "
     "(pairs.jsonl line 6)"),
    (lambda n, name: n + 0.5, {}, "line 1: 'label' is 0.5, and classes are names or whole numbers"),
    (lambda n, name: {"a": 1}, {}, "line 1: 'label' must be a label or a list of labels; got an object"),
    (lambda n, name: "['a', 'b']" if n % 2 else "['a']", {}, "'label' holds lists written as text"),
    (lambda n, name: name, {"kind": "ordinal"}, "sorts labels by number, and 'pets' is none"),
    (lambda n, name: name, {"kind": "ordinal", "order": ["pets", "fod", "cars"]}, "line 2: the label 'food' is not in "
     "data.order (pets, fod, cars); did you mean 'fod'?"),
    (lambda n, name: name, {"kind": "hierarchical"}, "data.separator='/' is in none of the 3 labels"),
    (lambda n, name: f"a//{name}", {"kind": "hierarchical"}, "line 1: the label 'a//pets' has an empty level"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "settings", "message"), LABELS)
def test_a_wrong_label_is_one_clear_line(
    jsonl: Writer, rows: Maker, prepared: Prepare, value: Any, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as error:
        prepared(jsonl(cells(rows(20), value)), **settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"delimiter": ";"}, "data.columns.delimiter=';' is in none of the 3 different labels"),
        ({"labels": ["pets", "new"]}, "has no column 'pets' that data.columns.labels names"),
        ({"text": "txt"}, "has no column 'txt'; it has: text, label. Name yours: data.columns.text=text"),
        ({"label": "class"}, "has no column 'class'; it has: label. Name yours: data.columns.label="),
        ({"label": "text"}, "column 'text' is both text and label"),
        ({"group": "user"}, "has no column 'user'"),
    ],
)
def test_a_wrong_column_is_one_clear_line(
    jsonl: Writer, rows: Maker, prepared: Prepare, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as error:
        prepared(jsonl(rows(20)), columns=columns)
    assert message in str(error.value)


def test_a_delimiter_with_real_lists_is_refused(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    with pytest.raises(InputError, match=r"line 1: 'label' is a list, so data.columns.delimiter must be null"):
        prepared(jsonl(cells(rows(20), lambda n, name: [name])), columns={"delimiter": ","})


def test_a_column_per_label_holds_zeros_and_ones(own_folder: Path, prepared: Prepare) -> None:
    lines = [f"text {n},{n % 2},{2 if n == 6 else 1}" for n in range(60)]
    with pytest.raises(
        InputError, match=r"line 8: 'b' must be 0 or 1, because data.columns.labels names it; got \"2\""
    ):
        prepared(csv(own_folder, "text,a,b", lines), columns={"labels": ["a", "b"]})


def test_a_text_column_of_numbers_is_refused(own_folder: Path, jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    with pytest.raises(InputError, match=r"all 60 texts are numbers, so 'text' is no column of texts"):
        prepared(csv(own_folder, "text,label", [f"{n},{'ab'[n % 2]}" for n in range(60)]))
    with pytest.raises(InputError, match=r"line 1: 'text' must be a text; got the number 3"):
        prepared(jsonl([row | {"text": 3} for row in rows(20)]))


def test_labels_that_train_lacks_are_refused(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    train = jsonl(rows(20), "train.jsonl")
    test = jsonl(rows(5, ["pets", "boats", "planes"], seed=1), "test.jsonl")
    with pytest.raises(InputError) as error:
        prepared(train, test=test)
    assert (
        "test.jsonl (test) has labels that no row of train.jsonl has: 'boats' (5 rows), 'planes' (5 rows); add"
        in str(error.value)
    )


def test_empty_texts_are_left_out_and_told(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    given = rows(20)
    given[4]["text"] = "  "
    data = prepared(jsonl(given))
    assert sum(data.rows.values()) == 59
    assert "pairs.jsonl: 1 of 60 rows with an empty text were left out (line 5)" in data.report.remarks
    with pytest.raises(InputError, match="40 of 60 rows have an empty text"):
        prepared(jsonl([row | {"text": ""} if number % 3 else row for number, row in enumerate(rows(20))]))


def test_leaks_are_refused_dropped_or_allowed(jsonl: Writer, rows: Maker) -> None:
    given = rows(20)
    train, test = jsonl(given, "train.jsonl"), jsonl([given[3], *rows(5, seed=1)], "test.jsonl")
    quick: dict[str, Any] = {"near_duplicates": False, "label_errors": False}
    config = LabelDataConfig(train=train, test=test, dev=jsonl(rows(5, seed=2), "dev.jsonl"))
    with pytest.raises(
        InputError, match=r"1 of 60 training rows are in the held-out data .* audit.leakage=drop removes"
    ):
        load_labels(config, LabelAuditConfig(**quick), 0)
    dropped = load_labels(config, LabelAuditConfig(leakage="drop", **quick), 0)
    assert (len(dropped.train), dropped.dropped, dropped.report.dropped) == (59, 1, 1)
    assert 4 not in dropped.train.numbers
    assert len(load_labels(config, LabelAuditConfig(leakage="allow", **quick), 0).train) == 60


def test_dropping_a_whole_class_is_refused(jsonl: Writer, rows: Maker) -> None:
    given = rows(20)
    test = [row for row in given if row["label"] == "pets"]
    config = LabelDataConfig(
        train=jsonl(given), test=jsonl(test, "test.jsonl"), dev=jsonl(rows(5, seed=2), "dev.jsonl")
    )
    with pytest.raises(InputError, match=r"every row of 1 classes \(pets\)"):
        load_labels(config, LabelAuditConfig(leakage="drop", near_duplicates=False, label_errors=False), 0)


def test_five_thousand_classes_work(jsonl: Writer, prepared: Prepare) -> None:
    data = prepared(
        jsonl([{"text": f"text number {n} here", "label": f"c{n % 5000}"} for n in range(15_000)]),
        dev_size=0.1,
        test_size=0.1,
    )
    assert len(data.space) == 5000
    assert data.train.counts.min() >= 1
    assert (data.rows["dev"], data.rows["test"]) == (1500, 1500)
    rare = next(finding for finding in data.report.findings if finding.kind == "rare_classes")
    assert "most classes have very few rows" in rare.message


def test_classes_of_one_row_stay_in_train(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    given = [*rows(20), {"text": "something quite different", "label": "lone"}]
    data = prepared(jsonl(given), audit={"label_errors": True})
    assert data.train.counts[data.space.index("lone")] == 1
    assert "lone (1)" in next(finding.message for finding in data.report.findings if finding.kind == "rare_classes")
    assert json.dumps(data.report.summary())


def test_class_names_in_a_parquet_file_of_datasets_are_matched_by_name(own_folder: Path) -> None:
    import datasets

    def write(name: str, classes: list[str], labels: list[int]) -> str:
        words = [*classes, "nothing"]  # the class -1 is the last one
        texts = [f"{name} number {number} is about {words[label]}" for number, label in enumerate(labels)]
        features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=classes)})
        path = own_folder / f"{name}.parquet"
        datasets.Dataset.from_dict({"text": texts, "label": labels}, features=features).to_parquet(path)
        return str(path)

    config = LabelDataConfig(
        train=write("train", ["neg", "pos"], [0, 1] * 10),
        dev=write("dev", ["pos", "neg"], [0, 1, 0, 1]),
        test=write("test", ["pos", "neg"], [0, 0, 1, 1]),
    )
    data = load_labels(config, LabelAuditConfig(), seed=1)
    assert data.space.names == ("neg", "pos")
    for part in (data.train, data.dev, data.test):
        assert all(str(text).endswith(part.shown(row)) for row, text in enumerate(part.texts))
    config.dev = write("gap", ["pos", "neg"], [0, 1, -1])
    with pytest.raises(InputError, match=r"1 of 3 rows have no label \(first: row 3"):
        load_labels(config, LabelAuditConfig(), seed=1)


def test_columns_without_a_role_and_rows_over_several_lines_are_told(
    own_folder: Path, rows: Maker, prepared: Prepare
) -> None:
    lines = [f'"{row["text"]}\nmore",{row["label"]},x,u{number}' for number, row in enumerate(rows(20))]
    name = csv(own_folder, "text,label,text2,user", lines)
    remarks = " ".join(prepared(name, columns={"group": "user"}).report.remarks)
    assert "columns that play no role: text2" in remarks
    assert "user" not in remarks.split("role: ")[1].split()
    assert "inside double quotes: 60 (first: line 2)" in remarks


@pytest.mark.parametrize("value", [lambda n: f"{n / 7:.3f}", lambda n: f"{n / 7:.3f}".replace(".", ","), lambda n: n])
def test_measurements_are_no_classes(
    jsonl: Writer, rows: Maker, prepared: Prepare, value: Callable[[int], Any]
) -> None:
    with pytest.raises(InputError, match="holds 60 different numbers in 60 rows"):
        prepared(jsonl(cells(rows(20), lambda number, name: value(number))))
    grades = prepared(jsonl(cells(rows(20), lambda number, name: f"{number % 4 / 2:g}")))
    assert grades.space.names == ("0", "0.5", "1", "1.5")


def test_class_numbers_of_any_length_are_names(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    given = cells(rows(20), lambda number, name: "7" * 5000 if number % 2 else "1")
    assert prepared(jsonl(given)).space.names == ("1", "7" * 5000)


def test_columns_are_those_of_all_first_lines(jsonl: Writer, rows: Maker, prepared: Prepare) -> None:
    given = rows(20)
    for row in given[1:]:
        row["user"] = "u" + row["text"][-2:]
    data = prepared(jsonl(given), columns={"group": "user"})
    assert data.train.groups is not None
    given[0] = {"text": given[0]["text"], "other": 1}
    with pytest.raises(InputError, match="1 of 60 rows have no label"):
        prepared(jsonl(given))
