"""Results of baselines, kept: what was scored once with the same content is not scored again, by any run of a sweep.

A result is found again only if all that decides it is the same: the model's content (finewise.fingerprint), how it is searched
with, the queries, documents and judgements, metrics, depth, dimensions, our own code and the libraries. Names decide nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.baselines import BM25
from benchmarks.dense import EncoderSearcher
from benchmarks.retrieval import PER_QUERY_FILE, Result, clusters_of, load_per_query, save_per_query
from finewise.console import say
from finewise.data.keys import combine
from finewise.data.retrieval import RetrievalSet
from finewise.data.store import entry, made_by, peek

SCHEMA = 1
KIND = "results"
CODE = ("benchmarks", "benchmarks.metrics", "finewise")
LIBRARIES = ("numpy", "faiss-cpu", "torch", "transformers", "sentence-transformers", "tokenizers")
WORDS = ("numpy", "bm25s", "PyStemmer")


def identity(searcher: EncoderSearcher | BM25) -> str | None:
    """Return the sha256 of all that decides what a searcher finds, or None if it cannot be told."""
    settings = {key: repr(value) for key, value in vars(searcher).items() if key not in ("name", "model")}
    if isinstance(searcher, BM25):
        return combine(
            "bm25",
            SCHEMA,
            made_by((*CODE, "benchmarks.text", "finewise.data.scripts"), WORDS),
            sorted(settings.items()),
        )
    from finewise.fingerprint import fingerprint

    model = fingerprint(searcher.model, bf16=searcher.autocast is not None)
    return model and combine("encoder", SCHEMA, made_by(CODE, LIBRARIES), sorted(settings.items()), model)


def known(
    who: str | None, task: RetrievalSet, metrics: Sequence[str], depth: int, dims: Sequence[int | None] = (None,)
) -> bool:
    """Tell whether `remembered` would find the results. The arguments are those."""
    return who is not None and peek(_key(who, task, metrics, depth, dims), KIND) is not None


def remembered(
    who: str | None,
    name: str,
    task: RetrievalSet,
    metrics: Sequence[str],
    depth: int,
    score: Callable[[], list[Result]],
    dims: Sequence[int | None] = (None,),
) -> list[Result]:
    """Return the results of a system, from the cache if it was scored before.

    Args:
        who: From `identity`; with None, nothing is looked up or kept.
        name: What the results call the system; with further dimensions, NAME@DIM.
        task: The benchmark.
        metrics: What is wanted.
        depth: Documents retrieved per query.
        score: Computes the results.
        dims: See `benchmarks.retrieval.evaluate_dims`.

    Raises:
        InputError: As scoring, or the cache folder cannot be written.
    """
    if who is None:
        return score()
    fresh = False

    def build(folder: Path) -> dict[str, Any]:
        nonlocal fresh
        fresh = True
        save_per_query(folder / PER_QUERY_FILE, score())
        return {}

    folder, _ = entry(_key(who, task, metrics, depth, dims), build, KIND)
    if not fresh:
        say(f"{name} on {task.name} {task.split}: as scored before, from the cache")
    names = [name, *(f"{name}@{dim}" for dim in dims[1:])]
    clusters = clusters_of(task)
    return [
        replace(result, system=system, benchmark=task.name, split=task.split, clusters=clusters)
        for result, system in zip(load_per_query(folder / PER_QUERY_FILE), names, strict=True)
    ]


def _key(who: str, task: RetrievalSet, metrics: Sequence[str], depth: int, dims: Sequence[int | None]) -> str:
    return combine("result", who, task.revision, list(metrics), depth, list(dims))
