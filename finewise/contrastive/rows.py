"""Training rows in the shape that the library's trainer and the chosen loss expect."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from datasets import Dataset

from finewise.config import AuditConfig, DataConfig
from finewise.console import say
from finewise.contrastive.config import LOSSES, LossConfig, MultipleNegativesRanking, Triplet
from finewise.data.keys import pair_keys, text_keys
from finewise.data.pairs import Pairs, graded
from finewise.errors import InputError


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


def training_rows(
    pairs: Pairs,
    split: Pairs,
    loss: LossConfig,
    data: DataConfig,
    audit: AuditConfig,
    *,
    above: str = "",
    losses: Mapping[str, type[LossConfig]] = LOSSES,
) -> TrainingRows:
    """Select and order the columns that the loss reads, and refuse what it cannot use.

    Args:
        pairs: Columns anchor, positive and perhaps negative, negative_1, ..., score, group.
        split: The whole training split, of which the pairs were drawn.
        loss: The loss.
        data: The settings of the data.
        audit: The settings of the audit, which may have tokenised the split.
        above: What stands before `loss` in the key of the setting, such as "objective.".
        losses: What may stand in `loss`.

    Raises:
        InputError: The loss needs a column that the data does not have, or no row is left.
    """
    columns = pairs.columns
    key = f"{above}loss"
    name = next(each for each, kind in losses.items() if type(loss) is kind)
    negatives = pairs.negatives
    for needed in loss.needs():
        present = negatives if needed == "negative" else needed in columns
        if not present:
            fits = [other for other, kind in losses.items() if _fits(kind, columns, negatives)]
            raise InputError(
                f"{key}={name} needs a column '{needed}', and {data.train} has none (columns: {', '.join(columns)}); "
                f"name it with data.columns.{needed}=..., or choose {key}={' or '.join(fits)}"
            )
    uses_scores = "score" in loss.needs()
    tokenised = split if len(split) <= audit.max_rows else None
    if "score" in columns and not uses_scores:
        scored = [f"{key}={other}" for other, kind in losses.items() if "score" in kind().needs()]
        pairs = _positive_only(pairs, data.relevant_score, f"{key}={name}", scored)
        split = split.select(np.flatnonzero(split.scores() >= data.relevant_score))
    keep = ["anchor", "positive"]
    if isinstance(loss, MultipleNegativesRanking):
        keep += negatives
    elif isinstance(loss, Triplet):
        keep += negatives[:1]
    unused = [column for column in negatives if column not in keep]
    if unused:
        say(f"note: {key}={name} does not read the columns {', '.join(unused)}")
    if isinstance(loss, Triplet):
        pairs = _true_negatives(pairs, split, negatives[0], f"{key}={name}")
    rows = pairs.rows.select_columns([*keep, "score"] if uses_scores else keep)
    return TrainingRows(
        rows=rows.rename_column("score", "label") if uses_scores else rows,
        mask=isinstance(loss, MultipleNegativesRanking) and loss.mask_known_positives,
        pairs=pairs,
        tokenised=pairs if tokenised is None else tokenised,
        known=split,
    )


def _true_negatives(pairs: Pairs, split: Pairs, column: str, loss: str) -> Pairs:
    """Drop the rows whose hard negative is a known positive of their anchor, or the anchor itself: the loss has no mask.

    Args:
        pairs: The rows.
        split: The whole training split, which says what belongs together.
        column: The hard negatives.
        loss: The setting of the loss, for the message.
    """
    batches = pairs.batches([column])
    keys = np.concatenate([text_keys(table.column(column).to_pylist()) for _, table in batches])
    known = np.unique(pair_keys(split.anchor_keys, split.positive_keys))
    wrong = np.isin(pair_keys(pairs.anchor_keys, keys), known) | (pairs.anchor_keys == keys)
    if not wrong.any():
        return pairs
    keep = np.flatnonzero(~wrong)
    first = pairs.where(int(np.flatnonzero(wrong)[0]))
    if len(keep) < 2:
        raise InputError(
            f"{loss}: {int(wrong.sum())} of {len(pairs)} hard negatives are known positives (first: {first})"
        )
    say(
        f"note: {int(wrong.sum())} of {len(pairs)} rows are dropped: their hard negative is a known positive (first: {first})"
    )
    return pairs.select(keep)


def _fits(kind: type[LossConfig], columns: list[str], negatives: list[str]) -> bool:
    return all(negatives if needed == "negative" else needed in columns for needed in kind().needs())


def _positive_only(pairs: Pairs, threshold: float, loss: str, scored: list[str]) -> Pairs:
    """Keep the rows whose score calls them positive: this loss takes every row for a positive pair.

    Args:
        pairs: With scores.
        threshold: From which score on.
        loss: The setting of the loss, for the message.
        scored: Settings of losses that read the scores themselves.
    """
    scores = pairs.scores()
    keep = np.flatnonzero(scores >= threshold)
    if len(keep) < 2:
        raise InputError(
            f"{loss} takes rows for positive pairs, and only {len(keep)} of {len(pairs)} rows have a score of at least "
            f"data.relevant_score={threshold:g} (scores reach from {scores.min():g} to {scores.max():g}); "
            "set data.relevant_score" + "".join(f", or {other} to learn the scores themselves" for other in scored)
        )
    if scores.max() > 1 >= threshold and bool((scores == np.round(scores)).all()):
        say(f"note: {graded(scores, threshold, 'of the training rows')}")
    if len(keep) < len(pairs):
        say(
            f"note: {len(pairs) - len(keep)} of {len(pairs)} rows score below data.relevant_score={threshold:g}: "
            "not positive pairs, left out"
        )
    return pairs.select(keep)
