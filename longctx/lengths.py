"""At which lengths a stretched model is read, and with which texts."""

DEV_SEEDS = 1_000_000
"""Added to the seed of dev's texts, so that they are not those of test."""


def doublings(original: int, target: int) -> list[int]:
    """Return the trained window times 1, 2, 4, ..., and the new window itself.

    >>> doublings(64, 1024), doublings(8192, 20000)
    ([64, 128, 256, 512, 1024], [8192, 16384, 20000])
    """
    found = []
    length = original
    while length < target:
        found.append(length)
        length *= 2
    return [*found, target]
