"""Question answering with documents that do not hold the answer: RULER's qa_1 and qa_2 (Hsieh et al. 2024, arXiv 2404.06654).

RULER's questions are SQuAD's and HotpotQA's. Ours are made from the descriptions of Debian packages (the built-in set
debian-sections), so that each has one answer, a span of a document: see `Questions`. Numbered documents stand in random
order, so there is no depth. No other document is of a package of the same source, or names the package or its source.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow.parquet as pq

from benchmarks.needle.sketch import Sketch
from benchmarks.needle.wording import Wording
from finewise.data.sources import labelled_file

SPLITS = ("train", "dev", "test")
WORDS = 30
"""Words of a description that a document keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package: its name, the source package that it is built from, its short and long description."""

    name: str
    source: str
    short: str
    long: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """One question about a package, given by its short description; the documents hold the long ones.

    - one hop: its name, which its document tells;
    - two hops: the source package that it is built from, which a second document tells of that name.

    Attributes:
        hops: 1 or 2.
    """

    hops: int = 1
    metric: str = "any"
    new_tokens: int = 32
    has_depth: bool = False
    haystacks: tuple[str, ...] = ()
    takes_wording: bool = False

    def draw(self, rng: np.random.Generator, wording: Wording | None, haystack: str | None, length: int) -> Sketch:
        """Draw a package, and others in random order; documents of two hops are next to each other by chance alone."""
        known = packages()
        order = rng.permutation(len(known))
        gold = known[int(order[0])]
        others = [
            document
            for number in order[1:]
            if known[number].source != gold.source
            for document in self.told(known[number])
            if gold.name not in document.lower() and gold.source not in document.lower()
        ]
        mixed = int(rng.integers(2**32))

        def items(count: int) -> list[str]:
            # Where there are too few, they are told again.
            told = [*self.told(gold), *(others * math.ceil(count / len(others)))[:count]]
            places = np.random.default_rng(mixed).permutation(len(told))
            return [f"Document {number}: {told[place]}" for number, place in enumerate(places, start=1)]

        asked = "Which package is it" if self.hops == 1 else "From which source package is the one built"
        return Sketch(
            intro="Below are documents about software packages. Answer the question at the end from them.",
            items=items,
            question=f"{asked} that is described in short as: {gold.short.rstrip('.')}?",
            begun="It is the package" if self.hops == 1 else "It is built from the source package",
            answers=(gold.name if self.hops == 1 else gold.source,),
            joint="\n",
        )

    def told(self, package: Package) -> list[str]:
        """Return a package's documents, one for each hop."""
        documents = [f"The package {package.name}. {package.long}"]
        if self.hops == 2:
            documents.append(f"{package.name} is built from the source package {package.source}.")
        return documents


@cache
def packages() -> tuple[Package, ...]:
    """Return packages with different short descriptions of four words at least, whose names their sources' do not give away."""
    found: dict[str, Package] = {}
    files = [labelled_file("debian-sections", split) for split in SPLITS]
    for row in (row for file in files for row in pq.read_table(file, columns=["id", "text", "source"]).to_pylist()):
        short, _, long = row["text"].partition("\n")
        name, source = row["id"], row["source"]
        told = " ".join(long.split()[:WORDS])
        apart = name not in source and source not in name
        hidden = name not in told + short and source not in told + short
        if min(len(name), len(source)) >= 5 and len(short.split()) >= 4 and len(told) > 40 and apart and hidden:
            found.setdefault(short.lower(), Package(name=name, source=source, short=short, long=told))
    return tuple(found.values())
