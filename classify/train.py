"""`python -m classify.train +exp=classify-quickstart`: train a text classifier on labelled rows and prove the gain."""

from typing import Any

from classify.config import METHODS, AutoMethod, ClassifyExperiment
from classify.distil_config import SoftLabelsConfig
from classify.losses_config import LOSSES
from finewise.settings import entry


def loads_with(record: dict[str, Any]) -> str:
    """Return what opens the saved model of a run."""
    model = record["model"]
    plain = "AutoModelForSequenceClassification" + (", trust_remote_code=True" if model["code"] else "")
    if model.get("stack"):
        plain = f"classify.predictor.Predictor; the classifier alone, without TF-IDF, with {plain}"
    if record.get("decisions", {}).get("calibration", {}).get("method", "none") != "none":
        plain += ", whose probabilities are not calibrated: Predictor applies decisions.json"
    return plain + (f"; put {model['prompt']!r} before each text there" if model.get("prompt") else "")


@entry(
    "classify",
    ClassifyExperiment,
    groups={"loss": LOSSES, "method": METHODS},
    description="Train a text classifier on labelled rows, with calibrated probabilities and tuned thresholds.",
)
def main(experiment: ClassifyExperiment) -> float:
    """Run one experiment; return the dev score of what was chosen, which is what a sweep may optimise.

    Never the test score: choosing settings by it would make the test set a part of the training. What is imported here is
    imported where it is needed: a mistake in the settings or the data is answered before torch is there.
    """
    from benchmarks.result import show
    from finewise.data.sources import revision
    from finewise.inputs import check_inputs, check_packages, check_split, own_references, pin_inputs
    from finewise.processes import leave
    from finewise.references import content_of, expanded, model_reference
    from finewise.run import Run

    references = own_references(experiment)
    check_inputs(experiment, references, labelled=True)
    if isinstance(experiment.method, SoftLabelsConfig):
        check_split("method.teacher", model_reference(experiment.method.teacher), experiment)
    if experiment.onnx:
        check_packages("onnx=true", "onnx", "onnxruntime")
    with Run.open("classify", experiment, resume=experiment.resume) as run:
        pin_inputs(run, experiment, references)
        if experiment.decide.costs is not None:
            run.pin("decide.costs", content_of(expanded(experiment.decide.costs)))
        if isinstance(experiment.method, SoftLabelsConfig):
            run.pin("method.teacher", content_of(model_reference(experiment.method.teacher)))
            if experiment.method.unlabelled is not None:
                run.pin("method.unlabelled", revision(experiment.method.unlabelled))
        if run.finished is not None:
            leave()
            return show(run, run.finished, loads_with(run.finished))
        with run.stage("data"):
            with run.stage("imports"):
                from classify.data import load

            data = load(experiment, run)
        with run.stage("imports"):
            from benchmarks.embedded import Embedded
            from classify.model import check_weights
            from classify.prove import decide, fit_baselines, prove
            from classify.ways import learn
        check_weights(experiment.model)
        embedded = Embedded(
            experiment.model,
            experiment.run.device,
            experiment.run.precision,
            experiment.execution,
            experiment.micro_batch_tokens,
        )
        with run.stage("baselines"):
            baselines = fit_baselines(data, embedded, experiment)
        with run.stage("train"):
            if isinstance(experiment.method, AutoMethod):
                from classify.auto import learn_best

                trained, experiment = learn_best(data, embedded, experiment, run)
            else:
                trained = learn(data, embedded, experiment, run)
        leave()
        if not run.is_first:
            return trained.outcome.best_score
        with run.stage("decide"):
            decisions, raw_dev = decide(trained, data, experiment)
        with run.stage("test"):
            proof = prove(trained, decisions, raw_dev, baselines, data, experiment, run)
        with run.stage("save"):
            from classify.export import save_model, write_record

            save_model(trained, decisions, proof, data, experiment, run)
        worth = None
        if experiment.curve:
            with run.stage("curve"):
                from classify.curve import measure_curve

                worth = measure_curve(raw_dev, baselines, data, embedded, experiment, run)
        record = write_record(trained, proof, worth, data, experiment, run)
        return show(run, record, loads_with(record))


if __name__ == "__main__":
    main()
