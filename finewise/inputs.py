"""What an experiment reads: that it is there, and that it stays what it was. Imports nothing heavy."""

import importlib.util
from collections.abc import Mapping

from finewise.config import ExperimentConfig
from finewise.data.sources import exists, revision
from finewise.errors import InputError
from finewise.references import check_hub, content_of, model_reference
from finewise.run import Run, check_trackers


def check_inputs(experiment: ExperimentConfig, references: Mapping[str, str], *, labelled: bool = False) -> None:
    """Look at what the settings point to, before anything slow is imported.

    Args:
        experiment: The settings.
        references: Setting -> data reference, those that are set.
        labelled: Whether they must name labelled texts; else pairs or retrieval sets.

    Raises:
        InputError: The model, a data reference or a tracker is not there.
    """
    reference = model_reference(experiment.model.name, experiment.model.revision)
    check_trackers(experiment.run.report_to)
    for name in references.values():
        exists(name, labelled=labelled)
    if isinstance(reference, str):
        check_hub(reference, experiment.model.revision)


def check_packages(key: str, *names: str) -> None:
    """Refuse a setting whose packages are not installed, before anything slow.

    Raises:
        InputError: Names them.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"{key} needs the packages {' and '.join(missing)}: pip install {' '.join(missing)}")


def pin_inputs(run: Run, experiment: ExperimentConfig, references: Mapping[str, str]) -> None:
    """Tie the run to the content of all that it reads, so that a resumed run is the run that began.

    Raises:
        InputError: A file or the model changed since the run began.
    """
    reference = model_reference(experiment.model.name, experiment.model.revision)
    run.pin("model.name", content_of(reference))
    for key, name in references.items():
        run.pin(key, revision(name))


def own_references(experiment: ExperimentConfig) -> dict[str, str]:
    """Return setting -> reference for the data of the experiment itself."""
    data = experiment.data
    named = {"data.train": data.train, "data.dev": data.dev, "data.test": data.test}
    return {key: reference for key, reference in named.items() if reference is not None}
