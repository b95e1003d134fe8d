"""Contrastive training of a stretched embedding model on pairs with long documents."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from datasets import disable_progress_bars

from benchmarks.retrieval import check as check_set
from finewise.config import AuditConfig, DataConfig, SplitsConfig
from finewise.console import say
from finewise.contrastive.config import LossConfig, MultipleNegativesRanking
from finewise.contrastive.rows import TrainingRows, training_rows
from finewise.contrastive.trainer import train_encoder
from finewise.data.load import load
from finewise.data.report import AuditReport
from finewise.data.retrieval import RetrievalSet
from finewise.data.tokens import TokenLimit
from finewise.encoder import Encoder
from finewise.errors import InputError
from finewise.fit import Outcome
from finewise.run import Run
from longctx.config import Contrastive, LongContextExperiment, LongDataConfig

ABOVE = "objective."
LOSSES: dict[str, type[LossConfig]] = {"mnrl": MultipleNegativesRanking}
"""What may stand in `objective.loss`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LongPairs:
    """Pairs with long documents.

    Attributes:
        name: What records call them.
        train: The training rows.
        dev: Held-out pairs as a retrieval set, of at most data.max_dev_rows queries.
        test: Read once, at the end.
        revision: sha256 of all of it.
        rows: Rows or queries per split.
        report: What the audit found, the ledger of texts longer than the new window among it.
    """

    name: str
    train: TrainingRows
    dev: RetrievalSet
    test: RetrievalSet
    revision: str
    rows: dict[str, int]
    report: AuditReport

    def facts(self) -> dict[str, Any]:
        """Return what a record says of the data."""
        return {"name": self.name, "revision": self.revision, "rows": self.rows, "audit": self.report.summary()}


def load_pairs(
    config: LongDataConfig,
    objective: Contrastive,
    audit: AuditConfig,
    seed: int,
    limit: TokenLimit | str,
    *,
    original: int,
) -> LongPairs:
    """Read, split and audit pairs; refuse those that hold nothing long.

    Args:
        config: The data.
        objective: Whose loss reads the rows.
        audit: What is looked for, and what a leak leads to.
        seed: Of the splits and samples.
        limit: How tokens are counted, with the new window as the limit:
            `token_limit(replace(experiment.model, max_seq_length=target))`.
        original: L, the window that the model was trained with.

    Raises:
        InputError: The data is wrong, leaks, does not fit the loss, or has no text that is longer than the trained window.
    """
    disable_progress_bars()
    data = DataConfig(
        **{field.name: getattr(config, field.name) for field in fields(SplitsConfig)},
        columns=config.columns,
        split_by=config.split_by,
        relevant_score=config.relevant_score,
        max_dev_queries=config.max_dev_rows,
    )
    found = load(data, audit, seed, limit=limit)
    assert found.dev is not None
    assert found.test is not None
    for task in (found.dev, found.test):
        check_set(task)
    check_lengths(found.report, config.train, original)
    return LongPairs(
        name=config.name,
        train=training_rows(found.train, found.split, objective.loss, data, audit, above=ABOVE, losses=LOSSES),
        dev=found.dev,
        test=found.test,
        revision=found.revision,
        rows=dict(found.rows),
        report=found.report,
    )


def check_lengths(report: AuditReport, reference: str, original: int) -> None:
    """Refuse rows that teach nothing about long texts, and say how far they reach; nothing if no tokens were counted.

    Args:
        report: With the ledger of what is cut.
        reference: The training rows, as the user named them.
        original: L, the window that the model was trained with.

    Raises:
        InputError: No training text is longer than that.
    """
    counted = [cut for cut in report.truncation if cut.split == "train"]
    if not counted:
        return
    longest = max(cut.longest for cut in counted)
    if longest <= original:
        raise InputError(
            f"{reference}: the longest training text has {longest} tokens, and the model was trained with {original} already: "
            "nothing long can be learnt from it; give pairs with longer documents, or set adapt=false"
        )
    if longest < counted[0].limit:
        say(
            f"note: the longest training text has {longest} tokens, of the new window's {counted[0].limit}; "
            "no text trains what lies beyond"
        )


def train_contrastive(
    encoder: Encoder, data: LongPairs, experiment: LongContextExperiment, run: Run, *, score: Callable[[Encoder], float]
) -> Outcome:
    """Train a stretched encoder in place; it ends with the weights of the checkpoint that dev chose.

    Args:
        encoder: From `longctx.stretch.stretch_encoder`, with its execution chosen after that (`Encoder.execute`).
        data: The pairs.
        experiment: The settings; its objective is contrastive.
        run: The run, which may be a resumed one.
        score: Scores the encoder on dev; the higher, the better.

    Raises:
        InputError: As `finewise.contrastive.trainer.train_encoder`.
    """
    objective = experiment.objective
    assert isinstance(objective, Contrastive)
    outcome, _ = train_encoder(
        encoder, data.train, objective.loss, experiment, run, sampler=objective.sampler, score=score, above=ABOVE
    )
    return outcome
