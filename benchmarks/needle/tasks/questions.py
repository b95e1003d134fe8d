"""Question answering with documents that do not hold the answer: RULER's qa_1 and qa_2 (Hsieh et al. 2024, arXiv 2404.06654).

RULER's questions are SQuAD's and HotpotQA's. Ours are made from the descriptions of Debian packages (test rows of the built-in
set debian-sections), so that each has one answer, a span of a document: see `Questions`. Documents stand in random order, so
there is no depth; `needle.haystack` has no meaning.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow.parquet as pq

from benchmarks.needle.prompts import Sketch
from benchmarks.needle.wording import Wording
from finewise.data.sources import labelled_file

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

    def draw(self, rng: np.random.Generator, wording: Wording | None, haystack: str | None) -> Sketch:
        """Draw a package, and others in random order."""
        known = packages()
        order = rng.permutation(len(known))
        gold = known[int(order[0])]
        begun = "It is the package" if self.hops == 1 else "It is built from the source package"
        asked = "Which package is it" if self.hops == 1 else "From which source package is the one built"
        facts = tuple((float(place), told) for place, told in zip(rng.random(self.hops), self.told(gold), strict=True))
        return Sketch(
            intro="Below are documents about software packages. Answer the question at the end from them.",
            filler=self._others(rng, [known[int(number)] for number in order[1:]]),
            facts=facts,
            question=f"{asked} that is described in short as: {gold.short}?",
            begun=begun,
            answers=(gold.name if self.hops == 1 else gold.source,),
            joint="\n",
        )

    def told(self, package: Package) -> list[str]:
        """Return a package's documents, one for each hop."""
        documents = [f"Document: The package {package.name}. {package.long}"]
        if self.hops == 2:
            documents.append(f"Document: {package.name} is built from the source package {package.source}.")
        return documents

    def _others(self, rng: np.random.Generator, others: Sequence[Package]) -> Iterator[str]:
        """Yield the other packages' documents, again from the first when all are told."""
        while True:
            for start in range(0, len(others), 8):
                told = [one for package in others[start : start + 8] for one in self.told(package)]
                yield from (told[int(place)] for place in rng.permutation(len(told)))


@cache
def packages() -> tuple[Package, ...]:
    """Return packages with different short descriptions, whose names are neither too short nor told by their source's."""
    rows = pq.read_table(labelled_file("debian-sections", "test"), columns=["id", "text", "source"]).to_pylist()
    found: dict[str, Package] = {}
    for row in rows:
        short, _, long = row["text"].partition("\n")
        name, source = row["id"], row["source"]
        told = " ".join(long.split()[:WORDS])
        apart = name not in source and source not in name
        hidden = name not in told + short and source not in told + short
        if min(len(name), len(source)) >= 5 and len(told) > 40 and apart and hidden:
            found.setdefault(short.lower(), Package(name=name, source=source, short=short, long=told))
    return tuple(found.values())
