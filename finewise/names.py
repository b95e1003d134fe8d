"""Finding the name that the user meant, and writing names where they can do no harm."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
"""Names that Windows gives to devices, with any ending."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to `name`, or None when nothing is close."""
    options = [str(option) for option in known]
    by_lower = {option.lower(): option for option in options}
    found = get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return "unknown WHAT 'NAME'; did you mean 'X'? Known: a, b, c" for an error message.

    >>> unknown("metric", "ndgc@10", ["ndcg@10", "map"])
    "unknown metric 'ndgc@10'; did you mean 'ndcg@10'? Known: map, ndcg@10"
    """
    options = sorted(str(option) for option in known)
    guess = nearest(name, options)
    hint = f"; did you mean '{guess}'?" if guess else "."
    return f"unknown {what} '{name}'{hint} Known: {', '.join(options) or 'none'}"


def check_folder_name(key: str, name: str) -> None:
    """Check that a name is that of one folder, on every system.

    Raises:
        ValueError: It is empty, reserved, too long, or holds a separator, a control character or another unusual sign.
    """
    problem = ""
    if not name.strip():
        problem = "is empty"
    elif re.search(r"[/\\]", name):
        problem = "holds a path separator"
    elif re.search(r'[\x00-\x1f\x7f<>:"|?*]', name):
        problem = "holds a character that a folder's name cannot have everywhere"
    elif name in (".", "..") or name[-1] in ". " or name[0] == " ":
        problem = "is a dot, or begins or ends with a blank, or ends with a dot"
    elif name.partition(".")[0].lower() in _RESERVED:
        problem = "is reserved by Windows"
    elif len(name.encode()) > 200:
        problem = "is longer than 200 bytes"
    if problem:
        raise ValueError(
            f"{key}={printable(name)!r} {problem}; it names the folder of the runs: set a plain name such as my-run"
            " (run.root and run.dir say where runs are kept)"
        )


def printable(text: str) -> str:
    """Return text on one line without control characters, which would move the cursor or colour the terminal.

    >>> printable("a\\nb"), printable("\\x1b[31mred")
    ('a b', '\\\\x1b[31mred')
    """
    lines = re.sub(r"[\t\r\n\x0b\x0c\x85\u2028\u2029]+", " ", text)
    return "".join(character if character.isprintable() else _spelt(character) for character in lines)


def _spelt(character: str) -> str:
    if character in "\u200c\u200d":  # joiners, which many scripts need
        return character
    return character.encode("unicode_escape").decode() if not character.isspace() else character


def markdown_text(text: str) -> str:
    """Return text as Markdown that shows it: on one line, without HTML, links, code or cells of its own.

    >>> print(markdown_text("a|b <img src=x> p < .05 [x](y)"))
    a\\|b &lt;img src=x> p < .05 [x\\](y)
    """
    text = re.sub(r"&(?=#?\w+;)", "&amp;", printable(text))
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)
    return re.sub(r"([|`]|\](?=\())", r"\\\1", text)
