"""The built-in texts, and what they are made with."""

import hashlib

import pyarrow.parquet as pq
import pytest

from benchmarks.datasets.build_texts import novel, paragraphs
from finewise.data.sources import resolve


@pytest.mark.parametrize(("name", "rows"), [("novels", (26, 4, 4)), ("bible", (39, 3, 24))])
def test_texts_are_whole_and_have_their_checksums(name: str, rows: tuple[int, int, int]) -> None:
    folder = resolve(name)
    sums = dict(reversed(line.split()) for line in (folder / "SHA256SUMS").read_text().splitlines())
    seen: set[str] = set()
    for split, count in zip(("train", "dev", "test"), rows, strict=True):
        file = folder / f"{split}.parquet"
        assert hashlib.sha256(file.read_bytes()).hexdigest() == sums[file.name]
        table = pq.read_table(file)
        assert table.column_names == ["id", "title", "text"]
        assert table.num_rows == count
        texts = table["text"].to_pylist()
        assert not seen & set(texts)
        seen |= set(texts)
        assert len(set(texts)) == count


def test_a_novel_loses_headings_and_what_stands_around_it() -> None:
    lines = [
        "EMMA",
        "",
        "By",
        "CHAPTER I",
        "",
        "One  day",
        "she",
        "",
        "went.",
        "VOLUME II",
        "CHAPTER II",
        "",
        "So.",
        "FINIS",
        "x",
    ]
    assert novel(lines) == ("Emma", ["One day she\n\nwent.\n\nSo."])
    assert paragraphs(["a", "b", "", "", "c"]) == "a b\n\nc"
