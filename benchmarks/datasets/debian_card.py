"""The cards of `debian` and `debtags`: Hugging Face data-set cards, filled in with what the builder counted.

What all cards share is here too: common() and the functions behind it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import quantiles

from benchmarks.datasets.debian_classifiers import Scores
from benchmarks.datasets.debian_fetch import Snapshot
from benchmarks.datasets.debian_split import CORPUS_END, DEV_END, NEAR_DUPLICATE, QUERY_MIN_WORDS, TEST_END

CONFIGS = """\
configs:
- config_name: default
  data_files:
  - split: train
    path: train.parquet
  - split: dev
    path: dev.parquet
  - split: test
    path: test.parquet
"""
"""Front matter of a set whose files are its splits."""

_CLEANING = """\
- Boilerplate: a paragraph that, with the package's own names and numbers masked, occurs in 10 or more source
  packages ("This package contains the shared library.") is removed wherever it stands; paragraphs under four
  words (headings) stay.
- One package per source: the one named like the source; else not a sibling (`-dev` before `-doc`, `-common`,
  `-data`, `-prof`, ...); else the one with the longest description.
- Text: wrapped lines joined, paragraphs separated by an empty line, each list item on a line of its own that
  begins with `- `, Unicode NFC, no control characters."""

_LICENCE = """\
The descriptions are part of the Debian source packages, were written by their maintainers and upstream authors,
and are distributed under **each package's own licence**. All of `main` meets the Debian Free Software
Guidelines, so every text may be used, changed and passed on, by anyone and for any purpose; but the conditions
(attribution, copyleft) differ from row to row and are stated in the package's `debian/copyright` file, which
`source` and `{package}` lead to. There is no single licence for the collection, and finewise's own licence does
not cover it. Who needs one clear licence for all training data should not train on it."""

_DEBIAN = """\
---
pretty_name: "Debian package descriptions: short to long"
language:
- en
license: other
license_name: each-package-its-own-dfsg-free-licence
task_categories:
- text-retrieval
- sentence-similarity
size_categories:
- 10K<n<100K
configs:
- config_name: train
  data_files:
  - split: train
    path: train.parquet
- config_name: corpus
  data_files:
  - split: corpus
    path: corpus.parquet
- config_name: queries
  data_files:
  - split: queries
    path: queries.parquet
- config_name: qrels
  data_files:
  - split: dev
    path: qrels/dev.tsv
  - split: test
    path: qrels/test.tsv
---

# debian: from a package's short description to its long one

Every Debian package has a one-line description and a long one, both written by its maintainer. The task: given
the one line, find the long text among {corpus:,} of them. It is real, specialised English (software, science,
system administration) that a general embedding model knows only in part, and it has enough pairs to learn from.

| file | rows | columns |
|---|---|---|
| `train.parquet` | {train:,} | `anchor` (the short text), `positive` (the long text), `source`, `package`, `section` |
| `corpus.parquet` | {corpus:,} | `_id` (package), `text` (long description), `source`, `section` |
| `queries.parquet` | {queries:,} | `_id` (`short:` and the package), `text` (short description) |
| `qrels/dev.tsv` | {dev:,} | `query-id`, `corpus-id`, `score`: one relevant document per query |
| `qrels/test.tsv` | {test:,} | the same |

Dev and test share the corpus; {distractors:,} of its documents answer no query. `section` is Debian's archive
section ({sections}), usable as a label. Rows stand in the order of a hash of `source`, so the first n rows are
a fair sample.

## Where it comes from

- Debian {version} "{codename}" (suite {suite}), component `main`, {architecture}; Release file of **{date}**.
- Files `Packages` and `Translation-en`, joined on `Description-md5`.
- Built by `python -m benchmarks.datasets.build_debian --release {codename}`. A newer snapshot gives other
  counts and sums, but no package moves between training and the held-out part.

## How it was made

{steps}
{cleaning}
- Split by source package: SHA-256 of the source's name as a number in [0, 1); under {dev_end} dev, under
  {test_end} test, under {corpus_end} distractors, the rest train. The first {dev:,} / {test:,} packages of dev
  and test whose short description has {query_min_words} words or more are queries; the other packages of those
  ranges are distractors.
- Dropped on the way, the held-out part being kept first:
{dropped}
- "Nearly equals": Jaccard similarity of word 3-grams of {near} or more (MinHash proposes, an exact comparison
  decides).

## Lengths, in words

{lengths}

## Reference

BM25 (bm25s: lucene, k1 1.5, b 0.75, English stop words, no stemming), nDCG@10: dev **{bm25_dev:.4f}**, test
**{bm25_test:.4f}**.

## Known flaws

- One document per query counts as relevant, although a few others may answer it as well: families of packages
  (language packs, plug-ins, bindings for several languages) have near-identical texts. {similar:,} documents of
  the corpus have a near duplicate in it. Training has such families too, which makes for false negatives within
  a batch.
- Many short descriptions share words with the long one, hence the high score of BM25.
- A package of the corpus may be described in the words of a related source in train, below the threshold of
  near duplication.
- Text quality is that of the archive: some lists of one long line, some upstream prose that was never about the
  package. The longest texts are catalogues (TeX packages, fonts) that any encoder will cut.
- Descriptions that were written long ago are out of date. Nothing was checked for accuracy.

## Licence

{licence}

## Checksums (sha256, also in `SHA256SUMS`)

{sums}
"""

_DEBTAGS = """\
---
pretty_name: "Debtags: from a topic to the packages that people filed under it"
language:
- en
license: gpl-2.0
task_categories:
- text-retrieval
size_categories:
- n<1K
configs:
- config_name: queries
  data_files:
  - split: queries
    path: queries.parquet
- config_name: qrels
  data_files:
  - split: test
    path: qrels/test.tsv
---

# debtags: from a topic to the packages that people filed under it

Debian's volunteers tag packages from a fixed vocabulary. The task: given a tag's description, find the packages
that carry the tag, among the {corpus:,} documents of `debian/corpus.parquet` (not shipped twice). No text of
`debian/train.parquet` is in it, and the queries are of another kind than that set's: it shows whether tuning on
`debian` carries over to a related task, or harms it.

| file | rows | columns |
|---|---|---|
| `queries.parquet` | {queries:,} | `_id` (tag), `text` |
| `qrels/test.tsv` | {pairs:,} | `query-id`, `corpus-id` (package), `score` |

`text` reads "Facet: Tag", followed by the first paragraph of the tag's long description if there is one:
"Purpose: Browsing", "Electronic Mail: Notification. Software that notifies users about status of mailbox.". The
facet's title is there because many tags are bare words that need it ("Culture: French"). There is only a test
split, with {mean:.1f} relevant documents per query (median {median:.0f}, {least} to {most}).

## Where it comes from

- Judgements: the field `Tag` in the index of Debian {version} "{codename}" (suite {suite}), `main`,
  {architecture}; Release file of **{date}**. It is newer than, and holds more than, the copy of the tag
  database in the package `debtags`.
- Vocabulary: `/usr/share/debtags/vocabulary` of {vocabulary_package}.
- Built together with `debian`, by `python -m benchmarks.datasets.build_debian --release {codename}`.

## How it was made

- Topical tags only, of the facets {facets}. Left out: what a package *is* (`role`, `scope`, `made-of`), what it
  is written in or drawn with (`implemented-in`, `interface`, `uitoolkit`, `x11`), families and classes of
  machines (`suite`, `system`, `iso15924`), housekeeping (`special`, `secteam`); every `TODO` tag; and under
  `devel` the programming languages and roles (`lang:*`, `library`, `runtime`, `examples`, `doc`, `interpreter`,
  `machinecode`, `ecma-cli`).
- A tag implies the tags whose name it extends: `game::board:chess` counts as `game::board` too.
- Tags with 3 to 200 packages in the corpus are kept.

## Lengths, in words

{lengths}

## Reference

BM25 (bm25s: lucene, k1 1.5, b 0.75, English stop words, no stemming), nDCG@10: test **{bm25:.4f}**.

## Known flaws

- **The judgements are incomplete.** Only {tagged:,} of the {corpus:,} documents carry any tag, and a tagged
  package need not carry every tag that fits. A document without the tag counts as not relevant, so scores are
  lower than the truth; compare systems with each other, and do not read a score as a share of good answers.
- Some tags are plainly wrong: the index files `libaa-bin`, the examples of a text-art library, under
  `works-with::audio`.
- Some queries are vague ("Purpose: Checking"), some name technology of its time (fax, floppy disks, ICQ), and a
  few tags of different facets mean nearly the same (`mail::imap`, `protocol::imap`).
- The queries are few and their topics related: expect wide intervals.

## Licence

The vocabulary, whose descriptions are the queries, comes from the Debian package `debtags`. Its copyright file
says: Copyright (C) 2003, 2004, 2005 Enrico Zini et al., "distributed under the GNU General Public License", and
points to **version 2**. That package also ships the tag database under the same statement; the `Tag` field in
the index carries none of its own, and is treated here as under the same licence. The documents are those of
`debian`, with the licences that its card describes. finewise's own licence covers neither.

## Checksums (sha256, also in `SHA256SUMS`)

{sums}
"""


def debian_card(
    *,
    snapshot: Snapshot,
    selection: Mapping[str, int],
    dropped: Mapping[str, int],
    counts: Mapping[str, int],
    lengths: Mapping[str, Sequence[int]],
    sums: Mapping[str, str],
    bm25: Mapping[str, float],
    similar: int,
    sections: int,
) -> str:
    """The card of `debian`, from the builder's counts."""
    return _DEBIAN.format(
        **common(snapshot, selection, dropped, package="package"),
        **counts,
        queries=counts["dev"] + counts["test"],
        distractors=counts["corpus"] - counts["dev"] - counts["test"],
        sections=f"{sections} of them in train",
        test_end=TEST_END,
        corpus_end=CORPUS_END,
        query_min_words=QUERY_MIN_WORDS,
        lengths=length_table(lengths),
        bm25_dev=bm25["dev"],
        bm25_test=bm25["test"],
        similar=similar,
        sums=checksums(sums),
    )


def debtags_card(
    *,
    snapshot: Snapshot,
    judgements: Sequence[int],
    lengths: Mapping[str, Sequence[int]],
    corpus: int,
    tagged: int,
    facets: Sequence[str],
    sums: Mapping[str, str],
    bm25: float,
) -> str:
    """The card of `debtags`, from the builder's counts; `judgements` are the relevant documents of each query."""
    return _DEBTAGS.format(
        **_release(snapshot),
        vocabulary_package=f"`{snapshot.vocabulary_package}`",
        queries=len(judgements),
        pairs=sum(judgements),
        mean=sum(judgements) / len(judgements),
        median=_percentile(judgements, 50),
        least=min(judgements),
        most=max(judgements),
        corpus=corpus,
        tagged=tagged,
        facets=", ".join(f"`{facet}`" for facet in facets),
        lengths=length_table(lengths),
        bm25=bm25,
        sums=checksums(sums),
    )


def common(
    snapshot: Snapshot, selection: Mapping[str, int], dropped: Mapping[str, int], *, package: str
) -> dict[str, object]:
    """The fields that the cards of the sets with descriptions share.

    Args:
        snapshot: What was read.
        selection: Step of the choice of packages -> packages left after it.
        dropped: Reason -> packages dropped.
        package: The column that holds the package.
    """
    return {
        **_release(snapshot),
        "steps": "\n".join(f"- {count:,} {what}" for what, count in selection.items()),
        "cleaning": _CLEANING,
        "dropped": drops(dropped),
        "dev_end": DEV_END,
        "near": NEAR_DUPLICATE,
        "licence": _LICENCE.format(package=package),
    }


def _release(snapshot: Snapshot) -> dict[str, str]:
    """The fields by which a card names the release."""
    return {name: getattr(snapshot, name) for name in ("version", "codename", "suite", "date", "architecture")}


def drops(dropped: Mapping[str, int]) -> str:
    """A list of reason -> how many were dropped."""
    return "\n".join(f"  - {reason}: {count:,}" for reason, count in dropped.items())


def index_sums(snapshot: Snapshot) -> str:
    """A list of the index files that were read, each with its sha256."""
    return "\n".join(
        f"  - `{name}`: `{hashlib.sha256(text.encode('utf-8')).hexdigest()}`"
        for name, text in (("Packages", snapshot.packages), ("Translation-en", snapshot.translations))
    )


def rows_by_part(labels: Mapping[str, Counter[str]]) -> str:
    """The rows of a table: a label, and its rows in train, dev and test; those with most in train first."""
    train, dev, test = (labels[part] for part in ("train", "dev", "test"))
    return "\n".join(
        f"| `{label}` | {count:,} | {dev[label]:,} | {test[label]:,} |"
        for label, count in sorted(train.items(), key=lambda item: (-item[1], item[0]))
    )


def accuracy_table(figures: Mapping[str, Sequence[Scores]]) -> str:
    """The rows of a table: a system, and its accuracy and macro-F1 on each part."""
    return "\n".join(
        f"| {system} | " + " | ".join(f"{s.accuracy:.3f} | {s.macro_f1:.3f}" for s in scored) + " |"
        for system, scored in figures.items()
    )


def _percentile(numbers: Sequence[int], percent: int) -> float:
    return quantiles(numbers, n=100, method="inclusive")[percent - 1]


def length_table(columns: Mapping[str, Sequence[int]]) -> str:
    """A table of each column's numbers of words."""
    rows = [
        f"| {name} | {_percentile(words, 50):,.0f} | {_percentile(words, 90):,.0f} | {max(words):,} |"
        for name, words in columns.items()
    ]
    return "\n".join(["| text | median | 90% are at most | longest |", "|---|---|---|---|", *rows])


def checksums(sums: Mapping[str, str]) -> str:
    """A table of file -> sha256."""
    return "\n".join(
        ["| file | sha256 |", "|---|---|", *(f"| `{name}` | `{digest}` |" for name, digest in sums.items())]
    )
