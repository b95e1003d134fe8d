"""The classes of a labelled data set, in their order."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finewise.names import unknown

KINDS = ("single", "multi", "ordinal", "hierarchical", "tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSpace:
    """K classes.

    Attributes:
        kind: One of KINDS.
        names: The classes in order: sorted (by value if all are whole numbers), ordinal from lowest to highest, hierarchical
            as full paths such as "science/physics".
        separator: What separates the levels of a hierarchical name.
    """

    kind: str
    names: tuple[str, ...]
    separator: str = "/"

    def __len__(self) -> int:
        return len(self.names)

    @property
    def id2label(self) -> dict[int, str]:
        """The names by number, as transformers wants them."""
        return dict(enumerate(self.names))

    @property
    def label2id(self) -> dict[str, int]:
        """The numbers by name."""
        return {name: index for index, name in enumerate(self.names)}

    def index(self, name: str) -> int:
        """Return the number of a class.

        Raises:
            ValueError: There is no such class; names the nearest.
        """
        if name not in self.names:
            raise ValueError(unknown("label", name, self.names))
        return self.names.index(name)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The A nodes of the hierarchy, sorted: every class and every prefix of its path."""
        return tuple(sorted({node for name in self.names for node in paths(name, self.separator)}))

    @property
    def ancestors(self) -> NDArray[np.bool_]:
        """(K, A) True where a node of `nodes` is the class itself or above it."""
        place = {node: number for number, node in enumerate(self.nodes)}
        table = np.zeros((len(self.names), len(place)), dtype=bool)
        for row, name in enumerate(self.names):
            table[row, [place[node] for node in paths(name, self.separator)]] = True
        return table


def paths(name: str, separator: str) -> list[str]:
    """Return all prefixes of a path, itself included.

    >>> paths("science/physics/optics", "/")
    ['science', 'science/physics', 'science/physics/optics']
    """
    levels = name.split(separator)
    return [separator.join(levels[:depth]) for depth in range(1, len(levels) + 1)]
