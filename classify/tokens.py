"""`python -m classify.tokens data.train=FILE`: train a tagger on labelled spans or BIO tags and prove the gain."""

from classify.spans.config import TokensExperiment
from finewise.settings import entry

LOADS_WITH = "AutoModelForTokenClassification"


@entry(
    "tokens", TokensExperiment, description="Train a model that finds labelled spans in texts (token classification)."
)
def main(experiment: TokensExperiment) -> float:
    """Run one experiment; return the dev score of what was chosen, which is what a sweep may optimise.

    What is imported here is imported where it is needed: a mistake in the settings is answered before torch is there.
    """
    from benchmarks.result import show
    from benchmarks.stats.design import Design, warn_of_few
    from classify.spans.load import check_references, load
    from finewise.console import err
    from finewise.data.exported import write_split
    from finewise.inputs import pin_inputs
    from finewise.processes import leave
    from finewise.run import Run

    references = check_references(experiment)
    with Run.open("tokens", experiment, resume=experiment.resume) as run:
        pin_inputs(run, experiment, references)
        if run.finished is not None:
            leave()
            return show(run, run.finished, LOADS_WITH)
        with run.stage("data"):
            data = load(experiment)
            warn_of_few(f"{data.test.name} (test)", Design.of(len(data.test), clusters=data.test.groups))
            if run.is_first:
                for part in (data.train, data.dev, data.test):
                    write_split(run.dir, part.split, {"file": [part.reference] * len(part), "number": part.numbers})
                err.print(data.report, soft_wrap=True)
        with run.stage("imports"):
            from classify.model import check_weights
            from classify.spans.export import save_model, write_record
            from classify.spans.prove import fit_baselines, prove
            from classify.spans.trainer import train
        check_weights(experiment.model)
        with run.stage("baselines"):
            taggers, seconds = fit_baselines(data, experiment)
        with run.stage("train"):
            trained = train(data, experiment, run)
        leave()
        if not run.is_first:
            return trained.outcome.best_score
        with run.stage("test"):
            proof = prove(trained, taggers, seconds, data, experiment, run)
        with run.stage("save"):
            save_model(trained, proof, data, experiment, run)
        return show(run, write_record(trained, proof, data, experiment, run), LOADS_WITH)


if __name__ == "__main__":
    main()
