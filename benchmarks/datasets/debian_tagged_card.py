"""The card of `debian-tags`: a Hugging Face data-set card, filled in with what the builder counted."""

from __future__ import annotations

import textwrap
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from benchmarks.datasets import debian_classifiers
from benchmarks.datasets.debian_card import CONFIGS, checksums, common, index_sums, length_table, rows_by_part
from benchmarks.datasets.debian_classifiers import TaggedScores
from benchmarks.datasets.debian_fetch import Snapshot
from benchmarks.datasets.debian_split import CORPUS_END

FEW = 5  # test rows: the F1 of a label with fewer says little

_CARD = """\
---
pretty_name: "Debian package descriptions: the tags that people gave them"
language:
- en
license: other
license_name: texts-each-package-its-own-dfsg-free-licence-labels-gpl-2
task_categories:
- text-classification
task_ids:
- multi-label-classification
- topic-classification
size_categories:
- 1K<n<10K
{configs}---

# debian-tags: from a package's description to its tags

Debian's volunteers tag packages from a fixed vocabulary. The task: given the package's description, name its tags,
any of {labels} in {facets_in} facets: what it is (`role`), how one uses it (`interface`), what it is for (`use`), what
it works with (`works-with`), in which field (`field`), and so on. Several labels per text, correlated, with a long
tail: the most frequent is on {largest:,} training rows, half of them on fewer than {median:.0f}.

| file | rows | labels | labels per row | columns |
|---|---|---|---|---|
{files}

`id` is the binary package, `text` the short description, a newline, and the long one; `labels` a sorted list;
`source` the source package, the unit of the split (a group, should you split train again). Rows stand in the order
of a hash of `source`, so the first n rows are a fair sample. **Neither `id` nor `source` is a feature.** `labels.tsv`
puts each label in words ("Purpose: Editing"), for zero-shot classification.

## Where it comes from

- Texts and labels: Debian {version} "{codename}" (suite {suite}), component `main`, {architecture}; Release file of
  **{date}**; the labels are its field `Tag`.
- Files `Packages` and `Translation-en`, joined on `Description-md5`; sha256 of the unpacked files:
{index}
- Vocabulary: `/usr/share/debtags/vocabulary` of `{vocabulary_package}`.
- Built by `python -m benchmarks.datasets.build_debian --sets debian-tags --release {codename}`. A newer snapshot
  gives other counts and sums, but no package moves from one part to another.

## How it was made

{steps}
{cleaning}
- Packages, texts and split are those of `debian-sections`: SHA-256 of the source's name as a number in [0, 1); under
  {dev_end} dev, under {test_end} test, the rest train. No text that `debian` or `debian-sections` trains on is in dev
  or test here, and no text of train here is a query, a document or a held-out text there or in `debtags`.
- **Only packages that somebody described.** More than half carry no tag, and of those that do, many have nothing but
  what a script set for a whole family (`role::shared-lib` alone; `implemented-in::perl`, `devel::lang:perl` and
  `devel::library` alone): a tag that is not there then says nothing. A package is in when one of its tags says what it
  is about or for (the topical tags of `debtags`).
- **Facets**, with their labels:
{facets}
- Left out: `implemented-in` and `uitoolkit` (scripts set them from dependencies, and the text seldom tells C from C++ or
  Xlib from Motif), `scope` (utility or application: a matter of taste), `system` (only the OpenStack family has it),
  `iso15924` (too few), `special`, `secteam` and `privacy` (about packaging, not the package), and every `TODO` tag.
- A tag implies the tags whose name it extends, if the vocabulary has them: `game::board:chess` is `game::board` too.
- A label needs {min_train_rows} training rows; {rare} tags have fewer and are left out. So is one that is on the same
  training rows as another: {same}.
- Dropped on the way, the held-out part being kept first:
{dropped}
- "Nearly equals": Jaccard similarity of word 3-grams of {near} or more (MinHash proposes, an exact comparison decides);
  between train and the held-out part the long descriptions alone are compared too.

## Labels

{rows_test}

| label | train | dev | test |
|---|---|---|---|
{label_table}

## Lengths, in words

{lengths}

## Reference

| system | dev: micro-F1 | macro-F1 | average precision | test: micro-F1 | macro-F1 | average precision |
|---|---|---|---|---|---|---|
{figures}

F1 at a threshold of 0.5; macro-F1 and average precision are means over the labels that occur in the part. TF-IDF: words
and pairs of words of {min_texts} or more training texts, lower case, 1 + log of the count; one logistic regression per label
(scikit-learn, liblinear, C {c:g}, chosen on dev by average precision). Without class weights the threshold of 0.5 is wrong for
most labels, which is what thresholds tuned on dev are for. Another machine's arithmetic may change a last digit.

## Known flaws

- **The labels are incomplete.** A tagged package need not carry every tag that fits, so a "wrong" prediction is at
  times right, and precision is lower than the truth. Compare systems with each other.
- Some tags are plainly wrong, some name technology of its time (`hardware::storage:cd`, `works-with-format::wav`), and
  many were given years ago, when the package was another.
- Some labels are nearly one (`interface::graphical`, `x11::application`), some are vague (`use::checking`,
  `role::app-data`), and some are seldom in the text (`admin::configuring`, `devel::lang:c++`).
- `role::program` is on {program:.0%} of the training rows: read macro-F1 and average precision, not accuracy.
- Packages that people tagged are older and better known than the rest.
- With {min_train_rows} training rows a label has about {few_rows} in test: intervals per label are wide.

## Licence

{licence}

The labels and `labels.tsv` come from the tag database and the vocabulary of the Debian package `debtags`. Its copyright file
says: Copyright (C) 2003, 2004, 2005 Enrico Zini et al., "distributed under the GNU General Public License", and points to
**version 2** (a copy is in `../debtags/COPYING`). The `Tag` field in the index carries no statement of its own, and is treated
here as under the same licence. finewise's own licence covers neither.

## Checksums (sha256, also in `SHA256SUMS`)

{sums}
"""


def tagged_card(
    *,
    snapshot: Snapshot,
    selection: Mapping[str, int],
    dropped: Mapping[str, int],
    min_train_rows: int,
    facets: Sequence[str],
    rare: int,
    same: Mapping[str, str],
    per_row: Mapping[str, Sequence[int]],
    labels: Mapping[str, Counter[str]],
    lengths: Mapping[str, Sequence[int]],
    figures: Mapping[str, Sequence[TaggedScores]],
    sums: Mapping[str, str],
) -> str:
    """The card of `debian-tags`, from the builder's counts.

    Args:
        snapshot: What was read.
        selection: Step of the choice of packages -> packages left after it.
        dropped: Reason -> packages dropped.
        min_train_rows: What a label needs.
        facets: Those that were looked at.
        rare: Tags that have fewer rows.
        same: Tag that was left out -> the label that is on the same rows.
        per_row: Part -> number of labels of each row.
        labels: Part -> label -> rows.
        lengths: Part -> words of each text.
        figures: System -> its scores on dev and on test.
        sums: File -> its sha256.
    """
    train, test = labels["train"], labels["test"]
    with_labels: dict[str, int] = defaultdict(int)
    for label in train:
        with_labels[label.partition("::")[0]] += 1
    absent = [f"`{label}`" for part in ("dev", "test") for label in sorted(train) if not labels[part][label]]
    shown = ", ".join(f"`{facet}` ({with_labels[facet]})" for facet in sorted(facets) if facet in with_labels)
    return _CARD.format(
        configs=CONFIGS,
        **common(snapshot, selection, dropped, package="id"),
        vocabulary_package=snapshot.vocabulary_package,
        labels=len(train),
        facets_in=len(with_labels),
        facets=textwrap.fill(shown, 118, initial_indent="  ", subsequent_indent="  "),
        largest=max(train.values()),
        median=sorted(train.values())[len(train) // 2],
        files="\n".join(
            f"| `{part}.parquet` | {len(counts):,} | {len(labels[part])} | {sum(counts) / len(counts):.1f} "
            f"({min(counts)} to {max(counts)}) | `id`, `text`, `labels`, `source` |"
            for part, counts in per_row.items()
        ),
        index=index_sums(snapshot),
        min_train_rows=min_train_rows,
        rare=rare,
        same=", ".join(f"`{tag}` (as `{label}`)" for tag, label in same.items()) or "none",
        rows_test=textwrap.fill(
            f"{sum(1 for label in train if test[label] < FEW)} of the {len(train)} labels have fewer than {FEW} rows in test"
            + (f"; {', '.join(absent)} have none in dev or none in test." if absent else "."),
            118,
        ),
        few_rows=FEW,
        test_end=CORPUS_END,
        label_table=rows_by_part(labels),
        program=train["role::program"] / len(per_row["train"]),
        lengths=length_table(lengths),
        figures="\n".join(
            f"| {system} | "
            + " | ".join(f"{s.micro_f1:.3f} | {s.macro_f1:.3f} | {s.average_precision:.3f}" for s in scored)
            + " |"
            for system, scored in figures.items()
        ),
        min_texts=debian_classifiers.MIN_TEXTS,
        c=debian_classifiers.ONE_VS_REST_C,
        sums=checksums(sums),
    )
