"""Training rows in the shape that the library's trainer and the chosen loss expect."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset, disable_progress_bars

from benchmarks.retrieval import check as check_set
from embed.config import LOSSES, EmbedExperiment, MultipleNegativesRanking, Triplet
from finewise.console import err, say
from finewise.data.load import load as load_data
from finewise.data.pairs import Pairs
from finewise.data.report import AuditReport
from finewise.data.retrieval import RetrievalSet
from finewise.data.sources import read_retrieval
from finewise.data.tokens import token_limit
from finewise.errors import InputError
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

    train: "TrainingRows"
    dev: RetrievalSet
    tests: list[RetrievalSet]
    revision: str
    rows: Mapping[str, int]
    report: AuditReport


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRows:
    """Rows for the trainer.

    Attributes:
        rows: Columns anchor, positive, negatives (0..n), and for a loss that reads scores label.
        mask: Whether the loss takes known positives out of the negatives.
        pairs: The same rows as they came from the data, in the same order.
        tokenised: The rows that are tokenised, `pairs` among them: those that the audit tokenised already, if it did.
        known: The rows that say what belongs together: those of the whole training split, not only what was drawn of it.
    """

    rows: Dataset
    mask: bool
    pairs: Pairs
    tokenised: Pairs
    known: Pairs

    @property
    def texts(self) -> list[str]:
        """The columns of texts."""
        return [column for column in self.rows.column_names if column != "label"]


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
    return EmbedData(
        train=training_rows(data.train, data.split, experiment),
        dev=data.dev,
        tests=tests,
        revision=data.revision,
        rows=data.rows,
        report=data.report,
    )


def training_rows(pairs: Pairs, split: Pairs, experiment: EmbedExperiment) -> TrainingRows:
    """Select and order the columns that the loss reads, and refuse what it cannot use.

    Args:
        pairs: Columns anchor, positive and perhaps negative, negative_1, ..., score, group.
        split: The whole training split, of which the pairs were drawn.
        experiment: The settings.

    Raises:
        InputError: The loss needs a column that the data does not have, or no row is left.
    """
    loss, columns = experiment.loss, pairs.columns
    name = next(key for key, kind in LOSSES.items() if type(loss) is kind)
    negatives = pairs.negatives
    for needed in loss.needs():
        present = negatives if needed == "negative" else needed in columns
        if not present:
            fits = [key for key, kind in LOSSES.items() if _fits(kind, columns, negatives)]
            raise InputError(
                f"loss={name} needs a column '{needed}', and {experiment.data.train} has none (columns: {', '.join(columns)}); "
                f"name it with data.columns.{needed}=..., or choose loss={' or '.join(fits)}"
            )
    uses_scores = "score" in loss.needs()
    tokenised = split if len(split) <= experiment.audit.max_rows else None
    if "score" in columns and not uses_scores:
        pairs = _positive_only(pairs, experiment.data.relevant_score, name)
        split = split.select(np.flatnonzero(split.scores() >= experiment.data.relevant_score))
    keep = ["anchor", "positive"]
    if isinstance(loss, MultipleNegativesRanking):
        keep += negatives
    elif isinstance(loss, Triplet):
        keep += negatives[:1]
    unused = [column for column in negatives if column not in keep]
    if unused:
        say(f"note: loss={name} does not read the columns {', '.join(unused)}")
    rows = pairs.rows.select_columns([*keep, "score"] if uses_scores else keep)
    return TrainingRows(
        rows=rows.rename_column("score", "label") if uses_scores else rows,
        mask=isinstance(loss, MultipleNegativesRanking) and loss.mask_known_positives,
        pairs=pairs,
        tokenised=pairs if tokenised is None else tokenised,
        known=split,
    )


def _fits(kind: Any, columns: list[str], negatives: list[str]) -> bool:
    return all(negatives if needed == "negative" else needed in columns for needed in kind().needs())


def _positive_only(pairs: Pairs, threshold: float, loss: str) -> Pairs:
    """Keep the rows whose score calls them positive: this loss takes every row for a positive pair."""
    scores = pairs.scores()
    keep = np.flatnonzero(scores >= threshold)
    if len(keep) < 2:
        raise InputError(
            f"loss={loss} takes rows for positive pairs, and only {len(keep)} of {len(pairs)} rows have a score of at least "
            f"data.relevant_score={threshold:g} (scores reach from {scores.min():g} to {scores.max():g}); "
            "set data.relevant_score, or loss=cosent to learn the scores themselves"
        )
    if len(keep) < len(pairs):
        say(
            f"note: {len(pairs) - len(keep)} of {len(pairs)} rows score below data.relevant_score={threshold:g}: "
            "not positive pairs, left out"
        )
    return pairs.select(keep)
