"""`python -m embed.train +exp=embed-quickstart`: fine-tune an embedding model on pairs and prove the gain."""

from embed.config import EmbedExperiment
from finewise.contrastive.config import LOSSES
from finewise.settings import entry

LOADS_WITH = "SentenceTransformer"


@entry("embed", EmbedExperiment, groups={"loss": LOSSES}, description="Fine-tune an embedding model on pairs of texts.")
def main(experiment: EmbedExperiment) -> float:
    """Run one experiment; return the dev score of the chosen checkpoint, which is what a sweep may optimise.

    Never the test score: choosing settings by it would make the test set a part of the training. What is imported here is
    imported where it is needed: a mistake in the settings or the data is answered before torch is there.
    """
    from benchmarks.result import show
    from embed.inputs import check_dims, references
    from finewise.inputs import check_inputs, pin_inputs
    from finewise.processes import leave
    from finewise.run import Run

    check_inputs(experiment, references(experiment))
    check_dims(experiment)
    with Run.open("embed", experiment, resume=experiment.resume) as run:
        pin_inputs(run, experiment, references(experiment))
        if run.finished is not None:
            leave()
            return show(run, run.finished, LOADS_WITH)
        with run.stage("data"):
            with run.stage("imports"):
                from embed.data import load

            data = load(experiment, run)
        with run.stage("imports"):
            from embed.model import load_for
            from embed.prove import dev_scores, prove, score_untuned
            from embed.trainer import train
        with run.stage("model"):
            model = load_for(experiment)
        with run.stage("before"):
            before, untuned = score_untuned(model, data.dev, experiment)
        with run.stage("train"):
            outcome, plan = train(model, data, experiment, run)
        leave()
        if not run.is_first:
            return outcome.best_score
        with run.stage("test"):
            on_dev = dev_scores(model, data.dev, before, experiment)
            proof = prove(model, data.tests, experiment, run, outcome.best_step, untuned)
        worth = None
        if experiment.curve:
            with run.stage("curve"):
                from embed.curve import measure_curve

                worth = measure_curve(model, data, experiment, run, untuned)
        with run.stage("save"):
            from embed.export import save_model, write_record

            save_model(model, data, outcome, proof, experiment, run)
        return show(run, write_record(model, data, on_dev, outcome, plan, proof, worth, experiment, run), LOADS_WITH)


if __name__ == "__main__":
    main()
