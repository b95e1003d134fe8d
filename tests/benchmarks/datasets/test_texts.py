"""The built-in texts, and what they are made with."""

import hashlib

import pyarrow.parquet as pq
import pytest

from benchmarks.datasets.build_texts import NOVELS, novel, paragraphs
from benchmarks.datasets.debian_text import word_count
from finewise.data.documents import read_documents
from finewise.data.sources import resolve

SPLITS = ("train", "dev", "test")


def table(name: str, split: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = pq.read_table(resolve(name) / f"{split}.parquet").to_pylist()
    return rows


@pytest.mark.parametrize("name", ["novels", "bible"])
def test_files_match_their_checksums_and_the_card(name: str) -> None:
    folder = resolve(name)
    sums = {
        path: digest for digest, path in (line.split() for line in (folder / "SHA256SUMS").read_text().splitlines())
    }
    assert set(sums) == {f"{split}.parquet" for split in SPLITS}
    card = (folder / "README.md").read_text(encoding="utf-8")
    for path, digest in sums.items():
        assert hashlib.sha256((folder / path).read_bytes()).hexdigest() == digest
        assert f"| `{path}` | `{digest}` |" in card
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2_000_000


@pytest.mark.parametrize(("name", "rows"), [("novels", (12, 3, 3)), ("bible", (39, 3, 24))])
def test_rows_are_different_and_whole(name: str, rows: tuple[int, int, int]) -> None:
    every = [row for split in SPLITS for row in table(name, split)]
    assert tuple(len(table(name, split)) for split in SPLITS) == rows
    assert list(every[0]) == ["id", "title", "text"]
    for column in ("id", "title", "text"):
        assert len({row[column] for row in every}) == sum(rows)
    for row in every:
        for paragraph in row["text"].split("\n\n"):
            assert paragraph
            assert paragraph == " ".join(paragraph.split())


def test_no_book_is_in_two_splits() -> None:
    books = {split: {row["title"].partition(",")[0] for row in table("novels", split)} for split in SPLITS}
    assert books == {split: {book for book, where in NOVELS.items() if where == split} for split in SPLITS}
    # Nor is a paragraph, but for short ones ("Yes, sir.").
    seen: dict[str, str] = {}
    for split in SPLITS:
        for row in table("novels", split):
            for paragraph in row["text"].split("\n\n"):
                if word_count(paragraph) > 12:
                    assert seen.setdefault(paragraph, split) == split


def test_texts_are_complete_and_long() -> None:
    words = {
        name: [word_count(row["text"]) for split in SPLITS for row in table(name, split)]
        for name in ("novels", "bible")
    }
    assert 710_000 < sum(words["novels"]) < 720_000
    assert min(words["novels"]) > 25_000  # longer than 32,000 tokens
    assert 785_000 < sum(words["bible"]) < 795_000
    assert table("novels", "train")[0]["text"].startswith("Emma Woodhouse, handsome, clever, and rich, with ")
    assert table("bible", "train")[0]["text"].startswith("In the beginning God created the heaven and the earth.")
    assert table("bible", "test")[-1]["text"].endswith("Amen.")
    psalms = next(row["text"] for row in table("bible", "train") if row["title"] == "Psalms")
    assert len(psalms.split("\n\n")) == 150


@pytest.mark.parametrize("name", ["novels", "bible"])
def test_the_bare_names_are_documents(name: str) -> None:
    found = read_documents(name, "text", "dev")
    assert list(found.texts) == [row["text"] for row in table(name, "dev")]
    assert list(found.names) == [row["id"] for row in table(name, "dev")]
    assert found.where(0) == f"{name}/dev.parquet row 1"


def test_a_novel_is_cut_into_thirds_and_loses_headings_and_what_stands_around_it() -> None:
    lines = [
        "EMMA", "", "By", "CHAPTER I", "", "One  day", "she", "", "went.", "VOLUME II", "CHAPTER II", "", "So did he then.",
        "Chapter 3", "", "So.", "", "[At this point, in the first edition, a volume ends.]", "CHAPTER IV", "", "And so on.",
        "FINIS", "x",
    ]  # fmt: skip
    assert novel(lines) == ("Emma", ["One day she\n\nwent.", "So did he then.", "So.\n\nAnd so on."])
    assert paragraphs(["a", "b", "", "", "* * *", "", "[c]"]) == ["a b", "[c]"]
