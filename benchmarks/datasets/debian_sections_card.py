"""The card of `debian-sections`: a Hugging Face data-set card, filled in with what the builder counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from benchmarks.datasets import debian_classifiers
from benchmarks.datasets.debian_card import (
    CONFIGS,
    accuracy_table,
    checksums,
    common,
    index_sums,
    length_table,
    rows_by_part,
)
from benchmarks.datasets.debian_classifiers import Scores
from benchmarks.datasets.debian_fetch import Snapshot
from benchmarks.datasets.debian_split import CORPUS_END

FEW = 5  # test rows: the F1 of a class with fewer says little

_CARD = """\
---
pretty_name: "Debian package descriptions: which section of the archive"
language:
- en
license: other
license_name: each-package-its-own-dfsg-free-licence
task_categories:
- text-classification
task_ids:
- topic-classification
- multi-class-classification
size_categories:
- 10K<n<100K
{configs}---

# debian-sections: from a package's description to its section

Debian files every package under one section of its archive. The task: given the package's description, name the
section, one of {classes}. It is real, specialised English with a long tail of classes: the largest has {largest:,}
training rows, the smallest {smallest}; the ten largest hold {top:.0%} of train, the {rare} classes with fewer than
100 training rows {tail:.0%}.

| file | rows | classes | columns |
|---|---|---|---|
{files}

`id` is the binary package, `text` the short description, a newline, and the long one; `label` the section;
`source` the source package, the unit of the split (a group, should you split train again). Rows stand in the order
of a hash of `source`, so the first n rows are a fair sample. **Neither `id` nor `source` is a feature**: names such
as `r-cran-*` or `lib*-dev` give the section away.

## Where it comes from

- Debian {version} "{codename}" (suite {suite}), component `main`, {architecture}; Release file of **{date}**.
- Files `Packages` and `Translation-en`, joined on `Description-md5`; sha256 of the unpacked files:
{index}
- Built by `python -m benchmarks.datasets.build_debian --sets debian-sections --release {codename}`. A newer snapshot
  gives other counts and sums, but no package moves from one part to another.

## What a section is

A section is what the archive's maintainers file a package under; the package's maintainer proposes it. There is one
per binary package and it answers several questions at once: for which **language** (`perl`, `python`, `golang`,
`javascript`, `ruby`, `java`, `gnu-r`, `haskell`, `lisp`, `ocaml`, `php`, `rust`, `cli-mono`), about what **subject**
(`science`, `math`, `games`, `mail`, `sound`, `hamradio`, ...), for which **desktop** (`gnome`, `kde`, `xfce`, `gnustep`,
`x11`), or in what **form** (`libs`, `libdevel`, `doc`, `introspection`). Whoever chose had to decide which question goes
first, so a perfect score is out of reach.

Decided here:

- All sections are kept as they are, none merged: the rules for merging would be ours, and the labels are Debian's.
  `oldlibs`, `debug` and `metapackages` are no classes: their packages (transitional packages, debug symbols, lists of
  dependencies) have no content and are left out before. Nor is `tasks`: what is left of it comes from one source.
- A leading component ("contrib/", "non-free/") would be cut off; `main` has none.
- The form sections speak of the one package that stands for its source (see below). Text and label are always
  those of the same package.
- A class needs {min_train_rows} training rows. All of Debian's remaining sections have them, so all are kept; rare
  classes are scored with the few rows that there are{absent}. {few} of the {test_classes} classes in
  test have fewer than {few_rows} rows there.
- There is no stratification: the source's name alone decides where a package goes, as in `debian`.

## How it was made

{steps}
{cleaning}
- Split by source package, as in `debian`: SHA-256 of the source's name as a number in [0, 1); under {dev_end}
  dev, under {test_end} test (where the test queries and the distractors of `debian` come from), the rest train. No text
  that `debian` trains on is in dev or test here, and no text of train here is a query or a document there or in
  `debtags`.
- Dropped on the way, the held-out part being kept first:
{dropped}
- "Nearly equals": Jaccard similarity of word 3-grams of {near} or more (MinHash proposes, an exact comparison
  decides); between train and the held-out part the long descriptions alone are compared too.

## Classes

| section | train | dev | test |
|---|---|---|---|
{class_table}

## Lengths, in words

{lengths}

## Reference

| system | dev: accuracy | dev: macro-F1 | test: accuracy | test: macro-F1 |
|---|---|---|---|---|
{figures}

Macro-F1 is the mean over the classes that occur in the part. The 95% interval of an accuracy on test is about
±{interval:.3f} (normal approximation); that of a macro-F1 is wider, because of the rare classes. TF-IDF: words and
pairs of words of {min_texts} or more training texts, lower case, 1 + log of the count. Logistic regression: scikit-learn,
multinomial, lbfgs, C {c:g}; C and the {min_texts} were chosen on dev. Another
machine's arithmetic may change a last digit.

## Known flaws

- The label is one of several that would fit (see above); `misc` holds what found no other place, and `utils`, `admin`,
  `devel`, `text` and `libs` overlap. Like packages are at times filed unlike.
- The language sections are easier than the others, because the text often names the language, and they hold about
  half of the rows; read macro-F1 beside the accuracy.
- Families of packages (plug-ins, bindings, language packs) have similar texts on both sides of the split, below the
  threshold of near duplication.
- Text quality is that of the archive: some lists of one long line, some upstream prose that was never about the
  package. The longest texts are catalogues (TeX packages, fonts) that any encoder will cut.
- The texts are those of `debian`: a model that was tuned on that set's training pairs has seen the training texts
  of this one (not its dev and test texts).

## Licence

{licence}

The sections are facts of the archive's index, which states no licence of its own for them.

## Checksums (sha256, also in `SHA256SUMS`)

{sums}
"""


def sections_card(
    *,
    snapshot: Snapshot,
    selection: Mapping[str, int],
    dropped: Mapping[str, int],
    min_train_rows: int,
    classes: Mapping[str, Counter[str]],
    lengths: Mapping[str, Sequence[int]],
    figures: Mapping[str, Sequence[Scores]],
    sums: Mapping[str, str],
) -> str:
    """The card of `debian-sections`, from the builder's counts.

    Args:
        snapshot: What was read.
        selection: Step of the choice of packages -> packages left after it.
        dropped: Reason -> packages dropped.
        min_train_rows: What a class needs.
        classes: Part -> section -> rows.
        lengths: Part -> words of each text.
        figures: System -> its scores on dev and on test.
        sums: File -> its sha256.
    """
    train, test = classes["train"], classes["test"]
    rows = train.total()
    rare = [count for count in train.values() if count < 100]
    absent = [
        f"; `{section}` has none in {part}"
        for section in sorted(train)
        for part in ("dev", "test")
        if not classes[part][section]
    ]
    best = max(scored[1].accuracy for scored in figures.values())
    return _CARD.format(
        configs=CONFIGS,
        **common(snapshot, selection, dropped, package="id"),
        classes=len(train),
        largest=max(train.values()),
        smallest=min(train.values()),
        top=sum(count for _, count in train.most_common(10)) / rows,
        rare=len(rare),
        tail=sum(rare) / rows,
        files="\n".join(
            f"| `{part}.parquet` | {count.total():,} | {len(count)} | `id`, `text`, `label`, `source` |"
            for part, count in classes.items()
        ),
        index=index_sums(snapshot),
        min_train_rows=min_train_rows,
        absent="".join(absent),
        few=sum(1 for count in test.values() if count < FEW),
        few_rows=FEW,
        test_classes=len(test),
        test_end=CORPUS_END,
        class_table=rows_by_part(classes),
        lengths=length_table(lengths),
        figures=accuracy_table(figures),
        interval=1.96 * (best * (1 - best) / test.total()) ** 0.5,
        min_texts=debian_classifiers.MIN_TEXTS,
        c=debian_classifiers.C,
        sums=checksums(sums),
    )
