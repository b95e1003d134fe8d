"""The labelled rows of an experiment, and whether its settings fit their kind."""

from benchmarks.metrics.classes import check_metric
from benchmarks.slices import check_slice
from benchmarks.stats.design import Design, warn_of_few
from classify.config import ClassifyExperiment, FewShot
from classify.decide import check_config
from classify.losses_config import loss_for
from classify.shots import with_shots
from finewise.console import err
from finewise.data.exported import write_split
from finewise.data.labels.load import LabelledData, load_labels
from finewise.data.tokens import token_limit
from finewise.errors import InputError
from finewise.run import Run


def load(experiment: ClassifyExperiment, run: Run) -> LabelledData:
    """Read, split and audit the data, show what the audit found, and refuse settings that do not fit the labels.

    Raises:
        InputError: The data is wrong or leaks, or a loss, metric or decision is for another kind of labels.
    """
    data = load_labels(experiment.data, experiment.audit, experiment.seed, limit=token_limit(experiment.model))
    warn_of_few(f"{data.test.name} (test)", Design.of(len(data.test), clusters=data.test.groups))
    if isinstance(experiment.method, FewShot):  # here, so that the baselines learn from the same rows
        data = with_shots(data, experiment.method.shots, experiment.seed)
    if run.is_first:
        for part in (data.train, data.dev, data.test):
            write_split(run.dir, part.split, {"file": [part.reference] * len(part), "number": part.numbers})
        err.print(data.report.brief(), soft_wrap=True)
    kind = data.space.kind
    try:
        loss_for(experiment.loss, kind)
        for metric in (experiment.selection.metric, *experiment.scoring.metrics):
            check_metric(metric, kind)
    except ValueError as error:
        raise InputError(str(error)) from None
    for by in experiment.scoring.slices:
        check_slice(by, data.test)
    # In multi-label, coverage is that of texts that have a label.
    covered = int(data.dev.labels.any(axis=1).sum()) if kind == "multi" else len(data.dev)
    check_config(experiment.decide, kind, data.space.names, rows=covered)
    return data
