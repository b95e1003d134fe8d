"""What the baselines of words read: tokens by script, stop words and stemmer by language, and whether they can read at all."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from finewise.console import say
from finewise.data.scripts import CHARACTER, LETTERS
from finewise.record import Comparison

SAMPLE = 1000
"""Texts that language and readability are judged by, evenly taken."""

_RUNS = re.compile(rf"(?:{CHARACTER})+|{LETTERS}")
_CHARACTER = re.compile(CHARACTER)
_HANGUL = re.compile("[\uac00-\ud7a3]+")

_SHARE = 0.15
"""Share of stop words from which on a language is recognised; running text has 0.3 to 0.5."""


def runs(text: str) -> list[str | list[str]]:
    """Return the words of a text in Unicode's form KC and lower case; a run of a script without blanks as its characters.

    >>> runs("The Thé 東京 12")
    ['the', 'thé', ['東', '京'], '12']
    """
    found = _RUNS.findall(unicodedata.normalize("NFKC", text).lower())
    return [_CHARACTER.findall(run) if _CHARACTER.match(run) else run for run in found]


def terms(text: str) -> list[str]:
    """Return what a search index takes from a text: words of two characters or more, and pairs of characters.

    Pairs stand for words in scripts without blanks and in Korean, whose particles are written together with the word, as in
    Lucene's CJKAnalyzer.

    >>> terms("a red 東京都 語 서울에서")
    ['red', '東京', '京都', '語', '서울', '울에', '에서']
    """
    found: list[str] = []
    for run in runs(text):
        if isinstance(run, str) and not _HANGUL.fullmatch(run):
            if len(run) > 1:
                found.append(run)
        elif len(run) == 1:
            found.append(run[0])
        else:
            found += [first + second for first, second in pairwise(run)]
    return found


def grams(text: str) -> list[str]:
    """Return words, pairs of words, and one to three characters of scripts without blanks: the features of TF-IDF.

    >>> grams("a red fish"), grams("東京都")
    (['red', 'fish', 'red fish'], ['東', '京', '都', '東京', '京都', '東京都'])
    """
    found: list[str] = []
    words: list[str] = []
    for run in runs(text):
        if isinstance(run, list):
            found += ["".join(run[at : at + size]) for size in (1, 2, 3) for at in range(len(run) - size + 1)]
        elif len(run) > 1:
            words.append(run)
            if _HANGUL.fullmatch(run):
                found += [run[at : at + 2] for at in range(len(run) - 1)]
    return [*words, *(f"{first} {second}" for first, second in pairwise(words)), *found]


@dataclass(frozen=True, slots=True)
class Reader:
    """Terms of texts in one language.

    Attributes:
        language: As Snowball calls it, or "none": neither stop words nor stems.
        stem: Whether words are reduced to their stems.
    """

    language: str
    stem: bool = True

    def terms(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the terms of each text."""
        import Stemmer

        stops = stop_words(self.language)
        stemmer = Stemmer.Stemmer(self.language) if self.stem and self.language != "none" else None
        found = [[term for term in terms(text) if term not in stops] for text in texts]
        return found if stemmer is None else [stemmer.stemWords(row) for row in found]


def stop_words(language: str) -> frozenset[str]:
    """Return the stop words of a language; none where no list is known. English has Lucene's short list."""
    import bm25s.stopwords

    name = "EN" if language == "english" else language.upper()
    return frozenset(getattr(bm25s.stopwords, f"STOPWORDS_{name}", ()))


def detect(texts: Sequence[str]) -> str:
    """Return the language of texts by the stop words that they hold, or "none".

    Few words of Latin letters without marks count as English, as keywords and identifiers mostly are.

    >>> detect(["Das ist der Hund und die Katze, die nicht mit ihm spielt"]), detect(["東京へ行きました"])
    ('german', 'none')
    """
    import bm25s.stopwords

    words = [run for text in _some(texts) for run in runs(text) if isinstance(run, str) and run[0].isalpha()]
    if not words:
        return "none"
    shares = {}
    for language in _LISTED:
        name = "EN_PLUS" if language == "english" else language.upper()
        stops = frozenset(getattr(bm25s.stopwords, f"STOPWORDS_{name}"))
        shares[language] = sum(word in stops for word in words) / len(words)
    best = max(shares, key=lambda language: shares[language])
    if shares[best] >= _SHARE:
        return best
    ascii_share = sum(word.isascii() for word in words) / len(words)
    return "english" if ascii_share > 0.98 and (len(words) < 100 or shares["english"] >= 0.03) else "none"


_LISTED = (
    "english", "german", "dutch", "french", "spanish", "portuguese", "italian", "danish", "norwegian", "swedish", "russian",
    "turkish",
)  # fmt: skip
"""Languages with a list of stop words and a stemmer."""


def unread(known: Sequence[str], new: Sequence[str], tokens: Callable[[str], Sequence[str]]) -> str | None:
    """Return why words tell nothing of these texts, or None if they can.

    Args:
        known: What is learnt from or searched.
        new: What is classified or asked.
        tokens: Gives the words of a text.
    """
    some = [text for text in _some(new) if any(letter.isalnum() for letter in text)]
    if not some:
        return None
    found = [tokens(text) for text in some]
    long = [row for text, row in zip(some, found, strict=True) if len(text) >= 20]
    if 2 * sum(not row for row in found) > len(found):
        return "most texts have no word that it knows how to read"
    if len(long) > len(some) / 2 and sum(len(row) <= 1 for row in long) > 0.8 * len(long):
        return "nearly every text is one word to it"
    vocabulary = {token for text in _some(known) for token in tokens(text)}
    if sum(any(token in vocabulary for token in row) for row in found) < 0.05 * len(found):
        return "its words of the one side hardly occur on the other"
    return None


def without_claims(comparisons: Sequence[Comparison], reasons: Mapping[str, str | None]) -> list[Comparison]:
    """Return the comparisons, without a test against baselines (`b`) that could not read the texts.

    Args:
        comparisons: Of one table.
        reasons: Baseline -> from `unread`.
    """
    return [
        replace(row, p=None, p_adjusted=None, detectable=None, test=f"{row.b} cannot read these texts: {reason}")
        if (reason := reasons.get(row.b))
        else row
        for row in comparisons
    ]


def unclaimed(
    comparisons: Sequence[Comparison], readings: Mapping[str, Mapping[str, Any]], benchmark: str
) -> list[Comparison]:
    """Return `without_claims` for what `reading` says of each baseline on a benchmark, with a warning for those that cannot."""
    reasons = {name: found["unread"] for name, found in readings.items()}
    for name, reason in reasons.items():
        if reason is not None:
            say(
                f"warning: {name} cannot read the texts of {benchmark} ({reason}): being better than it is no achievement"
            )
    return without_claims(comparisons, reasons)


def _some(texts: Sequence[str]) -> list[str]:
    step = max(1, len(texts) // SAMPLE)
    return [texts[place] for place in range(0, len(texts), step)]


def reading(known: Sequence[str], new: Sequence[str], language: str) -> dict[str, Any]:
    """Return what a record says of how BM25 reads texts: language, and why not, if it cannot.

    Args:
        known: The documents.
        new: The queries.
        language: "auto": as `detect` says.
    """
    named = detect([*_some(known), *_some(new)]) if language == "auto" else language
    return {"language": named, "detected": language == "auto", "unread": unread(known, new, terms)}
