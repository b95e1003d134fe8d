"""The data references of an experiment. Imports nothing heavy."""

from embed.config import EmbedExperiment
from finewise.inputs import own_references


def references(experiment: EmbedExperiment) -> dict[str, str]:
    """Return setting -> data reference, those that are set: the experiment's own data and its benchmarks."""
    named = own_references(experiment)
    for name, benchmark in experiment.benchmarks.items():
        named[f"benchmarks.{name}.path"] = benchmark.path
        if benchmark.corpus is not None:
            named[f"benchmarks.{name}.corpus"] = benchmark.corpus
    return named
