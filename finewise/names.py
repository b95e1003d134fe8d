"""Finding the name that the user meant."""

from collections.abc import Iterable
from difflib import get_close_matches


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
