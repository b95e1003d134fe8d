"""From the settings to audited texts with spans: read, split, audit, cut to size."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from classify.spans.cells import Row
from classify.spans.config import TokenDataConfig, TokensExperiment
from classify.spans.reading import CONLL, Read, is_conll, own_file, read
from classify.spans.rows import Tagged, entities_of, tag_names
from finewise.config import AuditConfig
from finewise.data.content import Column, content
from finewise.data.hub import is_hub
from finewise.data.keys import combine, text_keys
from finewise.data.labels.classes import class_names
from finewise.data.labels.splits import shared_rows, split_labels
from finewise.data.near import matches, sketch
from finewise.data.report import AuditReport, Example, Finding, Severity, gravest_first, sampled, shorten
from finewise.data.sources import resolve, splits
from finewise.errors import InputError
from finewise.inputs import check_inputs, own_references
from finewise.names import nearest

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaggedData:
    """What a run trains on, chooses by and is proved on.

    Attributes:
        train: The training rows.
        dev: The rows that choose the checkpoint.
        test: The rows that are read once, at the end.
        types: The types of spans.
        report: What the audit found, before rows were dropped or drawn.
        revision: sha256 over train, dev and test as they are here.
        rows: Split -> rows.
    """

    train: Tagged
    dev: Tagged
    test: Tagged
    types: tuple[str, ...]
    report: AuditReport
    revision: str
    rows: Mapping[str, int]


def check_references(experiment: TokensExperiment) -> dict[str, str]:
    """Check, before anything slow is imported, that all the settings point to is there; return the data references.

    Raises:
        InputError: Something is not.
    """
    references = own_references(experiment)
    others = {}
    for key, reference in references.items():
        path = None if is_hub(reference) else resolve(reference)
        if path is not None and path.is_dir() and any(is_conll(file) for file in path.iterdir()):
            own_file(reference, key.removeprefix("data."))
        elif path is not None and is_conll(path):
            if path.stat().st_size == 0:
                raise InputError(f"{reference} is empty (0 bytes); give a file with rows")
        else:
            others[key] = reference
    check_inputs(experiment, others, labelled=True)
    return references


def load(experiment: TokensExperiment) -> TaggedData:
    """Read, split and audit the data; refuse what the audit refuses.

    Raises:
        InputError: The data is wrong, or leaks and audit.leakage is refuse.
    """
    config, seed = experiment.data, experiment.seed
    files = {"train": read(config.train, config, "train")}
    for part, reference in (("dev", config.dev), ("test", config.test)):
        if reference is None and part in _own_splits(config.train):
            reference = config.train
        if reference is not None:
            files[part] = read(reference, config, part)
    types = _types(files["train"])
    remarks = [remark for file in files.values() for remark in file.remarks]
    parts = {part: _tagged(file, types, config, part, remarks) for part, file in files.items()}
    missing = [part for part in ("dev", "test") if part not in parts]
    if missing:
        # It stratifies by the columns of `labels`, here which types are in a text, and keeps groups and equal texts together.
        cut = split_labels(
            cast(Any, parts["train"]),
            config.dev_size if "dev" in missing else None,
            config.test_size if "test" in missing else None,
            config.split_seed,
            apart=shared_rows(
                cast(Any, parts["train"]), [cast(Any, one) for part, one in parts.items() if part != "train"]
            ),
        )
        parts |= {
            part: cast(Tagged, one)
            for part, one in (("train", cut.train), ("dev", cut.dev), ("test", cut.test))
            if one is not None
        }
    for part in ("train", "dev", "test"):
        if not any(parts[part].entities):
            raise InputError(
                f"{parts[part].reference}: the {len(parts[part])} rows of {part} hold no span, so there is nothing to "
                f"{'learn' if part == 'train' else 'find'}; give rows with spans"
            )
    report = _audit(parts["train"], [parts["dev"], parts["test"]], experiment.audit, seed, remarks)
    report.check()
    train = parts["train"]
    if experiment.audit.leakage == "drop" and len(report.leaked):
        kept = train.select(np.setdiff1d(np.arange(len(train)), report.leaked))
        lost = (
            [types[k] for k in np.flatnonzero(train.labels.any(axis=0) & ~kept.labels.any(axis=0))]
            if len(kept)
            else types
        )
        if lost:
            raise InputError(
                f"{config.train}: audit.leakage=drop would remove {len(report.leaked)} of {len(train)} training rows and every "
                f"span of {', '.join(lost[:5])}; give other data.dev and data.test files"
            )
        report = replace(report, dropped=len(report.leaked))
        train = kept
    train = _drawn(train, config.max_train_rows, seed)
    final = {"train": train, "dev": _drawn(parts["dev"], config.max_dev_rows, config.split_seed), "test": parts["test"]}
    for part, key in (("train", "data.max_train_rows"), ("dev", "data.max_dev_rows")):
        if not any(final[part].entities):
            raise InputError(f"{key}={len(final[part])} drew rows without any span; set it higher")
    return TaggedData(
        **final,
        types=types,
        report=report,
        revision=combine(*(f"{part}={one.revision}" for part, one in final.items())),
        rows={part: len(one) for part, one in final.items()},
    )


def _own_splits(reference: str) -> list[str]:
    """Return the held-out splits that a folder brings."""
    if is_hub(reference) or not resolve(reference).is_dir():
        return []
    folder = resolve(reference)
    conll = [part for part in ("dev", "test") if any((folder / f"{part}{ending}").exists() for ending in CONLL)]
    return conll or splits(reference)


def _kinds(row: Row) -> Iterator[str]:
    yield from (tag[2:] for tag in row.tags or [] if tag[:2] == "B-")
    yield from (label for label, *_ in row.spans)


def _types(train: Read) -> tuple[str, ...]:
    types = tuple(sorted({kind for row in train.rows for kind in _kinds(row)}))
    if not types:
        raise InputError(f"{train.name}: no row has a span (all tags are O); there is nothing to learn")
    return types


def _tagged(file: Read, types: tuple[str, ...], config: TokenDataConfig, split: str, remarks: list[str]) -> Tagged:
    """Return a file's rows with tags as numbers.

    Raises:
        InputError: A type that train does not have.
    """
    place = {kind: number for number, kind in enumerate(types)}
    tag_of = {name: number for number, name in enumerate(tag_names(types))}
    tags: list[NDArray[np.int64]] = []
    entities: list[Any] = []
    astray = total = 0
    example = ""
    for row in file.rows:
        for kind in _kinds(row):
            if kind not in place:
                guess = nearest(kind, types)
                raise InputError(
                    f"{file.name}: {file.unit} {row.number} has a span of '{kind}', which no training row has"
                    + (f"; did you mean '{guess}'?" if guess else f"; train has: {', '.join(types)}")
                )
        if row.tags is not None:
            tags.append(np.array([tag_of[tag] for tag in row.tags], dtype=np.int64))
            entities.append(entities_of(row.words, tags[-1], types))
            continue
        made = np.zeros(len(row.words), dtype=np.int64)
        for label, start, end in row.spans:
            inside = np.flatnonzero((row.words[:, 0] < end) & (row.words[:, 1] > start) & (made == 0))
            made[inside] = tag_of[f"I-{label}"]
            made[inside[:1]] = tag_of[f"B-{label}"]
            total += 1
            if not len(inside) or row.words[inside[0], 0] != start or row.words[inside[-1], 1] != end:
                astray += 1
                example = example or f"{file.unit} {row.number}: '{shorten(row.text[start:end], 40)}'"
        tags.append(made)
        entities.append(tuple((place[label], start, end) for label, start, end in row.spans))
    if split == "train" and total >= 20 and 2 * astray > total:
        raise InputError(
            f"{file.name}: {astray} of {total} spans begin or end inside a word ({example}) and can never be found; are start "
            "and end counted in characters of the text, from 0?"
        )
    if astray:
        remarks.append(
            f"{file.name}: {astray} of {total} spans begin or end inside a word ({example}); whole words are labelled, and "
            "such a span can never be found exactly"
        )
    texts = [row.text for row in file.rows]
    groups = None
    if file.grouped:
        known = text_keys(row.group or "" for row in file.rows).astype(np.int64) & (2**62 - 1)
        alone = np.array([row.group in (None, "null") for row in file.rows])
        groups = np.where(alone, -1 - np.arange(len(texts)), known)
    return Tagged(
        name=config.name,
        split=split,
        reference=file.name,
        unit=file.unit,
        numbers=np.array([row.number for row in file.rows], dtype=np.int64),
        texts=texts,
        words=[row.words for row in file.rows],
        tags=tags,
        entities=entities,
        types=types,
        groups=groups,
        keys=text_keys(texts),
        revision=combine(file.content, types, repr(config.columns), config.scheme, config.malformed, config.names),
    )


def _drawn(rows: Tagged, most: int | None, seed: int) -> Tagged:
    """Return at most so many rows, drawn by the seed."""
    return rows if most is None or most >= len(rows) else rows.select(sampled(np.arange(len(rows)), most, seed))


def _audit(train: Tagged, held: list[Tagged], config: AuditConfig, seed: int, remarks: Sequence[str]) -> AuditReport:
    """Look for leaks, repeats and suspicious texts."""
    fates: dict[str, tuple[Severity, str]] = {
        "refuse": ("refuse", "audit.leakage=drop removes these rows, =allow keeps them"),
        "drop": ("warn", "removed (audit.leakage=drop)"),
        "allow": ("warn", "kept (audit.leakage=allow): scores are too good"),
    }
    severity, fate = fates[config.leakage]
    spans = np.bincount([kind for found in train.entities for kind, *_ in found], minlength=len(train.types))
    findings: list[Finding] = list(class_names(train.types, spans, "training spans"))
    leaked = np.zeros(len(train), dtype=bool)
    for one in held:
        same = np.isin(train.keys, one.keys)
        findings += _finding("leaked_text", severity, train, same, f"texts are in {one.split}: {fate}", config)
        leaked |= same
        if train.groups is not None and one.groups is not None:
            shared = np.isin(train.groups, one.groups) & (train.groups >= 0)
            message = f"rows have a group that is in {one.split}: {fate}"
            findings += _finding("leaked_group", severity, train, shared, message, config)
            leaked |= shared
    dev, test = held
    message = "dev texts are test texts too: the checkpoint is chosen on the test; give them different texts"
    findings += _finding("dev_is_test", "warn", dev, np.isin(dev.keys, test.keys), message, config)
    for one in (train, *held):
        again = np.ones(len(one), dtype=bool)
        again[np.unique(one.keys, return_index=True)[1]] = False
        findings += _finding("duplicate_rows", "note", one, again, "texts occur before", config)
        findings += content(_column(one), config)
    if config.near_duplicates:
        rows = sampled(np.arange(len(train)), config.max_rows, seed)
        mine = sketch(train.texts[row] for row in rows)
        for one in held:
            theirs = sampled(np.arange(len(one)), config.max_rows, seed)
            close = matches(mine, sketch(one.texts[row] for row in theirs), config.near_duplicate_threshold) >= 0
            near = np.zeros(len(train), dtype=bool)
            near[rows[close & ~np.isin(train.keys[rows], one.keys)]] = True
            what = "removed (audit.leakage=drop)" if config.leakage == "drop" else "audit.leakage=drop removes them"
            findings += _finding(
                "near_text", "warn", train, near, f"texts nearly equal a {one.split} text: {what}", config
            )
            if config.leakage == "drop":
                leaked |= near
    return AuditReport(
        rows={one.split: len(one) for one in (train, *held)},
        findings=gravest_first(findings),
        remarks=tuple(remarks),
        leakage=config.leakage,
        leaked=np.flatnonzero(leaked),
        unit="rows",
    )


def _finding(
    kind: str, severity: Severity, rows: Tagged, which: NDArray[np.bool_], message: str, config: AuditConfig
) -> Iterator[Finding]:
    found = np.flatnonzero(which)
    if len(found):
        yield Finding(
            kind=kind,
            severity=severity,
            split=rows.split,
            count=len(found),
            of=len(rows),
            message=message,
            examples=tuple(
                Example(where=rows.where(int(row)), text=shorten(rows.texts[row], 80))
                for row in found[: config.examples]
            ),
        )


def _column(rows: Tagged) -> Column:
    return Column(rows.split, "text", len(rows), lambda: iter([pa.array(list(rows.texts), pa.string())]), rows.where)
