"""Debian's tag vocabulary: which tags name a topic, and the query that a tag's description makes."""

from __future__ import annotations

import re

from benchmarks.datasets.debian_text import parse_description, parse_stanzas

# A facet is in when its tags say what a package is about or for. Left out are those that say what a package *is* (role,
# scope, made-of), what it is written in or drawn with (implemented-in, interface, uitoolkit, x11), which family or
# class of machine it belongs to (suite, system, iso15924), and housekeeping (special, secteam).
TOPICAL_FACETS = (
    "accessibility", "admin", "biology", "culture", "devel", "field", "game", "hardware", "junior", "mail", "network",
    "office", "protocol", "science", "security", "sound", "use", "web", "works-with", "works-with-format",
)  # fmt: skip
# Under devel:: stand programming languages and roles too.
_NOT_TOPICAL = re.compile(r"::(TODO|lang:.*|library|runtime|examples|doc|interpreter|machinecode|ecma-cli)$")


def is_topical(tag: str) -> bool:
    """Whether a tag says what a package is about or for."""
    return tag.partition("::")[0] in TOPICAL_FACETS and _NOT_TOPICAL.search(tag) is None


def tag_descriptions(vocabulary: str) -> dict[str, str]:
    """Each tag in words: 'Facet: Tag. First paragraph of the long description', the latter if there is one.

    The facet's title is put in front because a tag's own title is often a bare word ('French', 'Text') that only makes
    sense under it.
    """
    titles: dict[str, str] = {}
    descriptions: dict[str, str] = {}
    for stanza in parse_stanzas(vocabulary):
        short, paragraphs = parse_description(stanza.get("Description", ""))
        if "Facet" in stanza:
            titles[stanza["Facet"]] = short
        if "Tag" not in stanza:
            continue
        tag = stanza["Tag"]
        facet = tag.partition("::")[0]
        text = f"{titles.get(facet, facet)}: {short}"
        first = " ".join(paragraphs[0].split()) if paragraphs else ""
        if first and not first.startswith(("Link:", "http", "Homepage:")):
            text = f"{text.rstrip('.')}. {first}"
        descriptions[tag] = text
    return descriptions


def tag_queries(vocabulary: str) -> dict[str, str]:
    """Each topical tag's query: the tag in words."""
    return {tag: text for tag, text in tag_descriptions(vocabulary).items() if is_topical(tag)}
