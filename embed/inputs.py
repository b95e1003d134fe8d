"""The data references of an experiment. Imports nothing heavy."""

import json
from pathlib import Path

from embed.config import EmbedExperiment
from finewise.errors import InputError
from finewise.inputs import own_references
from finewise.references import model_reference


def references(experiment: EmbedExperiment) -> dict[str, str]:
    """Return setting -> data reference, those that are set: the experiment's own data and its benchmarks."""
    named = own_references(experiment)
    for name, benchmark in experiment.benchmarks.items():
        named[f"benchmarks.{name}.path"] = benchmark.path
        if benchmark.corpus is not None:
            named[f"benchmarks.{name}.corpus"] = benchmark.corpus
    return named


def check_dims(experiment: EmbedExperiment) -> None:
    """Refuse Matryoshka dimensions above the model's own before the data are read, where its files say what that is.

    Raises:
        InputError: One is too large.
    """
    reference = model_reference(experiment.model.name, experiment.model.revision)
    full = _dimension(reference) if experiment.matryoshka.dims and isinstance(reference, Path) else None
    refuse_dims(experiment, full)


def refuse_dims(experiment: EmbedExperiment, full: int | None) -> None:
    """Refuse Matryoshka dimensions above the model's own, if that is known.

    Raises:
        InputError: One is too large.
    """
    too_large = [dim for dim in experiment.matryoshka.dims if full is not None and dim > full]
    if too_large:
        raise InputError(f"matryoshka.dims must be at most {full}, the model's dimension; got {too_large}")


def _dimension(folder: Path) -> int | None:
    """Return how many dimensions a saved model's embeddings have; None where the files do not say it plainly."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        modules = folder / "modules.json"
        kinds = json.loads(modules.read_text(encoding="utf-8")) if modules.exists() else []
        plain = all(kind["type"].rpartition(".")[2] in ("Transformer", "Pooling", "Normalize") for kind in kinds)
        for kind in kinds:
            pooling = folder / kind["path"] / "config.json"
            if kind["type"].endswith("Pooling") and pooling.exists():
                modes = json.loads(pooling.read_text(encoding="utf-8"))
                plain = (
                    plain and sum(value is True for key, value in modes.items() if key.startswith("pooling_mode")) <= 1
                )
        size = config.get("hidden_size")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return size if plain and isinstance(size, int) else None
