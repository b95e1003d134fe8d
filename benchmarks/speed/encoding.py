"""Encoding a corpus: SentenceTransformer.encode and our encoder's, on the documents of a retrieval set.

    python -m benchmarks.speed.encoding
    python -m benchmarks.speed.encoding --whole

Sides: `plain-fp32` is SentenceTransformer.encode as it is, `plain-bf16` the same under autocast; `ours-fp32` and `ours-bf16`
are finewise's encoder. The rounds share the corpus out among them, so that all rounds together encode it once (--whole: each
round encodes all of it).

Proof: the embeddings of every side have nearly the same direction as the library's (cosine), and the same nDCG@10 on the
test queries.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.retrieval import EncoderSearcher, evaluate_retrieval, judged
from benchmarks.speed.agreement import Agreement, agree
from benchmarks.speed.command import execute, parser, positive
from benchmarks.speed.harness import Round, Side, alternate, timed
from benchmarks.speed.models import MINILM, RANDOM, library_model, our_model, reference, token_counts
from benchmarks.speed.report import Report
from benchmarks.speed.roofline import Shape, forward_flop, peaks
from finewise.data.retrieval import RetrievalSet
from finewise.data.sources import read_retrieval
from finewise.device import autocast, fast_bf16
from finewise.errors import InputError
from finewise.names import unknown

METRIC = "ndcg@10"
COSINE = {"fp32": 1e-5, "bf16": 1e-3}  # one minus the least cosine; bf16 has 8 bits
SCORE = {"fp32": 1e-4, "bf16": 2e-3}  # difference in nDCG@10

SIDES = ("plain-fp32", "plain-bf16", "ours-fp32", "ours-bf16")

Embeddings = NDArray[np.float32]


def main(given: Sequence[str] | None = None) -> int:
    """Run the bench; return the exit status."""
    arguments = parser(__doc__)
    arguments.add_argument("--model", default=MINILM, help=f"{MINILM}, {', '.join(RANDOM)}, a folder or a hub id")
    arguments.add_argument("--data", default="debian", help="a BEIR folder or a built-in name (default debian)")
    arguments.add_argument("--split", default="test", help="whose queries are scored (default test)")
    arguments.add_argument("--limit", type=positive, help="tokens per text (default: the model's own)")
    arguments.add_argument("--documents", type=positive, help="only the first so many (default all)")
    arguments.add_argument("--sides", nargs="+", metavar="SIDE", help=f"of {', '.join(SIDES)} (default all)")
    arguments.add_argument("--whole", action="store_true", help="each round encodes the whole corpus")
    return execute(measure, arguments, given)


def measure(given: argparse.Namespace) -> list[Report]:
    """Time the encoding of the corpus, then prove from the embeddings that all sides computed the same."""
    task = judged(read_retrieval(given.data, split=given.split, name=Path(given.data).name))
    texts = list(task.corpus)[: given.documents]
    device: str = given.device
    with tempfile.TemporaryDirectory() as scratch:
        found = reference(given.model, Path(scratch))
        library = library_model(found, device, given.limit)
        ours = our_model(found, device, library.max_seq_length)
    shape = Shape.of(library[0].model.config)
    lengths = token_counts(library.tokenizer, texts, library.max_seq_length)
    parts = 1 if given.whole else min(given.rounds, len(texts))
    sides = []
    for name in chosen(given):
        kind, _, precision = name.partition("-")
        model = library if kind == "plain" else ours
        sides.append(Encoding(name, model, precision, texts, lengths, shape, parts=parts, device=device))
    peak = peaks(device)
    title = f"Encoding, {given.model}, {len(texts)} documents of {task.name}"
    runs = [Side(name=side.name, run=side.run, precision=side.precision) for side in sides]
    results = alternate(runs, given.rounds, device, title=title)
    proof, scores = prove(sides, task, whole=len(texts) == len(task.corpus))
    return [
        Report(
            bench="encoding",
            title=title,
            compares=(
                f"{'All' if given.whole else f'One in {given.rounds}'} of the documents per round, cut at "
                f"{library.max_seq_length} tokens, on {device}, into numpy. plain-*: SentenceTransformer.encode with its "
                f"defaults (batches of 32, longest first), -bf16 under autocast. ours-*: finewise's encoder, execution "
                f"{ours.execution.mode}. Only real tokens are counted."
            ),
            unit="docs",
            bases=[side.name for side in sides if side.name.startswith("plain")],
            results=results,
            agreements=proof,
            peak=peak,
            settings={
                "model": given.model,
                "data": task.name,
                "data_revision": task.revision,
                "documents": len(texts),
                "limit": library.max_seq_length,
                "whole": given.whole,
            },
            facts={METRIC: scores, "execution": ours.execution.mode},
        )
    ]


def chosen(given: argparse.Namespace) -> list[str]:
    """Return the names of the sides; the base of the proof, plain-fp32, is always one.

    Raises:
        InputError: There is no such side.
    """
    for name in given.sides or ():
        if name not in SIDES:
            raise InputError(f"--sides: {unknown('side', name, SIDES)}")
    fast = fast_bf16(given.device)
    wanted = {"plain-fp32", *(given.sides or SIDES)}
    return [name for name in SIDES if name in wanted and (fast or not name.endswith("-bf16"))]


class Encoding:
    """One side: a model, and the embeddings that its rounds gave."""

    def __init__(
        self,
        name: str,
        model: Any,
        precision: str,
        texts: Sequence[str],
        lengths: Sequence[int],
        shape: Shape | None,
        *,
        parts: int,
        device: str,
    ) -> None:
        """Share the texts out among the rounds.

        Args:
            name: The side's.
            model: Whose `encode` is timed.
            precision: "bf16" encodes under autocast.
            texts: The corpus.
            lengths: Real tokens of each.
            shape: The encoder's.
            parts: In how many rounds the corpus is encoded once.
            device: Where.
        """
        self.name = name
        self.model = model
        self.precision = precision
        self.texts = texts
        self.lengths = lengths
        self.shape = shape
        self.parts = parts
        self.device = device
        self.embeddings: dict[int, Embeddings] = {}

    def run(self, number: int) -> Round:
        """Encode the texts of a round; round 0 warms up with the longest 64, which need the most memory, and keeps nothing."""
        rows: Sequence[int] = range((number - 1) % self.parts, len(self.texts), self.parts)
        if number == 0:
            rows = sorted(range(len(self.texts)), key=lambda row: -self.lengths[row])[:64]
        with timed(self.device) as clock:
            found = self.encode([self.texts[row] for row in rows])
        if number > 0:
            self.embeddings.update(zip(rows, found, strict=True))
        lengths = [self.lengths[row] for row in rows]
        flop = forward_flop(self.shape, lengths) if self.shape else None
        return Round(seconds=clock.seconds, items=len(rows), tokens=sum(lengths), flop=flop)

    def encode(self, texts: Sequence[str], *, queries: bool = False) -> Embeddings:
        """Return (N, D) embeddings, by the methods that scoring calls."""
        encode = self.model.encode_query if queries else self.model.encode_document
        with autocast(self.precision == "bf16", self.device):
            found = encode(list(texts), show_progress_bar=False)
        return np.asarray(found, dtype=np.float32)


class Kept:
    """Stands in for a model whose embeddings are there already, so that our own scorer ranks by them."""

    def __init__(self, known: dict[str, Embeddings]) -> None:
        self.known = known

    def encode(self, texts: Sequence[str], **_: Any) -> Embeddings:
        """Return the (N, D) embeddings of known texts."""
        return np.stack([self.known[text] for text in texts])


def prove(sides: Sequence[Encoding], task: RetrievalSet, *, whole: bool) -> tuple[list[Agreement], dict[str, float]]:
    """Compare each side's embeddings and its score with those of the first side.

    Args:
        sides: The base first; all have encoded the same documents.
        task: The documents and the queries.
        whole: Whether all documents were encoded; if not, nothing is scored.

    Returns:
        The findings, and nDCG@10 per side.
    """
    base = sides[0]
    rows = sorted(base.embeddings)
    found: list[Agreement] = []
    expected = unit(np.stack([base.embeddings[row] for row in rows]))
    for side in sides[1:]:
        cosine = float((expected * unit(np.stack([side.embeddings[row] for row in rows]))).sum(axis=1).min())
        found += agree(
            f"least cosine of {len(rows)} documents, {side.precision}",
            {base.name: 1.0, side.name: cosine},
            base=base.name,
            tolerance=COSINE[side.precision],
            relative=False,
        )
    scores: dict[str, float] = {}
    if whole:
        task = replace(task, corpus=list(task.corpus), queries=list(task.queries))
        for side in sides:
            known = {task.corpus[row]: vector for row, vector in side.embeddings.items()}
            known.update(zip(task.queries, side.encode(task.queries, queries=True), strict=True))
            scores[side.name] = evaluate_retrieval(task, EncoderSearcher(side.name, Kept(known)), [METRIC], 10).mean(
                METRIC
            )
        for precision, tolerance in SCORE.items():
            values = {side.name: scores[side.name] for side in sides if side is base or side.precision == precision}
            what = f"nDCG@10 on {task.name} ({task.split}), {precision}"
            found += agree(what, values, base=base.name, tolerance=tolerance, relative=False)
    return found, scores


def unit(vectors: Embeddings) -> Embeddings:
    """Return the rows with L2 norm 1."""
    lengths: Embeddings = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / lengths


if __name__ == "__main__":
    sys.exit(main())
