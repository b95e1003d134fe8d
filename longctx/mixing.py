"""The mix of short and long: a share of the tokens is read within the trained window, which keeps what the model could do."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from longctx.blocks import Numbers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mix:
    """What becomes of the pieces.

    Attributes:
        turned: (n,) of the long pieces: read in short ones instead.
        left_out: (m,) of the short pieces: not read, because there are more of them than the share wants.
    """

    turned: NDArray[np.bool_]
    left_out: NDArray[np.bool_]


def mix(long: Numbers, short: Numbers, share: float, seed: int) -> Mix:
    """Choose, by the seed, so that `share` of the predicted tokens is in short pieces, as near as whole pieces allow.

    Long pieces are turned into short ones where there are too few of these, and short ones are left out where there are too
    many. Long ones are never left out. Off by half of the largest piece at most.

    Args:
        long: (n,) predicted tokens of each long piece.
        short: (m,) the same of the short ones.
        share: From 0 to 1.
        seed: Decides which.
    """
    rng = np.random.default_rng(seed)
    far, near = int(long.sum()), int(short.sum())
    none_turned, none_left_out = np.zeros(len(long), dtype=np.bool_), np.zeros(len(short), dtype=np.bool_)
    wanted = share * (far + near)
    if near <= wanted:
        return Mix(turned=_drawn(long, wanted - near, rng), left_out=none_left_out)
    # near' / (far + near') = share
    kept = _drawn(short, share / (1 - share) * far, rng)
    return Mix(turned=none_turned, left_out=~kept)


def _drawn(sizes: Numbers, wanted: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw pieces whose sizes come as near to a sum as the first ones of a random order can."""
    order = rng.permutation(len(sizes))
    sums = np.cumsum([0, *sizes[order].tolist()])
    found = np.zeros(len(sizes), dtype=np.bool_)
    found[order[: int(np.abs(sums - wanted).argmin())]] = True
    return found
