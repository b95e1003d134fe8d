"""The settings of decisions. Imports nothing heavy."""

from dataclasses import dataclass

from finewise.config import setting


@dataclass(slots=True, kw_only=True)
class DecideConfig:
    """How probabilities become decisions. Everything is fitted on dev and measured on test."""

    calibration: str = setting(
        "auto",
        "makes a probability of 0.8 right in 80% of cases: one temperature, a scale and a bias per class (vector), a step "
        "function per class (isotonic), or auto: temperature unless another is better by cross-validation",
        ("auto", "none", "temperature", "vector", "isotonic"),
    )
    thresholds: str = setting(
        "auto",
        "from which probability on a label is given: for the best macro-F1, for decide.precision, for the lowest "
        "decide.costs, none (0.5, or the most probable), or auto: f1 for multi-label, else none",
        ("auto", "none", "f1", "precision", "cost"),
    )
    precision: float | None = setting(
        None,
        "thresholds=precision: what each label's precision must reach, such as 0.9, by its lower 95% confidence bound on dev "
        "(a label with fewer dev rows than prove it is never given)",
    )
    costs: str | None = setting(
        None,
        "thresholds=cost: a CSV file with a row per true label and a column per given label; multi-label: with the columns "
        "label, miss and false_alarm",
    )
    target_accuracy: float | None = setting(
        None,
        "abstain where unsure, so that this share of the rest is right, by its lower 95% confidence bound on dev (null: do not "
        "abstain)",
    )
    target_coverage: float | None = setting(
        None, "abstain where unsure, so that this share of the texts is decided (null: do not abstain)"
    )
    sets: str = setting(
        "lac",
        "conformal sets that hold the true label with the nominal coverage: lac makes the smallest, aps and raps adapt better "
        "to how hard a text is",
        ("none", "lac", "aps", "raps"),
    )
    levels: list[float] = setting(
        list,
        "how often the sets must hold the true label (empty: 0.8, 0.9 and 0.95, as far as dev has the rows for them)",
    )
    sets_per_class: bool = setting(
        False, "reach the nominal coverage in each class by itself; classes with too few dev rows share one"
    )

    def __post_init__(self) -> None:
        for key in ("precision", "target_accuracy", "target_coverage"):
            value = getattr(self, key)
            if value is not None and not 0 < value < 1:
                raise ValueError(f"decide.{key} must be between 0 and 1; got {value}")
        for level in self.levels:
            if not 0 < level < 1:
                raise ValueError(f"decide.levels must be between 0 and 1, such as [0.9]; got {level}")
        for key, goal in (("precision", "precision"), ("costs", "cost")):
            given = getattr(self, key) is not None
            if given and self.thresholds != goal:
                raise ValueError(
                    f"decide.{key} is read with decide.thresholds={goal} alone; got thresholds={self.thresholds}"
                )
            if not given and self.thresholds == goal:
                raise ValueError(f"decide.thresholds={goal} needs decide.{key}=...")
        if self.target_accuracy is not None and self.target_coverage is not None:
            raise ValueError("decide.target_accuracy and decide.target_coverage are both set; keep one")
        if self.sets == "none" and self.levels:
            raise ValueError("decide.levels has no effect with decide.sets=none; remove it")
        if self.sets == "none" and self.sets_per_class:
            raise ValueError("decide.sets_per_class has no effect with decide.sets=none; remove it")
