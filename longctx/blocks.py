"""Rows of a language model's training: documents cut into pieces, pieces laid into rows, no document seeing another.

A piece is a run of tokens of one document; the pieces of a document overlap by one token, so that each of its tokens but the
first is predicted exactly once, wherever the cuts are. A row is what a step counts: pieces of at most `window` tokens together.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finewise.data.tokenised import Ids, Tokenised
from longctx.pose import positions

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pieces:
    """Runs of tokens of documents, (n,) each.

    Attributes:
        document: Which document.
        start: Where in the document the piece begins.
        end: Where it ends (exclusive).
    """

    document: Numbers
    start: Numbers
    end: Numbers

    def __len__(self) -> int:
        return len(self.document)

    @property
    def tokens(self) -> Numbers:
        """Tokens of each piece, (n,)."""
        return self.end - self.start

    @property
    def predicted(self) -> Numbers:
        """Tokens of each piece that are predicted: all but the first, (n,)."""
        return self.end - self.start - 1

    def take(self, which: Numbers | NDArray[np.bool_]) -> "Pieces":
        """Return some of the pieces."""
        return Pieces(document=self.document[which], start=self.start[which], end=self.end[which])

    def __add__(self, other: "Pieces") -> "Pieces":
        return Pieces(
            document=np.concatenate([self.document, other.document]),
            start=np.concatenate([self.start, other.start]),
            end=np.concatenate([self.end, other.end]),
        )


def whole(lengths: Sequence[int] | Numbers) -> Pieces:
    """Return documents of these lengths as one piece each; those of fewer than two tokens predict nothing and give none."""
    sizes = np.asarray(lengths, dtype=np.int64)
    (document,) = np.nonzero(sizes >= 2)
    return Pieces(document=document, start=np.zeros(len(document), dtype=np.int64), end=sizes[document])


def cut(pieces: Pieces, size: int) -> Pieces:
    """Cut each piece into consecutive ones of `size` tokens; the last of each may be shorter, but has two tokens at least.

    Args:
        pieces: What is cut.
        size: At least 2.
    """
    counts = -(-pieces.predicted // (size - 1))
    which = np.repeat(np.arange(len(pieces)), counts)
    number = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    start = pieces.start[which] + number * (size - 1)
    return Pieces(document=pieces.document[which], start=start, end=np.minimum(start + size, pieces.end[which]))


def packed(tokens: Numbers, window: int) -> list[list[int]]:
    """Lay pieces into rows of at most `window` tokens: best fit, the longest first (Johnson 1973).

    Args:
        tokens: (n,) of each piece, none above `window`.
        window: Tokens of a row.

    Returns:
        Per row the numbers of its pieces.
    """
    rows: list[list[int]] = []
    space: list[tuple[int, int]] = []  # (free tokens, row), sorted
    for piece in np.argsort(-tokens, kind="stable").tolist():
        size = int(tokens[piece])
        place = bisect_left(space, (size, -1))
        free, row = space.pop(place) if place < len(space) else (window, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(piece)
        if free - size >= 2:
            insort(space, (free - size, row))
    return rows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blocks:
    """The rows of a training.

    Attributes:
        tokens: The documents' ids.
        pieces: Of all rows, row by row.
        far: (n,) whether the positions of a piece skip (PoSE).
        bounds: (rows + 1,) where each row's pieces begin in `pieces`, and the end.
        window: Tokens that a row has at most.
        original: L, the window that the model was trained with.
        target: L', to which skipping positions reach.
        seed: Of the skips and of the order of the rows.
    """

    tokens: Tokenised
    pieces: Pieces
    far: NDArray[np.bool_]
    bounds: Numbers
    window: int
    original: int
    target: int
    seed: int

    @classmethod
    def of(
        cls,
        tokens: Tokenised,
        near: Pieces,
        far: Pieces,
        *,
        window: int,
        original: int,
        target: int,
        seed: int,
        skip: bool = False,
    ) -> "Blocks":
        """Lay pieces into rows; those of `far` and those of `near` into different ones.

        So a row is either long or short, which matters to models whose frequencies depend on the length that is read.

        Args:
            tokens: The documents' ids.
            near: Pieces that are read as they are.
            far: Pieces that reach beyond the trained window.
            window: Tokens of a row.
            original: L.
            target: L'.
            seed: See above.
            skip: Whether the positions of `far` skip.
        """
        rows = packed(near.tokens, window) + [
            [piece + len(near) for piece in row] for row in packed(far.tokens, window)
        ]
        order = np.array([piece for row in rows for piece in row], dtype=np.int64)
        return cls(
            tokens=tokens,
            pieces=(near + far).take(order),
            far=(order >= len(near)) if skip else np.zeros(len(order), dtype=np.bool_),
            bounds=np.cumsum([0, *map(len, rows)], dtype=np.int64),
            window=window,
            original=original,
            target=target,
            seed=seed,
        )

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def row(self, row: int, epoch: int = 0) -> list[tuple[Ids, Numbers]]:
        """Return ids and positions of each piece of a row.

        Args:
            row: Which.
            epoch: Skips are drawn anew in each.
        """
        found = []
        for piece in range(int(self.bounds[row]), int(self.bounds[row + 1])):
            begin = int(self.tokens.offsets[self.pieces.document[piece]])
            ids = self.tokens.ids[begin + int(self.pieces.start[piece]) : begin + int(self.pieces.end[piece])]
            if self.far[piece]:
                rng = np.random.default_rng([self.seed, epoch, piece])
                found.append((ids, positions(len(ids), self.target, rng)))
            else:
                found.append((ids, np.arange(len(ids))))
        return found

    @property
    def predicted(self) -> int:
        """Tokens that are predicted in an epoch."""
        return int(self.pieces.predicted.sum())

    @property
    def short_share(self) -> float:
        """Share of the predicted tokens that are read within the trained window."""
        short = ~self.far & (self.pieces.tokens <= self.original)
        return float(self.pieces.predicted[short].sum() / max(1, self.predicted))
