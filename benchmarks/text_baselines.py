"""What stands beside every tuned classifier: the majority, the words, and the encoder as it is. Remembered by content.

A baseline is computed again only if something that decides it is different: the rows and labels of train, the texts that
are classified, the metric that chooses, the seed, the encoder's content (benchmarks.embedded), our own code, the libraries.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from benchmarks.embedded import Embedded
from benchmarks.text.neighbours import NearestNeighbours
from benchmarks.text.prior import Majority
from benchmarks.text.probe import LinearProbe
from benchmarks.text.words import TfidfLogistic
from benchmarks.text.zero_shot import ZeroShot
from finewise.console import say
from finewise.data.keys import combine, digest_texts
from finewise.data.store import entry, made_by

if TYPE_CHECKING:
    from finewise.data.labels.rows import Labelled

__all__ = [
    "Baseline",
    "KeptProbe",
    "Majority",
    "NearestNeighbours",
    "TfidfLogistic",
    "ZeroShot",
    "baselines",
    "measured",
]

SCHEMA = 2
KIND = "results"
FILE = "probabilities.npz"
PROBE = "probe.npz"
CODE = (
    "benchmarks.text_baselines",
    "benchmarks.text",
    "benchmarks.metrics",
    "finewise.data.keys",
    "finewise.data.scripts",
)
LIBRARIES = ("numpy", "scipy", "scikit-learn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What a baseline gave.

    Attributes:
        probabilities: (N, K) for each set.
        seconds: To learn and to classify, embedding not counted; from the time when it was computed.
        chosen: What it chose on train, such as C or k.
        cached: Whether it was computed before.
        unread: Why it could not read the last of the sets, which makes its scores no yardstick; None if it could.
    """

    probabilities: list[NDArray[np.float64]]
    seconds: float
    chosen: dict[str, Any]
    cached: bool
    unread: str | None = None


class KeptProbe(LinearProbe):
    """A linear probe on an encoder's embeddings whose weights are kept in the cache, and found there for the same rows.

    Attributes:
        seconds: That the fit took, when it was done.
    """

    def __init__(self, embedded: Embedded, *, metric: str = "f1_macro", seed: int = 42) -> None:
        super().__init__(embedded, metric=metric, seed=seed)
        self.embedded = embedded
        self.seconds = 0.0

    def fit(self, data: Labelled) -> KeptProbe:
        """Take up the weights, or learn them and keep them."""

        def build(folder: Path) -> dict[str, Any]:
            self._learn(data)
            np.savez(folder / PROBE, coef=self.coef_, intercept=self.intercept_)
            return {"seconds": self.seconds, "chosen": self.chosen}

        who = self.embedded.identity
        if who is None:
            return self._learn(data)
        key = combine("probe", SCHEMA, made_by(CODE, LIBRARIES), who, _digest(data), self.metric, self.seed)
        folder, about = entry(key, build, KIND)
        with np.load(folder / PROBE) as kept:
            self.coef_, self.intercept_ = kept["coef"], kept["intercept"]
        self.seconds, self.chosen, self.multi = about["seconds"], about["chosen"], data.space.kind == "multi"
        return self

    def _learn(self, data: Labelled) -> KeptProbe:
        self.embedded(data.texts)  # so that it is not counted
        started = time.perf_counter()
        super().fit(data)
        self.seconds = time.perf_counter() - started
        return self


System = Majority | TfidfLogistic | NearestNeighbours | KeptProbe


def baselines(
    train: Labelled, sets: Sequence[Labelled], embedded: Embedded | None, metric: str = "f1_macro", seed: int = 42
) -> dict[str, list[NDArray[np.float64]]]:
    """Return what `measured` gives without its costs: baseline -> probabilities (N, K) for each set."""
    return {name: found.probabilities for name, found in measured(train, sets, embedded, metric, seed).items()}


def measured(
    train: Labelled,
    sets: Sequence[Labelled],
    embedded: Embedded | None,
    metric: str = "f1_macro",
    seed: int = 42,
    names: Sequence[str] | None = None,
) -> dict[str, Baseline]:
    """Fit every baseline on train and classify the sets, or read from the cache what was computed before.

    Args:
        train: What is learnt from, and what settings are chosen on.
        sets: What is classified; their labels are not read.
        embedded: The untuned encoder; None leaves out what needs it.
        metric: What settings are chosen by: a name in benchmarks.metrics.classes.METRICS.
        seed: Of folds and draws.
        names: Those that are wanted; None: all.

    Returns:
        By name, in the order of tables: majority, tfidf_lr, knn, linear_probe.

    Raises:
        InputError: The texts hold no word, the encoder cannot be loaded, or the cache cannot be written.
    """
    systems: list[System] = [
        Majority(),
        TfidfLogistic(metric=metric, seed=seed),
    ]
    if embedded is not None:
        systems += [
            NearestNeighbours(embedded, metric=metric, seed=seed),
            KeptProbe(embedded, metric=metric, seed=seed),
        ]
    systems = [system for system in systems if names is None or system.name in names]
    data = combine(_digest(train), *(digest_texts(each.texts) for each in sets))
    found = {}
    for system in systems:
        who = embedded.identity if embedded is not None and hasattr(system, "embed") else "words"
        key = who and combine("text baseline", SCHEMA, made_by(CODE, LIBRARIES), system.name, who, data, metric, seed)
        found[system.name] = _remembered(key, system, train, sets, embedded)
        note = "as before, from the cache" if found[system.name].cached else f"{found[system.name].seconds:.1f} s"
        say(f"{system.name} on {train.name}: {note}")
    return found


def _remembered(
    key: str | None,
    system: System,
    train: Labelled,
    sets: Sequence[Labelled],
    embedded: Embedded | None,
) -> Baseline:
    """Return the baseline under this key; with None it is computed and not kept."""
    if key is None:
        return _computed(system, train, sets, embedded)
    fresh: list[Baseline] = []

    def build(folder: Path) -> dict[str, Any]:
        fresh.append(_computed(system, train, sets, embedded))
        np.savez(folder / FILE, **{str(place): each for place, each in enumerate(fresh[0].probabilities)})  # type: ignore[arg-type]
        return {"seconds": fresh[0].seconds, "chosen": fresh[0].chosen, "unread": fresh[0].unread}

    folder, about = entry(key, build, KIND)
    if fresh:
        return fresh[0]
    with np.load(folder / FILE) as kept:
        probabilities = [kept[str(place)] for place in range(len(sets))]
    return Baseline(
        probabilities=probabilities,
        seconds=about["seconds"],
        chosen=about["chosen"],
        cached=True,
        unread=about["unread"],
    )


def _computed(
    system: System,
    train: Labelled,
    sets: Sequence[Labelled],
    embedded: Embedded | None,
) -> Baseline:
    if embedded is not None and hasattr(system, "embed"):
        for each in (train, *sets):  # so that it is not counted as the time of the first baseline that needs it
            embedded(each.texts)
    started = time.perf_counter()
    system.fit(train)
    fitting = time.perf_counter() - started
    probabilities = [system.predict_proba(each.texts) for each in sets]
    seconds = time.perf_counter() - started
    if isinstance(system, KeptProbe):
        seconds += system.seconds - fitting
    return Baseline(
        probabilities=probabilities,
        seconds=seconds,
        chosen=getattr(system, "chosen", {}),
        cached=False,
        unread=system.unread(sets[-1].texts) if isinstance(system, TfidfLogistic) and sets else None,
    )


def _digest(data: Labelled) -> str:
    """Return the sha256 of all of the rows that a baseline reads."""
    groups = b"" if data.groups is None else data.groups.tobytes()
    return combine(
        digest_texts(data.texts),
        data.space.kind,
        *data.space.names,
        data.labels.shape,
        data.labels.dtype,
        xxhash.xxh3_128_hexdigest(data.labels.tobytes()),
        xxhash.xxh3_128_hexdigest(groups),
    )
