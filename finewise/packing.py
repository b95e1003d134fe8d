"""Where the texts of a packed row are, and which of them are computed together.

Shapes: T tokens of the row, H query heads, D dimensions per head, n texts of a bucket, L the longest of them.
"""

from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor

from finewise.batching import buckets

HIDDEN = -30_000.0
"""Added to the score of a key that a query does not see. Not minus infinity: a padded query may see no key at all, and its row
must stay a number, since its (zero) gradient is multiplied with it."""

LONG = 1024
"""From this length on a text's scores are not kept but computed piecewise, by torch's own kernel."""


_ROW = 32


@dataclass(frozen=True, slots=True)
class Bucket:
    """Texts that are computed together. The grouped order holds bucket after bucket, in each (n, H, L) rows of D numbers.

    Attributes:
        start: First token in the grouped order of one head.
        texts: n.
        longest: L.
        bias: (n, 1, 1, L) HIDDEN on keys that are padding; None without padding.
    """

    start: int
    texts: int
    longest: int
    bias: Tensor | None


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the rows of D numbers of (T, heads, D) are found in the grouped order, and back.

    Attributes:
        gather: (heads * padded tokens,) rows of (T * heads, D).
        back: (T * heads,) places in the grouped order.
        padding: Places in the grouped order that hold no text.
    """

    gather: Tensor
    back: Tensor
    padding: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Packing:
    """The texts of a packed row.

    Attributes:
        lengths: Tokens of each text, longest first.
        long: How many of them are longer than LONG; these are in no bucket.
        device: Where the row is.
        starts: (n + 1,) int32, where each text begins, and the end.
        buckets: Runs of texts of nearly equal length.
    """

    lengths: tuple[int, ...]
    long: int
    device: torch.device
    starts: Tensor
    buckets: tuple[Bucket, ...]
    _layouts: dict[tuple[int, int], Layout] = field(default_factory=dict)

    @classmethod
    def of(cls, lengths: list[int], device: torch.device) -> "Packing":
        """Plan a row of texts of these lengths, longest first, none empty."""
        assert lengths
        assert all(lengths), "a text without a token has no row"
        starts = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
        long = sum(length > LONG for length in lengths)
        short = lengths[long:]
        found, place = [], 0
        for first, last in buckets(short):
            texts, longest = last - first, _even(short[first])
            bias = None
            if short[last - 1] < longest:
                sizes = torch.tensor(short[first:last], device=device)
                hidden = torch.arange(longest, device=device) >= sizes[:, None]
                bias = torch.zeros(hidden.shape, device=device).masked_fill_(hidden, HIDDEN)[:, None, None, :]
            found.append(Bucket(place, texts, longest, bias))
            place += texts * longest
        return cls(tuple(lengths), long, device, starts, tuple(found))

    def positions(self) -> Tensor:
        """Return (T,) the position of each token in its text, from 0."""
        return torch.cat([torch.arange(length, device=self.device) for length in self.lengths])

    def layout(self, heads: int, shared: int = 1) -> Layout:
        """Return the layout of the texts in buckets, whose first token is row 0.

        Args:
            heads: H, the query heads.
            shared: How many query heads read one key head; above 1, `gather` is that of keys and values.
        """
        if (heads, shared) not in self._layouts:
            tokens, real = [], []
            first = self.long
            offset = sum(self.lengths[: self.long])
            for bucket in self.buckets:
                sizes = torch.tensor(self.lengths[first : first + bucket.texts], device=self.device)
                begins = self.starts[first : first + bucket.texts].long() - offset
                column = torch.arange(bucket.longest, device=self.device)
                inside = column < sizes[:, None]
                # Padding reads the text's own last token: any finite number does, its weight is zero.
                token = begins[:, None] + torch.minimum(column, sizes[:, None] - 1)
                head = torch.arange(heads, device=self.device)
                tokens.append((token[:, None, :] * (heads // shared) + (head // shared)[None, :, None]).reshape(-1))
                # Row of (T * heads, D) that a place holds, or -1.
                row = torch.where(inside[:, None, :], token[:, None, :] * heads + head[None, :, None], -1).reshape(-1)
                real.append(row)
                first += bucket.texts
            rows = torch.cat(real)
            back = torch.empty(sum(self.lengths[self.long :]) * heads, dtype=torch.long, device=self.device)
            at = torch.nonzero(rows >= 0).squeeze(1)
            back[rows[at]] = at
            padding = torch.nonzero(rows < 0).squeeze(1)
            self._layouts[heads, shared] = Layout(torch.cat(tokens), back, padding)
        return self._layouts[heads, shared]


def _even(length: int) -> int:
    """Return the length, or the next multiple of 32 where that is cheaper.

    A CPU computes rows of bf16 scores 32 at a time and what remains one by one: a softmax over 127 takes 2.0 ns per score, over
    128 0.85 ns. A few empty columns cost less than that.
    """
    rest = length % _ROW
    return length + _ROW - rest if rest and (_ROW - rest) * 80 < rest * length else length
