"""Samples with known truth, for `benchmarks.stats.calibrate`: a world per kind of statistic that finewise prints.

Each world samples two systems of one law, so that their true difference is 0, and knows the true value of every metric: from
the law itself, or from a sample of a million rows. A macro-F1 is that of the classes of which the sample holds gold rows.

With C clusters of unequal sizes, the class of a row and the luck of the systems have an intraclass correlation of .3 (on the
normal scale). In one world the largest cluster holds 35% of the rows; in another an average of two tasks rests on 30 rows of
one of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from benchmarks import by_length, retrieval
from benchmarks.by_length import PERPLEXITY, ByLength
from benchmarks.classification import compare, scores
from benchmarks.classified import Classified
from benchmarks.metrics import entities
from benchmarks.metrics.classes import evaluated
from benchmarks.metrics.counted import counts, f1_per_class
from benchmarks.rows import comparison_rows, score_rows
from benchmarks.stats.design import Design
from benchmarks.stats.inference import UNIT, intervals, paired_tests
from benchmarks.stats.jackknife import jackknife
from finewise.record import Comparison, Score

Numbers = NDArray[np.intp]
Values = NDArray[np.float64]
Trial = tuple[list[Score], list[Comparison], Mapping[str, float]]
"""Scores of one system, comparisons with the other, and the truth of each metric."""

POPULATION = 1_000_000
SHARED = 0.3
"""Intraclass correlation of what makes a row easy or hard."""


class World(ABC):
    """What samples are drawn from."""

    costly = False
    """Whether large samples take so long that fewer of them are drawn."""

    clustered: bool = True
    """Whether rows may come in clusters."""

    @property
    @abstractmethod
    def metrics(self) -> list[str]:
        """What is computed."""

    @abstractmethod
    def trial(self, rng: np.random.Generator, size: int, clusters: int | None, seeds: int | None) -> Trial:
        """Return a sample of two systems, scored and compared."""


class Queries(World):
    """Retrieval metrics of queries: ranks of one relevant document, log-normal."""

    metrics = ["ndcg@10", "mrr@10", "recall@10"]  # noqa: RUF012

    @cached_property
    def truth(self) -> dict[str, float]:
        """The means over the law."""
        found = self._values(self._ranks(np.random.default_rng(0), np.arange(POPULATION)))
        return {name: float(values.mean()) for name, values in found.items()}

    def trial(self, rng: np.random.Generator, size: int, clusters: int | None, seeds: int | None) -> Trial:
        """Score two systems on the same queries."""
        of = _clusters(rng, size, clusters)
        hard = rng.normal(size=of.max() + 1)[of]
        pair = [
            retrieval.Result(
                system=name, benchmark="b", split="test", data_revision="r", query_ids=tuple(map(str, range(size))),
                per_query=self._values(self._ranks(rng, of, hard)), unjudged=0, depth=100,
                clusters=None if clusters is None else of,
            )
            for name in "ab"
        ]  # fmt: skip
        return retrieval.scores(pair[0]), retrieval.compare(pair[0], pair[1]), self.truth

    @staticmethod
    def _ranks(rng: np.random.Generator, of: Numbers, hard: Values | None = None) -> Values:
        shared = rng.normal(size=of.max() + 1)[of] if hard is None else hard
        luck = rng.normal(size=len(of))
        hardness = np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * luck
        return np.asarray(np.ceil(np.exp(1.2 * hardness + 0.3)))

    @staticmethod
    def _values(ranks: Values) -> dict[str, Values]:
        within = ranks <= 10
        return {
            "ndcg@10": np.where(within, 1 / np.log2(ranks + 1), 0.0),
            "mrr@10": np.where(within, 1 / ranks, 0.0),
            "recall@10": within.astype(np.float64),
        }


class Shares(World):
    """The share of rows that are right, near 0, in the middle and near 1."""

    def __init__(self, share: float) -> None:
        self.share = share

    @property
    def metrics(self) -> list[str]:
        """The accuracy."""
        return ["accuracy"]

    def trial(self, rng: np.random.Generator, size: int, clusters: int | None, seeds: int | None) -> Trial:
        """Score two systems that are right equally often."""
        of = _clusters(rng, size, clusters)
        gold = np.zeros(size, np.intp)
        pair = [_result(name, gold, (_luck(rng, of) >= self.share).astype(np.intp), 2, of, clusters) for name in "ab"]
        return scores(pair[0], self.metrics), compare(pair[0], pair[1], self.metrics), {"accuracy": self.share}


class Classes(World):
    """One of 54 classes in a long tail; the system is worse the rarer a class, or predicts none of the rare ones."""

    metrics = ["f1_macro", "accuracy", "balanced_accuracy", "mcc"]  # noqa: RUF012

    def __init__(self, *, rare: bool, classes: int = 54) -> None:
        ranks = np.arange(classes)
        self.share = 1 / (ranks + 1) ** 1.1
        self.share /= self.share.sum()
        common = self.share if rare else np.where(ranks < classes // 3, self.share, 0)
        right = 0.9 - 0.6 * ranks / classes if rare else np.where(ranks < classes // 3, 0.85, 0.0)
        said = np.tile(common, (classes, 1))
        np.fill_diagonal(said, 0)
        said *= ((1 - right) / said.sum(axis=1))[:, None]
        self.said = said + np.diag(right)
        joint = self.share[:, None] * self.said
        gold, predicted = (side.ravel() for side in np.indices(joint.shape))
        law = _result("law", gold, predicted, classes, gold, None)
        weights = joint.reshape(-1, 1) * POPULATION
        self.each = f1_per_class(counts(law.outcome)(weights))[:, 0]
        expanded = np.repeat(np.arange(joint.size), np.rint(weights[:, 0]).astype(np.intp))
        self.truth = evaluated(law.select(expanded).outcome, self.metrics)

    def trial(self, rng: np.random.Generator, size: int, clusters: int | None, seeds: int | None) -> Trial:
        """Score two systems of one law."""
        classes, of = len(self.share), _clusters(rng, size, clusters)
        gold = np.searchsorted(self.share.cumsum()[:-1], _luck(rng, of), side="right")
        ends = self.said.cumsum(axis=1)[gold, :-1]
        both = _luck(rng, of)
        pair = []
        for name in "ab":
            luck = np.where(rng.random(size) < 0.5, both, _luck(rng, of))
            pair.append(_result(name, gold, (ends <= luck[:, None]).sum(axis=1), classes, of, clusters))
        truth = dict(self.truth)
        present = np.unique(gold)
        truth["f1_macro"] = float(self.each[present].mean())
        truth["balanced_accuracy"] = float(np.diag(self.said)[present].mean())
        return scores(pair[0], self.metrics), compare(pair[0], pair[1], self.metrics), truth


class Probabilities(World):
    """Two classes, one in ten positive, with probabilities that rank and are overconfident."""

    metrics = ["roc_auc", "average_precision", "log_loss", "brier"]  # noqa: RUF012
    costly = True

    @cached_property
    def truth(self) -> dict[str, float]:
        """The metrics of a very large sample."""
        rng, rows = np.random.default_rng(0), np.arange(POPULATION)
        gold = (rng.random(POPULATION) < 0.1).astype(np.intp)
        return evaluated(self._system(rng, "law", gold, rows, None).outcome, self.metrics)

    def trial(self, rng: np.random.Generator, size: int, clusters: int | None, seeds: int | None) -> Trial:
        """Score two systems of one law."""
        of = _clusters(rng, size, clusters)
        gold = (rng.random(size) < 0.1).astype(np.intp)
        if gold.sum() in (0, size):  # no ranking to speak of: finewise refuses such data
            return self.trial(rng, size, clusters, seeds)
        pair = [self._system(rng, name, gold, of, clusters) for name in "ab"]
        return scores(pair[0], self.metrics), compare(pair[0], pair[1], self.metrics), self.truth

    @staticmethod
    def _system(rng: np.random.Generator, name: str, gold: Numbers, of: Numbers, clusters: int | None) -> Classified:
        shared = np.sqrt(SHARED if clusters else 0.0)
        noise = shared * rng.normal(size=of.max() + 1)[of] + np.sqrt(1 - shared**2) * rng.normal(size=len(of))
        positive = 1 / (1 + np.exp(-2 * (1.5 * gold - 2 + noise)))
        probabilities = np.stack([1 - positive, positive], axis=1).astype(np.float32)
        return _result(name, gold, (positive >= 0.5).astype(np.intp), 2, of, clusters, probabilities)


class Labels(World):
    """Any of 30 labels in a long tail; a label without a gold row counts as 0, by convention."""

    metrics = ["f1_macro", "f1_micro", "exact_match"]  # noqa: RUF012
    costly = True

    def __init__(self) -> None:
        self.share = 0.3 / np.arange(1, 31)
        self.recall = 0.9 - 0.6 * np.arange(30) / 30
        self.wrong = 0.1 * self.share
        hits = self.share * self.recall
        predicted = hits + (1 - self.share) * self.wrong
        self.each = 2 * hits / (self.share + predicted)
        self.micro = 2 * hits.sum() / (self.share + predicted).sum()
        self.exact = float(np.prod(hits + (1 - self.share) * (1 - self.wrong)))

    def trial(self, rng: np.random.Generator, size: int, clusters: int | None, seeds: int | None) -> Trial:
        """Score two systems of one law."""
        of = _clusters(rng, size, clusters)
        gold = np.stack([_luck(rng, of) for _ in self.share], axis=1) < self.share
        both = rng.random(gold.shape)
        pair = []
        for name in "ab":
            luck = np.where(rng.random(gold.shape) < 0.5, both, rng.random(gold.shape))
            predicted = np.where(gold, luck < self.recall, luck < self.wrong)
            pair.append(_result(name, gold, predicted, len(self.share), of, clusters, kind="multi"))
        truth = {
            "f1_macro": float(self.each[gold.any(axis=0)].sum() / len(self.share)),
            "f1_micro": float(self.micro),
            "exact_match": self.exact,
        }
        return scores(pair[0], self.metrics), compare(pair[0], pair[1], self.metrics), truth


class Ordered(World):
    """One of five ordered classes."""

    metrics = ["quadratic_kappa", "mean_absolute_error"]  # noqa: RUF012

    @cached_property
    def truth(self) -> dict[str, float]:
        """The metrics of a very large sample."""
        rng = np.random.default_rng(0)
        gold = np.floor(5 * rng.random(POPULATION)).astype(np.intp)
        predicted = self._said(gold, rng.random(POPULATION))
        return evaluated(_result("law", gold, predicted, 5, gold, None, kind="ordinal").outcome, self.metrics)

    def trial(self, rng: np.random.Generator, size: int, clusters: int | None, seeds: int | None) -> Trial:
        """Score two systems of one law."""
        of = _clusters(rng, size, clusters)
        gold = np.floor(5 * _luck(rng, of)).astype(np.intp)
        pair = [_result(name, gold, self._said(gold, _luck(rng, of)), 5, of, clusters, kind="ordinal") for name in "ab"]
        return scores(pair[0], self.metrics), compare(pair[0], pair[1], self.metrics), self.truth

    @staticmethod
    def _said(gold: Numbers, luck: Values) -> Numbers:
        moved = gold + np.searchsorted([0.05, 0.25, 0.75, 0.95], luck) - 2
        return np.asarray(np.clip(moved, 0, 4))


class Entities(World):
    """Spans of three types in texts; a text has none to several."""

    metrics = ["entity_f1", "entity_f1_macro"]  # noqa: RUF012
    RATES = np.array([0.8, 0.4, 0.1])
    RIGHT = np.array([0.85, 0.7, 0.6])

    def trial(self, rng: np.random.Generator, size: int, clusters: int | None, seeds: int | None) -> Trial:
        """Score two systems of one law."""
        of = _clusters(rng, size, clusters)
        rich = rng.gamma(2, 0.5, of.max() + 1)[of][:, None] * self.RATES
        gold = rng.poisson(rich)
        if not gold.sum():
            return self.trial(rng, size, clusters, seeds)
        found = []
        for _ in "ab":
            right = rng.binomial(gold, self.RIGHT)
            predicted = right + rng.binomial(gold, 0.15)
            found.append(np.stack([right, predicted, gold], axis=2))
        design = Design.of(size, clusters=None if clusters is None else of)
        first, second = (entities.measure(one, self.metrics) for one in found)
        around = intervals(jackknife(first, design), [UNIT] * 2)
        rare = entities.too_rare(found[0], self.metrics)
        around = [one.without_ends() if few else one for one, few in zip(around, rare, strict=True)]
        tests = paired_tests(jackknife(lambda weights: first(weights) - second(weights), design), [UNIT] * 2)
        each = 2 * self.RIGHT / (1 + self.RIGHT + 0.15)
        micro = 2 * (self.RATES * self.RIGHT).sum() / (self.RATES * (1.15 + self.RIGHT)).sum()
        truth = {"entity_f1": float(micro), "entity_f1_macro": float(each[gold.sum(axis=0) > 0].mean())}
        a, b = (_ByName(name) for name in "ab")
        return (
            score_rows(a, size, dict(zip(self.metrics, around, strict=True))),
            comparison_rows(a, b, dict(zip(self.metrics, tests, strict=True))),
            truth,
        )


class Lengths(World):
    """What is read by length: exact answers, the average of tasks, perplexity; by several training runs, too."""

    def __init__(self, metric: str, *, largest: float | None = None, small_task: int | None = None) -> None:
        """Say what is odd.

        Args:
            metric: exact, mean or perplexity.
            largest: Share of the rows in the largest cluster.
            small_task: Rows of the first of two tasks; None: 13 tasks of equal size.
        """
        self.metric, self.largest, self.small_task = metric, largest, small_task

    @property
    def metrics(self) -> list[str]:
        """The metric at one length."""
        return [f"{self.metric}@1"]

    @property
    def clustered(self) -> bool:  # type: ignore[override]
        """Whether rows may come in clusters."""
        return self.metric != "mean"

    def trial(self, rng: np.random.Generator, size: int, clusters: int | None, seeds: int | None) -> Trial:
        """Score two systems, each trained with several seeds that read the same examples."""
        of, runs = _clusters(rng, size, clusters, self.largest), seeds or 1
        tasks = np.arange(size) % 13 if self.small_task is None else (np.arange(size) < self.small_task).astype(np.intp)
        pair = [self._system(rng, name, of, clusters, tasks, runs, seeds is not None) for name in "ab"]
        truth = {
            "exact": 0.6,
            "mean": float(np.mean(0.3 + 0.05 * np.unique(tasks))),
            PERPLEXITY: float(np.exp(3.0)),
        }[self.metric]
        return by_length.scores(pair[0]), by_length.compare(pair[0], pair[1]), {self.metrics[0]: truth}

    def _system(
        self,
        rng: np.random.Generator,
        name: str,
        of: Numbers,
        clusters: int | None,
        tasks: Numbers,
        runs: int,
        vary: bool,
    ) -> ByLength:
        size = len(of)
        luck = np.stack([_luck(rng, of) for _ in range(runs)])
        drift = rng.uniform(-0.17, 0.17, runs) if vary else np.zeros(runs)  # standard deviation .1
        strata = None
        weights = np.ones(runs * size)
        if self.metric == PERPLEXITY:
            values = 3 + drift[:, None] + 0.5 * (np.sqrt(12) * (luck - 0.5))
            weights = np.full(runs * size, 1000.0)
        elif self.metric == "mean":
            values = (luck < 0.3 + 0.05 * tasks + drift[:, None]).astype(np.float64)
            strata = np.tile(tasks, runs)
        else:
            values = (luck < 0.6 + drift[:, None]).astype(np.float64)
        return ByLength(
            system=name, benchmark="b", split="test", data_revision="r", metric=self.metric,
            ids=tuple(map(str, range(size))) * runs, lengths=np.ones(runs * size, np.int64),
            depths=np.full(runs * size, np.nan), groups=np.repeat(np.arange(runs), size), values=values.ravel(),
            weights=weights, clusters=None if clusters is None else np.tile(of, runs), strata=strata,
        )  # fmt: skip


class _ByName:
    """A result of which only the name counts."""

    benchmark, split, data_revision = "b", "test", "r"

    def __init__(self, system: str) -> None:
        self.system = system


WORLDS: dict[str, Callable[[], World]] = {
    "queries": Queries,
    "share .01": lambda: Shares(0.01),
    "share .5": lambda: Shares(0.5),
    "share .99": lambda: Shares(0.99),
    "long tail": lambda: Classes(rare=True),
    "no rare class": lambda: Classes(rare=False),
    "five classes": lambda: Classes(rare=True, classes=5),
    "probabilities": Probabilities,
    "labels": Labels,
    "ordered": Ordered,
    "entities": Entities,
    "answers": lambda: Lengths("exact"),
    "answers, one large cluster": lambda: Lengths("exact", largest=0.35),
    "tasks": lambda: Lengths("mean"),
    "two tasks, one small": lambda: Lengths("mean", small_task=30),
    "perplexity": lambda: Lengths(PERPLEXITY),
}
"""World by name; a statistic is called METRIC (WORLD)."""


def _clusters(rng: np.random.Generator, size: int, clusters: int | None, largest: float | None = None) -> Numbers:
    """Return the cluster of each row, of unequal sizes, the first with a given share; without clusters each row its own."""
    if clusters is None:
        return np.arange(size)
    share = rng.dirichlet(np.full(clusters, 5.0))
    if largest is not None:
        share = np.r_[largest, (1 - largest) * share[1:] / share[1:].sum()]
    of = np.r_[np.arange(clusters), rng.choice(clusters, size - clusters, p=share)]
    return np.sort(of)


def _luck(rng: np.random.Generator, of: Numbers) -> Values:
    """Return a uniform number per row; those of a cluster have the intraclass correlation SHARED on the normal scale."""
    shared = rng.normal(size=of.max() + 1)[of]
    return np.asarray(ndtr(np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * rng.normal(size=len(of))))


def _result(
    name: str,
    gold: NDArray[np.generic],
    predicted: NDArray[np.generic],
    classes: int,
    of: Numbers,
    clusters: int | None,
    probabilities: NDArray[np.float32] | None = None,
    kind: str = "single",
) -> Classified:
    size = len(gold)
    none: Sequence[int] = (size, classes)
    return Classified(
        system=name, benchmark="b", split="test", data_revision="r", ids=tuple(map(str, range(size))), kind=kind,
        names=tuple(map(str, range(classes))), gold=gold, predicted=predicted,
        probabilities=np.zeros(none, np.float32) if probabilities is None else probabilities,
        groups=None if clusters is None else of,
    )  # fmt: skip
