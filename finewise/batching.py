"""How a batch is computed: length-sorted micro-batches under a token budget. Pure; imports nothing heavy.

Which texts are in a batch is the sampler's business. Here only the execution changes: the same texts, the same loss, less
padding. Padding costs time and memory without changing a number: a padded batch of b texts computes b * max(length) tokens.
"""

from collections.abc import Sequence


def micro_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Cut a batch into micro-batches of similar length.

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
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    groups: list[list[int]] = []
    longest = 0
    for index in order:
        if groups and (len(groups[-1]) + 1) * longest <= budget:
            groups[-1].append(index)
        else:
            groups.append([index])
            longest = max(1, lengths[index])
    return groups


def padded_tokens(lengths: Sequence[int], groups: Sequence[Sequence[int]]) -> int:
    """Return how many tokens are computed when each group is padded to its longest text.

    >>> padded_tokens([3, 9, 4, 1], [[0, 1, 2, 3]])
    36
    """
    return sum(len(group) * max(lengths[index] for index in group) for group in groups)
