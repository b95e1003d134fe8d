"""The built-in sets as shipped, and the pure parts of the builder of the retrieval sets."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks import datasets
from benchmarks.datasets import build_debian
from benchmarks.datasets.debian_files import write_parquet
from benchmarks.datasets.debian_split import (
    CORPUS_END,
    by_position,
    fold,
    hold_out,
    jaccard,
    near_duplicates,
    shingles,
    split,
    split_position,
    tag_judgements,
)
from benchmarks.datasets.debian_tags import tag_queries
from benchmarks.datasets.debian_text import (
    Package,
    boilerplate,
    choose_package,
    has_content,
    parse_description,
    parse_stanzas,
    parse_tags,
    read_package,
    without,
    word_count,
)

FOLDER = Path(str(datasets.__file__)).parent


def rows(path: str) -> list[dict[str, str]]:
    table: list[dict[str, str]] = pq.read_table(FOLDER / path).to_pylist()
    return table


def qrels(path: str) -> list[tuple[str, str]]:
    header, *lines = (FOLDER / path).read_text(encoding="utf-8").splitlines()
    assert header == "query-id\tcorpus-id\tscore"
    pairs = []
    for line in lines:
        query, document, score = line.split("\t")
        assert score == "1"
        pairs.append((query, document))
    return pairs


@pytest.fixture(scope="module")
def train() -> list[dict[str, str]]:
    return rows("debian/train.parquet")


@pytest.fixture(scope="module")
def corpus() -> list[dict[str, str]]:
    return rows("debian/corpus.parquet")


@pytest.fixture(scope="module")
def queries() -> list[dict[str, str]]:
    return rows("debian/queries.parquet")


# What is shipped


@pytest.mark.parametrize("name", build_debian.SETS)
def test_files_match_their_checksums_and_the_card(name: str) -> None:
    folder = FOLDER / name
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {path: digest for digest, path in (line.split("  ", 1) for line in lines)}
    data = {path.relative_to(folder).as_posix() for end in ("parquet", "tsv") for path in folder.rglob(f"*.{end}")}
    assert set(sums) == data
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n")
    for path, digest in sums.items():
        assert hashlib.sha256((folder / path).read_bytes()).hexdigest() == digest
        assert f"| `{path}` | `{digest}` |" in card


def test_shipped_size_stays_small() -> None:
    files = [path for name in build_debian.SETS for path in (FOLDER / name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10_000_000


def test_split_sizes(train: list[dict[str, str]], corpus: list[dict[str, str]], queries: list[dict[str, str]]) -> None:
    assert len(train) == 24_000
    assert 5_000 <= len(corpus) <= 8_000
    assert len(queries) == 4_000
    assert len(qrels("debian/qrels/dev.tsv")) == len(qrels("debian/qrels/test.tsv")) == 2_000
    assert len(rows("debtags/queries.parquet")) >= 200


def test_columns(train: list[dict[str, str]], corpus: list[dict[str, str]], queries: list[dict[str, str]]) -> None:
    assert list(train[0]) == ["anchor", "positive", "source", "package", "section"]
    assert list(corpus[0]) == ["_id", "text", "source", "section"]
    assert list(queries[0]) == list(rows("debtags/queries.parquet")[0]) == ["_id", "text"]


def test_no_source_is_in_train_and_in_the_corpus(train: list[dict[str, str]], corpus: list[dict[str, str]]) -> None:
    train_sources = [row["source"] for row in train]
    corpus_sources = [row["source"] for row in corpus]
    assert len({*train_sources, *corpus_sources}) == len(train) + len(corpus)  # one package per source, too
    assert min(map(split_position, train_sources)) >= CORPUS_END > max(map(split_position, corpus_sources))


def test_dev_and_test_share_no_query_and_no_document() -> None:
    dev, test = qrels("debian/qrels/dev.tsv"), qrels("debian/qrels/test.tsv")
    assert not {query for query, _ in dev} & {query for query, _ in test}
    assert not {document for _, document in dev} & {document for _, document in test}


@pytest.mark.parametrize(
    ("judged", "asked"),
    [
        (["debian/qrels/dev.tsv", "debian/qrels/test.tsv"], "debian/queries.parquet"),
        (["debtags/qrels/test.tsv"], "debtags/queries.parquet"),
    ],
)
def test_judgements_name_existing_queries_and_documents(
    judged: list[str], asked: str, corpus: list[dict[str, str]]
) -> None:
    pairs = [pair for path in judged for pair in qrels(path)]
    query_ids = [row["_id"] for row in rows(asked)]
    document_ids = {row["_id"] for row in corpus}
    assert len(set(query_ids)) == len(query_ids)
    assert len(document_ids) == len(corpus)
    assert len(set(pairs)) == len(pairs)
    assert {query for query, _ in pairs} == set(query_ids)
    assert {document for _, document in pairs} <= document_ids
    assert not document_ids & set(query_ids)  # evaluators drop a document whose id equals the query's


def test_tags_have_3_to_200_documents() -> None:
    counts: dict[str, int] = {}
    for tag, _ in qrels("debtags/qrels/test.tsv"):
        counts[tag] = counts.get(tag, 0) + 1
    assert min(counts.values()) >= 3
    assert max(counts.values()) <= 200


def test_no_train_text_is_a_held_out_text(
    train: list[dict[str, str]], corpus: list[dict[str, str]], queries: list[dict[str, str]]
) -> None:
    held_out = {fold(row["text"]) for row in [*corpus, *queries]}
    anchors = {fold(row["anchor"]) for row in train}
    positives = {fold(row["positive"]) for row in train}
    assert not (anchors | positives) & held_out
    assert len(anchors) == len(positives) == len(train)


@pytest.mark.parametrize("name", ["train", "corpus", "queries"])
def test_texts_are_clean(name: str, request: pytest.FixtureRequest) -> None:
    broken = re.compile(r"^\s|\s$|[ \t]{2}|[ \t]\n|\n[ \t]|\n{3}|(^|\n)\.(\n|$)|[\x00-\x08\x0b-\x1f\x7f\ufeff\ufffd]")
    for row in request.getfixturevalue(name):
        for column in {"anchor", "positive", "text"} & set(row):
            text = row[column]
            assert text
            assert not broken.search(text), text
            assert unicodedata.is_normalized("NFC", text)
            assert text.encode("utf-8").decode("utf-8") == text
        if "positive" in row:
            assert word_count(row["positive"]) >= build_debian.MIN_WORDS


# What the builder does


def package(name: str = "tool", source: str = "", long: str = "Some words.", short: str = "a tool") -> Package:
    return Package(
        name=name,
        source=source or name,
        section="utils",
        tags=frozenset(),
        short=short,
        paragraphs=tuple(long.split("\n\n")),
    )


INDEX = """\
Package: lander
Source: lander-src (1.2-3)
Section: games
Description: short only
Description-md5: 0123
Tag: game::arcade, role::program,
 use::gameplaying

Package: other
Description: no section
"""


def test_stanzas_and_package() -> None:
    first, second = parse_stanzas(INDEX)
    read = read_package(first, {"0123": "land softly\n Fly a  ship\n to the moon.\n .\n Fun."})
    assert (read.name, read.source, read.section) == ("lander", "lander-src", "games")
    assert read.tags == {"game::arcade", "role::program", "use::gameplaying"}
    assert (read.short, read.long) == ("land softly", "Fly a ship to the moon.\n\nFun.")
    assert read_package(second, {}).short == "no section"


@pytest.mark.parametrize("text", [" continued", "Package lander"])
def test_broken_stanza_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="stanza"):
        list(parse_stanzas(text))


@pytest.mark.parametrize(
    ("description", "paragraphs"),
    [
        ("s\n one\n two\n .\n three", ("one two", "three")),
        ("s\n .\n .\n one\n .", ("one",)),
        ("s\n List:\n  * first\n    goes on\n  * second\n After.", ("List:\n- first goes on\n- second\nAfter.",)),
        ("s\n List:\n * first\n goes on\n * second\n After.", ("List:\n- first goes on\n- second\nAfter.",)),
        ("s\n Steps:\n  1. do\n  2. look", ("Steps:\n1. do\n2. look",)),
        ("s\n Table:\n   a    1\n   b    2\n ------\n End.", ("Table:\na 1\nb 2\nEnd.",)),
        ("s\n well-\n known\u200b \u00a0thing e\u0301", ("well- known thing \u00e9",)),
        ("s", ()),
    ],
)
def test_description(description: str, paragraphs: tuple[str, ...]) -> None:
    assert parse_description(description) == ("s", paragraphs)


def test_old_tag_braces() -> None:
    assert parse_tags("a::{b,c:d}, e::f") == {"a::b", "a::c:d", "e::f"}


@pytest.mark.parametrize(
    "empty",
    [
        package(short="transitional package for tool"),
        package(long="This is a dummy transitional package. It can safely be removed."),
        package(long="This package can be safely removed after the upgrade."),
        package(name="tool-dbg"),
        package(name="tool-dbgsym"),
        package(short="tool (metapackage)"),
    ],
)
def test_packages_without_content(empty: Package) -> None:
    assert not has_content(empty)
    assert has_content(package(short="dummy video driver", long="Finds files that can safely be removed."))


def test_package_choice() -> None:
    long = "words " * 50
    library = package("libtool1", "tool-src", "A library.")
    siblings = [package(f"libtool-{end}", "tool-src", long) for end in ("dev", "doc", "common", "data", "prof")]
    assert choose_package([*siblings, library]) == library
    assert choose_package(siblings).name == "libtool-dev"
    assert choose_package([library, package("tool-src", "tool-src", "x")]).name == "tool-src"
    assert choose_package([library, package("libtool2", "tool-src", long)]).name == "libtool2"
    assert choose_package([package("b", "s"), package("a", "s")]).name == "a"


def test_boilerplate_is_found_across_names_and_numbers() -> None:
    packages = [
        package(f"lib{name}1", name, f"About {name * 3}.\n\nThis package contains the lib{name} 1.{place} library.")
        for place, name in enumerate(["foo", "bar", "baz"])
    ]
    forms = boilerplate(packages, sources=3)
    assert [without(each, forms).paragraphs for each in packages] == [
        (f"About {n * 3}.",) for n in ("foo", "bar", "baz")
    ]
    assert not boilerplate(packages, sources=4)


def test_split_position_is_the_names_own_hash() -> None:
    assert split_position("bash") == int(hashlib.sha256(b"bash").hexdigest()[:16], 16) / 2**64
    places = [split_position(f"source-{number}") for number in range(2_000)]
    assert 0 <= min(places) < max(places) < 1
    assert abs(sum(places) / len(places) - 0.5) < 0.05


def numbered(count: int) -> list[Package]:
    return [
        package(f"p{n}", long=" ".join(f"{word}{n}" for word in "abcdefghij"), short=f"one tool {n}")
        for n in range(count)
    ]


def test_split_is_stable_when_packages_come_and_go() -> None:
    before = split(hold_out(numbered(200)), train=150, queries=5)
    after = split(hold_out(numbered(300)[50:]), train=250, queries=5)
    assert not {p.source for p in after.train} & {p.source for p in before.corpus}
    assert not {p.source for p in before.train} & {p.source for p in after.corpus}
    assert before.train == by_position(before.train)
    assert {p.name for p in [*before.dev, *before.test]} < {p.name for p in before.corpus}
    with pytest.raises(ValueError, match="--queries"):
        split(hold_out(numbered(20)), train=10, queries=100)


def test_split_drops_train_rows_that_are_known_from_the_corpus() -> None:
    packages = numbered(300)
    parts = split(hold_out(packages), train=300, queries=5)
    held, (same_short, same_long, near, as_anchor, *_) = parts.corpus[0], parts.train
    words = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    changed = {
        held.name: package(held.name, long=words),
        same_short.name: package(same_short.name, long=same_short.long, short=held.short.upper()),
        same_long.name: package(same_long.name, long=words.title(), short=same_long.short),
        near.name: package(near.name, long=words + " seventeen", short=near.short),
        as_anchor.name: package(as_anchor.name, long=as_anchor.long, short=words),
    }
    changed[held.name] = package(held.name, long=words, short=held.short)
    again = split(hold_out([changed.get(each.name, each) for each in packages]), train=300, queries=5)
    assert {p.name for p in parts.train} - {p.name for p in again.train} == {
        same_short.name,
        same_long.name,
        near.name,
        as_anchor.name,
    }
    assert again.dropped == {
        "short text repeated": 1,
        "long text repeated": 1,
        "train text equals a held-out text": 1,
        "train text nearly equals a held-out text": 1,
        "train beyond the number asked for": 0,
    }


def test_near_duplicates_agree_with_the_definition() -> None:
    assert shingles("A b, c d") == {"a b c", "b c d"}
    assert jaccard(shingles("a b c d"), shingles("a b c e")) == pytest.approx(1 / 3)
    base = [f"w{n}" for n in range(40)]
    texts = [" ".join(base[:cut]) for cut in (40, 36, 20)]
    assert near_duplicates(texts, [" ".join(base)]) == {0: [0], 1: [0]}  # 34/38 is above 0.7, 18/38 is not


def test_tag_judgements() -> None:
    tagged = [
        Package(name=name, source=name, section="games", tags=frozenset(tags), short="", paragraphs=())
        for name, tags in {
            "a": ["game::board:chess"],
            "b": ["game::board"],
            "c": ["game::board", "game::board:chess", "role::program"],
        }.items()
    ]
    wanted = ["game::board", "game::board:chess"]
    assert tag_judgements(tagged, wanted, least=2) == {"game::board": ["a", "b", "c"], "game::board:chess": ["a", "c"]}
    assert tag_judgements(tagged, wanted, least=2, most=2) == {"game::board:chess": ["a", "c"]}


def test_tag_queries() -> None:
    vocabulary = (
        "Facet: use\nDescription: Purpose\n\nTag: use::browsing\nDescription: Browsing\n\n"
        "Tag: use::checking\nDescription: Checking\n All sorts\n of checks.\n .\n Link: x\n\n"
        "Tag: use::TODO\nDescription: Need a tag\n\nFacet: role\nDescription: Role\n\n"
        "Tag: role::program\nDescription: Program\n\nFacet: devel\nDescription: Development\n\n"
        "Tag: devel::lang:c\nDescription: C\n"
    )
    assert tag_queries(vocabulary) == {
        "use::browsing": "Purpose: Browsing",
        "use::checking": "Purpose: Checking. All sorts of checks.",
    }


def test_bm25_ndcg_at_its_ends() -> None:
    pytest.importorskip("bm25s")
    corpus = {"a": "red apple", "b": "green pear", "c": "blue plum"}
    corpus |= {f"x{n}": f"filler{n}" for n in range(10)}
    assert build_debian.bm25_ndcg(corpus, {"q": "green pear"}, {"q": ["b"]}) == pytest.approx(1)


def test_parquet_bytes_are_deterministic(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_parquet(tmp_path / name, {"text": ["a", "b"], "section": ["s", "s"]}, dictionary=["section"])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert pq.read_table(tmp_path / "one").to_pylist() == [{"text": "a", "section": "s"}, {"text": "b", "section": "s"}]


def test_wrong_option_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_debian.main(["--train", "many"])
    assert "must be a whole number from 1 up; got 'many'" in capsys.readouterr().err
