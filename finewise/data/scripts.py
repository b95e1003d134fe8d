"""Words in every script: where blanks part them, where each character stands alone, and which marks belong to which letter."""

import re
import unicodedata

import numpy as np
from numpy.typing import NDArray

NO_BLANKS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
"""Scripts whose words stand without blanks between them: Thai, Lao, Burmese, Khmer, Japanese, Chinese. Inside [...]."""


def _marks() -> str:
    """Return all combining marks (Unicode's categories Mn, Mc and Me) and both joiners as ranges. Inside [...]."""
    ranges: list[list[int]] = [[0x200C, 0x200D]]
    for code in (*range(0x300, 0x1F000), *range(0xE0100, 0xE01F0)):  # beyond there are none
        if unicodedata.category(chr(code)).startswith("M"):
            if ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


MARKS = _marks()
"""Python's `\\w` has no marks: with it alone, e + U+0301 is two words, and so is every vowel sign of Hindi."""

CHARACTER = rf"[{NO_BLANKS}][{MARKS}]*"
"""A character of a script without blanks, with its marks."""

LETTERS = rf"(?:(?![{NO_BLANKS}])\w)(?:(?![{NO_BLANKS}])[\w{MARKS}])*"
"""Letters and digits of the other scripts, with their marks."""

WORD = re.compile(rf"{CHARACTER}|{LETTERS}|[^\w\s][{MARKS}]*")
"""A word; in scripts without blanks, a character; or a sign."""


def composed(text: str, words: NDArray[np.int64]) -> tuple[str, NDArray[np.int64]]:
    """Return a text in Unicode's form C, and where its words (W, 2) stand in that.

    Args:
        text: In any form.
        words: Start and end of each, in order, without overlap.

    >>> text, words = composed("the\\u0301 noir", np.array([[0, 4], [5, 9]]))
    >>> text == "th\\u00e9 noir", words.tolist()
    (True, [[0, 3], [4, 8]])
    """
    if unicodedata.is_normalized("NFC", text):
        return text, words
    parts: list[str] = []
    found = np.empty_like(words)
    at = done = 0
    for row, (start, end) in enumerate(words.tolist()):
        between, inside = (unicodedata.normalize("NFC", part) for part in (text[done:start], text[start:end]))
        found[row] = at + len(between), at + len(between) + len(inside)
        parts += [between, inside]
        at, done = int(found[row, 1]), end
    return "".join([*parts, unicodedata.normalize("NFC", text[done:])]), found
