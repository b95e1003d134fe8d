"""The silver set: spans are terms of the lists, and some terms are in test alone."""

import json
from pathlib import Path

import pytest

from classify.spans import silver
from classify.spans.silver import main, part_of, sentences, spans
from finewise.errors import InputError


def terms(text: str) -> list[tuple[str, str]]:
    return [(text[int(one["start"]) : int(one["end"])], str(one["label"])) for one in spans(text)]


def test_terms_are_whole_words_as_written() -> None:
    assert terms("C++ and C# bindings, JavaScript not Javascript, HTTPS (and HTTP/2); PNGs, libxml") == [
        ("C++", "LANG"), ("C#", "LANG"), ("JavaScript", "LANG"), ("HTTPS", "PROTOCOL"), ("HTTP", "PROTOCOL"),
    ]  # fmt: skip


def test_sentences() -> None:
    text = "A reader of things in files\nIt reads them. It writes\nthem as well, slowly.\n\nToo short.\n"
    assert list(sentences(text)) == ["A reader of things in files", "It writes them as well, slowly."]


def test_test_has_terms_that_no_other_split_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    every = [
        f"This package reads and writes {term} in the usual way"
        for kind in silver.TERMS.values()
        for term in kind.split()
    ]
    for number, split in enumerate(("train", "dev", "test")):
        texts = [f"{text}, version {number}" for text in every] + [f"Nothing to be seen in this one, number {number}"]
        pq.write_table(pa.table({"text": texts, "source": texts}), tmp_path / f"{split}.parquet")
    monkeypatch.setattr(silver, "SOURCE", str(tmp_path))
    main([str(tmp_path / "made")])
    found = {}
    for split in ("train", "dev", "test"):
        rows = [json.loads(line) for line in (tmp_path / "made" / f"{split}.jsonl").read_text().splitlines()]
        found[split] = {row["text"][one["start"] : one["end"]] for row in rows for one in row["spans"]}
    assert found["train"] < found["dev"] < found["test"]
    assert {part_of(term) for term in found["test"] - found["dev"]} == {"test"}


def test_needs_a_folder() -> None:
    with pytest.raises(InputError, match="FOLDER"):
        main([])
