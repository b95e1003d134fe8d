"""One arm after the other, seed by seed: stretch, train if it is an adapted arm, read at all lengths, keep what was found.

What is finished is kept in the run's folder, so that a killed run goes on with the next arm.
"""

import json
import multiprocessing
import os
import shutil
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from benchmarks import by_length
from benchmarks.by_length import ByLength
from finewise.console import say
from finewise.device import pick_device
from finewise.errors import InputError
from finewise.fit import Outcome, Seen
from finewise.record import write_json
from finewise.run import MODEL, Run, cores
from longctx.arms import UNTUNED, Arm, arms_of, subject_of
from longctx.config import LongContextExperiment

OUTCOME = "outcome.json"
FACTS = "facts.json"

DEV_SEEDS = 1_000_000
"""Added to the seed of the texts that a subject is read with on dev, so that they are not those of test."""


class Subject(Protocol):
    """The model of one seed, with what it is trained on and how it is read: a language model or an embedding model."""

    original: int
    """L, the window that it was trained with."""

    target: int
    """L', the window that it is stretched to."""

    lengths: tuple[int, ...]
    """At which it is read."""

    @property
    def facts(self) -> dict[str, Any]:
        """What the record says of model and data, as JSON."""

    def stretched(self, arm: Arm) -> Any:
        """Return the model, stretched by the arm's method, untrained."""

    def positions(self, arm: Arm) -> str:
        """Return a text that is the same for arms whose untrained models are."""

    def adapt(self, arm: Arm, run: Run) -> tuple[Any, Outcome]:
        """Return it trained, and what the training led to."""

    def dev_score(self, model: Any) -> float:
        """Return the selection metric on dev."""

    def read(self, model: Any, arm: Arm, run: Run) -> list[ByLength]:
        """Score the model on test at all lengths."""

    def beside(self, run: Run) -> list[ByLength]:
        """Score what reads long without a long model, if there is such a thing."""

    def save(self, model: Any, folder: Path) -> None:
        """Save the model in its library's own format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What all seeds led to.

    Attributes:
        results: One per system and benchmark, of all seeds; the systems in the order of `longctx.arms.arms_of`.
        outcome: Of the subject's training, of the first seed; None if nothing was trained.
        best: The subject's dev score, the mean over the seeds.
        before: The untuned model's; None if nothing was trained.
        test_reads: How many checkpoints of the first seed's subject were scored on test; more than one is a fault.
        facts: Of the first seed's subject.
    """

    results: list[ByLength]
    outcome: Outcome | None
    best: float
    before: float | None
    test_reads: int
    facts: dict[str, Any]


def study(experiment: LongContextExperiment, run: Run) -> Found:
    """Measure all arms with all seeds.

    Raises:
        InputError: The model, the data or the settings do not go together, or the memory does not suffice.
    """
    seeds = [experiment.seed + number for number in range(experiment.seeds)]
    if experiment.parallel_seeds == 1 or pick_device(experiment.run.device) != "cpu":
        parts = [study_seed(experiment, run, number) for number in range(len(seeds))]
    else:
        run.announce()
        say(f"{len(seeds)} seeds, {experiment.parallel_seeds} at a time; what they say comes mixed")
        parts = _apart(experiment, run)
    first = parts[0]
    return Found(
        results=[by_length.joined(same) for same in zip(*(part.results for part in parts), strict=True)],
        outcome=first.outcome,
        best=sum(part.best for part in parts) / len(parts),
        before=sum(part.before or 0.0 for part in parts) / len(parts) if experiment.adapt else None,
        test_reads=first.test_reads,
        facts=first.facts,
    )


def study_seed(experiment: LongContextExperiment, run: Run, number: int) -> Found:
    """Measure all arms with one seed, the `number`-th; its subject is saved if it is the first."""
    seed = experiment.seed + number
    part = run.inside(f"seed-{seed}")
    one = replace(experiment, seed=seed)
    opened: list[Subject] = []

    def subject() -> Subject:
        if not opened:
            opened.append(open_subject(one, part, number))
            run.announce()  # model and data are accepted
        return opened[0]

    about = subject_of(experiment)
    results: list[ByLength] = []
    outcome: Outcome | None = None
    on_dev = UNTUNED if experiment.adapt else about.system  # whose dev score is asked for; a training has its own
    dev: dict[str, float | None] = {}
    test_reads = 0
    arms = arms_of(experiment)
    for arm in arms:
        inside = part.inside(arm.folder)
        if not (inside.dir / by_length.FILE).is_file():
            save_in = run.dir if number == 0 and arm == about else None
            twin = _twin(subject(), arm, arms, part)
            _measure(subject(), arm, inside, save_in, on_dev=arm.system == on_dev, twin=twin)
        for folder in list(inside.dir.rglob("checkpoints")):
            shutil.rmtree(folder)  # the result is kept; they are the most of a run's disk
        kept = json.loads((inside.dir / OUTCOME).read_text(encoding="utf-8"))
        dev[arm.system] = kept["dev"]
        if arm == about and kept["outcome"] is not None:
            outcome = Outcome(**{**kept["outcome"], "seen": Seen(**kept["outcome"]["seen"])})
            test_reads = len(kept["tested"])
        results += by_length.load(inside.dir / by_length.FILE)
    inside = part.inside("beside")
    if not (inside.dir / by_length.FILE).is_file():
        by_length.save(inside.dir / by_length.FILE, subject().beside(inside))
        write_json(inside.dir / FACTS, subject().facts)
    results += by_length.load(inside.dir / by_length.FILE)
    best = dev[about.system]
    assert best is not None
    return Found(
        results=results,
        outcome=outcome,
        best=best,
        before=dev[UNTUNED] if experiment.adapt else None,
        test_reads=test_reads,
        facts=json.loads((inside.dir / FACTS).read_text(encoding="utf-8")),
    )


def open_subject(experiment: LongContextExperiment, run: Run, group: int) -> Subject:
    """Load the model of one seed and what it is trained on."""
    if experiment.embeds:
        from longctx.encoding import EmbeddingModel

        return EmbeddingModel(experiment, run, group)
    from longctx.language import LanguageModel

    return LanguageModel(experiment, run, group)


def _twin(subject: Subject, arm: Arm, arms: Sequence[Arm], part: Run) -> Path | None:
    """Return the results of an arm before this one whose model is the same, as with methods that stretch by 1; else None."""
    if not arm.adapted:
        here = subject.positions(arm)
        for other in arms[: arms.index(arm)]:
            if not other.adapted and subject.positions(other) == here:
                return part.inside(other.folder).dir / by_length.FILE
    return None


def _measure(
    subject: Subject, arm: Arm, run: Run, save_in: Path | None, *, on_dev: bool, twin: Path | None = None
) -> None:
    """Train and read one arm, untrained on dev if `on_dev`; its results are there once everything else is.

    Args:
        subject: The model of one seed.
        arm: What of it.
        run: The arm's folder.
        save_in: The folder that the model is saved in; None: it is not.
        on_dev: Whether to score it on dev, untrained.
        twin: Results of the same model, which are taken instead of reading again.
    """
    outcome, dev = None, None
    if arm.adapted:
        say(f"{arm.title}: training")
        model, outcome = subject.adapt(arm, run)
        dev = outcome.best_score
    else:
        model = subject.stretched(arm)
        dev = subject.dev_score(model) if on_dev else None
    # Before test is read: a resumed run that would read it with another checkpoint is to be seen in the record.
    tested = (
        json.loads((run.dir / OUTCOME).read_text(encoding="utf-8"))["tested"] if (run.dir / OUTCOME).is_file() else []
    )
    tested = sorted({*tested, outcome.best_step if outcome else 0})
    write_json(run.dir / OUTCOME, {"dev": dev, "outcome": asdict(outcome) if outcome else None, "tested": tested})
    if twin is not None:
        say(f"note: {arm.title} is the same model as {twin.parent.name}: read once")
        results = [replace(result, system=arm.system) for result in by_length.load(twin)]
    else:
        results = subject.read(model, arm, run)
    if save_in is not None:
        place = run.inside("")
        place.dir = save_in
        with place.whole_folder(MODEL) as part:
            subject.save(model, part)
    by_length.save(run.dir / by_length.FILE, results)


def _apart(experiment: LongContextExperiment, run: Run) -> list[Found]:
    """Measure several seeds at a time, each in a process of its own; the first failure ends them all."""
    with ProcessPoolExecutor(
        experiment.parallel_seeds,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(max(1, cores() // experiment.parallel_seeds),),
    ) as pool:
        try:
            waiting = [
                pool.submit(_study_apart, experiment, run.dir, run.task, run.name, run.manifest, number)
                for number in range(experiment.seeds)
            ]
            for done in as_completed(waiting):
                done.result()
        except BaseException as error:
            # The pool itself would wait for ever for a process that started while another one was killed.
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            if isinstance(error, BrokenProcessPool):
                raise InputError(
                    f"parallel_seeds={experiment.parallel_seeds}: the process of a seed was killed, perhaps for want of "
                    "memory; free some, then the same command with resume=auto goes on, or set parallel_seeds=1"
                ) from None
            raise
        return [future.result() for future in waiting]


def _begin(share: int) -> None:
    """Set up a process for one seed: no bars, which would draw over one another, and its share of the cores."""
    os.environ["TTY_COMPATIBLE"] = "0"  # what rich reads
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(share)


def _end_with_parent() -> None:
    """End this process when the one that holds the run dies: a resumed run must be alone in the folder."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _study_apart(
    experiment: LongContextExperiment, folder: Path, task: str, name: str, manifest: Mapping[str, Any], number: int
) -> Found:
    return study_seed(experiment, Run(folder, task, name, dict(manifest), None).inside(""), number)
