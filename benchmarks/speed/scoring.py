"""Scoring alone, without encoding: our retrieval scores and metrics against sentence-transformers' evaluator and trec_eval.

    python -m benchmarks.speed.scoring

Sides of the retrieval scores: `evaluator` is sentence-transformers' InformationRetrievalEvaluator on the device; `ours` is
evaluate_retrieval, on the CPU; `ours-ranking` is the same by way of whole rankings (FAISS). All have the same random
embeddings, in clusters, whose encoding costs nothing. They are asked for the same metrics, once at the evaluator's own depth of
100 documents, once for what finewise reports by default, 1,000 documents deep.

Proof: the mean of every metric on every side. Two definitions differ, but not on this data: where scores are equal, the
evaluator puts the lower id first, trec_eval and ours the higher one; and the evaluator divides MAP@K by at most K documents.

Sides of the metrics of given rankings: see benchmarks/speed/rankings.py.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.config import ScoringConfig
from benchmarks.exact import BLOCK, RankCounter
from benchmarks.metrics.ranking import parse_metric
from benchmarks.relevant import Relevant
from benchmarks.retrieval import EncoderSearcher, Result, Searcher, check, evaluate_retrieval, grade_ranks
from benchmarks.speed.agreement import agree
from benchmarks.speed.command import execute, parser, positive
from benchmarks.speed.harness import Round, Side, alternate, timed
from benchmarks.speed.rankings import metrics
from benchmarks.speed.report import Report
from benchmarks.topk import Ranking
from finewise.console import Advance
from finewise.data.retrieval import RetrievalSet
from finewise.device import fast_bf16
from finewise.errors import InputError

TOLERANCE = 1e-6
Vectors = NDArray[np.float32]


def main(given: Sequence[str] | None = None) -> int:
    """Run the bench; return the exit status."""
    arguments = parser(__doc__)
    arguments.add_argument("--queries", type=positive, default=2_000, help="to be scored (default 2000)")
    arguments.add_argument("--documents", type=positive, default=50_000, help="in the corpus (default 50000)")
    arguments.add_argument("--dimensions", type=positive, default=384, help="of the embeddings (default 384)")
    arguments.add_argument("--rankings", type=positive, default=10_000, help="given to the metrics (default 10000)")
    arguments.add_argument("--depth", type=positive, default=1_000, help="documents in each of them (default 1000)")
    arguments.add_argument("--seed", type=int, default=0, help="of all random numbers (default 0)")
    return execute(measure, arguments, given)


def measure(given: argparse.Namespace) -> list[Report]:
    """Measure the retrieval scores in two ways, and the metrics."""
    if given.documents < 1_000:
        raise InputError(f"--documents must be at least 1000; got {given.documents}")
    work = make(given.queries, given.documents, given.dimensions, given.seed)
    ours = ScoringConfig()
    return [
        retrieval(work, ["ndcg@10", "mrr@10", "recall@100", "map@100"], 100, "the evaluator's own depth", given),
        retrieval(work, ours.metrics, ours.depth, "finewise's own metrics", given),
        metrics(given.rankings, given.depth, given.rounds, given.seed),
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """A retrieval set, and the embeddings of its queries (Q, D) and documents (N, D)."""

    task: RetrievalSet
    queries: Vectors
    documents: Vectors


def make(queries: int, documents: int, dimensions: int, seed: int) -> Work:
    """Make documents around topics and topics around fields; a query's relevant documents are some of its topic's ten."""
    rng = np.random.default_rng(seed)

    def near(centres: Vectors, rows: NDArray[np.int64], distance: float) -> Vectors:
        noise = rng.standard_normal((len(rows), dimensions), dtype=np.float32)
        return np.asarray(centres[rows] + np.float32(distance) * noise, np.float32)

    topics = documents // 10
    fields = rng.standard_normal((documents // 100, dimensions), dtype=np.float32)
    centres = near(fields, rng.integers(0, len(fields), topics), 0.4)
    about = rng.integers(0, topics, queries)
    vectors = near(centres, about, 1.3), near(centres, np.arange(documents) % topics, 1.3)
    of_query, of_document = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in vectors)
    query_ids, corpus_ids = [f"q{row}" for row in range(queries)], [f"d{row:07}" for row in range(documents)]
    qrels = {}
    for query, topic in zip(query_ids, about.tolist(), strict=True):
        rows = topic + topics * rng.choice(10, rng.integers(1, 9), replace=False)
        qrels[query] = {corpus_ids[row]: 1 for row in rows.tolist()}
    task = RetrievalSet(
        name="clusters", split="test", query_ids=query_ids, queries=query_ids, corpus_ids=corpus_ids, corpus=corpus_ids,
        qrels=qrels, revision=f"seed {seed}",
    )  # fmt: skip
    return Work(task, of_query, of_document)


class Encoded(EncoderSearcher):
    """A searcher whose texts are encoded already."""

    def __init__(self, work: Work) -> None:
        super().__init__("ours", None)
        self.work = work

    def _queries(self, task: RetrievalSet, advance: Advance) -> Vectors:
        return self.work.queries

    def _documents(
        self, task: RetrievalSet, positions: NDArray[np.int64], texts: list[str], advance: Advance
    ) -> Vectors:
        whole = len(positions) == len(self.work.documents)
        return self.work.documents if whole else self.work.documents[positions]


class ByRanking:
    """The same searcher, asked for rankings."""

    name = "ours-ranking"

    def __init__(self, work: Work) -> None:
        self.searcher = Encoded(work)

    def search(self, task: RetrievalSet, depth: int) -> Ranking:
        """Return the best documents of each query."""
        return self.searcher.search(task, depth)


class Model:
    """What the evaluator needs of a model whose texts are encoded already."""

    similarity_fn_name = "cosine"

    def __init__(self, work: Work, device: str) -> None:
        from sentence_transformers.util import cos_sim

        self.similarity = cos_sim
        self.model_card_data = self  # where the evaluator writes the metrics down
        self.queries, self.documents = (torch.from_numpy(each).to(device) for each in (work.queries, work.documents))

    def encode_query(self, texts: Sequence[str], **_: Any) -> torch.Tensor:
        """Return the embeddings of the queries, with which every evaluation begins."""
        self.given = 0
        return self.queries

    def encode_document(self, texts: Sequence[str], **_: Any) -> torch.Tensor:
        """Return the embeddings of the next documents, which are asked for in their order."""
        start, self.given = self.given, self.given + len(texts)
        return self.documents[start : self.given]

    def set_evaluation_metrics(self, *_: Any) -> None:
        """Write nothing down."""


def retrieval(work: Work, wanted: Sequence[str], depth: int, name: str, given: argparse.Namespace) -> Report:
    """Time the evaluator and ours, both asked for the same metrics."""
    task, queries = work.task, len(work.task.query_ids)

    def side(name: str, compute: Callable[[], Mapping[str, float]]) -> Side:
        def one(_: int) -> Round:
            with timed(given.device) as clock:
                computed = compute()
            return Round(seconds=clock.seconds, items=queries, computed=computed)

        return Side(name=name, run=one)

    def score(searcher: Searcher) -> dict[str, float]:
        return means(evaluate_retrieval(task, searcher, wanted, depth))

    title = f"Retrieval scores, {queries} queries, {len(task.corpus_ids)} documents: {name}"
    sides = [
        side("evaluator", evaluator(work, wanted, depth, given.device)),
        side("ours", lambda: score(Encoded(work))),
        side("ours-ranking", lambda: score(ByRanking(work))),
    ]
    results = alternate(sides, given.rounds, given.device, title=title)
    found = stages(work, wanted, depth, given.rounds)
    parts = ", ".join(f"{name} {1000 * seconds:.0f}" for name, seconds in found.items())
    taken = ", ".join(f"{result.name} {result.seconds:.3f} s" for result in results)
    return Report(
        bench="scoring",
        title=title,
        compares=(
            f"{', '.join(wanted)}; {depth} documents deep; {work.queries.shape[1]} dimensions. Encoding is not timed. "
            f"Medians: {taken}. Stages of ours in ms: {parts}."
        ),
        unit="queries",
        bases=["evaluator"],
        results=results,
        agreements=[
            finding
            for metric in wanted
            for finding in agree(
                metric,
                {result.name: result.rounds[-1].computed[metric] for result in results},
                base="evaluator",
                tolerance=TOLERANCE,
                relative=False,
            )
        ],
        settings={
            "metrics": list(wanted),
            "depth": depth,
            "queries": queries,
            "documents": len(task.corpus_ids),
            "dimensions": work.queries.shape[1],
            "seed": given.seed,
        },
        facts={"stages_seconds": found},
    )


def evaluator(work: Work, wanted: Sequence[str], depth: int, device: str) -> Callable[[], dict[str, float]]:
    """Return a call of the library's evaluator that is asked for these metrics and no others, as far as it can be."""
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    cutoffs: dict[str, list[int]] = {}
    names = {}
    for name in wanted:
        metric = parse_metric(name)
        cutoff = metric.cutoff or depth
        cutoffs.setdefault(metric.family, []).append(cutoff)
        names[name] = f"cosine_{metric.family}@{cutoff}"
    shared = sorted({*cutoffs.pop("precision", []), *cutoffs.pop("recall", [])})
    task = work.task
    call = InformationRetrievalEvaluator(
        dict(zip(task.query_ids, task.queries, strict=True)),
        dict(zip(task.corpus_ids, task.corpus, strict=True)),
        {query: set(row) for query, row in task.qrels.items()},
        corpus_chunk_size=ScoringConfig().corpus_chunk,
        accuracy_at_k=[1],
        precision_recall_at_k=shared,
        mrr_at_k=cutoffs["mrr"],
        ndcg_at_k=cutoffs["ndcg"],
        map_at_k=cutoffs["map"],
        write_csv=False,
    )
    model: Any = Model(work, device)

    def compute() -> dict[str, float]:
        found = call(model)
        return {name: float(found[key]) for name, key in names.items()}

    return compute


def means(result: Result) -> dict[str, float]:
    """Return the mean of every metric."""
    return {metric: result.mean(metric) for metric in result.per_query}


def stages(work: Work, metrics: Sequence[str], depth: int, rounds: int) -> dict[str, float]:
    """Return the median seconds of each stage of ours, and of the product alone, which is the greater part of counting."""
    task, positions = work.task, np.arange(len(work.documents))
    numbers = {"fp32": torch.float32, "bf16": torch.bfloat16} if fast_bf16("cpu") else {"fp32": torch.float32}
    taken: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        with timed("cpu") as clock:
            yield
        taken[name].append(clock.seconds)

    for _ in range(rounds):
        with stage("check the set"):
            check(task)
        with stage("collect the relevant"):
            relevant = Relevant.of(task)
        known = work.documents[relevant.documents]
        with stage("score the relevant"):
            counter = RankCounter(task, relevant, depth, work.queries, known)
        with stage("count"):
            counter.count(positions, work.documents)
        with stage("grade"):
            grade_ranks(counter.ranks(), relevant, task, metrics, depth, system="")
        for name, number in numbers.items():
            queries, documents = (torch.from_numpy(each).to(number) for each in (work.queries, work.documents))
            out = torch.empty(len(queries), BLOCK, dtype=number)
            with stage(f"{name} product alone"):
                for start in range(0, len(documents), BLOCK):
                    block = documents[start : start + BLOCK].T
                    torch.mm(queries, block, out=out[:, : block.shape[1]])
    return {name: median(seconds) for name, seconds in taken.items()}


if __name__ == "__main__":
    sys.exit(main())
