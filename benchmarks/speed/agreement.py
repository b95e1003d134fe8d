"""The proof that two sides computed the same: a value of each, their difference, and the most that is allowed."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Whether one side computed what the base did.

    Attributes:
        what: Such as "loss, fp32, no dropout".
        side: Whose value it is.
        base: Whose value it must be near.
        value: The side's.
        expected: The base's.
        difference: Between them; relative to the base's where `relative`.
        tolerance: The most that is allowed.
        relative: See difference.
        ok: False too where the difference is no number.
    """

    what: str
    side: str
    base: str
    value: float
    expected: float
    difference: float
    tolerance: float
    relative: bool
    ok: bool

    def __str__(self) -> str:
        """Return the finding as one line."""
        kind = "relative " if self.relative else ""
        sign = "<=" if self.ok else "NOT <="
        return (
            f"{self.what}: {self.side} {self.value:.6g}, {self.base} {self.expected:.6g}, "
            f"{kind}difference {self.difference:.1e} {sign} {self.tolerance:.0e}"
        )


def agree(
    what: str, values: Mapping[str, float], *, base: str, tolerance: float, relative: bool = True
) -> list[Agreement]:
    """Compare each side's value with the base's.

    Args:
        what: What the values are.
        values: Side -> value, the base's among them.
        base: The side that is right by definition: the library's.
        tolerance: The most by which a value may differ.
        relative: Whether as a share of the base's value.
    """
    expected = values[base]
    found = []
    for side, value in values.items():
        if side != base:
            difference = abs(value - expected) / (abs(expected) if relative and expected else 1.0)
            found.append(
                Agreement(
                    what=what,
                    side=side,
                    base=base,
                    value=value,
                    expected=expected,
                    difference=difference,
                    tolerance=tolerance,
                    relative=relative,
                    ok=difference <= tolerance,
                )
            )
    return found
