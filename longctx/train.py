"""`python -m longctx.train +exp=longctx-quickstart`: stretch a RoPE model, adapt it, and prove how far it reads."""

from typing import Any

from finewise.processes import refuse_several
from finewise.settings import entry
from longctx.config import OBJECTIVES, LongContextExperiment
from longctx.rope_config import ROPES, SelfExtend, name_of


def loads_with(record: dict[str, Any]) -> str:
    """Return what opens the saved model of a run."""
    opens = "SentenceTransformer" if record["model"]["embeds"] else "AutoModelForCausalLM"
    untouched = record["rope"]["method"] == name_of(SelfExtend())
    return f"{opens}; Self-Extend is no part of it, its README.md says how to read" if untouched else opens


@entry(
    "longctx",
    LongContextExperiment,
    groups={"rope": ROPES, "objective": OBJECTIVES},
    description="Stretch a model with rotary positions, adapt it to long texts, and prove where it still reads.",
)
def main(experiment: LongContextExperiment) -> float:
    """Run one experiment; return the dev score of what was chosen, which is what a sweep may optimise.

    Never the test score: choosing settings by it would make the test set a part of the training. What is imported here is
    imported where it is needed: a mistake in the settings or the data is answered before torch is there.
    """
    refuse_several("longctx.train")
    from benchmarks.result import show
    from finewise.run import Run
    from longctx.inputs import check, pin

    check(experiment)
    with Run.open("longctx", experiment, resume=experiment.resume) as run:
        pin(run, experiment)
        if run.finished is not None:
            return show(run, run.finished, loads_with(run.finished))
        with run.stage("study"):
            with run.stage("imports"):
                from longctx.study import study
            found = study(experiment, run)
        with run.stage("prove"):
            from longctx.prove import prove

            proof = prove(found, experiment)
        with run.stage("save"):
            from longctx.export import finish

            record = finish(found, proof, experiment, run)
        return show(run, record, loads_with(record))


if __name__ == "__main__":
    main()
