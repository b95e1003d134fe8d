"""data.documents=true: pairs with long documents for objective=contrastive, cut out of documents (the inverse cloze task)."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from benchmarks.by_length import doublings
from benchmarks.long_retrieval import inverse_cloze
from finewise.config import AuditConfig
from finewise.console import err, say
from finewise.errors import InputError
from longctx.config import LongDataConfig
from longctx.data import read_parts

SHORTEST = 4
"""The shortest passages are that part of the trained window, so that the model goes on to read short texts."""

FEWEST = 2
"""Pairs of a split: with one there would be nothing to tell a document from."""


def cut_documents(
    config: LongDataConfig,
    audit: AuditConfig,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    seed: int,
    *,
    original: int,
    target: int,
    folder: Path,
) -> LongDataConfig:
    """Split documents, cut each split into pairs of a sentence and its passage, and return the settings that name the files.

    Passages have from a quarter of the trained window to the new one, in doublings, each equally often as far as the documents
    are long enough. No document gives pairs of two splits.

    Args:
        config: The documents; `data.max_train_rows` bounds the training pairs.
        audit: What a leak leads to.
        tokenizer: Of the model.
        prompt: What the model reads before a document.
        seed: Of the splits and draws.
        original: L, the window that the model was trained with.
        target: L', the new one.
        folder: Where the pairs are written.

    Raises:
        InputError: Wrong files, leaks, or documents that are too few or too short.
    """
    parts, report = read_parts(config, audit, seed)
    if report.findings:
        err.print(report, soft_wrap=True)  # the record holds the audit of the pairs
    lengths = doublings(max(1, original // SHORTEST), target)
    files: dict[str, str] = {}
    for number, (split, part) in enumerate(parts.items()):
        cuts = inverse_cloze(
            list(part.texts()),
            tokenizer,
            lengths,
            3 * seed + number,
            prompt=prompt,
            most=config.max_train_rows if split == "train" else None,
            title=f"cut passages of {split}",
        )
        if len(cuts) < FEWEST:
            raise InputError(
                f"{part.documents.reference}: the {len(part)} documents of {split} give {len(cuts)} passages of "
                f"{lengths[0]:,} tokens or more, and {FEWEST} are needed; give longer documents, or more of them"
            )
        counts = Counter(cut.length for cut in cuts)
        say(f"{split}: passages of " + ", ".join(f"{length:,} tokens: {counts[length]}" for length in lengths))
        file = folder / f"{split}.jsonl"
        rows = ({"anchor": cut.query, "positive": cut.passage} for cut in cuts)
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        files[split] = str(file)
    return replace(config, train=files["train"], dev=files["dev"], test=files["test"])
