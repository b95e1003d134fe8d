"""The data of a run: rows to train on, dev that chooses, and the sets that prove."""

from collections.abc import Mapping
from dataclasses import dataclass

from datasets import disable_progress_bars

from benchmarks.retrieval import check as check_set
from benchmarks.retrieval import clusters_of, judged
from benchmarks.stats.design import Design, warn_of_few
from embed.config import EmbedExperiment
from finewise.console import err
from finewise.contrastive.rows import TrainingRows, training_rows
from finewise.data.exported import write_beir, write_retrieval_split, write_split
from finewise.data.load import load as load_data
from finewise.data.report import AuditReport
from finewise.data.retrieval import RetrievalSet
from finewise.data.sources import read_retrieval
from finewise.data.tokens import token_limit
from finewise.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedData:
    """What one embedding run trains on, chooses by and is proved on.

    Attributes:
        train: The training rows.
        dev: Chooses the checkpoint.
        tests: Scored once, at the end: the data's own test split and the benchmarks of the settings.
        revision: sha256 of all of it.
        rows: Rows or queries per split.
        report: What the audit found.
    """

    train: TrainingRows
    dev: RetrievalSet
    tests: list[RetrievalSet]
    revision: str
    rows: Mapping[str, int]
    report: AuditReport


def load(experiment: EmbedExperiment, run: Run) -> EmbedData:
    """Read, split and audit the data, and show what the audit found.

    Raises:
        InputError: The data is wrong, leaks, or does not fit the loss.
    """
    disable_progress_bars()
    benchmarks = [
        read_retrieval(config.path, split=config.split, name=config.name, corpus=config.corpus)
        for config in experiment.benchmarks.values()
    ]
    data = load_data(
        experiment.data, experiment.audit, experiment.seed, limit=token_limit(experiment.model), more=benchmarks
    )
    assert data.dev is not None
    assert data.test is not None
    if run.is_first:
        err.print(data.report.brief(), soft_wrap=True)
    tests = [data.test, *benchmarks] if experiment.own_test else benchmarks
    for task in (data.dev, *tests):
        check_set(task)
    for task in tests:
        warn_of_few(f"{task.name} ({task.split})", Design.of(len(judged(task).query_ids), clusters=clusters_of(task)))
    if run.is_first:
        write_split(run.dir, "train", {"file": [data.train.reference] * len(data.train), "number": data.train.numbers})
        write_retrieval_split(run.dir, data.dev, "dev")
        for task in tests:
            write_retrieval_split(run.dir, task, task.split if task is data.test else f"{task.name}-{task.split}")
            if experiment.scoring.export:
                write_beir(run.dir, task)
    return EmbedData(
        train=training_rows(data.train, data.split, experiment.loss, experiment.data, experiment.audit),
        dev=data.dev,
        tests=tests,
        revision=data.revision,
        rows=data.rows,
        report=data.report,
    )
