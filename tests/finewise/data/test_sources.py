"""Data references become pairs; whatever is wrong with a file is told in one line that says where and what to do."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finewise.config import ColumnsConfig
from finewise.data.sources import (
    DOCUMENTS,
    builtin,
    exists,
    is_labelled,
    is_retrieval,
    labelled_file,
    read_pairs,
    read_retrieval,
    resolve,
    splits,
)
from finewise.errors import InputError

Writer = Callable[..., str]
PLAIN = ColumnsConfig()


def table(name: str, **columns: Any) -> str:
    pq.write_table(pa.table(columns), name)
    return name


def refused(reference: str, *essence: str, columns: ColumnsConfig = PLAIN) -> str:
    with pytest.raises(InputError) as caught:
        read_pairs(reference, columns)
    message = str(caught.value)
    assert "\n" not in message
    for piece in essence:
        assert piece in message, message
    return message


def write(name: str, content: str | bytes) -> str:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return name


# what works


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "json", "array.json", "csv", "tsv", "parquet"])
def test_every_format_gives_the_same_rows_and_the_same_revision(kind: str) -> None:
    rows = [{"anchor": "a, 1", "positive": 'say "x"\nand y'}, {"anchor": "b", "positive": "é"}]
    name = f"pairs.{kind}"
    quoted = [['"a, 1"', '"say ""x""\nand y"'], ["b", "é"]]
    if kind == "parquet":
        table(name, anchor=[row["anchor"] for row in rows], positive=[row["positive"] for row in rows])
    elif kind == "array.json":
        write(name, json.dumps(rows, indent=1))
    elif kind in ("csv", "tsv"):
        separator = "," if kind == "csv" else "\t"
        lines = [separator.join(cells) for cells in [["anchor", "positive"], *quoted]]
        write(name, "\ufeff" + "\r\n".join(lines) + "\r\n")
    else:
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        write(name, gzip.compress(content, mtime=0) if kind == "jsonl.gz" else content)
    found = read_pairs(name, PLAIN)
    assert found.rows.column_names == ["anchor", "positive"]
    assert [row["anchor"] for row in found.rows] == ["a, 1", "b"]
    assert [row["positive"].replace("\r", "") for row in found.rows] == ['say "x"\nand y', "é"]
    assert (
        found.revision
        == read_pairs(table("same.parquet", anchor=["a, 1", "b"], positive=['say "x"\nand y', "é"]), PLAIN).revision
    )


def test_a_row_is_named_by_where_it_starts_in_the_file(jsonl: Writer) -> None:
    name = write("pairs.csv", 'anchor,positive\n"one\ntwo",x\n\nb,y\n')
    found = read_pairs(name, PLAIN)
    assert [found.where(0), found.where(1)] == ["pairs.csv line 2", "pairs.csv line 5"]
    assert read_pairs(table("p.parquet", anchor=["a", "b"], positive=["c", "d"]), PLAIN).where(1) == "p.parquet row 2"


def test_columns_come_in_a_fixed_order_and_the_rest_is_reported(jsonl: Writer) -> None:
    row = {"score": 1, "extra": 0, "negative_10": "n10", "negative_2": "n2", "positive": "p", "anchor": "a", "who": 7}
    name = jsonl([row, row | {"anchor": "b", "who": None, "score": 0.5, "late": 1}])
    found = read_pairs(name, ColumnsConfig(group="who"))
    assert found.rows.column_names == ["anchor", "positive", "negative_1", "negative_2", "score", "group"]
    assert found.rows[0] == {
        "anchor": "a", "positive": "p", "negative_1": "n2", "negative_2": "n10", "score": 1.0, "group": "7"
    }  # fmt: skip
    assert found.rows[1]["group"] is None
    assert found.notes.unused == ("extra", "late")


def test_named_columns_are_renamed_to_their_roles(jsonl: Writer) -> None:
    name = jsonl(
        [{"q": "a", "doc": "b", "neg_1": "c", "neg_2": "d"}, {"q": "e", "doc": "f", "neg_1": "g", "neg_2": "h"}]
    )
    found = read_pairs(name, ColumnsConfig(anchor="q", positive="doc", negative="neg"))
    assert found.rows[1] == {"anchor": "e", "positive": "f", "negative_1": "g", "negative_2": "h"}


def test_a_single_negative_keeps_its_plain_name(jsonl: Writer) -> None:
    name = jsonl([{"anchor": c, "positive": c * 2, "negative_1": "n"} for c in "ab"])
    assert read_pairs(name, PLAIN).rows.column_names == ["anchor", "positive", "negative"]


def test_empty_texts_are_left_out_and_counted(jsonl: Writer, pairs: Callable[[int], list[dict[str, Any]]]) -> None:
    rows = pairs(6)
    rows[1]["anchor"] = " \t\u00a0"
    rows[4]["positive"] = None
    found = read_pairs(jsonl(rows), PLAIN)
    assert len(found) == 4
    assert found.notes.empty == {"anchor": 1, "positive": 1}
    assert found.notes.empty_at == (2, 5)
    assert found.where(1) == "pairs.jsonl line 3"


def test_a_text_of_five_megabytes_is_read() -> None:
    long = "word " * 1_000_000
    found = read_pairs(write("pairs.csv", f"anchor,positive\na,{long}\nb,c\n"), PLAIN)
    assert len(found.rows[0]["positive"]) == 5_000_000


def test_dictionary_encoded_and_large_strings_are_texts() -> None:
    name = table(
        "p.parquet", anchor=pa.array(["a", "b"]).dictionary_encode(), positive=pa.array(["c", "d"], pa.large_string())
    )
    assert read_pairs(name, PLAIN).rows[1] == {"anchor": "b", "positive": "d"}


def test_selected_rows_keep_their_places_and_get_another_revision(
    jsonl: Writer, pairs: Callable[[int], list[dict[str, Any]]]
) -> None:
    import numpy as np

    whole = read_pairs(jsonl(pairs(50)), PLAIN)
    part = whole.select(np.array([40, 7, 9]))
    again = part.select(np.array([1, 2]))
    assert [row["anchor"] for row in again.rows] == ["what is thing number 9?", "what is thing number 40?"]
    assert again.where(0) == "pairs.jsonl line 10"
    assert [text for _, table in again.batches(["anchor"]) for text in table.column("anchor").to_pylist()] == [
        row["anchor"] for row in again.rows
    ]
    assert len({whole.revision, part.revision, again.revision}) == 3
    assert whole.select(np.array([9, 40])).revision != part.revision


# what the cache promises


def test_the_second_reading_comes_from_the_cache_and_a_changed_file_does_not(jsonl: Writer, tmp_path: Path) -> None:
    name = jsonl([{"anchor": "a", "positive": "b"}, {"anchor": "c", "positive": "d"}])
    first = read_pairs(name, PLAIN)
    entries = list((tmp_path / "cache" / "data").iterdir())
    assert read_pairs(name, PLAIN).revision == first.revision
    assert list((tmp_path / "cache" / "data").iterdir()) == entries
    jsonl([{"anchor": "a", "positive": "b"}, {"anchor": "c", "positive": "changed"}])
    assert read_pairs(name, PLAIN).rows[1]["positive"] == "changed"


def test_a_cut_cache_entry_is_made_again(jsonl: Writer, tmp_path: Path) -> None:
    name = jsonl([{"anchor": "a", "positive": "b"}, {"anchor": "c", "positive": "d"}])
    read_pairs(name, PLAIN)
    (entry,) = (tmp_path / "cache" / "data").iterdir()
    arrow = entry / "rows.arrow"
    arrow.write_bytes(arrow.read_bytes()[:-100])
    assert read_pairs(name, PLAIN).rows[1] == {"anchor": "c", "positive": "d"}


def test_a_failed_reading_leaves_nothing_in_the_cache(jsonl: Writer, tmp_path: Path) -> None:
    refused(jsonl([*[{"anchor": "a", "positive": "b"}] * 2_000, "{broken"]), "line 2001")
    assert list((tmp_path / "cache" / "data").iterdir()) == []


def test_a_cache_that_cannot_be_written_names_the_setting(
    jsonl: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FINEWISE_CACHE", str(tmp_path / "file"))
    refused(
        jsonl([{"anchor": "a", "positive": "b"}, {"anchor": "c", "positive": "d"}]),
        "cannot be written",
        "FINEWISE_CACHE",
    )


# folders of labelled rows


def labelled(name: str, *files: str) -> str:
    Path(name).mkdir()
    for file in files:
        write(f"{name}/{file}", "text,label\na,b\n")
    return name


def told(call: Callable[[], Any], *essence: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for piece in essence:
        assert piece in message, message


def test_both_kinds_ship_and_resolve_by_their_bare_names() -> None:
    assert set(builtin(labelled=False)) >= {"debian", "debtags"}
    assert set(builtin(labelled=True)) >= {"debian-sections", "debian-tags"}
    assert set(builtin()) == {*builtin(labelled=False), *builtin(labelled=True), *DOCUMENTS}
    assert not set(builtin(labelled=False)) & set(builtin(labelled=True))
    for name in ("debian-sections", "debian-tags"):
        exists(name, labelled=True)
        assert is_labelled(name)
        assert not is_retrieval(name)
        assert splits(name) == ["dev", "test"]
        assert {labelled_file(name, split) for split in ("train", "dev", "test")} == {
            resolve(name) / f"{split}.parquet" for split in ("train", "dev", "test")
        }


def test_sets_of_documents_resolve_but_are_not_offered_as_labelled_rows_or_pairs() -> None:
    for name in DOCUMENTS:
        assert labelled_file(name, "test") == resolve(name) / "test.parquet"
        told(lambda name=name: exists(name, labelled=True), f"{name} holds documents alone", "debian-sections")
        told(lambda name=name: exists(name), f"{name} holds documents alone", "debian, debtags (retrieval)")


def test_a_file_holds_every_split_and_a_folder_those_that_it_has(jsonl: Writer) -> None:
    name = labelled("rows", "train.csv", "test.tsv", "notes.csv")
    assert splits(name) == ["test"]
    assert labelled_file(name, "test") == Path("rows/test.tsv")
    told(lambda: labelled_file(name, "dev"), "rows has no file for dev", "it has: train.csv, test.tsv")
    file = jsonl([{"text": "a", "label": "b"}])
    exists(file, labelled=True)
    assert labelled_file(file, "dev") == Path(file)
    assert splits(file) == []
    write("rows/train.jsonl", "{}")
    told(lambda: labelled_file(name, "train"), "both train.jsonl and train.csv")


def test_labelled_rows_are_no_pairs_and_no_judgements() -> None:
    name = labelled("rows", "train.csv", "dev.csv")
    essence = ("rows is a folder of labelled rows (train.csv, dev.csv)", "a set that ships: debian, debtags")
    told(lambda: exists(name), *essence)
    told(lambda: read_pairs(name, PLAIN), *essence)
    told(lambda: read_retrieval(name, split="dev", name="x"), *essence)
    told(lambda: exists("debian-sections"), "debian-sections is a folder of labelled rows")


def test_pairs_and_judgements_are_no_labelled_rows() -> None:
    essence = ("debian is a folder with queries and judgements", "a set that ships: debian-sections, debian-tags")
    told(lambda: exists("debian", labelled=True), *essence)
    told(lambda: labelled_file("debian", "train"), *essence)
    assert not is_labelled("debian")
    Path("folder").mkdir()
    write("folder/rows.csv", "text,label\n")
    told(lambda: labelled_file("folder", "train"), "folder is a folder without train, dev or test file", "rows.csv")


# what is refused: the reference


def test_a_missing_file_names_the_nearest(jsonl: Writer) -> None:
    jsonl([{}], "training.jsonl")
    refused("trainin.jsonl", "no such file", "did you mean 'training.jsonl'?")
    refused("nowhere/pairs.jsonl", "no such file", "no folder nowhere")


def test_a_misspelt_builtin_names_the_nearest() -> None:
    refused("debain", "did you mean 'debian'?")
    refused("debian-tag", "did you mean 'debian-tags'?", "debian, debtags (retrieval)", "debian-tags (labelled)")
    refused("zzz", "no such file or data set. Data sets that ship")


def test_a_set_that_is_not_shipped_names_its_builder() -> None:
    refused("spam", "no such folder", "python -m benchmarks.datasets.build_spam")
    labelled("spam", "train.csv")
    exists("spam", labelled=True)


def test_a_folder_that_is_no_beir_folder() -> None:
    Path("folder").mkdir()
    refused("folder", "folder without queries, corpus, qrels/SPLIT.tsv", "no BEIR folder")
    assert not is_retrieval("folder")


def test_an_unknown_extension_lists_the_known() -> None:
    refused(write("pairs.xlsx", "x"), "unknown kind of file '.xlsx'", ".jsonl", ".parquet")


def test_existence_is_checked_without_heavy_imports(jsonl: Writer) -> None:
    jsonl([{"anchor": "a", "positive": "b"}])
    code = (
        "import sys; from finewise.data.sources import exists; exists('pairs.jsonl'); exists('debian'); exists('hub:a/b:c@d');"
        "assert not {'torch', 'datasets', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    for wrong in ("pair.jsonl", "hub:", "package:no_such_package/x", write("empty.csv", "")):
        with pytest.raises(InputError):
            exists(wrong)


def test_an_unreachable_hub_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    class ConnectError(Exception):
        pass

    def fail(*args: Any, **kwargs: Any) -> None:
        raise ConnectError("name or service not known")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", fail)
    refused("hub:someone/pairs", "hub cannot be reached", "local file", "HF_HUB_OFFLINE=1")
    refused("hub:a:b:c/d e", "hub:NAME")


def test_a_hub_data_set_is_pinned_and_read(monkeypatch: pytest.MonkeyPatch, own_folder: Path) -> None:
    import datasets
    import huggingface_hub

    asked: list[tuple[Any, ...]] = []

    class Info:
        sha = "0123abc"

    def load(name: str, config: str | None, split: str, revision: str) -> Any:
        asked.append((name, config, split, revision))
        return datasets.Dataset.from_parquet(
            table("hub.parquet", anchor=["a", "b"], positive=["c", "d"]), cache_dir="hub"
        )

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *args, **kwargs: Info())
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *args, **kwargs: ["train", "validation"])
    monkeypatch.setattr(datasets, "load_dataset", load)
    found = read_pairs("hub:someone/pairs:english@main", PLAIN, split="dev")
    assert asked == [("someone/pairs", "english", "validation", "0123abc")]
    assert found.rows[1] == {"anchor": "b", "positive": "d"}
    assert found.where(1) == "hub:someone/pairs:english@main row 2"
    with pytest.raises(InputError, match="unknown split 'test'"):
        read_pairs("hub:someone/pairs", PLAIN, split="test")


# what is refused: columns


def test_a_missing_column_names_the_columns_and_the_override(jsonl: Writer) -> None:
    name = jsonl([{"question": "a", "answer": "b"}])
    refused(name, "no column 'anchor' and no column 'positive'", "it has: question, answer",
            "data.columns.anchor=question data.columns.positive=answer")  # fmt: skip
    refused(name, "no column 'questoin'", "data.columns.anchor=question",
            columns=ColumnsConfig(anchor="questoin", positive="answer"))  # fmt: skip
    refused(name, "no column 'sim'", "data.columns.score=NAME",
            columns=ColumnsConfig(anchor="question", positive="answer", score="sim"))  # fmt: skip
    refused(write("x.csv", "query,my positives\n1,2\n"), "no column 'anchor'", "data.columns.anchor=query",
            "data.columns.positive=\"'my positives'\"")  # fmt: skip
    refused(
        jsonl([{"response": "a", "instruction": "b"}]), "data.columns.anchor=instruction data.columns.positive=response"
    )
    refused(jsonl([{"foo": "a", "bar": "b"}]), "data.columns.anchor=NAME data.columns.positive=NAME")


def test_a_column_cannot_play_two_roles(jsonl: Writer) -> None:
    refused(jsonl([{"text": "a"}]), "both anchor and positive", columns=ColumnsConfig(anchor="text", positive="text"))


def test_a_role_column_that_only_later_rows_have_is_not_ignored(jsonl: Writer) -> None:
    name = jsonl([{"anchor": "a", "positive": "b"}, {"anchor": "c", "positive": "d", "negative": "e"}])
    refused(name, "'negative' is in line 2 but not in the first row")


# what is refused: files


@pytest.mark.parametrize(
    ("name", "content", "essence"),
    [
        ("a.jsonl", "", ["is empty"]),
        ("a.csv", "", ["is empty"]),
        ("a.parquet", "", ["is empty"]),
        ("a.jsonl", "\n\n", ["has no rows"]),
        ("a.json", "[]", ["has no rows"]),
        ("a.csv", "anchor,positive\n", ["header and no rows"]),
        ("a.csv", "anchor,positive\na,b\nc\n", ["line 3 has 1 fields, the header has 2"]),
        ("a.csv", 'anchor,positive\n"a\nb",c\nd,e,f\n', ["line 4 has 3 fields", "double quotes"]),
        ("a.csv", 'anchor,positive\na,b\n"c,d\ne,f\n', ["row at line 3", "never closed"]),
        ("a.csv", "anchor;positive\na;b\n", ["separated by ';'", "commas"]),
        ("a.csv", "anchor\tpositive\na\tb\n", [".tsv"]),
        ("a.csv", "anchor,positive,anchor\na,b,c\n", ["'anchor' twice"]),
        ("a.jsonl", '["a", "b"]\n', ["line 1 must be an object", "a list"]),
        ("a.jsonl", '{"anchor": "a", "positive": "b"}\n42\n', ["line 2 must be an object", "number 42"]),
        ("a.json", '{\n "anchor": "a"\n}', ["line 1 is not valid JSON"]),
        ("a.json", '[{"anchor": "a"},\n{"anchor" "b"}]', ["line 2 is not valid JSON"]),
        ("a.json", "[1]", ["item 1 must be an object"]),
        ("a.jsonl", '[\n{"anchor": "a"}\n]', ["named .json"]),
        ("a.jsonl", '{"anchor": "a", "positive": "b"}\n{"anchor": "c"}\n', ["line 2 has no 'positive'", "it has: anchor"]),
        ("a.jsonl", '{"anchor": "a", "positive": "\\ud800"}\n', ["line 1", "surrogate"]),
        ("a.jsonl", '{"anchor": "a", "positive": 5}\n', ["line 1: 'positive' must be a text; got the number 5"]),
        ("a.jsonl", '{"anchor": "a", "positive": {"x": 1}}\n', ["must be a text; got an object"]),
        ("a.jsonl", '{"anchor": "a", "positive": ["b", "c"]}\n', ["must be a text; got a list", "one row per text"]),
        ("a.csv", b"anchor,positive\na,b\nc,caf\xe9\n", ["line 3 is not UTF-8", "0xe9", "iconv -f cp1252 -t utf-8"]),
        ("a.jsonl", '{"anchor": "a"}'.encode("utf-16"), ["UTF-16", "iconv -f utf-16"]),
        ("a.csv", "anchor,positive\n".encode("utf-16-le"), ["UTF-16"]),
        ("a.csv", b"anchor,positive\na,b\0c\n", ["line 2 holds a NUL byte"]),
        ("a.jsonl.gz", gzip.compress(b'{"anchor": "a", "positive": "b"}\n' * 99, mtime=0)[:40], ["gzip data is damaged"]),
        ("a.jsonl.gz", b"not gzip", ["gzip data is damaged"]),
        ("a.csv", gzip.compress(b"anchor", mtime=0), ["compressed file"]),
        ("a.csv", b"PAR1....", ["parquet file"]),
        ("a.parquet", b"PAR1....", ["cut or damaged"]),
        ("a.csv", '"anchor";"positive"\n"a";"b"\n', ["is separated by ';', not by ','"]),
        ("a.csv", '"anchor, x";"positive"\n"a";"b"\n', ["is separated by ';', not by ','"]),
        ("a.csv", "\ufeffsep=;\r\nanchor;positive\r\na;b\r\n", ["line 1 is 'sep=;'", "sed 1d"]),
        ("a.csv", "anchor,positive\ra,b\rc,d\r", ["end with a carriage return alone"]),
        ("a.csv", '"anchor","positive"\r"a","b"\r', ["end with a carriage return alone"]),
        ("a.csv", "how do I cook an egg,boil it\na,b\n", ["no column 'anchor'", "put a header before it"]),
        ("a.csv", "anchor,positive,score\na,b,0,75\n", ["line 2 has 4 fields", "decimal point"]),
        ("a.tsv", "anchor\tpositive\tscore\na\tb\t0,75\n", ["'score' must be a number", "decimal point"]),
        ("a.tsv", 'anchor\tpositive\na\t"b\nc\td"\ne\tf\n', ["the row at line 2 goes on over further lines"]),
        ("a.jsonl", '{"anchor": "a", "positive": "b", "anchor": "c"}\n', ["line 1 has the key 'anchor' twice"]),
        ("a.jsonl", '{"anchor": "a", "meta": {"x": 1, "x": 2}}\n', ["line 1 has the key 'x' twice"]),
        ("a.json", '[{"anchor": "a", "positive": "b", "anchor": "c"}]', ["has the key 'anchor' twice"]),
        ("a.json", "[" * 100_000, ["nested too deeply"]),
        ("a.jsonl", '{"anchor": "a", "n": ' + "9" * 5000 + "}\n", ["line 1 holds a whole number of more than 4,300"]),
        ("a.json", '[{"anchor": "a", "n": ' + "9" * 5000 + "}]", ["holds a whole number of more than 4,300"]),
        (
            "a.jsonl",
            '{"anchor": "a", "positive": "b", "score": ' + "9" * 400 + "}\n",
            ["line 1: 'score' must be a finite number"],
        ),
    ],
)  # fmt: skip
def test_a_broken_file_is_refused_with_its_place(name: str, content: str | bytes, essence: list[str]) -> None:
    refused(write(name, content), name, *essence)


def test_a_broken_line_is_named_by_its_number_in_the_file(
    jsonl: Writer, pairs: Callable[[int], list[dict[str, Any]]]
) -> None:
    rows: list[Any] = pairs(1000)
    rows[730] = '{"anchor": "a", "positive": '
    refused(jsonl(rows), "pairs.jsonl: line 731 is not valid JSON")


def test_a_parquet_file_cut_in_the_middle() -> None:
    name = table("p.parquet", anchor=[str(n) for n in range(5000)], positive=["x"] * 5000)
    content = Path(name).read_bytes()
    refused(write("cut.parquet", content[: len(content) // 2]), "cut.parquet", "cut or damaged")
    damaged = bytearray(content)
    damaged[10:2000] = bytes(1990)
    refused(write("holes.parquet", bytes(damaged)), "holes.parquet", "damaged")


@pytest.mark.parametrize(
    ("values", "essence"),
    [
        ([["a"], ["b", "c"]], ["column 'positive' must hold texts; it holds list", "explode('positive')"]),
        ([1, 2], ["it holds int64"]),
        ([{"a": 1}, {"a": 2}], ["it holds struct"]),
        ([b"a", b"b"], ["it holds binary"]),
    ],
)
def test_a_parquet_column_of_the_wrong_type(values: list[Any], essence: list[str]) -> None:
    refused(table("p.parquet", anchor=["a", "b"], positive=values), *essence)


@pytest.mark.parametrize(
    ("score", "essence"),
    [
        ("high", "must be a number"),
        ("", "must be a number"),
        ("nan", "finite"),
        ("inf", "finite"),
        ("1_0", "must be a number"),
    ],
)
def test_a_wrong_score_names_its_row(score: str, essence: str) -> None:
    refused(write("s.csv", f"anchor,positive,score\na,b,0.5\nc,d,{score}\n"), "line 3: 'score'", essence)


@pytest.mark.parametrize("score", [None, float("nan"), float("inf"), "0.5", True])
def test_a_wrong_score_in_json_names_its_row(jsonl: Writer, score: Any) -> None:
    name = jsonl(
        [{"anchor": "a", "positive": "b", "score": 1}, json.dumps({"anchor": "c", "positive": "d", "score": score})]
    )
    if score is True:
        assert read_pairs(name, PLAIN).rows[1]["score"] == 1.0
    else:
        refused(name, "line 2: 'score'", "number")


def test_a_wrong_score_in_parquet_names_its_row() -> None:
    texts = {"anchor": ["a", "b"], "positive": ["c", "d"]}
    refused(table("p.parquet", **texts, score=[0.5, float("nan")]), "row 2: 'score' must be a finite number")
    refused(table("p.parquet", **texts, score=[None, 1]), "row 1: 'score' must be a finite number; got null")
    refused(table("p.parquet", **texts, score=["0.5", "1"]), "column 'score' must hold numbers; it holds string")


def test_too_few_usable_rows(jsonl: Writer, pairs: Callable[[int], list[dict[str, Any]]]) -> None:
    refused(jsonl(pairs(1)), "one row only")
    refused(jsonl(pairs(1) * 9), "all 9 rows are the same pair")
    mostly_empty = [{"anchor": "", "positive": "x"}] * 3 + pairs(2)
    refused(jsonl(mostly_empty), "3 of 5 rows have an empty text", "'anchor'", "line 1")
    refused(table("p.parquet", anchor=pa.array([], pa.string()), positive=pa.array([], pa.string())), "has no rows")


def test_a_byte_that_is_no_character_inside_parquet() -> None:
    broken = pa.array([b"a", b"\xff\xfe"]).view(pa.string())
    refused(table("p.parquet", anchor=broken, positive=["c", "d"]), "column 'anchor' is damaged between rows 1 and 2")


def test_rows_that_go_on_over_several_lines_are_counted() -> None:
    lines = 'anchor,positive\n"a, ""b""\nc",d\n\n"e","f\rg"\nh,"i\n\nj"\n'
    first, second = read_pairs(write("a.csv", lines), PLAIN).notes.remarks, read_pairs("a.csv", PLAIN).notes.remarks
    assert first == second  # the second time from the cache
    assert "inside double quotes: 2 (first: line 2)" in first[0]
    assert read_pairs(write("b.csv", 'anchor,positive\n"a","b"\nc,d\n'), PLAIN).notes.remarks == ()
    assert (
        "(first: line 3)" in read_pairs(write("c.tsv", 'anchor\tpositive\nx\ty\na\t"b\nc"\n'), PLAIN).notes.remarks[0]
    )


def test_a_file_may_be_called_as_a_user_that_is_not_there() -> None:
    with pytest.raises(InputError, match="no such file"):
        exists("~nobody-here.csv")
    assert len(read_pairs(write("~nobody-here.csv", "anchor,positive\na,b\nc,d\n"), PLAIN)) == 2
