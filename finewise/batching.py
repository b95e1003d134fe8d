"""How a batch is computed: cut into micro-batches and packs under a token budget. Pure; imports nothing heavy.

Which texts are in a batch is the sampler's business. Here only the execution changes: the same texts, the same loss, less
padding. Padding costs time and memory without changing a number: a padded batch of b texts computes b * max(length) tokens.
"""

from collections.abc import Sequence

WASTE = 16_384
"""Score cells (query-key pairs) that padding may add to a bucket: about what the overhead of one more bucket costs."""

BUCKET = 262_144
"""Score cells of a bucket: with a dozen heads they stay in a CPU's cache."""


def micro_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Cut a batch into micro-batches of similar length, each to be padded to its longest text.

    Args:
        lengths: (B,) tokens of each text.
        budget: At most this many padded tokens per micro-batch (texts times the longest of them). A single text that is
            longer than the budget gets a micro-batch of its own.

    Returns:
        Lists of indices into `lengths`, together a permutation of range(B); the longest texts come first, so that the peak of
        memory is met at once.

    >>> micro_batches([3, 9, 4, 1], budget=10)
    [[1], [2, 0], [3]]
    """
    order = longest_first(lengths)
    groups: list[list[int]] = []
    longest = 0
    for index in order:
        if groups and (len(groups[-1]) + 1) * longest <= budget:
            groups[-1].append(index)
        else:
            groups.append([index])
            longest = max(1, lengths[index])
    return groups


def packs(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Cut a batch into packs: texts that are computed one behind the other in a single row, without padding.

    Args:
        lengths: (B,) tokens of each text.
        budget: Aimed-at tokens per pack. The packs of a batch are of nearly equal size, none above the budget by more than a
            text; a single text that is longer gets a pack of its own.

    Returns:
        As `micro_batches`.

    >>> packs([3, 9, 4, 1], budget=10)
    [[1], [2, 0, 3]]
    """
    order = longest_first(lengths)
    total = sum(lengths)
    # Two packs of half the budget are faster than a full one and a leftover.
    share = total / max(1, -(-total // budget))
    groups: list[list[int]] = []
    done = size = 0
    for index in order:
        full = bool(groups) and (done >= share * len(groups) or size + lengths[index] > budget)
        if not groups or full:
            groups.append([index])
            size = lengths[index]
        else:
            groups[-1].append(index)
            size += lengths[index]
        done += lengths[index]
    return groups


def buckets(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Cut the texts of a pack into runs of nearly equal length, whose attention is computed as one padded product.

    Args:
        lengths: (n,) tokens of each text, longest first.

    Returns:
        (start, end) of each run. A run's padding adds at most WASTE score cells; a run holds at most BUCKET cells, or one text.

    >>> buckets([200, 199, 40, 38, 38])
    [(0, 2), (2, 5)]
    """
    runs: list[tuple[int, int]] = []
    start, waste = 0, 0
    for place, length in enumerate(lengths):
        longest = lengths[start]
        added = longest**2 - length**2
        if place > start and (waste + added > WASTE or (place - start + 1) * longest**2 > BUCKET):
            runs.append((start, place))
            start, waste = place, 0
        else:
            waste += added
    if lengths:
        runs.append((start, len(lengths)))
    return runs


def longest_first(lengths: Sequence[int]) -> list[int]:
    """Return the indices of the texts, longest first; equal ones keep their order."""
    return sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))


def padded_tokens(lengths: Sequence[int], groups: Sequence[Sequence[int]]) -> int:
    """Return how many tokens are computed when each group is padded to its longest text.

    >>> padded_tokens([3, 9, 4, 1], [[0, 1, 2, 3]])
    36
    """
    return sum(len(group) * max(lengths[index] for index in group) for group in groups)
