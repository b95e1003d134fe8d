"""What an experiment reads: that it is there, and that it stays what it was. Imports nothing heavy."""

from collections.abc import Iterator

from embed.config import EmbedExperiment
from finewise.data.sources import exists, revision
from finewise.references import check_hub, content_of, model_reference
from finewise.run import Run, check_trackers


def check(experiment: EmbedExperiment) -> None:
    """Look at what the settings point to, before anything slow is imported.

    Raises:
        InputError: The model, a data reference or a tracker is not there.
    """
    reference = model_reference(experiment.model.name, experiment.model.revision)
    check_trackers(experiment.run.report_to)
    for _, name in data_references(experiment):
        exists(name)
    if isinstance(reference, str):
        check_hub(reference, experiment.model.revision)


def pin(run: Run, experiment: EmbedExperiment) -> None:
    """Tie the run to the content of all that it reads, so that a resumed run is the run that began.

    Raises:
        InputError: A file or the model changed since the run began.
    """
    reference = model_reference(experiment.model.name, experiment.model.revision)
    run.pin("model.name", content_of(reference))
    for key, name in data_references(experiment):
        run.pin(key, revision(name))


def data_references(experiment: EmbedExperiment) -> Iterator[tuple[str, str]]:
    """Yield (setting, reference) for every data reference that is set."""
    data = experiment.data
    named = [("data.train", data.train), ("data.dev", data.dev), ("data.test", data.test)]
    for name, benchmark in experiment.benchmarks.items():
        named += [(f"benchmarks.{name}.path", benchmark.path), (f"benchmarks.{name}.corpus", benchmark.corpus)]
    for key, reference in named:
        if reference is not None:
            yield key, reference
