"""What an experiment compares: ways to read long, each a method and whether the stretched model is trained."""

from dataclasses import dataclass

from longctx.config import LongContextExperiment
from longctx.rope_config import ROPES, DynamicNtk, RopeConfig, SelfExtend, Unstretched, name_of

UNTUNED = "untuned"
TUNED = "tuned"
ADAPTED = "{method}, adapted"


ONLY_READ = (SelfExtend, DynamicNtk)
"""Methods that are not trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to read long.

    Attributes:
        system: What tables and records call it.
        method: How positions are stretched.
        adapted: Whether the stretched model is trained.
    """

    system: str
    method: RopeConfig
    adapted: bool

    @property
    def folder(self) -> str:
        """Its folder in a run."""
        return self.system.replace(", ", "-")

    @property
    def title(self) -> str:
        """What a picture calls it: of what was tuned, the method."""
        return ADAPTED.format(method=name_of(self.method)) if self.system == TUNED else self.system


def arms_of(experiment: LongContextExperiment) -> list[Arm]:
    """Return what is scored, the model as it is first; the last is what the experiment is about.

    That is "tuned", or with adapt=false the method itself ("untuned" with rope=none).
    """
    own = name_of(experiment.rope)
    names = list(dict.fromkeys(["none", *(name for name in experiment.compare if name != own), own]))
    methods = {name: experiment.rope if name == own else ROPES[name]() for name in names}
    found = [
        Arm(system=UNTUNED if name == name_of(Unstretched()) else name, method=method, adapted=False)
        for name, method in methods.items()
    ]
    if not experiment.adapt:
        return found
    if experiment.compare_adapted:
        found += [
            Arm(system=ADAPTED.format(method=name), method=methods[name], adapted=True)
            for name in names
            if name != own and not isinstance(methods[name], ONLY_READ)
        ]
    return [*found, Arm(system=TUNED, method=methods[own], adapted=True)]


def subject_of(experiment: LongContextExperiment) -> Arm:
    """Return the arm that the experiment is about; the others stand beside it."""
    arms = arms_of(experiment)
    own = name_of(experiment.rope)
    return arms[-1] if experiment.adapt else next(arm for arm in arms if name_of(arm.method) == own)
