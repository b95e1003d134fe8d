"""Debian's package index as text: stanzas, descriptions, tags, boilerplate, and the choice of one package per source.

Everything here is pure: strings in, values out. `debian_fetch` fetches, `build_debian` puts the data sets together.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

Stanza = dict[str, str]

# Debian's own words for a package that has no content of its own.
_EMPTY_SYNOPSIS = re.compile(
    r"\b(transitional|dummy (package|for)|empty package|meta-?package|virtual package|debug(ging)? symbols)\b",
    re.IGNORECASE,
)
_EMPTY_TEXT = re.compile(
    r"\b(is|as) (an? |only an? |just an? )?(empty )?(transitional|dummy|empty|meta-?|virtual)"
    r" ?(dummy |transitional |meta-?)?package"
    r"|\b(package|it) can (then |now )?(be )?safely (be )?(removed|purged|deinstalled)\b",
    re.IGNORECASE,
)
_EMPTY_SECTIONS = {"oldlibs", "debug", "metapackages"}
_EMPTY_TAGS = {"role::dummy", "role::metapackage", "role::debug-symbols"}
_DEBUG_NAME = re.compile(r"-dbg(sym)?$")

# A source's packages that repeat its description and add a line about headers, manuals or data come second or third.
_DEV_NAME = re.compile(r"-dev$")
_SIBLING_NAME = re.compile(
    r"-(docs?|common|data|prof|examples?|tests?|l10n|i18n|locales?|static)$|-(doc|l10n|i18n)-"
    r"|^librust-.*\+"  # one feature of a crate
)

_BULLET = re.compile(r"(?:[*+•·‣◦o–—-]|--|\(?\d{1,2}[.)])\s+(?=\S)")
_INVISIBLE = re.compile(r"[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060\ufeff\ufffd]")
_WORD = re.compile(r"\w+")


@dataclass(slots=True, kw_only=True, frozen=True)
class Package:
    """One binary package: what it is called, where it comes from, and its two descriptions as clean text."""

    name: str
    source: str
    section: str
    tags: frozenset[str]
    short: str
    paragraphs: tuple[str, ...]

    @property
    def long(self) -> str:
        """The long description: paragraphs with an empty line between them."""
        return "\n\n".join(self.paragraphs)


def parse_stanzas(text: str) -> Iterator[Stanza]:
    """The stanzas of a Debian control file. Continuation lines keep their leading blank, the first line is stripped.

    >>> list(parse_stanzas("Package: a\\nTag: x,\\n y\\n\\nPackage: b"))
    [{'Package': 'a', 'Tag': 'x,\\n y'}, {'Package': 'b'}]
    """
    stanza: Stanza = {}
    key = ""
    for line in text.split("\n"):
        if not line.strip():
            if stanza:
                yield stanza
            stanza, key = {}, ""
        elif line[0] in " \t":
            if not key:
                raise ValueError(f"a stanza must begin with 'Field: value'; got the continuation line {line!r}")
            stanza[key] += "\n" + line
        else:
            key, colon, value = line.partition(":")
            if not colon:
                raise ValueError(f"a line of a stanza must read 'Field: value'; got {line!r}")
            stanza[key] = value.strip()
    if stanza:
        yield stanza


def clean_line(text: str) -> str:
    """One line of text in Unicode NFC, without control and zero-width characters, with single blanks."""
    return " ".join(_INVISIBLE.sub("", unicodedata.normalize("NFC", text)).split())


def parse_description(description: str) -> tuple[str, tuple[str, ...]]:
    """Debian's description field as (short, paragraphs).

    In the field, the first line is the short description; each further line begins with one blank that means nothing;
    a line ' .' ends a paragraph; a line that is indented further stands for itself (a list, a table). Here, wrapped
    lines are joined, each list item gets one line that begins with '- ' (or keeps its number), and lines without a
    letter or digit (rules, frames) are dropped.

    >>> parse_description("tool\\n Does this\\n and that:\\n  * one\\n    more\\n  * two\\n .\\n End.")
    ('tool', ('Does this and that:\\n- one more\\n- two', 'End.'))
    """
    short, _, rest = description.partition("\n")
    paragraphs: list[str] = []
    lines: list[str] = []
    item_indent: int | None = None  # indent of the list item that the last line belongs to

    def finish() -> None:
        nonlocal item_indent
        if lines:
            paragraphs.append("\n".join(lines))
        lines.clear()
        item_indent = None

    joinable = False  # whether a line of running text may be joined to the last line
    for raw in rest.split("\n"):
        body = raw[1:].expandtabs(8)
        stripped = body.strip()
        if stripped in {"", "."}:
            finish()
            joinable = False
            continue
        text = clean_line(stripped)
        if not _WORD.search(text):
            joinable = False
            continue
        indent = len(body) - len(body.lstrip())
        bullet = _BULLET.match(stripped)
        if bullet and (stripped[0] != "o" or indent > 0):
            marker = "" if bullet.group()[0] in "(0123456789" else "- "  # numbered items keep their numbers
            lines.append(marker + clean_line(stripped[bullet.end() if marker else 0 :]))
            item_indent, joinable = indent, True
        elif (
            item_indent is not None
            and joinable
            and (indent > item_indent or (indent == item_indent and text[0].islower()))
        ):
            lines[-1] += " " + text
        elif indent > 0:
            lines.append(text)
            item_indent, joinable = None, False
        elif joinable and item_indent is None:
            lines[-1] += " " + text
        else:
            lines.append(text)
            item_indent, joinable = None, True
    finish()
    return clean_line(short), tuple(paragraphs)


def parse_tags(field: str) -> frozenset[str]:
    """The tags of an index's Tag field, which wraps over lines; `a::{b,c}` is the old way to write two tags.

    >>> sorted(parse_tags("game::strategy,\\n use::{gameplaying,learning}"))
    ['game::strategy', 'use::gameplaying', 'use::learning']
    """
    tags: set[str] = set()
    for part in re.findall(r"[^,{]+\{[^}]*\}|[^,]+", field.replace("\n", " ")):
        facet, brace, inner = part.strip().partition("{")
        tags.update(facet + name.strip() for name in inner.rstrip("}").split(",")) if brace else tags.add(facet)
    return frozenset(tag for tag in tags if tag)


def word_count(text: str) -> int:
    """Words, as runs of anything but blanks that hold a letter or a digit; a bullet is not a word."""
    return sum(1 for token in text.split() if _WORD.search(token))


def read_package(stanza: Stanza, descriptions: dict[str, str]) -> Package:
    """A stanza of the index with its description from the translations file (`Description-md5` → text) as a Package."""
    name = stanza["Package"]
    digest = stanza.get("Description-md5", "")
    description = descriptions.get(digest, stanza.get("Description", ""))
    short, paragraphs = parse_description(description)
    return Package(
        name=name,
        source=stanza.get("Source", name).split(" ")[0],  # "Source: name (version)"
        section=stanza.get("Section", "unknown").rpartition("/")[2],
        tags=parse_tags(stanza.get("Tag", "")),
        short=short,
        paragraphs=paragraphs,
    )


def has_content(package: Package) -> bool:
    """Whether the package is more than a name: not transitional, dummy, meta or debug symbols."""
    return not (
        package.section in _EMPTY_SECTIONS
        or package.tags & _EMPTY_TAGS
        or _DEBUG_NAME.search(package.name)
        or _EMPTY_SYNOPSIS.search(package.short)
        or _EMPTY_TEXT.search(package.long.replace("\n", " "))
    )


def choose_package(packages: Iterable[Package]) -> Package:
    """The one package that stands for its source.

    Preferred, in this order: the one named like the source; one that is not a sibling (-dev before -doc, -common,
    -data, -prof, ...); the longest description; the first name.
    """

    def rank(package: Package) -> tuple[bool, int, int, str]:
        tier = 2 if _SIBLING_NAME.search(package.name) else 1 if _DEV_NAME.search(package.name) else 0
        return package.name != package.source, tier, -len(package.long), package.name

    return min(packages, key=rank)


def masked(paragraph: str, package: Package) -> str:
    """The paragraph in lower case, its own names and all numbers replaced, so that boilerplate compares equal."""
    own = {part.lower() for part in re.split(r"[^A-Za-z]+", f"{package.name} {package.source}") if len(part) > 1}
    words = re.findall(r"[a-z]+|\d+", paragraph.lower())
    return " ".join("_" if word in own or word.isdigit() else word for word in words)


def boilerplate(packages: Iterable[Package], *, sources: int = 10, words: int = 4) -> frozenset[str]:
    """Masked paragraphs that occur in at least that many sources: 'This package contains the shared library', say.

    Paragraphs below `words` words are left alone: they are headings ('Features:').
    """
    seen: dict[str, set[str]] = defaultdict(set)
    for package in packages:
        for paragraph in package.paragraphs:
            seen[masked(paragraph, package)].add(package.source)
    return frozenset(form for form, where in seen.items() if len(where) >= sources and len(form.split()) >= words)


def without(package: Package, forms: frozenset[str]) -> Package:
    """The package less the paragraphs whose masked form is among `forms`."""
    return replace(package, paragraphs=tuple(text for text in package.paragraphs if masked(text, package) not in forms))
