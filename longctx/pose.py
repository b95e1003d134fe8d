"""PoSE (Zhu et al. 2023, arXiv 2309.10400): positions that skip, so that short rows teach far distances."""

import numpy as np
from numpy.typing import NDArray


def positions(tokens: int, target: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return (tokens,) positions in two chunks with one skip between them.

    The first chunk starts at 0. The skip u is drawn from U{0, ..., target - tokens}, so that the last position reaches up to
    target - 1, and where the second chunk begins from U{1, ..., tokens - 1}. The text of the two chunks is consecutive (v_i = 0
    in the paper's notation).

    Args:
        tokens: Of the row; at least 2 and at most `target`.
        target: The window that positions are to reach.
        rng: Draws.
    """
    second = int(rng.integers(1, tokens))
    skip = int(rng.integers(0, target - tokens + 1))
    found = np.arange(tokens)
    found[second:] += skip
    return found
