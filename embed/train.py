"""`python -m embed.train +exp=embed-quickstart`: fine-tune an embedding model on pairs and prove the gain."""

from embed.config import LOSSES, EmbedExperiment
from finewise.settings import entry


@entry("embed", EmbedExperiment, groups={"loss": LOSSES}, description="Fine-tune an embedding model on pairs of texts.")
def main(experiment: EmbedExperiment) -> float:
    """Run one experiment; return the dev score of the chosen checkpoint, which is what a sweep may optimise.

    Never the test score: choosing settings by it would make the test set a part of the training.
    """
    from finewise.processes import leave
    from finewise.run import Run

    check(experiment)
    with Run.open("embed", experiment, resume=experiment.resume) as run:
        from embed.export import save_model, show, write_record

        if run.finished is not None:
            leave()
            return show(run, run.finished)

        with run.stage("data"):
            from embed.data import load

            data = load(experiment, run)
        with run.stage("model"):
            from embed.model import load_for

            model = load_for(experiment)
        with run.stage("before"):
            from embed.prove import prove, score_dev

            before = score_dev(model, data.dev, experiment)
        with run.stage("train"):
            from embed.trainer import train

            outcome = train(model, data, experiment, run)
        leave()
        if not run.is_first:
            return outcome.best_score
        with run.stage("test"):
            proof = prove(model, data.tests, experiment, run, outcome.best_step)
        with run.stage("save"):
            save_model(model, data, proof, experiment, run)
        return show(run, write_record(model, data, before, outcome, proof, experiment, run))


def check(experiment: EmbedExperiment) -> None:
    """Look at what the settings point to, before anything slow is imported.

    Raises:
        InputError: The model, a data reference or a tracker is not there.
    """
    from finewise.data.sources import exists
    from finewise.references import model_reference
    from finewise.run import check_trackers

    model_reference(experiment.model.name)
    check_trackers(experiment.run.report_to)
    data = experiment.data
    references = [data.train, data.dev, data.test]
    references += [path for bench in experiment.benchmarks.values() for path in (bench.path, bench.corpus)]
    for reference in references:
        if reference is not None:
            exists(reference)


if __name__ == "__main__":
    main()
