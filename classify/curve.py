"""`curve=true`: the classifier trained on parts of the rows, scored on dev beside the baselines."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from benchmarks.classification import Classified, compare, evaluate, scores
from benchmarks.embedded import Embedded
from benchmarks.table import label
from benchmarks.text.logistic import probabilities
from benchmarks.text_baselines import Baseline as Fitted
from classify.config import ClassifyExperiment, FewShot
from classify.ways import learn
from finewise import processes
from finewise.curves.advise import Baseline
from finewise.curves.points import FILE, Point, learning_curve
from finewise.curves.sizes import epochs_for, nested, nested_by_class, subset_sizes
from finewise.curves.worth import Worth
from finewise.data.labels.load import LabelledData
from finewise.run import Run


def measure_curve(
    raw_dev: NDArray[Any],
    baselines: Mapping[str, Fitted],
    data: LabelledData,
    embedded: Embedded,
    experiment: ClassifyExperiment,
    run: Run,
) -> Worth:
    """Train on parts of the rows, and say whether more of them, or fine-tuning at all, are worth their price.

    Every part is trained for as many steps as all rows are, or until dev says stop (`selection.patience`).

    Everything is scored on dev, so that test stays unread; dev also chose each checkpoint, which flatters the curve a little.

    Args:
        raw_dev: Logits on dev of the classifier that was trained on all rows: the last point.
        baselines: Their probabilities of dev and test.
        data: The rows.
        embedded: The untuned encoder's embeddings.
        experiment: The settings.
        run: The run; finished points are kept in its folder.
    """
    space, train, metric = data.space, data.train, experiment.selection.metric
    multi = space.kind == "multi"
    order = nested(len(train), experiment.seed) if multi else nested_by_class(train.labels, experiment.seed)
    # Contrast needs two rows of a class.
    least = len(space) * (2 if isinstance(experiment.method, FewShot) else 1)
    sizes = subset_sizes(
        len(train), experiment.learning_curve.fractions, minimum=max(least, experiment.optim.batch_size)
    )

    def on_dev(name: str, raw: NDArray[Any]) -> Classified:
        return evaluate(data.dev, name, probabilities(raw, multi))

    def point(rows: int, result: Classified, seconds: float) -> Point:
        (score,) = scores(result, [metric])
        return Point.of(rows, score, seconds)

    def as_many_steps(rows: int) -> ClassifyExperiment:
        optim = experiment.optim
        if not experiment.method.trains or getattr(experiment.method, "unlabelled", None) is not None:
            return experiment  # no steps, or as many as the unlabelled texts make
        batch = optim.batch_size * processes.world()
        epochs = epochs_for(optim.epochs, rows, len(train), batch, optim.gradient_accumulation_steps)
        return replace(experiment, optim=replace(optim, epochs=epochs))

    def measure(rows: int) -> Point:
        start = time.perf_counter()
        part = run.inside(f"curve/{rows}")
        found = learn(replace(data, train=train.select(order[:rows])), embedded, as_many_steps(rows), part)
        raw = found.dev_logits(data.dev)
        taken = point(rows, on_dev(f"{rows} rows", raw), time.perf_counter() - start)
        shutil.rmtree(part.dir)
        return taken

    tuned = on_dev("fine-tuned", raw_dev)
    took = run.manifest["seconds"].get("train", 0.0)
    points = learning_curve(sizes, measure, run.dir / FILE, known=[point(len(train), tuned, took)])
    beside = []
    for name, fitted in baselines.items():
        other = evaluate(data.dev, name, fitted.probabilities[0])
        (score,) = scores(other, [metric])
        (comparison,) = compare(tuned, other, [metric])
        beside.append(Baseline.of(score, comparison))
    return Worth.of(points, beside, metric=label(metric), smallest_gain=experiment.learning_curve.smallest_gain)
