"""`curve=true`: the encoder trained on parts of the rows, scored on dev beside the untuned model and BM25."""

import shutil
import time
from dataclasses import replace

import numpy as np

from benchmarks.retrieval import EncoderSearcher, Result, compare, evaluate_retrieval, scores
from benchmarks.table import label
from embed.config import EmbedExperiment
from embed.data import EmbedData
from embed.model import load_for
from embed.prove import Untuned, words
from embed.trainer import train
from finewise import processes
from finewise.contrastive.rows import TrainingRows
from finewise.curves.advise import Baseline
from finewise.curves.points import FILE, Point, learning_curve
from finewise.curves.sizes import epochs_for, nested, subset_sizes
from finewise.curves.worth import Worth
from finewise.encoder import Encoder
from finewise.run import Run


def measure_curve(model: Encoder, data: EmbedData, experiment: EmbedExperiment, run: Run, untuned: str | None) -> Worth:
    """Train on parts of the rows, and say whether more of them, or fine-tuning at all, are worth their price.

    Every part is trained for as many steps as all rows are, or until dev says stop (`selection.patience`).

    Everything is scored on dev, so that test stays unread; dev also chose each checkpoint, which flatters the curve a little.

    Args:
        model: Trained on all rows: the last point.
        data: The rows.
        experiment: The settings.
        run: The run; finished points are kept in its folder.
        untuned: Identity of the untuned model, by which its results are found.
    """
    metric, depth = experiment.selection.metric, experiment.scoring.depth
    seed, optim = experiment.seed, experiment.optim
    total = len(data.train.rows)
    order = nested(total, seed)
    sizes = subset_sizes(total, experiment.learning_curve.fractions, minimum=2 * experiment.optim.batch_size)

    def on_dev(name: str, one: Encoder) -> Result:
        searcher = EncoderSearcher.of(name, one, experiment.scoring, experiment.run.precision)
        return evaluate_retrieval(data.dev, searcher, [metric], depth)

    def point(rows: int, result: Result, seconds: float) -> Point:
        (score,) = scores(result)
        return Point.of(rows, score, seconds)

    def measure(rows: int) -> Point:
        start = time.perf_counter()
        part = run.inside(f"curve/{rows}")
        fresh = load_for(experiment)
        batch = optim.batch_size * processes.world()
        epochs = epochs_for(optim.epochs, rows, total, batch, optim.gradient_accumulation_steps)
        same_steps = replace(experiment, optim=replace(optim, epochs=epochs))
        train(fresh, replace(data, train=subset(data.train, np.sort(order[:rows]))), same_steps, part)
        taken = point(rows, on_dev(f"{rows} rows", fresh), time.perf_counter() - start)
        shutil.rmtree(part.dir)
        return taken

    tuned = on_dev("fine-tuned", model)
    known = point(total, tuned, run.manifest["seconds"].get("train", 0.0))
    points = learning_curve(sizes, measure, run.dir / FILE, known=[known])
    (before,) = Untuned(untuned, experiment, str(model.device)).results(data.dev, [metric], depth, [None])
    beside = []
    for other in (before, words(data.dev, [metric], depth, experiment.scoring.language)):
        (score,), (comparison,) = scores(other), compare(tuned, other)
        beside.append(Baseline.of(score, comparison))
    return Worth.of(points, beside, metric=label(metric), smallest_gain=experiment.learning_curve.smallest_gain)


def subset(train: TrainingRows, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> TrainingRows:
    """Return some of the training rows, ascending; what belongs together is still known of all of them."""
    return replace(train, rows=train.rows.select(rows), pairs=train.pairs.select(rows))
