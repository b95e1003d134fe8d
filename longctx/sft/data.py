"""From the settings to the rows of a run: read, split, audit, fitted into the window, mixed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from finewise.config import AuditConfig
from finewise.console import say
from finewise.data.keys import Keys, combine
from finewise.data.report import AuditReport
from finewise.data.sources import splits
from finewise.data.splits import MAX_ROWS, held_out, targets_of
from finewise.errors import InputError
from longctx.config import InstructionTuning, LongDataConfig
from longctx.mixing import mix
from longctx.sft.audit import audit_chats
from longctx.sft.packed import packs
from longctx.sft.render import Renderer
from longctx.sft.rows import SHOWN, ChatRows, read_chats

PARTS = ("dev", "test")
LATER = "later"
"""Beside the choices of objective.too_long: what is longer than the window of a stage waits for a later one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SftData:
    """What a run trains on, chooses by and is proved on.

    Attributes:
        train: The training rows.
        dev: The rows that choose the checkpoint.
        test: The rows that are read once, at the end.
        packs: Rows of `train` that are read in one row of the window, each chat kept apart.
        revision: sha256 over train, dev and test as they are here.
        rows: Split -> rows.
        report: What the audit found.
        notes: What was done to rows, for the record: one line each.
        counts: The same in numbers.
    """

    train: ChatRows
    dev: ChatRows
    test: ChatRows
    packs: list[list[int]]
    revision: str
    rows: Mapping[str, int]
    report: AuditReport
    notes: tuple[str, ...]
    counts: Mapping[str, Any] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Return what a record says of the data."""
        return {
            "revision": self.revision,
            "rows": dict(self.rows),
            "audit": self.report.summary(),
            "notes": list(self.notes),
            **self.counts,
        }


def load_chats(
    config: LongDataConfig,
    objective: InstructionTuning,
    tokenizer: PreTrainedTokenizerBase,
    audit: AuditConfig,
    original: int,
    target: int,
    seed: int,
    *,
    later: bool = False,
    most: int | None = None,
) -> SftData:
    """Read chats, split and audit them, fit them into the window and mix them by length.

    Args:
        config: The files.
        objective: What happens to chats that are too long, and how they are mixed and packed.
        tokenizer: With its chat template.
        audit: What a leak leads to.
        original: The trained window in tokens.
        target: The new window in tokens, which bounds a row.
        seed: Of the splits and draws.
        most: Chats of a batch: if packs hold more on average, they get no more than these; None: as many as fit.
        later: It is that of a stage before the last: longer chats are left to a later one, whatever the objective says.

    Raises:
        InputError: Rows that cannot be trained on, leaks, chats longer than the window, or a mix that the data does not allow.
    """
    renderer = Renderer(tokenizer, tokenizer.name_or_path)
    train, dev, test = _read(config, renderer, config.split_seed)
    notes = [
        f"{rows.reference}: columns that are not read: {', '.join(rows.unread)}" for rows in (train,) if rows.unread
    ]
    notes += list(dict.fromkeys(rows.forged for rows in (train, dev, test) if rows.forged))
    report = audit_chats(train, (dev, test), audit, seed, notes)
    report.check()
    if audit.leakage == "drop" and len(report.leaked):
        train = train.select(np.setdiff1d(np.arange(len(train)), report.leaked))
        report = replace(report, dropped=len(report.leaked))
        if len(train) < 2:
            raise InputError(
                f"{config.train}: audit.leakage=drop would leave {len(train)} training rows: nearly all of them are in the "
                "held-out data; give other data.dev and data.test files"
            )
    kept = {}
    counts: dict[str, Any] = {}
    for rows in (train, dev, test):
        kept[rows.split], counts[rows.split], told = fitted(rows, target, LATER if later else objective.too_long)
        notes += told
    train, dev = kept["train"], kept["dev"]
    if config.max_train_rows is not None and config.max_train_rows < len(train):
        train = train.select(_drawn(len(train), config.max_train_rows, seed))
    if config.max_dev_rows is not None and config.max_dev_rows < len(dev):
        dev = dev.select(np.sort(_drawn(len(dev), config.max_dev_rows, config.split_seed)))
    if objective.short_share is not None:
        chosen = mixed(train.lengths, original, objective.short_share, seed, train.reference)
        left = len(train) - len(chosen)
        if left:
            notes.append(
                f"objective.short_share={objective.short_share:g}: {left:,} of {len(train):,} training rows are left out"
            )
        train = train.select(chosen)
    lengths = train.lengths
    counts["train"] |= {
        "tokens": int(lengths.sum()),
        "answer_tokens": int(train.answers().sum()),
        "longest": int(lengths.max()),
        "short_share": round(float(lengths[lengths <= original].sum() / lengths.sum()), 4),
    }
    laid = packs(lengths, target) if objective.packing else [[row] for row in range(len(train))]
    if most is not None and len(train) > most * len(laid):
        laid = packs(lengths, target, most)  # one pack would hold more than a batch
    counts["train"]["packs"] = len(laid)
    for note in notes:
        say(f"note: {note}")
    final = {"train": train, "dev": dev, "test": kept["test"]}
    return SftData(
        **final,
        packs=laid,
        revision=combine(*(f"{part}={one.revision}" for part, one in final.items())),
        rows={part: len(one) for part, one in final.items()},
        report=report,
        notes=tuple(notes),
        counts={"tokens": counts},
    )


def _read(config: LongDataConfig, renderer: Renderer, seed: int) -> tuple[ChatRows, ChatRows, ChatRows]:
    train = read_chats(config.train, renderer)
    own = splits(config.train)
    held: dict[str, ChatRows] = {}
    for part, reference in zip(PARTS, (config.dev, config.test), strict=True):
        if reference is None and part in own:
            reference = config.train
        if reference is not None:
            held[part] = replace(read_chats(reference, renderer, part), split=part)
    if len(held) < len(PARTS):
        dev_size = None if "dev" in held else config.dev_size
        test_size = None if "test" in held else config.test_size
        apart = np.concatenate([rows.prompts for rows in held.values()]) if held else None
        parts = split(train, dev_size, test_size, seed, apart)
        train = parts.pop("train")
        held |= parts
    return train, held["dev"], held["test"]


def split(
    rows: ChatRows, dev_size: float | None, test_size: float | None, seed: int, apart: Keys | None = None
) -> dict[str, ChatRows]:
    """Split held-out rows off; rows of one prompt stay together.

    Args:
        rows: All rows.
        dev_size: A share below 1 (at most 2,000 rows are taken), or a number of rows; None for no dev.
        test_size: The same for test.
        seed: Draws the prompts; the order of the rows does not count.
        apart: Prompts that stay in train: those of a held-out file of its own.

    Returns:
        "train" and the parts.

    Raises:
        InputError: There are too few rows, or too few prompts.
    """
    targets = targets_of(dev_size, test_size, len(rows), rows.reference, MAX_ROWS)
    chosen = held_out(rows.prompts, targets, seed, rows.reference, "many rows have the same prompt", apart)
    return {part: rows.select(found, part) for part, found in chosen.items()}


def fitted(rows: ChatRows, window: int, too_long: str) -> tuple[ChatRows, dict[str, int], list[str]]:
    """Return the rows of which each fits into the window, counts, and what was done to the others.

    Args:
        rows: One split.
        window: In tokens.
        too_long: "refuse", "drop", "cut" or LATER.

    Raises:
        InputError: Some do not fit and must not be touched, or none would be left.
    """
    lengths = rows.lengths
    long = np.flatnonzero(lengths > window)
    if not len(long):
        return rows, {}, []
    share = f"{len(long):,} of {len(rows):,} {rows.split} rows ({len(long) / len(rows):.1%})"
    if too_long == "refuse":
        first = ", ".join(f"{rows.where(int(row))} has {lengths[row]:,}" for row in long[:SHOWN])
        raise InputError(
            f"{share} are longer than the window of {window:,} tokens: {first}; objective.too_long=drop leaves them out, "
            "=cut reads their beginning, a larger stretch.factor fits them"
        )
    if too_long in ("drop", LATER):
        rows, told = (
            rows.select(np.flatnonzero(lengths <= window)),
            f"{share} are longer than {window:,} tokens: left {'out' if too_long == 'drop' else 'to a later stage'}",
        )
        counts = {"dropped": len(long)}
    else:
        lost = int((lengths[long] - window).sum())
        rows = rows.cut(window)
        unanswered = rows.answers() == 0
        gone = int(unanswered.sum())
        rows = rows.select(np.flatnonzero(~unanswered))
        told = f"{share} are cut at {window:,} tokens ({lost:,} of {int(lengths.sum()):,} tokens)"
        told += f", {gone:,} of them left out because no word of their answers remains" if gone else ""
        counts = {"cut": len(long) - gone, "dropped": gone, "tokens_cut": lost}
    if not len(rows):
        raise InputError(
            f"{rows.reference}: no {rows.split} row fits into {window:,} tokens, the window of an earlier stage; leave the "
            "stage out of stages.factors, or give shorter chats"
            if too_long == LATER
            else f"{rows.reference}: objective.too_long={too_long} leaves no {rows.split} row within {window:,} tokens; raise "
            "stretch.factor, or give shorter chats"
        )
    return rows, counts, [told]


def mixed(lengths: NDArray[np.int64], original: int, share: float, seed: int, name: str) -> NDArray[np.int64]:
    """Return the rows to keep so that short ones have their share of the tokens; no row is repeated.

    Args:
        lengths: (N,) tokens of each row.
        original: Rows of at most this many tokens are short.
        share: Of all tokens, that of short rows.
        seed: Draws the rows that are kept of the side that has too many.
        name: What messages call the data.

    Raises:
        InputError: A side is wanted and has no row.
    """
    sides = {"short": np.flatnonzero(lengths <= original), "long": np.flatnonzero(lengths > original)}
    wanted = {"short": share, "long": 1 - share}
    for side, rows in sides.items():
        if wanted[side] > 0 and not len(rows):
            comparison = "at most" if side == "short" else "more than"
            raise InputError(
                f"{name}: objective.short_share={share:g} needs rows of {comparison} {original:,} tokens, and there is none; "
                f"add some, or set objective.short_share={1 if side == 'long' else 0}"
            )
    short, long = (lengths[rows] for rows in sides.values())
    # As for documents, but a long chat cannot be read in short pieces, so whichever side has too much loses rows.
    if short.sum() > share * lengths.sum():
        left_out = sides["short"][mix(long, short, share, seed).left_out]
    else:
        left_out = sides["long"][mix(short, long, 1 - share, seed).left_out]
    return np.setdiff1d(np.arange(len(lengths)), left_out)


def _drawn(count: int, most: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(count)[:most]
