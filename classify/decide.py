"""Decisions: all that was fitted on dev to turn a classifier's outputs into labels one can act on, as one file.

    decisions = Decisions.fit(logits_of_dev, gold_of_dev, "single", names, DecideConfig())
    probabilities = decisions.probabilities(logits)
    labels, abstained = decisions.decide(probabilities), decisions.abstains(probabilities)
    sets = decisions.sets(probabilities, 0.9)

Shapes: N rows, K labels. Raw outputs are (N, K) logits or probabilities; probabilities (N, K); labels (N,) class numbers, or
(N, K) bool where any number of labels is right ("multi").
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from classify.decisions import abstain, calibration, conformal, thresholds
from classify.decisions.calibration import Calibration
from classify.decisions.config import DecideConfig
from classify.decisions.conformal import Conformal
from classify.decisions.costs import CostTable, cost_matrix, cost_thresholds, least_cost, read_costs
from finewise.errors import InputError
from finewise.record import write_json

Values = NDArray[np.float64]
Truth = NDArray[np.bool_]
Raw = NDArray[np.floating[Any]]
Gold = NDArray[Any]

FILE = "decisions.json"
VERSION = 1
INPUTS = ("logits", "probabilities")
_TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decisions:
    """What was fitted.

    Attributes:
        kind: Of the labels: "single", "multi", "ordinal" or "hierarchical".
        names: The labels in the order of the columns.
        inputs: What the raw outputs are, one of INPUTS.
        calibration: Applied first.
        thresholds: (K,) multi-label: from which probability on a label is given (None: 0.5). Else: below which a text that
            would get the label is left undecided (None: never).
        offsets: (K,) one label: added to the log probabilities before their maximum is taken. None: 0.
        costs: (K, K) one label: the label of least expected cost is given. None: the most probable.
        floor: Texts of less confidence are left undecided; infinite when dev reached the target nowhere. None: decide all.
        conformal: None: no sets.
        notes: What the user should know of the fit, in sentences.
    """

    kind: str
    names: tuple[str, ...]
    inputs: str = "logits"
    calibration: Calibration
    thresholds: Values | None = None
    offsets: Values | None = None
    costs: Values | None = None
    floor: float | None = None
    conformal: Conformal | None = None
    notes: tuple[str, ...] = ()

    @property
    def multi(self) -> bool:
        """Whether any number of labels can be right."""
        return self.kind == "multi"

    @classmethod
    def fit(
        cls,
        raw: Raw,
        gold: Gold,
        kind: str,
        names: Sequence[str],
        config: DecideConfig,
        *,
        inputs: str = "logits",
        costs: CostTable | None = None,
        seed: int = 42,
    ) -> Self:
        """Fit everything on dev.

        Thresholds, the floor and the sets see probabilities that were calibrated without the row, as a new row's will be.

        Args:
            raw: The model's outputs on dev.
            gold: (N,) class numbers, or (N, K) bool.
            kind: Of the labels.
            names: The labels.
            config: What to fit.
            inputs: What `raw` is.
            costs: In place of the file `config.costs`.
            seed: Of the folds of cross-fitting.

        Raises:
            InputError: Outputs that are not finite, an unknown label in the costs, or too few rows for a conformal level.
        """
        multi = kind == "multi"
        check_config(config, kind, names, costs)
        logits = to_logits(raw, inputs, multi)
        method = calibration.choose(logits, gold, seed) if config.calibration == "auto" else config.calibration
        held = calibration.cross_fitted(method, logits, gold, seed)
        goal = goal_of(config, multi)
        table = costs if costs is not None or config.costs is None else read_costs(config.costs, multi)
        matrix = cost_matrix(table, names, multi) if goal == "cost" and table is not None else None
        cuts, notes = _thresholds(goal, held, gold, names, config.precision, matrix)
        if config.calibration == "auto" and len(gold) < 2 * calibration.FOLDS:
            notes.append(f"calibration: none, because {len(gold)} dev rows are too few")
        found = cls(
            kind=kind,
            names=tuple(names),
            inputs=inputs,
            calibration=calibration.fit(method, logits, gold),
            thresholds=cuts,
            offsets=thresholds.prior_correction(held, gold) if goal == "f1" and not multi else None,
            costs=None if multi else matrix,
        )
        floor, more = found._floor(held, gold, config)
        sets = None
        if config.sets != "none":
            rows = int(gold.any(axis=1).sum()) if multi else len(gold)
            levels = config.levels or conformal.usual_levels(rows)
            if levels:
                sets = conformal.fit(config.sets, levels, config.sets_per_class, held, gold)
            else:
                notes.append(f"conformal sets: none, because {rows} dev rows are too few for any level")
            if sets is not None and sets.pooled:
                notes.append(
                    f"conformal sets: {len(sets.pooled)} labels have too few dev rows for a quantile of their own and share "
                    f"one: {_listed([names[label] for label in sets.pooled])}"
                )
        return replace(found, floor=floor, conformal=sets, notes=(*notes, *more))

    def _floor(self, held: Values, gold: Gold, config: DecideConfig) -> tuple[float | None, list[str]]:
        """Return the floor of confidence, and what there is to say of it."""
        sure = self.confidence(held)
        if config.target_coverage is not None:
            return abstain.floor_for_coverage(sure, config.target_coverage), []
        if config.target_accuracy is None:
            return None, []
        right = is_right(self.decide(held), gold)
        floor = abstain.floor_for_accuracy(sure, right, config.target_accuracy)
        target, bound = f"decide.target_accuracy={config.target_accuracy:g}", f"{1 - thresholds.ALPHA:.0%} confidence"
        if floor != abstain.NOTHING:
            kept = sure >= floor
            return floor, [
                f"{target}: dev reaches it with {bound} from a confidence of {floor:.3f} on ({int(right[kept].sum()):,} of "
                f"{int(kept.sum()):,} texts right; {len(kept) - int(kept.sum()):,} undecided)"
            ]
        best = 1 - abstain.risk_coverage(sure, right).risk.min()
        return floor, [
            f"{target} is not reached on dev with {bound} (accuracy at most {best:.3f}; even without a mistake it takes "
            f"{thresholds.rows_needed(config.target_accuracy)} texts, and dev has {len(right):,}): every text is left undecided"
        ]

    def probabilities(self, raw: Raw) -> Values:
        """Return calibrated probabilities (N, K); rows add up to 1 unless multi-label."""
        return self.calibration.apply(to_logits(raw, self.inputs, self.multi), self.multi)

    def decide(self, probabilities: Values) -> NDArray[Any]:
        """Return labels: (N,) class numbers, or (N, K) bool."""
        if self.multi:
            return np.asarray(probabilities >= (thresholds.HALF if self.thresholds is None else self.thresholds))
        if self.costs is not None:
            return least_cost(probabilities, self.costs)
        if self.offsets is None:
            return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)
        return np.asarray((np.log(np.maximum(probabilities, _TINY)) + self.offsets).argmax(axis=1), dtype=np.int64)

    def confidence(self, probabilities: Values) -> Values:
        """Return how probably each text is decided rightly, (N,): in multi-label all its labels, taken as independent."""
        decided = self.decide(probabilities)
        if self.multi:
            return np.asarray(np.where(decided, probabilities, 1 - probabilities).prod(axis=1))
        return np.asarray(probabilities[np.arange(len(decided)), decided])

    def abstains(self, probabilities: Values) -> Truth:
        """Return which texts are better left undecided, (N,)."""
        undecided = np.zeros(len(probabilities), dtype=bool)
        if self.floor is not None:
            undecided |= self.confidence(probabilities) < self.floor
        if self.thresholds is not None and not self.multi:
            undecided |= self.confidence(probabilities) < self.thresholds[self.decide(probabilities)]
        return undecided

    def sets(self, probabilities: Values, level: float) -> Truth:
        """Return the sets that hold the true label(s) as often as `level` says, (N, K).

        Raises:
            InputError: No sets were fitted, or not for this level.
        """
        return self.check_level(level).sets(probabilities, level)

    def check_level(self, level: float) -> Conformal:
        """Return the fitted sets if they have this level.

        Raises:
            InputError: No sets were fitted, or not for this level.
        """
        if self.conformal is None:
            raise InputError(f"level={level:g}: no conformal sets were fitted with this model")
        self.conformal.place(level)
        return self.conformal

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON; `from_json` gives back the very same numbers."""
        fitted = None if self.conformal is None else asdict(self.conformal)
        content = {
            "version": VERSION,
            "kind": self.kind,
            "names": list(self.names),
            "inputs": self.inputs,
            "calibration": asdict(self.calibration),
            "thresholds": _written(self.thresholds),
            "offsets": _written(self.offsets),
            "costs": None if self.costs is None else _sparse(self.costs, self.names),
            "floor": _written(self.floor),
            "conformal": fitted,
            "notes": list(self.notes),
        }
        plain: dict[str, Any] = json.loads(json.dumps(content, allow_nan=False))
        return plain

    @classmethod
    def from_json(cls, content: Any, names: Sequence[str] | None = None, name: str = FILE) -> Self:
        """Read what `to_json` made.

        Args:
            content: Plain JSON.
            names: The model's labels, which must be those of the fit; None does not look.
            name: What messages call the file.

        Raises:
            InputError: It is of another version, incomplete, damaged, or was fitted for other labels.
        """
        again = "save the model again, or delete the file to predict without calibration"
        if not isinstance(content, dict) or content.get("version") != VERSION:
            version = content.get("version") if isinstance(content, dict) else type(content).__name__
            raise InputError(f"{name}: version must be {VERSION}; got {version!r}; {again}")
        try:
            own = tuple(str(label) for label in content["names"])
            fitted = content["conformal"]
            found = cls(
                kind=content["kind"],
                names=own,
                inputs=content["inputs"],
                calibration=Calibration(
                    method=content["calibration"]["method"],
                    scale=tuple(content["calibration"]["scale"]),
                    bias=tuple(content["calibration"]["bias"]),
                    knots=tuple((tuple(before), tuple(after)) for before, after in content["calibration"]["knots"]),
                    rows=content["calibration"]["rows"],
                ),
                thresholds=_read(content["thresholds"]),
                offsets=_read(content["offsets"]),
                costs=None if content["costs"] is None else cost_matrix(content["costs"], own, multi=False, name=name),
                floor=None if content["floor"] is None else float(content["floor"]),
                conformal=None
                if fitted is None
                else Conformal(
                    score=fitted["score"],
                    multi=fitted["multi"],
                    levels=tuple(fitted["levels"]),
                    limits=tuple(tuple(row) for row in fitted["limits"]),
                    pooled=tuple(fitted["pooled"]),
                ),
                notes=tuple(content["notes"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{name} is damaged ({reason}); {again}") from None
        if names is not None and own != tuple(names):
            raise InputError(f"{name} was fitted for other labels than the model's: {_difference(own, names)}; {again}")
        found._check(f"{name} is damaged", again)
        return found

    def _check(self, what: str, fix: str) -> None:
        """Refuse parts that do not fit together: a file that somebody has edited, or a part of two."""
        size = len(self.names)
        columns = [
            len(part)
            for part in (self.thresholds, self.offsets, self.calibration.bias, self.calibration.knots)
            if part is not None and len(part)
        ]
        if len(self.calibration.scale) > 1:
            columns.append(len(self.calibration.scale))
        if self.conformal is not None:
            columns += [len(row) for row in self.conformal.limits]
            if len(self.conformal.limits) != len(self.conformal.levels):
                raise InputError(
                    f"{what} ({len(self.conformal.levels)} levels, {len(self.conformal.limits)} limits); {fix}"
                )
        if wrong := [count for count in columns if count != size]:
            raise InputError(f"{what} ({size} labels, and numbers for {wrong[0]}); {fix}")
        if self.inputs not in INPUTS or self.calibration.method not in calibration.METHODS:
            raise InputError(f"{what} (unknown '{self.inputs}' or '{self.calibration.method}'); {fix}")

    def save(self, folder: Path) -> None:
        """Write decisions.json into the folder of the model."""
        write_json(folder / FILE, self.to_json())

    @classmethod
    def load(cls, folder: Path, names: Sequence[str] | None = None) -> Self:
        """Read decisions.json from the folder of a model whose labels are `names`.

        Raises:
            InputError: It is not there, cut off, or not for this model.
        """
        path = folder / FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; the folder holds no fitted decisions") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path} is cut off or damaged ({error}); save the model again, or delete the file to predict without "
                "calibration"
            ) from None
        return cls.from_json(content, names, str(path))


def goal_of(config: DecideConfig, multi: bool) -> str:
    """Return what the thresholds are tuned for, with `auto` resolved."""
    return ("f1" if multi else "none") if config.thresholds == "auto" else config.thresholds


def check_config(
    config: DecideConfig, kind: str, names: Sequence[str], costs: CostTable | None = None, rows: int | None = None
) -> None:
    """Refuse before training what the fit would refuse: costs of unknown labels, levels that dev is too small for.

    Args:
        config: What will be fitted.
        kind: Of the labels.
        names: The labels.
        costs: In place of the file `config.costs`.
        rows: Dev rows, if they are known.

    Raises:
        InputError: In one line.
    """
    multi = kind == "multi"
    if config.thresholds == "cost":
        table = costs if costs is not None or config.costs is None else read_costs(config.costs, multi)
        if table is not None:
            cost_matrix(table, names, multi, config.costs or "decide.costs")
    if multi and config.sets in ("aps", "raps"):
        raise InputError(f"decide.sets={config.sets} is for one right label; multi-label data has decide.sets=lac")
    if rows is not None and rows < 2 * calibration.FOLDS and config.calibration not in ("auto", "none"):
        raise InputError(
            f"decide.calibration={config.calibration} needs at least {2 * calibration.FOLDS} dev rows, and dev has {rows}; "
            "give more, or set decide.calibration=none"
        )
    if rows is not None and config.sets != "none":
        conformal.check_rows(config.levels, rows)


def to_logits(raw: Raw, inputs: str, multi: bool) -> Values:
    """Return logits (N, K) that give the same probabilities as the raw outputs do.

    Raises:
        InputError: An output is NaN or infinite.
    """
    values = np.asarray(raw, dtype=np.float64)
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0][0])
        raise InputError(
            f"the model's output for row {row + 1} is not finite; its training has diverged: lower optim.learning_rate"
        )
    if inputs == "logits":
        return values
    bounded = np.clip(values, _TINY, 1 - _TINY)
    return np.asarray(logit(bounded) if multi else np.log(bounded))


def is_right(predicted: Gold, gold: Gold) -> Truth:
    """Return which rows are decided rightly, (N,); in multi-label in all labels."""
    return np.asarray((predicted == gold).all(axis=1) if gold.ndim == 2 else predicted == gold)


def _thresholds(
    goal: str, held: Values, gold: Gold, names: Sequence[str], precision: float | None, costs: Values | None
) -> tuple[Values | None, list[str]]:
    """Return the thresholds (K,) or None, and what there is to say of them."""
    multi = gold.ndim == 2
    if goal == "f1" and multi:
        return thresholds.f1_thresholds(held, gold), []
    if goal == "cost" and multi and costs is not None:
        return cost_thresholds(costs), []
    if goal != "precision" or precision is None:
        return None, []
    labels = np.arange(held.shape[1])
    among = None if multi else held.argmax(axis=1)[:, None] == labels
    cuts = thresholds.precision_thresholds(held, gold if multi else gold[:, None] == labels, precision, among)
    never = [name for name, cut in zip(names, cuts, strict=True) if cut == thresholds.NEVER]
    if not never:
        return cuts, []
    return cuts, [
        f"{len(never)} of {len(names)} labels do not reach a precision of {precision:g} on dev with {1 - thresholds.ALPHA:.0%} "
        f"confidence (without a mistake it takes {thresholds.rows_needed(precision)} texts that would get the label) and are "
        f"never given: {_listed(never)}"
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _difference(own: Sequence[str], names: Sequence[str]) -> str:
    if len(own) != len(names):
        return f"{len(own)} labels instead of {len(names)}"
    place = next(place for place, (one, other) in enumerate(zip(own, names, strict=True)) if one != other)
    return f"label {place} is '{own[place]}' there and '{names[place]}' in the model"


def _written(value: Values | float | None) -> Any:
    """Return numbers as JSON has them; infinity is the text "inf"."""
    if value is None:
        return None
    if isinstance(value, float):
        return "inf" if math.isinf(value) else value
    return [_written(float(item)) for item in value]


def _read(value: Any) -> Values | None:
    return None if value is None else np.array([float(item) for item in value], dtype=np.float64)


def _sparse(costs: Values, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the costs that are not 1 for a mistake and 0 for a right label."""
    table: dict[str, dict[str, float]] = {}
    for row, column in np.argwhere(costs != 1 - np.eye(len(names))):
        table.setdefault(names[row], {})[names[column]] = float(costs[row, column])
    return table


def plain(kind: str, names: Sequence[str], inputs: str = "logits") -> Decisions:
    """Return decisions without anything fitted: the model's own probabilities, the most probable label or 0.5."""
    return Decisions(kind=kind, names=tuple(names), inputs=inputs, calibration=Calibration())
