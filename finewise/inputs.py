"""What an experiment reads: that it is there, and that it stays what it was. Imports nothing heavy."""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from finewise.config import ExperimentConfig
from finewise.data.hub import is_hub
from finewise.data.sources import exists, revision, splits
from finewise.errors import InputError
from finewise.references import check_hub, content_of, model_reference
from finewise.run import MANIFEST, Run, check_trackers


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
    check_split("model.name", reference, experiment)


def check_split(key: str, start: Path | str, experiment: ExperimentConfig) -> None:
    """Refuse to go on from a model of a run that trained on what is test now.

    Splits of a file that brings none are sampled with data.split_seed: under another one most test rows were the earlier run's
    training rows.

    Args:
        key: The setting that names the model.
        start: The model: a path, or a hub name, of which nothing is known.
        experiment: The settings; of the data, `data.train` is looked at.

    Raises:
        InputError: The run beside the model read the same file, split otherwise.
    """
    data = experiment.data
    own = [] if is_hub(data.train) else splits(data.train)
    drawn = [name for name in ("dev", "test") if getattr(data, name) is None and name not in own]
    if isinstance(start, str) or not drawn:
        return
    try:
        pins = json.loads((start.parent / MANIFEST).read_text(encoding="utf-8"))["pins"]
        then = yaml.safe_load((start.parent / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError):
        return  # no folder of a run
    if pins.get("data.train") != revision(data.train):
        return
    names = [*(f"{name}_size" for name in drawn), *(["split_by"] if hasattr(data, "split_by") else [])]
    now = {"data.split_seed": data.split_seed, **{f"data.{name}": getattr(data, name) for name in names}}
    seed = then["data"].get("split_seed", then.get("seed"))
    then["data"].setdefault("split_by", "linked")  # runs from before there was a choice
    before = {"data.split_seed": seed, **{f"data.{name}": then["data"].get(name) for name in names}}
    other = [f"{name}={value}" for name, value in before.items() if value != now[name]]
    if other:
        raise InputError(
            f"{key}: the run in {start.parent} trained on rows that are {' and '.join(drawn)} now: the same file was split "
            f"otherwise; set {' '.join(other)}, or name files for data.dev and data.test"
        )


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
    take_over(run, experiment)


def take_over(run: Run, experiment: ExperimentConfig) -> None:
    """Let a resumed run compute in the precision, and from the commit of a hub model, with which it began."""
    experiment.run.precision = run.kept("precision") or experiment.run.precision
    experiment.model.revision = run.kept("model.revision") or experiment.model.revision


def own_references(experiment: ExperimentConfig) -> dict[str, str]:
    """Return setting -> reference for the data of the experiment itself."""
    data = experiment.data
    named = {"data.train": data.train, "data.dev": data.dev, "data.test": data.test}
    return {key: reference for key, reference in named.items() if reference is not None}
