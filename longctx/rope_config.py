"""The settings of the long-context branch: how rotary positions are stretched, and how far.

Notation of the equations, here and in `longctx.rope`: L is the window that the model was trained with, L' the new one,
s = L'/L; D is the number of rotary dimensions of a head, d = 0 .. D/2-1 counts its pairs; b is the base (`rope_theta`);
theta_d = b^(-2d/D) is the frequency of pair d and lambda_d = 2 pi / theta_d its wavelength in tokens. "YaRN" is
Peng et al. 2023, arXiv 2309.00071v2.
"""

import math
from dataclasses import dataclass

from finewise.config import at_least, positive, setting
from finewise.errors import InputError


@dataclass(slots=True, kw_only=True)
class RopeConfig:
    """Base of all methods; each is one row of the group `rope`."""


@dataclass(slots=True, kw_only=True)
class Unstretched(RopeConfig):
    """theta' = theta: the window is declared longer, nothing else; the baseline that every method must beat."""


@dataclass(slots=True, kw_only=True)
class Linear(RopeConfig):
    """Position interpolation: theta'_d = theta_d / s (Chen et al. 2023, arXiv 2306.15595; YaRN eq. 10).

    Positions never leave the trained range, but neighbours are s times closer: without fine-tuning it costs most at every
    length, short ones included. It does not tell high frequencies from low ones.
    """


@dataclass(slots=True, kw_only=True)
class NtkAware(RopeConfig):
    """A larger base: b' = b s^(D/(D-2)), so that the slowest pair is divided by s and the fastest kept (YaRN eq. 16).

    Some pairs in between go beyond the trained range, so the reach in practice is less than s. It does not change attention's
    temperature. Transformers has no type for it: `rope_theta` is set, which is exact.
    """


@dataclass(slots=True, kw_only=True)
class DynamicNtk(RopeConfig):
    """NTK-aware for the length l that is being read: b' = b (f l/L - (f-1))^(D/(D-2)) for l > L, else b (YaRN section 3.3).

    The two readings of f differ much: 1 is the paper's (at l = L' it equals NTK-aware); s is what configurations usually
    write, and stretches far more. It does not give the same answer twice: frequencies follow the longest text of the batch, and
    in transformers the longest since the last short one. The model's `max_position_embeddings` stays at L, from which
    transformers computes it; the target is only declared by the tokenizer's `model_max_length`.
    """

    reading: str = setting("paper", "what f is: 1 (paper), or the factor of the stretch (factor)", ("paper", "factor"))


@dataclass(slots=True, kw_only=True)
class NtkByParts(RopeConfig):
    """theta'_d = (1 - gamma_d) theta_d / s + gamma_d theta_d (YaRN eq. 17-20).

    gamma is 1 (kept) for pairs that turn more than `beta` times in the window, 0 (divided by s) for those that turn less than
    `alpha` times, and a ramp in between. With r_d = L / lambda_d, the turns in the window:

    - ramp=rotations, the paper's: gamma_d = clip((r_d - alpha) / (beta - alpha), 0, 1), linear in r;
    - ramp=dimension, what the paper's own code, transformers and others do: linear in d, from 1 at low = floor(d(beta)) to 0 at
      high = ceil(d(alpha)), where d(r) = D ln(L / (2 pi r)) / (2 ln b) is the pair that turns r times.

    The first divides more pairs almost fully by s. It does not change attention's temperature.
    """

    alpha: float = setting(1.0, "pairs with fewer turns in the trained window are divided by the factor")
    beta: float = setting(32.0, "pairs with more turns in the trained window are kept")
    ramp: str = setting(
        "dimension",
        "between alpha and beta: linear in the pair's index, as all code has it (dimension), or in its turns, as the paper "
        "has it (rotations)",
        ("dimension", "rotations"),
    )

    def __post_init__(self) -> None:
        positive("rope.alpha", self.alpha)
        if not self.beta > self.alpha:
            raise ValueError(f"rope.beta must be above rope.alpha={self.alpha:g}; got {self.beta:g}")


@dataclass(slots=True, kw_only=True)
class Yarn(NtkByParts):
    """NTK by parts, and cos and sin multiplied by m = 0.1 ln s + 1, thus scores by m^2 (YaRN eq. 21-22).

    The temperature acts at every length, short ones included. It does not adapt to the length that is read: a model stretched
    by 16 pays for it at 1x too.
    """

    temperature: bool = setting(True, "multiply cos and sin (false: the same as rope=by_parts)")
    attention_factor: float | None = setting(None, "what multiplies cos and sin (null: 0.1 ln s + 1)")

    def __post_init__(self) -> None:
        NtkByParts.__post_init__(self)
        positive("rope.attention_factor", self.attention_factor)
        if not self.temperature and self.attention_factor is not None:
            raise ValueError(
                f"rope.attention_factor={self.attention_factor:g} is not read with rope.temperature=false; leave one out"
            )


@dataclass(slots=True, kw_only=True)
class LongRope(RopeConfig):
    """theta'_d = theta_d / f_d: a list of factors for texts above L, another up to it (Ding et al. 2024, arXiv 2402.13753).

    cos and sin are multiplied by sqrt(1 + ln s / ln L) at every length. The lists come from a search (`longctx.search`) or
    from a model card. It does not keep the first positions unscaled, as the paper's search may; no library reads that. A text
    that grows past L while it is generated changes lists in the middle: what was cached before was turned by the other list.
    """

    long_factors: list[float] = setting(list, "factor of each pair for texts longer than the trained window")
    short_factors: list[float] = setting(list, "factor of each pair for texts within the trained window (empty: all 1)")
    attention_factor: float | None = setting(None, "what multiplies cos and sin (null: sqrt(1 + ln s / ln L))")

    def __post_init__(self) -> None:
        positive("rope.attention_factor", self.attention_factor)
        if not self.long_factors:
            raise ValueError("rope.long_factors must have one factor per pair of rotary dimensions; got none")
        for key in ("long_factors", "short_factors"):
            for value in getattr(self, key):
                positive(f"rope.{key}", value)
        if self.short_factors and len(self.short_factors) != len(self.long_factors):
            raise ValueError(
                f"rope.short_factors must be as long as rope.long_factors; got {len(self.short_factors)} and "
                f"{len(self.long_factors)}"
            )


@dataclass(slots=True, kw_only=True)
class Llama3(RopeConfig):
    """By wavelength: kept below L/high, divided by s above L/low, and between them blended (Llama 3.1; transformers).

    theta'_d = (1 - g) theta_d / s + g theta_d with g = (L/lambda_d - low) / (high - low): NTK by parts with ramp=rotations,
    alpha=low, beta=high. It does not change attention's temperature, and was made for a model that is then trained long.
    """

    low_freq_factor: float = setting(1.0, "pairs with fewer turns in the trained window are divided by the factor")
    high_freq_factor: float = setting(4.0, "pairs with more turns in the trained window are kept")

    def __post_init__(self) -> None:
        positive("rope.low_freq_factor", self.low_freq_factor)
        if not self.high_freq_factor > self.low_freq_factor:
            raise ValueError(
                f"rope.high_freq_factor must be above rope.low_freq_factor={self.low_freq_factor:g}; got "
                f"{self.high_freq_factor:g}"
            )


@dataclass(slots=True, kw_only=True)
class Abf(RopeConfig):
    """Adjusted base frequency: b' = theta, chosen by hand (Xiong et al. 2023, arXiv 2309.16039: 500,000; ProLong: 8e6 at 64K).

    It does not depend on s, and expects training at the new length; untrained it acts like NTK-aware with that base.
    """

    theta: float = setting(500_000.0, "the new base")

    def __post_init__(self) -> None:
        if not self.theta > 1:
            raise ValueError(f"rope.theta must be above 1; got {self.theta:g}")


@dataclass(slots=True, kw_only=True)
class SelfExtend(RopeConfig):
    """Frequencies kept; keys farther than w are seen at distances between groups of G tokens (arXiv 2401.01325).

    No frequencies say this: attention itself is computed otherwise while the model reads (`longctx.self_extend`). It reaches
    (L - w) G + w tokens, tells neighbours apart only within w, and costs about twice the attention. It does not train, and
    does not go into a saved model.
    """

    window: int | None = setting(
        None, "keys nearer than this are seen at their exact distance (null: a quarter of the trained window)"
    )
    group: int | None = setting(
        None, "tokens that share a position beyond (null: the fewest that reach the new window; 1: changes nothing)"
    )

    def __post_init__(self) -> None:
        at_least("rope.window", self.window, 1)
        at_least("rope.group", self.group, 1)


ROPES: dict[str, type[RopeConfig]] = {
    "none": Unstretched,
    "linear": Linear,
    "ntk": NtkAware,
    "dynamic": DynamicNtk,
    "by_parts": NtkByParts,
    "yarn": Yarn,
    "longrope": LongRope,
    "llama3": Llama3,
    "abf": Abf,
    "self_extend": SelfExtend,
}
"""The group `rope`: what can stand in `rope=...`."""


def name_of(method: RopeConfig) -> str:
    """Return the method's name in the group `rope`.

    >>> name_of(Yarn())
    'yarn'
    """
    return next(name for name, kind in ROPES.items() if type(method) is kind)


def stretches_nothing(method: RopeConfig, factor: float) -> bool:
    """Return whether a method at this factor leaves all frequencies and attention's temperature as they are.

    >>> stretches_nothing(Yarn(), 1), stretches_nothing(Yarn(attention_factor=1.2), 1), stretches_nothing(Abf(), 1)
    (True, False, False)
    """
    if isinstance(method, Unstretched):
        return True
    if isinstance(method, Yarn) and method.attention_factor is not None:
        return False
    return factor == 1 and isinstance(method, (Linear, NtkAware, DynamicNtk, NtkByParts, Llama3))


@dataclass(slots=True, kw_only=True)
class StretchConfig:
    """How far a model is stretched."""

    factor: float | None = setting(None, "how many times longer the window becomes (null: from target)")
    target: int | None = setting(None, "the new window in tokens (null: from factor)")
    original: int | None = setting(
        None, "the window in tokens that the model was trained with (null: its max_position_embeddings)"
    )

    def __post_init__(self) -> None:
        at_least("stretch.factor", self.factor, 1)
        if self.factor is not None and not math.isfinite(self.factor):
            raise ValueError(f"stretch.factor must be a finite number; got {self.factor}")
        at_least("stretch.target", self.target, 1)
        at_least("stretch.original", self.original, 2)

    def window(self, original: int) -> int:
        """Return L' for a model trained with L = `original`; a factor that gives no whole number is rounded up.

        Raises:
            InputError: Neither factor nor target, a target shorter than the original, or the two disagree.

        >>> StretchConfig(factor=4).window(64)
        256
        """
        if self.factor is None and self.target is None:
            raise InputError("stretch.factor or stretch.target must say how far to stretch (1: not at all)")
        if self.target is not None and self.target < original:
            raise InputError(
                f"stretch.target={self.target} is shorter than the {original} tokens that the model was trained with; a "
                "shorter window needs no stretching: cut the inputs instead"
            )
        # The margin keeps 8192 * 1.1 from becoming one token more by the last bit of a product.
        from_factor = None if self.factor is None else math.ceil(self.factor * original * (1 - 1e-12))
        if self.target is not None and from_factor not in (None, self.target):
            raise InputError(
                f"stretch.factor={self.factor:g} makes {original} tokens {from_factor}, but stretch.target={self.target}; "
                "give one of the two"
            )
        window = self.target or from_factor
        assert window is not None
        return window
