"""Which package goes where: a split by source that holds across snapshots, and the removal of (near) duplicates.

A source's place is decided by the hash of its name alone, so a package never moves from a held-out split into training
when the data are built again from a newer snapshot.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.datasets.debian_text import Package, word_count

DEV_END = 0.07  # [0, DEV_END): documents that dev's queries are taken from
TEST_END = 0.14  # [DEV_END, TEST_END): the same for test
CORPUS_END = 0.19  # [TEST_END, CORPUS_END): distractors; from here on: train
NEAR_DUPLICATE = 0.7  # Jaccard similarity of word 3-grams
QUERY_MIN_WORDS = 3  # 'web browser' names a class of packages, not one: no fair query


@dataclass(slots=True, kw_only=True)
class HeldOut:
    """The packages that may train, those that may not, and how many were left out on the way."""

    train: list[Package]
    corpus: list[Package]
    dropped: dict[str, int]  # reason -> number of packages


@dataclass(slots=True, kw_only=True)
class Splits:
    """The packages of each part. The corpus holds dev's and test's packages and the distractors."""

    train: list[Package]
    corpus: list[Package]
    dev: list[Package]
    test: list[Package]
    dropped: dict[str, int] = field(default_factory=dict)  # reason -> number of packages


def split_position(source: str) -> float:
    """Where a source package stands in [0, 1): a function of its name and nothing else.

    >>> round(split_position("bash"), 4)
    0.2181
    """
    return int.from_bytes(hashlib.sha256(source.encode("utf-8")).digest()[:8], "big") / 2**64


def fold(text: str) -> str:
    """What two texts share when they differ only in case and blanks.

    >>> fold("A  Tool\\nfor X") == fold("a tool for x")
    True
    """
    return " ".join(text.casefold().split())


def by_position(packages: Iterable[Package]) -> list[Package]:
    """The packages in the order of their sources' places: an order that is random, and the same everywhere."""
    return sorted(packages, key=lambda package: (split_position(package.source), package.source))


def drop_repeated(packages: Sequence[Package]) -> tuple[list[Package], int, int]:
    """The packages whose short and long text no earlier one has; how many repeated a short text, and a long one."""
    short_seen: set[str] = set()
    long_seen: set[str] = set()
    kept: list[Package] = []
    repeated_short = repeated_long = 0
    for package in packages:
        short, long = fold(package.short), fold(package.long)
        if short in short_seen:
            repeated_short += 1
        elif long in long_seen:
            repeated_long += 1
        else:
            kept.append(package)
            short_seen.add(short)
            long_seen.add(long)
    return kept, repeated_short, repeated_long


def shingles(text: str, size: int = 3) -> frozenset[str]:
    """The text's runs of `size` words, in lower case; a shorter text is its own single shingle."""
    words = re.findall(r"\w+", text.casefold())
    return frozenset(" ".join(words[start : start + size]) for start in range(max(1, len(words) - size + 1)))


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Shared members over all members; two empty sets are equal."""
    return len(one & other) / len(one | other) if one or other else 1.0


def near_duplicates(
    texts: Sequence[str], of: Sequence[str], *, threshold: float = NEAR_DUPLICATE
) -> dict[int, list[int]]:
    """For each place in `texts` the places in `of` whose word 3-grams have at least that Jaccard similarity.

    MinHash (128 hashes in 32 bands of 4: a pair at 0.7 is found with probability 0.9998) only proposes pairs; each is
    then compared exactly, so but for that 0.0002 the result does not hang on the hash functions.
    """
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(threshold=threshold, num_perm=128, num_bands=32)
    of_shingles = [shingles(text) for text in of]
    for place, members in enumerate(of_shingles):
        index.insert(place, _minhash(RMinHash, members))
    found: dict[int, list[int]] = {}
    for place, text in enumerate(texts):
        members = shingles(text)
        proposed = sorted(set(index.query(_minhash(RMinHash, members))))
        same = [other for other in proposed if jaccard(members, of_shingles[other]) >= threshold]
        if same:
            found[place] = same
    return found


def _minhash(kind: type, members: frozenset[str]) -> object:
    minhash = kind(num_perm=128, seed=0)
    minhash.update(sorted(members))
    return minhash


def hold_out(packages: Iterable[Package]) -> HeldOut:
    """One package per source in, two parts out: no source, text or near duplicate of the corpus is left in train.

    All sets that are made from these packages start here, so that no text that trains on one tests another.
    """
    kept, repeated_short, repeated_long = drop_repeated(by_position(packages))
    corpus = [package for package in kept if split_position(package.source) < CORPUS_END]
    held_out = {fold(text) for package in corpus for text in (package.short, package.long)}
    candidates = kept[len(corpus) :]
    clean = [package for package in candidates if not {fold(package.short), fold(package.long)} & held_out]
    near = near_duplicates([package.long for package in clean], [package.long for package in corpus])
    clean = [package for place, package in enumerate(clean) if place not in near]
    dropped = {
        "short text repeated": repeated_short,
        "long text repeated": repeated_long,
        "train text equals a held-out text": len(candidates) - len(clean) - len(near),
        "train text nearly equals a held-out text": len(near),
    }
    return HeldOut(train=clean, corpus=corpus, dropped=dropped)


def split(packages: HeldOut, *, train: int, queries: int) -> Splits:
    """The splits of `debian`: as many rows and queries as asked for, the first ones by position."""
    parts: dict[str, list[Package]] = defaultdict(list)
    for package in packages.corpus:
        position = split_position(package.source)
        if position < TEST_END and word_count(package.short) >= QUERY_MIN_WORDS:
            parts["dev" if position < DEV_END else "test"].append(package)
    for name in ("dev", "test"):
        if len(parts[name]) < queries:
            raise ValueError(
                f"{name} has {len(parts[name])} packages for {queries} queries; ask for fewer with --queries"
            )
    return Splits(
        train=packages.train[:train],
        corpus=packages.corpus,
        dev=parts["dev"][:queries],
        test=parts["test"][:queries],
        dropped=packages.dropped | {"train beyond the number asked for": max(0, len(packages.train) - train)},
    )


def tag_judgements(
    packages: Iterable[Package], tags: Iterable[str], *, least: int = 3, most: int = 200
) -> Mapping[str, list[str]]:
    """Tag -> names of the packages that carry it, for tags with `least` to `most` packages.

    A tag implies the tags that its name extends: a package under game::board:chess is also one under game::board.
    """
    wanted = set(tags)
    found: dict[str, list[str]] = defaultdict(list)
    for package in packages:
        carried = {implied for tag in package.tags for implied in implied_tags(tag)}
        for tag in carried & wanted:
            found[tag].append(package.name)
    return {tag: sorted(names) for tag, names in sorted(found.items()) if least <= len(names) <= most}


def implied_tags(tag: str) -> list[str]:
    """The tag and the tags that its name extends.

    >>> implied_tags("game::board:chess")
    ['game::board', 'game::board:chess']
    """
    facet, _, name = tag.partition("::")
    parts = name.split(":")
    return [f"{facet}::{':'.join(parts[: end + 1])}" for end in range(len(parts))]
