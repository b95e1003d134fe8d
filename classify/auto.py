"""`method=auto`: what is best on dev within a time budget, the cheap ways first.

Tried in this order: a linear probe; the probe stacked with TF-IDF; LP-FT; LP-FT stacked with TF-IDF. The first two always run.
Before LP-FT, a few training steps are timed; it gets as many steps as fit into the rest of the budget, with a schedule that
ends there, or is left out where that would be next to none. Dev alone chooses, and the cheaper one where two are equal; test is
read once, by the chosen one. The dev score of a winner is a little too good, the more candidates the more: test says the truth.

What the clock decided is kept in the run's folder, so that a resumed run tries the same.
"""

import time
from dataclasses import replace
from statistics import median

import torch

from benchmarks.embedded import Embedded
from benchmarks.text_baselines import MOST_ROWS
from classify.config import (
    METHODS,
    AutoMethod,
    ClassifyExperiment,
    LinearProbe,
    ProbeFirst,
    Stack,
    StackedProbe,
    usual_optim,
    usual_selection,
)
from classify.features import RowCollator
from classify.heads import classifier
from classify.logits import logits
from classify.losses import build
from classify.losses_config import Auto
from classify.model_config import TuningConfig
from classify.stack import fit_words
from classify.ways import Candidate, Trained, fresh, learn, stack
from finewise import processes
from finewise.console import say, spoken
from finewise.data.labels.load import LabelledData
from finewise.data.labels.splits import sample
from finewise.device import autocast, use_bf16
from finewise.features import ROW
from finewise.fit import total_steps
from finewise.run import Run

STEPS = "auto.steps"
"""What a run's folder calls the steps that LP-FT gets; 0 where it is left out."""

FEWEST_STEPS = 50
"""A training that is cut to fewer steps than this is left out."""

SHARE = 0.85
"""Of the time that is left, what is planned for: steps are timed on few batches, and checkpoints are written in between."""

TIMED_ROWS = 32
"""A step is timed on at most this many rows."""

TIMES = 6
"""Steps that are timed."""


def learn_best(
    data: LabelledData, embedded: Embedded, experiment: ClassifyExperiment, run: Run
) -> tuple[Trained, ClassifyExperiment]:
    """Try the candidates, and return the best on dev with the experiment that would train it alone.

    Args:
        data: The rows.
        embedded: The untuned encoder's embeddings.
        experiment: The settings, with method=auto.
        run: The run, which may be a resumed one.

    Raises:
        InputError: The model cannot be loaded, or the training fails.
    """
    method = experiment.method
    assert isinstance(method, AutoMethod)
    start = time.perf_counter()
    last = start
    found: list[tuple[Trained, ClassifyExperiment]] = []
    tried: list[Candidate] = []

    def add(trained: Trained, settings: ClassifyExperiment) -> None:
        nonlocal last
        now = time.perf_counter()
        name = next(name for name, kind in METHODS.items() if type(settings.method) is kind)
        score = trained.outcome.best_score
        tried.append(Candidate(name=name, dev=score, seconds=round(now - last, 3), steps=trained.outcome.steps))
        found.append((trained, settings))
        say(f"method=auto: {name}: dev {experiment.selection.metric} {score:.4f} ({spoken(now - last)})")
        last = now

    frozen = without_training(experiment)
    some = replace(data, train=sample(data.train, MOST_ROWS, experiment.seed))
    probe = learn(some, embedded, frozen, run)
    add(probe, frozen)
    words = fit_words(data.train, experiment.selection.metric, experiment.seed)
    add(stack(probe, data, experiment, words), replace(frozen, method=StackedProbe()))
    tuned = affordable(data, experiment, method, run, start)
    if tuned is not None:
        trained = learn(data, embedded, tuned, run)
        add(trained, tuned)
        add(stack(trained, data, experiment, words), replace(tuned, method=Stack(probe_rows=method.probe_rows)))
    best = max(range(len(tried)), key=lambda place: tried[place].dev)  # the first, cheapest one of equals
    say(f"method=auto: dev chose {tried[best].name}")
    trained, settings = found[best]
    return replace(trained, candidates=tuple(tried)), settings


def without_training(experiment: ClassifyExperiment) -> ClassifyExperiment:
    """Return the experiment with method=linear_probe, which reads none of the settings of a training."""
    return replace(
        experiment,
        method=LinearProbe(),
        optim=usual_optim(),
        loss=Auto(),
        tuning=TuningConfig(),
        recompute="auto",
        selection=usual_selection(experiment.selection.metric),
    )


def affordable(
    data: LabelledData, experiment: ClassifyExperiment, method: AutoMethod, run: Run, start: float
) -> ClassifyExperiment | None:
    """Return the experiment with method=lp_ft, cut to the steps that the rest of the budget pays; None where too few are.

    Args:
        data: The rows.
        experiment: The settings.
        method: Has the budget, in minutes.
        run: Keeps what is decided.
        start: When the first candidate began, in seconds of `time.perf_counter`.
    """
    settings = replace(experiment, method=ProbeFirst(probe_rows=method.probe_rows))
    batches = -(-len(data.train) // (experiment.optim.batch_size * processes.world()))
    planned = total_steps(experiment, batches)
    steps = run.kept(STEPS, here=True)
    if steps is None:
        per_step, scoring = timed(data, settings)
        left = method.budget * 60 - (time.perf_counter() - start)
        rest = SHARE * left - scoring * (experiment.selection.evaluations + 2)
        steps = max(0, min(planned, int(rest / per_step)))
        if steps < min(planned, FEWEST_STEPS) or (experiment.optim.warmup >= 1 and steps <= experiment.optim.warmup):
            steps = 0
        steps = processes.share(steps, experiment.run.device)
        run.keep(STEPS, steps)
        if steps > 0:
            say(f"method=auto: {spoken(left)} left; {steps:,} of {planned:,} steps of lp_ft, {per_step:.2g} s each")
        else:
            say(
                f"method=auto: lp_ft is left out: {spoken(max(0.0, left))} of method.budget={method.budget:g} minutes are "
                f"left, and a step takes {per_step:.2g} s"
            )
    if steps == 0:
        return None
    if steps == planned:
        return settings
    return replace(settings, optim=replace(experiment.optim, max_steps=steps))


def timed(data: LabelledData, experiment: ClassifyExperiment) -> tuple[float, float]:
    """Return the seconds of one optimiser step, and of scoring dev once, measured on a few batches of a fresh model."""
    model, tokenizer = fresh(data, experiment)
    device, optim = str(model.device), experiment.optim
    bf16 = use_bf16(experiment.run.precision, device)
    rows = min(TIMED_ROWS, optim.batch_size, len(data.train))
    some = sample(data.train, TIMES * rows, experiment.seed)
    collate = RowCollator(classifier(model), tokenizer, some)
    loss = build(experiment.loss, data.space, data.train.counts, len(data.train), device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    model.train()
    passes, updates = [], []
    for first in range(0, len(some), rows):
        batch = collate([{ROW: row} for row in range(first, min(first + rows, len(some)))])
        batch = {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
        labels = batch.pop("labels")
        begun = _now(device)
        with autocast(bf16, device):
            found = model(**batch)
        loss(found, labels).backward()  # type: ignore[no-untyped-call] # torch has no types there
        done = _now(device)
        optimizer.step()
        optimizer.zero_grad()
        passes.append((done - begun) / len(labels))
        updates.append(_now(device) - done)
    # The first one warms up.
    per_row, update = median(passes[1:] or passes), median(updates[1:] or updates)
    some_dev = sample(data.dev, TIMES * rows, experiment.seed)
    begun = _now(device)
    logits(model, tokenizer, some_dev.texts, bf16=bf16)
    scoring = (_now(device) - begun) / len(some_dev) * len(data.dev)
    return per_row * optim.batch_size * optim.gradient_accumulation_steps + update, scoring


def _now(device: str) -> float:
    """Return the seconds of the clock once the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()
