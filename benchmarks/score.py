"""Score a model or BM25 on a benchmark, without training: `python -m benchmarks.score model=bm25 benchmark=debian`."""

from collections.abc import Sequence
from typing import Any

from benchmarks.baselines import BM25
from benchmarks.config import ScoreConfig
from benchmarks.retrieval import (
    PER_QUERY_FILE,
    EncoderSearcher,
    Searcher,
    check,
    compare,
    evaluate_retrieval,
    save_per_query,
    scores,
)
from benchmarks.rows import corrected
from benchmarks.table import ScoreTable, verdicts
from benchmarks.text.language import unclaimed
from finewise import record
from finewise.console import out, say
from finewise.data.exported import write_beir
from finewise.data.held import Held
from finewise.data.retrieval import RetrievalSet
from finewise.processes import refuse_several
from finewise.run import Run, cores, cpu_name
from finewise.settings import entry


@entry("score", ScoreConfig, description="score a model or BM25 on a benchmark, without training")
def main(config: ScoreConfig) -> float:
    """Score the model, and BM25 beside it; print the table, write the record, return the headline metric."""
    refuse_several("benchmarks.score")
    check_settings(config)
    with Run.open("score", config, name=config.benchmark.name) as run:
        task = read(config)
        searcher, facts = load(config, task)
        searchers = (
            [searcher]
            if searcher.name == BM25.name or not config.baselines
            else [searcher, BM25(language=config.scoring.language)]
        )
        results = []
        for each in searchers:
            with run.stage(f"score {each.name}"):
                results.append(evaluate_retrieval(task, each, config.scoring.metrics, config.scoring.depth))
        if results[0].unjudged:
            say(f"note: {results[0].unjudged} of {len(task.query_ids)} queries have no judgement and are in no mean")
        unjudged = len(Held.of(task.split, task).twins[0])
        if unjudged:
            say(
                f"warning: {unjudged} of {len(task.query_ids)} queries are documents too, which nobody judged for them: they "
                "are found first and count as wrong; judge them, give them the queries' ids, or remove them"
            )
        save_per_query(run.dir / PER_QUERY_FILE, results)
        if config.scoring.export:
            write_beir(run.dir, task)
        scored = [score for result in results for score in scores(result)]
        read_by_words = {each.name: each.reading(task) for each in searchers if isinstance(each, BM25)}
        pairs = [row for other in results[1:] for row in compare(results[0], other)]
        compared = corrected(unclaimed(pairs, read_by_words, task.name))
        run.finish(
            {
                "model": {"name": config.model.name, "revision": config.model.revision, **facts.pop("vectors", {})},
                "data": {
                    "name": task.name,
                    "revision": task.revision,
                    "queries": len(task.query_ids),
                    "unjudged": results[0].unjudged,
                    "documents": len(task.corpus_ids),
                    "truncated": facts.pop("truncated", None),
                },
                **facts,
                "baselines": {name: {task.name: reading} for name, reading in read_by_words.items()},
                "scores": record.rows(scored),
                "comparisons": record.rows(compared),
            }
        )
        headline = config.scoring.metrics[0]
        out.print(ScoreTable(scored, compared, headline))
        for sentence in verdicts(compared, headline):
            out.print(sentence, markup=False, soft_wrap=True)
    return results[0].mean(headline)


def check_settings(config: ScoreConfig) -> None:
    """Refuse a model or a benchmark that is not there, before anything slow is imported."""
    from finewise.data.sources import exists
    from finewise.references import check_hub, model_reference

    if config.model.name != BM25.name:
        reference = model_reference(config.model.name, config.model.revision)
        if isinstance(reference, str):
            check_hub(reference, config.model.revision)
    exists(config.benchmark.path)
    if config.benchmark.corpus is not None:
        exists(config.benchmark.corpus)


def read(config: ScoreConfig) -> RetrievalSet:
    """Read the benchmark and refuse it early when it contradicts itself."""
    from finewise.data.sources import read_retrieval

    benchmark = config.benchmark
    task = read_retrieval(benchmark.path, split=benchmark.split, name=benchmark.name, corpus=benchmark.corpus)
    check(task)
    return task


def load(config: ScoreConfig, task: RetrievalSet) -> tuple[Searcher, dict[str, Any]]:
    """Return the searcher that `model.name` means, and what the record says of its device and of cut texts."""
    if config.model.name == BM25.name:
        return BM25(language=config.scoring.language), {"device": {"type": "cpu", "name": cpu_name(), "cores": cores()}}
    from finewise.data.tokens import own_prompts
    from finewise.device import describe, pick_device, use_bf16
    from finewise.encoder import load_encoder
    from finewise.vectors import vectors_of

    device = pick_device(config.run.device)
    model = load_encoder(config.model, device)
    prompts = own_prompts(model.prompts)
    truncated = {
        "queries": cut_texts(model, task.queries, prompts["query"]),
        "documents": cut_texts(model, task.corpus, prompts["document"]),
    }
    for kind, count in truncated.items():
        if count:
            say(f"note: {count} {kind} are longer than the model's {model.max_seq_length} tokens and are cut there")
    searcher = EncoderSearcher.of(config.model.name, model, config.scoring, config.run.precision)
    facts = {"device": describe(device, use_bf16(config.run.precision, device)), "truncated": truncated}
    return searcher, {**facts, "vectors": vectors_of(model)}


def cut_texts(model: Any, texts: Sequence[str], prompt: str = "") -> int:
    """Return how many of the texts have more tokens than the model reads."""
    limit = model.max_seq_length
    if limit is None or not callable(getattr(model, "tokenizer", None)):
        return 0
    # A character makes at most four tokens, one per byte; the special tokens are few. Shorter texts need no counting.
    long = [prompt + text for text in texts if 4 * (len(prompt) + len(text)) + 8 > limit]
    cut = 0
    for start in range(0, len(long), 1024):
        tokens = model.tokenizer(long[start : start + 1024], truncation=False, verbose=False)["input_ids"]
        cut += sum(len(row) > limit for row in tokens)
    return cut


if __name__ == "__main__":
    main()
