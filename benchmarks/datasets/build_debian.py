"""Build the built-in sets `debian`, `debtags`, `debian-sections` and `debian-tags` from a Debian release's package index.

    python -m benchmarks.datasets.build_debian                 # into this package's folder
    python -m benchmarks.datasets.build_debian --out /tmp/new  # somewhere else, to compare
    python -m benchmarks.datasets.build_debian --sets debian-sections  # this one only; the others stay as they are

Needs a Debian system (or container) whose apt sources name the release. What this script writes is what is shipped,
cards and checksums included: the same snapshot and the same libraries give the same bytes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.datasets import debian_card, debian_text
from benchmarks.datasets.debian_fetch import Snapshot, fetch, system_codename
from benchmarks.datasets.debian_files import Qrels, write_parquet, write_qrels, write_sums
from benchmarks.datasets.debian_sections import split_sections, write_sections
from benchmarks.datasets.debian_split import Splits, hold_out, near_duplicates, split, tag_judgements
from benchmarks.datasets.debian_tagged import write_tagged
from benchmarks.datasets.debian_tags import tag_queries
from benchmarks.datasets.debian_text import Package

MIN_WORDS = 15  # of a long description, after boilerplate is gone
MIN_SHORT_WORDS = 2
SETS = ("debian", "debtags", "debian-sections", "debian-tags")


@dataclass(slots=True, kw_only=True)
class Selection:
    """One package per source, and how many packages were left after each step on the way there."""

    packages: list[Package]
    counts: dict[str, int]


def select(snapshot: Snapshot) -> Selection:
    """The packages of the index that have something to say, one per source package."""
    descriptions = {
        stanza["Description-md5"]: stanza["Description-en"]
        for stanza in debian_text.parse_stanzas(snapshot.translations)
    }
    read = [debian_text.read_package(stanza, descriptions) for stanza in debian_text.parse_stanzas(snapshot.packages)]
    with_content = [package for package in read if debian_text.has_content(package)]
    forms = debian_text.boilerplate(with_content)
    by_source: dict[str, list[Package]] = defaultdict(list)
    usable = 0
    for package in with_content:
        package = debian_text.without(package, forms)
        enough = debian_text.word_count(package.long) >= MIN_WORDS
        if enough and debian_text.word_count(package.short) >= MIN_SHORT_WORDS:
            by_source[package.source].append(package)
            usable += 1
    return Selection(
        packages=[debian_text.choose_package(siblings) for siblings in by_source.values()],
        counts={
            "binary packages in the index": len(read),
            "neither transitional, dummy, meta nor debug": len(with_content),
            f"with a description of {MIN_WORDS} words or more after boilerplate": usable,
            "one per source package": len(by_source),
        },
    )


def query_id(package: Package) -> str:
    """The id of the query that a package's short text makes.

    Not the package's own name: evaluators drop a document whose id equals the query's.
    """
    return f"short:{package.name}"


def bm25_ndcg(corpus: Mapping[str, str], queries: Mapping[str, str], qrels: Qrels, *, k: int = 10) -> float:
    """Mean nDCG@k of BM25 (bm25s: lucene, k1=1.5, b=0.75, English stop words, no stemming), binary judgements."""
    import bm25s
    import numpy as np

    def words(texts: Iterable[str]) -> object:
        return bm25s.tokenize(list(texts), stopwords="en", show_progress=False)

    ids = list(corpus)
    model = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    model.index(words(corpus.values()), show_progress=False)
    asked = words(queries[name] for name in qrels)
    ranked, _ = model.retrieve(asked, k=k, show_progress=False)
    discounts = 1 / np.log2(np.arange(2, k + 2))
    total = 0.0
    for places, relevant in zip(ranked, qrels.values(), strict=True):
        gains = np.isin([ids[place] for place in places], list(relevant))
        total += float((gains * discounts).sum() / discounts[: len(relevant)].sum())
    return total / len(qrels)


def write_debian(folder: Path, snapshot: Snapshot, selection: Selection, splits: Splits) -> None:
    """The set `debian`: training pairs, corpus, queries, judgements, checksums and card."""
    write_parquet(
        folder / "train.parquet",
        {
            "anchor": [package.short for package in splits.train],
            "positive": [package.long for package in splits.train],
            "source": [package.source for package in splits.train],
            "package": [package.name for package in splits.train],
            "section": [package.section for package in splits.train],
        },
        dictionary=["section"],
    )
    corpus = {package.name: package.long for package in splits.corpus}
    write_parquet(
        folder / "corpus.parquet",
        {
            "_id": list(corpus),
            "text": list(corpus.values()),
            "source": [package.source for package in splits.corpus],
            "section": [package.section for package in splits.corpus],
        },
        dictionary=["section"],
    )
    queries = {query_id(package): package.short for package in [*splits.dev, *splits.test]}
    write_parquet(folder / "queries.parquet", {"_id": list(queries), "text": list(queries.values())})
    qrels = {
        name: {query_id(package): [package.name] for package in part}
        for name, part in (("dev", splits.dev), ("test", splits.test))
    }
    for name, judgements in qrels.items():
        write_qrels(folder / "qrels" / f"{name}.tsv", judgements)

    texts = list(corpus.values())
    within = near_duplicates(texts, texts)  # each text finds itself
    card = debian_card.debian_card(
        snapshot=snapshot,
        selection=selection.counts,
        dropped=splits.dropped,
        counts={"train": len(splits.train), "corpus": len(corpus), "dev": len(splits.dev), "test": len(splits.test)},
        lengths={
            "train, anchor": [debian_text.word_count(package.short) for package in splits.train],
            "train, positive": [debian_text.word_count(package.long) for package in splits.train],
            "queries, text": [debian_text.word_count(text) for text in queries.values()],
            "corpus, text": [debian_text.word_count(text) for text in texts],
        },
        sums=write_sums(folder),
        bm25={name: bm25_ndcg(corpus, queries, judgements) for name, judgements in qrels.items()},
        similar=sum(1 for found in within.values() if len(found) > 1),
        sections=len({package.section for package in splits.train}),
    )
    (folder / "README.md").write_text(card, encoding="utf-8", newline="\n")


def write_debtags(folder: Path, snapshot: Snapshot, corpus: Iterable[Package]) -> None:
    """The set `debtags`: tags as queries over the corpus of `debian`, judgements, checksums and card."""
    documents = list(corpus)
    texts = tag_queries(snapshot.vocabulary)
    qrels = tag_judgements(documents, texts)
    queries = {tag: texts[tag] for tag in qrels}
    write_parquet(folder / "queries.parquet", {"_id": list(queries), "text": list(queries.values())})
    write_qrels(folder / "qrels" / "test.tsv", qrels)
    card = debian_card.debtags_card(
        snapshot=snapshot,
        judgements=[len(names) for names in qrels.values()],
        lengths={"queries, text": [debian_text.word_count(text) for text in queries.values()]},
        corpus=len(documents),
        tagged=sum(1 for package in documents if package.tags),
        facets=sorted({tag.partition("::")[0] for tag in qrels}),
        sums=write_sums(folder),
        bm25=bm25_ndcg({package.name: package.long for package in documents}, queries, qrels),
    )
    (folder / "README.md").write_text(card, encoding="utf-8", newline="\n")


def build(
    out: Path, index: Path, *, codename: str, architecture: str, train: int, queries: int, sets: Sequence[str] = SETS
) -> None:
    """Fetch, select, split, write; a line of progress for each."""
    print(f"[1/4] index of Debian {codename} ({architecture}), main → {index}", flush=True)
    snapshot = fetch(index, codename=codename, architecture=architecture)
    print(f"      version {snapshot.version}, {snapshot.date}; tags: {snapshot.vocabulary_package}", flush=True)

    print("[2/4] selecting one package per source", flush=True)
    selection = select(snapshot)
    _print_counts(selection.counts)

    print("[3/4] splitting by source, dropping (near) duplicates", flush=True)
    held_out = hold_out(selection.packages)
    _print_counts({f"dropped: {reason}": count for reason, count in held_out.dropped.items()})

    print(f"[4/4] writing {', '.join(sets)} into {out}", flush=True)
    if "debian" in sets:
        write_debian(out / "debian", snapshot, selection, split(held_out, train=train, queries=queries))
    if "debtags" in sets:
        write_debtags(out / "debtags", snapshot, held_out.corpus)
    if "debian-sections" in sets:
        write_sections(out / "debian-sections", snapshot, selection.counts, split_sections(held_out))
    if "debian-tags" in sets:
        write_tagged(out / "debian-tags", snapshot, selection.counts, held_out)
    written = sorted(path for name in sets for path in (out / name).rglob("*") if path.is_file())
    _print_counts({f"{path.relative_to(out).as_posix()}, bytes": path.stat().st_size for path in written})


def _print_counts(counts: Mapping[str, int]) -> None:
    for what, count in counts.items():
        print(f"      {count:>9,}  {what}", flush=True)


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 up; got {text!r}")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and build; the exit status is 1, with one line on stderr, where something is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.datasets.build_debian",
        description=f"Build the built-in sets {', '.join(SETS)} from Debian's package index.",
        epilog="Downloads about 16 MB through the apt sources of this system; nothing of the system is changed.",
    )
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent, metavar="DIR",
        help="folder that gets a folder per set (default: this package's own, which replaces the shipped files)",
    )  # fmt: skip
    parser.add_argument(
        "--index", type=Path, metavar="DIR",
        help="folder for the index: kept, and read again where it is filled (default: download to a temporary one)",
    )  # fmt: skip
    parser.add_argument("--release", metavar="CODENAME", help="Debian release (default: the one of this system)")
    parser.add_argument("--architecture", default="amd64", help="architecture of the index (default: %(default)s)")
    parser.add_argument("--train", type=_positive, default=24_000, help="training rows at most (default: %(default)s)")
    parser.add_argument(
        "--queries", type=_positive, default=2_000, help="queries of dev and of test, each (default: %(default)s)"
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS, help="which sets to build (default: all)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="debian-index-") as temporary:
        try:
            build(
                options.out,
                options.index or Path(temporary),
                codename=options.release or system_codename(),
                architecture=options.architecture,
                train=options.train,
                queries=options.queries,
                sets=options.sets,
            )
        except (ValueError, OSError, ImportError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
