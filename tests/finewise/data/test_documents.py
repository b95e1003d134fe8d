"""Files of documents are read as they are; what is wrong with one is told with its file and row."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finewise.data.documents import check_documents, read_documents
from finewise.errors import InputError

ROWS: list[dict[str, Any]] = [
    {"id": "a", "text": "One,\n two."},
    {"id": "b", "text": 'Öne "quoted" text'},
    {"id": "c", "text": "three"},
]


def write(name: str, rows: list[dict[str, Any]]) -> str:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif name.endswith(".json"):
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif name.endswith(".csv"):
        quoted = [",".join('"' + str(cell).replace('"', '""') + '"' for cell in row.values()) for row in rows]
        path.write_text("\n".join([",".join(rows[0]), *quoted]), encoding="utf-8")
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return name


@pytest.mark.parametrize("name", ["documents.jsonl", "documents.json", "documents.csv", "documents.parquet"])
def test_every_format_gives_the_same_documents(name: str) -> None:
    documents = read_documents(write(name, ROWS), "text")
    assert list(documents.texts) == [row["text"] for row in ROWS]
    assert documents.texts[1] == ROWS[1]["text"]
    assert list(documents.names) == ["a", "b", "c"]
    assert documents.revision == read_documents(write("other.jsonl", ROWS), "text").revision
    assert documents.where(1) == f"{name} {documents.unit} {documents.numbers[1]}"


def test_a_document_is_named_by_its_place_where_no_column_names_each_differently() -> None:
    rows = [{"id": "same", "text": "one"}, {"id": "same", "text": "two"}]
    documents = read_documents(write("d.jsonl", rows), "text")
    assert list(documents.names) == ["line 1", "line 2"]
    titled = [{**row, "title": f"title {n}", "id": None} for n, row in enumerate(rows)]
    assert list(read_documents(write("t.parquet", titled), "text").names) == ["title 0", "title 1"]
    numbered = [{"id": n, "text": "same text"} for n in range(2)]
    assert list(read_documents(write("n.jsonl", numbered), "text").names) == ["0", "1"]


def test_a_folder_has_a_file_for_each_split() -> None:
    for split, row in zip(("train", "test"), ROWS, strict=False):
        write(f"novels/{split}.jsonl", [row])
    check_documents("novels", "test")
    assert list(read_documents("novels", "text", "test").texts) == [ROWS[1]["text"]]
    assert read_documents("novels", "text").where(0) == "novels/train.jsonl line 1"
    with pytest.raises(InputError, match="novels has no file for dev; it has: train"):
        check_documents("novels", "dev")
    Path("empty").mkdir()
    with pytest.raises(InputError, match="empty is a folder without train, dev or test file"):
        check_documents("empty")


def test_what_is_wrong_is_told_with_its_place() -> None:
    def refused(name: str, content: bytes | list[dict[str, Any]], *essence: str, column: str = "text") -> None:
        if isinstance(content, bytes):
            Path(name).write_bytes(content)
        else:
            write(name, content)
        with pytest.raises(InputError) as caught:
            read_documents(name, column)
        message = str(caught.value)
        assert "\n" not in message
        assert all(piece in message for piece in essence), message

    refused("a.jsonl", ROWS, "a.jsonl has no column 'texts'; did you mean 'text'?", column="texts")
    refused("b.jsonl", [*ROWS, {"id": "d", "text": "  \n"}], "b.jsonl: line 4: 'text' is empty")
    refused("c.parquet", [*ROWS, {"id": "d", "text": None}], "c.parquet: row 4: 'text' is empty")
    refused("d.jsonl", [*ROWS, {"id": "d", "text": 5}], "d.jsonl: line 4: 'text' must be a text; got the number 5")
    refused("e.jsonl", [{"text": ["a", "b"]}], "e.jsonl: line 1", "write one row per text of the list")
    refused("f.parquet", [{"text": 5}], "f.parquet: column 'text' must hold texts")
    refused("g.jsonl", '{"text": "é"}\n'.encode("latin1"), "g.jsonl: line 1 is not UTF-8")
    refused("h.jsonl", [*ROWS, {"id": "d"}], "h.jsonl: line 4 has no 'text'")
    refused("i.txt", b"some text", "i.txt: unknown kind of file '.txt'")
    refused("j.csv", b"", "j.csv is empty")


def test_a_column_may_be_called_as_another_is() -> None:
    documents = read_documents(write("d.jsonl", [{"text": "named", "title": "long"}]), "title")
    assert (list(documents.texts), list(documents.names)) == (["long"], ["line 1"])
