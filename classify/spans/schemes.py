"""Tag schemes: how tags mark where spans begin and end. All become BIO; what breaks a scheme is found.

IOB1 (Ramshaw & Marcus 1995): B- only where a span follows one of its own type. BIO (IOB2): every span begins with B-.
BIOES: besides, E- ends a span of several words and S- is a span of one; L- and U- are the same by other names.
"""

import re
from collections.abc import Iterable, Sequence

PREFIXES = {"bio": "BI", "iob1": "BI", "bioes": "BIESLU"}
OUTSIDE = "O"

_TAG = re.compile(r"([BIESLU])-(\S+)")


def recognise(sequences: Iterable[Sequence[str]]) -> str:
    """Return the scheme that some texts' tags look like: "bio", "iob1" or "bioes".

    >>> recognise([["B-X", "E-X", "O"]]), recognise([["I-X", "I-X", "B-X"]]), recognise([["B-X", "O", "I-X"]])
    ('bioes', 'iob1', 'bio')
    """
    bare, begins = False, False
    for tags in sequences:
        before = OUTSIDE
        for tag in tags:
            if tag[:2] in ("E-", "S-", "L-", "U-"):
                return "bioes"
            if tag[:2] == "B-" and before[2:] != tag[2:]:
                begins = True
            if tag[:2] == "I-" and before[2:] != tag[2:]:
                bare = True
            before = tag
    return "iob1" if bare and not begins else "bio"


def check_tag(tag: str, scheme: str) -> None:
    """Raise ValueError with what is wrong unless the tag is of the scheme."""
    found = _TAG.fullmatch(tag)
    if tag == OUTSIDE or (found and found[1] in PREFIXES[scheme]):
        return
    if found is None:
        raise ValueError(f"must be tags such as O, B-PER, I-PER; got '{tag}'")
    raise ValueError(f"holds '{tag}', which the scheme {scheme} does not have; set data.scheme=bioes, or correct it")


def to_bio(tags: Sequence[str], scheme: str) -> tuple[list[str], list[int]]:
    """Return the tags as BIO, and the places at which they break their scheme.

    A broken place begins a new span, as in conlleval.

    >>> to_bio(["B-X", "I-Y", "O", "I-Y"], "bio")
    (['B-X', 'B-Y', 'O', 'B-Y'], [1, 3])
    >>> to_bio(["I-X", "B-X", "I-Y"], "iob1")
    (['B-X', 'B-X', 'B-Y'], [])
    >>> to_bio(["B-X", "E-X", "S-X", "B-Y", "O"], "bioes")
    (['B-X', 'I-X', 'B-X', 'B-Y', 'O'], [4])
    """
    made: list[str] = []
    broken: list[int] = []
    open_kind, ended = "", True  # of the span before, and whether it is complete
    for place, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-")
        prefix = {"L": "E", "U": "S"}.get(prefix, prefix)
        continues = prefix in ("I", "E") and kind == open_kind and not (scheme == "bioes" and ended)
        if scheme == "bioes":
            wrong = (prefix in ("I", "E")) != continues or (not ended and not continues)
        elif scheme == "iob1":
            wrong = prefix == "B" and kind != open_kind
        else:
            wrong = prefix == "I" and not continues
        if wrong:
            broken.append(place)
        if tag == OUTSIDE:
            made.append(OUTSIDE)
            open_kind, ended = "", True
        else:
            made.append(f"{'I' if continues else 'B'}-{kind}")
            open_kind, ended = kind, prefix in ("E", "S")
    if scheme == "bioes" and not ended:
        broken.append(len(tags) - 1)
    return made, broken
