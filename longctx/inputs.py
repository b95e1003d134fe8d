"""What an experiment reads: that it is there, and that it stays what it was. Imports nothing heavy."""

from pathlib import Path

from finewise.data.documents import check_documents
from finewise.data.sources import DOCUMENTS, exists, revision
from finewise.errors import InputError
from finewise.inputs import own_references, take_over
from finewise.names import unknown
from finewise.references import check_hub, content_of, model_reference
from finewise.run import Run, check_trackers
from longctx.config import LongContextExperiment
from longctx.tiny.models import CAUSAL, EMBEDDING, NAMES, is_tiny
from longctx.tiny.supply import TINY


def references(experiment: LongContextExperiment) -> dict[str, str]:
    """Return setting -> data reference, those that files stand behind."""
    named = own_references(experiment) if experiment.adapt else {}
    if not experiment.embeds and experiment.perplexity.data is not None:
        named["perplexity.data"] = experiment.perplexity.data
    return {key: name for key, name in named.items() if name != TINY}


def check(experiment: LongContextExperiment) -> None:
    """Look at what the settings point to, before anything slow is imported.

    Raises:
        InputError: The model, a data reference or a tracker is not there, or they are of different kinds.
    """
    check_trackers(experiment.run.report_to)
    name = experiment.model.name
    if is_tiny(name):
        _check_tiny(experiment)
    else:
        if experiment.adapt and experiment.data.train == TINY:
            raise InputError(
                f"data.train={TINY} is the language of model.name={CAUSAL} or {EMBEDDING} alone; got {name}"
            )
        reference = model_reference(name, experiment.model.revision, gguf=not experiment.embeds)
        if isinstance(reference, str):
            check_hub(reference, experiment.model.revision)
    for key, reference in references(experiment).items():
        if experiment.embeds and not experiment.data.documents:
            if reference in DOCUMENTS and not Path(reference).exists():
                raise InputError(
                    f"{key}={reference} holds documents, not pairs; to cut pairs out of them set data.documents=true"
                )
            exists(reference)
        else:
            check_documents(reference, "test" if key == "perplexity.data" else key.removeprefix("data."))


def pin(run: Run, experiment: LongContextExperiment) -> None:
    """Tie the run to the content of all that it reads, so that a resumed run is the run that began.

    Raises:
        InputError: A file or the model changed since the run began.
    """
    name = experiment.model.name
    if not is_tiny(name):
        run.pin("model.name", content_of(model_reference(name, experiment.model.revision, gguf=not experiment.embeds)))
    for key, reference in references(experiment).items():
        run.pin(key, revision(reference))
    take_over(run, experiment)


def _check_tiny(experiment: LongContextExperiment) -> None:
    name = experiment.model.name
    if name not in NAMES:
        raise InputError(unknown("model.name", name, NAMES))
    if experiment.embeds != (name == EMBEDDING):
        fits = "objective=contrastive" if name == EMBEDDING else "objective=sft or lm"
        raise InputError(
            f"model.name={name} goes with {fits}; set it, or take {CAUSAL if experiment.embeds is False else EMBEDDING}"
        )
    if experiment.adapt and experiment.data.train != TINY:
        raise InputError(f"model.name={name} knows its own language alone; set data.train={TINY}")
    if experiment.data.documents:
        raise InputError(f"data.documents=true is not read with data.train={TINY}, whose rows are pairs; leave it out")
    if not experiment.embeds and experiment.needle.tasks != [TINY]:
        raise InputError(f"model.name={name} knows its own language alone; set needle.tasks=[{TINY}]")
    if not experiment.embeds and experiment.perplexity.data is not None:
        raise InputError(f"model.name={name} knows its own language alone; set perplexity.data=null")
