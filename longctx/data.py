"""From the settings to what a language model is adapted on: documents read, split, audited, tokenised, cut, mixed, packed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from finewise.config import AuditConfig
from finewise.console import say
from finewise.data.documents import Documents, read_documents
from finewise.data.keys import Keys, combine, text_keys
from finewise.data.report import AuditReport
from finewise.data.sources import splits
from finewise.data.splits import MAX_ROWS, held_out, targets_of
from finewise.data.tokenised import TextTokenizer, Tokenised, tokenise
from finewise.errors import InputError
from longctx.blocks import Blocks, Numbers, Pieces, cut, whole
from longctx.config import LanguageModeling, LongDataConfig
from longctx.document_audit import Part, audit_documents
from longctx.mixing import mix

PARTS = ("dev", "test")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LongData:
    """What a run trains on, chooses by and holds back.

    Attributes:
        train: The training rows.
        dev: Rows of the new window, which choose the checkpoint.
        test: The documents held back for the end.
        seen: Text keys of the documents that are trained on or choose the checkpoint.
        revision: sha256 over train, dev and test as they are here.
        rows: Split -> documents.
        report: What the audit found.
        notes: What was done to documents: one line each.
        counts: The same in numbers.
    """

    train: Blocks
    dev: Blocks
    test: Part
    seen: Keys
    revision: str
    rows: Mapping[str, int]
    report: AuditReport
    notes: tuple[str, ...]
    counts: Mapping[str, Any]

    def facts(self) -> dict[str, Any]:
        """Return what a record says of the data."""
        return {
            "revision": self.revision,
            "rows": dict(self.rows),
            "audit": self.report.summary(),
            "notes": list(self.notes),
            "tokens": dict(self.counts),
        }


def load_documents(
    config: LongDataConfig,
    objective: LanguageModeling,
    tokenizer: PreTrainedTokenizerBase,
    audit: AuditConfig,
    original: int,
    target: int,
    seed: int,
) -> LongData:
    """Read documents, split and audit them, and make training rows of them.

    Args:
        config: The files.
        objective: The window of a row, the share of short pieces, PoSE.
        tokenizer: Of the model; it decides whether documents get a first or last token of their own.
        audit: What a leak leads to.
        original: L, the window that the model was trained with.
        target: L', the new one.
        seed: Of the splits and draws.

    Raises:
        InputError: Wrong files, leaks, or no document that is longer than the trained window.
    """
    parts, report = read_parts(config, audit, seed)
    for name, most in (("train", config.max_train_rows), ("dev", config.max_dev_rows)):
        if most is not None and most < len(parts[name]):
            rng = np.random.default_rng(config.split_seed if name == "dev" else seed)
            parts[name] = parts[name].select(np.sort(rng.permutation(len(parts[name]))[:most]))
    read, bos = text_tokenizer(tokenizer), tokenizer.bos_token_id
    train, notes, counts = training_blocks(
        tokenised(parts["train"], read, "train", bos), objective, config.train, original, target, seed
    )
    dev = reading_blocks(tokenised(parts["dev"], read, "dev", bos), original, target)
    if not dev.predicted:
        raise InputError(
            f"{parts['dev'].documents.reference}: no dev document has two tokens; nothing can be predicted"
        )
    for note in notes:
        say(f"note: {note}")
    return LongData(
        train=train,
        dev=dev,
        test=parts["test"],
        seen=np.concatenate([parts["train"].keys, parts["dev"].keys]),
        revision=combine(*(f"{name}={part.revision}" for name, part in parts.items())),
        rows={name: len(part) for name, part in parts.items()},
        report=report,
        notes=tuple(notes),
        counts=counts | {"dev_predicted": dev.predicted},
    )


def read_parts(config: LongDataConfig, audit: AuditConfig, seed: int) -> tuple[dict[str, Part], AuditReport]:
    """Return the documents of train, dev and test, and what the audit found in them.

    Args:
        config: The files.
        audit: What a leak leads to.
        seed: Of the splits.

    Raises:
        InputError: Wrong files, leaks, or too few documents to split.
    """
    parts = _read(config, config.split_seed)
    report = audit_documents(parts["train"], [parts["dev"], parts["test"]], audit, seed)
    report.check()
    if audit.leakage == "drop" and len(report.leaked):
        parts["train"] = parts["train"].without(report.leaked)
        report = replace(report, dropped=len(report.leaked))
        if not len(parts["train"]):
            raise InputError(
                f"{config.train}: audit.leakage=drop leaves no document to train on; give other held-out data"
            )
    return parts, report


def text_tokenizer(tokenizer: PreTrainedTokenizerBase) -> TextTokenizer:
    """Return what gives a text's ids as `tokenizer(text)` gives them, nothing cut.

    Raises:
        InputError: It has no fast form.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise InputError(
            f"model.name: {type(tokenizer).__name__} has no fast tokenizer (tokenizer.json), which is needed"
        )
    return TextTokenizer(backend, None)


def tokenised(part: Part, tokenizer: TextTokenizer, name: str, bos: int | None) -> Tokenised:
    """Return the ids of documents, from the cache if they were tokenised before.

    Args:
        part: The documents.
        tokenizer: Gives their ids.
        name: What the progress bar calls them.
        bos: The token that begins a text; where a document brings its own, the tokenizer's is taken away.
    """
    found = tokenise(
        part.revision, lambda: iter(part.texts()), len(part), tokenizer, prompt="", title=f"tokenise {name}"
    )
    starts = found.offsets[:-1][found.lengths >= 2]
    doubled = starts[(found.ids[starts] == bos) & (found.ids[starts + 1] == bos)]
    if not len(doubled):
        return found
    say(f"note: {name}: {len(doubled):,} of {len(found):,} documents bring their own first token; it is read once")
    return Tokenised(
        ids=np.delete(found.ids, doubled),
        offsets=found.offsets - np.searchsorted(doubled, found.offsets),
        whole=found.whole - np.isin(found.offsets[:-1], doubled).astype(found.whole.dtype),
    )


def reading_blocks(tokens: Tokenised, original: int, window: int) -> Blocks:
    """Return documents as rows for scoring: consecutive pieces of the window, all of them."""
    pieces = cut(whole(tokens.lengths), window)
    none = pieces.take(np.zeros(0, dtype=np.int64))
    return Blocks.of(tokens, none, pieces, window=window, original=original, target=window, seed=0)


def training_blocks(
    tokens: Tokenised, objective: LanguageModeling, reference: str, original: int, target: int, seed: int
) -> tuple[Blocks, list[str], dict[str, Any]]:
    """Return the training rows, what is to be said of them, and counts.

    Args:
        tokens: The documents.
        objective: See `load_documents`.
        reference: What messages call the data.
        original: L.
        target: L'.
        seed: Of the draws.

    Raises:
        InputError: No document is longer than the trained window, or the row's window does not fit.
    """
    window = objective.window or (original if objective.pose else target)
    if window > target:
        raise InputError(
            f"objective.window={window} is longer than the new window of {target} tokens (with stages, of one of them); "
            "lower it"
        )
    lengths = tokens.lengths
    documents, short = len(lengths), int((lengths <= original).sum())
    notes: list[str] = []
    if empty := int((lengths < 2).sum()):
        notes.append(f"{reference}: {empty:,} of {documents:,} documents have fewer than two tokens and are not read")
    pieces = cut(whole(lengths), window)
    if objective.pose:
        near, far = _for_pose(pieces, objective.short_share, original, seed)
        left_out = 0
    else:
        if window > original and short == documents:
            raise InputError(
                f"{reference}: none of {documents:,} documents is longer than the trained window of {original} tokens (the "
                f"longest has {int(lengths.max())}), so nothing long is learned; give longer documents, or set "
                "objective.pose=true"
            )
        near, far, left_out = _mixed(pieces, objective.short_share if window > original else 1.0, original, seed)
        notes += _told(reference, lengths, original, window)
    blocks = Blocks.of(
        tokens, near, far, window=window, original=original, target=target, seed=seed, skip=objective.pose
    )
    share = blocks.short_share
    if left_out:
        notes.append(
            f"{reference}: {left_out:,} short pieces are not read, or more than objective.short_share="
            f"{objective.short_share:g} of the tokens would be short"
        )
    if window > original and abs(share - objective.short_share) > 0.02:
        notes.append(
            f"{reference}: {share:.1%} of the tokens are read in short pieces, which is as near to objective.short_share="
            f"{objective.short_share:g} as whole pieces come"
        )
    if not len(blocks):
        raise InputError(f"{reference}: no document has two tokens; nothing can be predicted")
    counts = {
        "documents": documents,
        "documents_within_trained_window": short,
        "tokens": int(lengths.sum()),
        "predicted": blocks.predicted,
        "training_rows": len(blocks),
        "window": window,
        "short_share": round(share, 4),
        "left_out_pieces": left_out,
    }
    return blocks, notes, counts


def _mixed(pieces: Pieces, share: float, original: int, seed: int) -> tuple[Pieces, Pieces, int]:
    """Return short pieces, long ones, and how many short ones are left out."""
    long = pieces.tokens > original
    near, far = pieces.take(~long), pieces.take(long)
    found = mix(far.predicted, near.predicted, share, seed)
    turned = cut(far.take(found.turned), original)
    return near.take(~found.left_out) + turned, far.take(~found.turned), int(found.left_out.sum())


def _for_pose(pieces: Pieces, share: float, original: int, seed: int) -> tuple[Pieces, Pieces]:
    """Return the pieces whose positions stay, within the trained window, and those whose positions skip."""
    found = mix(pieces.predicted, np.zeros(0, dtype=np.int64), share, seed)
    return cut(pieces.take(found.turned), original), pieces.take(~found.turned)


def _told(reference: str, lengths: Numbers, original: int, window: int) -> list[str]:
    """Return what there is to say of documents shorter than the row's window."""
    below = lengths < window
    if not below.any() or window <= original:
        return []
    within = lengths[lengths <= original].sum() / lengths.sum()
    return [
        f"{reference}: {int(below.sum()):,} of {len(lengths):,} documents ({lengths[below].sum() / lengths.sum():.1%} of the "
        f"tokens) are shorter than the window of {window} tokens; documents within the trained window of {original} hold "
        f"{within:.1%}"
    ]


def _read(config: LongDataConfig, seed: int) -> dict[str, Part]:
    """Return train, dev and test."""
    train = read_documents(config.train, config.text)
    own = [] if config.train.startswith("hub:") else splits(config.train)
    held: dict[str, Documents] = {}
    for name, reference in zip(PARTS, (config.dev, config.test), strict=True):
        if reference is None and name in own:
            reference = config.train
        if reference is not None:
            held[name] = read_documents(reference, config.text, name)
    dev_size = None if "dev" in held else config.dev_size
    test_size = None if "test" in held else config.test_size
    given = {name: Part.of(documents, name) for name, documents in held.items()}
    if len(held) == len(PARTS):
        return {"train": Part.of(train, "train")} | given
    apart = np.concatenate([part.keys for part in given.values()]) if given else None
    return split(train, dev_size, test_size, seed, apart) | given


def split(
    documents: Documents, dev_size: float | None, test_size: float | None, seed: int, apart: Keys | None = None
) -> dict[str, Part]:
    """Split held-out documents off; equal ones stay together.

    Args:
        documents: All.
        dev_size: A share below 1, or a number of documents; None for no dev.
        test_size: The same for test.
        seed: Draws; the order of the file does not count.
        apart: Keys of documents that stay in train: those of a held-out file of its own.

    Raises:
        InputError: There are too few documents, or too many equal ones.
    """
    targets = targets_of(dev_size, test_size, len(documents), documents.reference, MAX_ROWS)
    found = held_out(
        text_keys(documents.texts), targets, seed, documents.reference, "too many documents are equal", apart
    )
    return {name: Part.of(documents, name, rows) for name, rows in found.items()}
