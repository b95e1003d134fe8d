"""Several comparisons in one table: Holm's correction (1979), which holds the chance of any false claim at the level."""

from collections.abc import Sequence


def holm(values: Sequence[float]) -> list[float]:
    """Return the adjusted p-values, in the same order.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = highest
    return adjusted
