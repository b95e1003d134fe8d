"""The ways to a classifier: all end in a transformers model with a head, whatever was trained."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from benchmarks.embedded import Embedded
from benchmarks.text.neighbours import Embed
from benchmarks.text.probe import LinearProbe
from benchmarks.text.words import TfidfLogistic
from benchmarks.text_baselines import KeptProbe, ZeroShot
from classify import config as settings
from classify.config import ClassifyExperiment
from classify.distil import load_teacher, student_of, teach
from classify.distil_static import groups, static_student
from classify.few_shot import train_few_shot
from classify.heads import head_features, init_head
from classify.knn import with_neighbours
from classify.logits import logits
from classify.lora import add_lora
from classify.model import load_classifier
from classify.pooled import PooledForSequenceClassification
from classify.stack import FittedStack, fit_stack, fit_words
from classify.trainer import score_dev, train
from finewise.console import progress, say
from finewise.data.labels.load import LabelledData
from finewise.data.labels.rows import Labelled
from finewise.data.labels.splits import sample
from finewise.device import autocast, pick_device, use_bf16
from finewise.fit import Outcome, Seen, last_checkpoint
from finewise.lora import fold
from finewise.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What method=auto tried.

    Attributes:
        name: The method.
        dev: The selection metric on dev; of a stack, cross-fitted.
        seconds: What it took; what another candidate had done before is not counted.
        steps: Of the training.
    """

    name: str
    dev: float
    seconds: float
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """A classifier, and what its training led to.

    Attributes:
        model: With its head, as it will be saved.
        tokenizer: Its tokenizer, which knows the limit.
        outcome: Of the training; with 0 steps where no weights were trained.
        bf16: Whether the body computes in bf16.
        stacked: What the model's logits are combined with, of method=stack and stack_probe.
        candidates: What method=auto chose it from.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    outcome: Outcome
    bf16: bool
    stacked: FittedStack | None = None
    candidates: tuple[Candidate, ...] = ()

    def model_logits(self, texts: Sequence[str], title: str) -> NDArray[np.float32]:
        """Return the model's own logits (N, K), with a progress bar of this title."""
        with progress(title, len(texts)) as advance:
            return logits(self.model, self.tokenizer, texts, bf16=self.bf16, advance=advance)

    def combine(self, raw: NDArray[np.float32], texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the logits of the whole system (N, K) for the model's own logits of the same texts."""
        return raw if self.stacked is None else self.stacked.stack.combine(raw, texts)

    def dev_logits(self, dev: Labelled) -> NDArray[np.float32]:
        """Return the logits of the whole system on dev (N, K): of a stack, each row's from weights of the other folds."""
        if self.stacked is not None:
            return np.asarray(self.stacked.held_out, np.float32)
        return self.model_logits(dev.texts, "classify dev")


def learn(data: LabelledData, embedded: Embedded, experiment: ClassifyExperiment, run: Run) -> Trained:
    """Go the way that `method` names.

    Args:
        data: The rows.
        embedded: The untuned encoder's embeddings.
        experiment: The settings.
        run: The run.

    Raises:
        InputError: The model cannot be loaded, or the training fails.
    """
    set_seed(experiment.seed)
    method = experiment.method
    if isinstance(method, settings.Distil | settings.DistilStatic):
        return distil(method, data, experiment, run)
    model, tokenizer = fresh(data, experiment)
    bf16 = use_bf16(experiment.run.precision, str(model.device))
    if not method.trains:
        # What the cache of embeddings has was read by the encoder's own rule: the head of each text.
        embed = embedded if experiment.reading.how == "head" else features_of(model, tokenizer, bf16=bf16)
        model = set_frozen(model, data, embed, experiment)
        outcome = untrained(score_dev(model, tokenizer, data.dev, experiment.selection.metric, bf16=bf16))
        trained = Trained(model=model, tokenizer=tokenizer, outcome=outcome, bf16=bf16)
        return stack(trained, data, experiment) if isinstance(method, settings.StackedProbe) else trained
    if isinstance(method, settings.FewShot):
        assert isinstance(model, PooledForSequenceClassification)
        outcome = train_few_shot(model, tokenizer, data, experiment, run, method, bf16=bf16)
        return Trained(model=model, tokenizer=tokenizer, outcome=outcome, bf16=bf16)
    if isinstance(method, settings.ProbeFirst) and last_checkpoint(run.dir / "checkpoints") is None:
        probe_first(model, tokenizer, data, embedded, experiment, method.probe_rows, bf16=bf16)
    tuned: PreTrainedModel | PeftModel = add_lora(model, method) if isinstance(method, settings.Lora) else model
    outcome = train(tuned, tokenizer, data, experiment, run)
    final = fold(tuned) if isinstance(tuned, PeftModel) else tuned
    trained = Trained(model=final, tokenizer=tokenizer, outcome=outcome, bf16=bf16)
    return stack(trained, data, experiment) if isinstance(method, settings.Stack) else trained


def fresh(data: LabelledData, experiment: ClassifyExperiment) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the model that the method starts from, with an untrained head, and its tokenizer.

    Raises:
        InputError: The model cannot be loaded.
    """
    method = experiment.method
    return load_classifier(
        experiment.model,
        data.space,
        experiment.run.device,
        head=experiment.tuning.head if method.trains and not isinstance(method, settings.FewShot) else "pooled",
        execution=experiment.execution,
        micro_batch_tokens=experiment.micro_batch_tokens,
        reading=experiment.reading,
        seed=experiment.seed,
        shares=(data.train.counts + 0.5) / (len(data.train) + 1) if data.space.kind == "multi" else None,
    )


def stack(
    trained: Trained, data: LabelledData, experiment: ClassifyExperiment, words: TfidfLogistic | None = None
) -> Trained:
    """Combine a classifier with TF-IDF, fitted here unless it is given; the dev score becomes that of both, cross-fitted."""
    metric, seed = experiment.selection.metric, experiment.seed
    raw = trained.model_logits(data.dev.texts, "classify dev")
    found = fit_stack(raw, words or fit_words(data.train, metric, seed), data.dev, metric, seed)
    return replace(trained, stacked=found, outcome=replace(trained.outcome, best_score=found.dev["stack"]))


def distil(
    method: settings.Distil | settings.DistilStatic, data: LabelledData, experiment: ClassifyExperiment, run: Run
) -> Trained:
    """Let a trained classifier teach a smaller one."""
    bf16 = use_bf16(experiment.run.precision, pick_device(experiment.run.device))
    teacher = load_teacher(method, data.space, experiment, bf16=bf16)
    student: PreTrainedModel
    if isinstance(method, settings.Distil):
        student = student_of(teacher, method, experiment)
        outcome = teach(student, teacher, data, experiment, run, method)
    else:
        student = table = static_student(teacher, data, method, experiment)
        outcome = teach(
            student, teacher, data, experiment, run, method, groups=lambda decayed: groups(table, experiment)
        )
    return Trained(model=student, tokenizer=teacher.tokenizer, outcome=outcome, bf16=bf16)


def set_frozen(
    model: PreTrainedModel, data: LabelledData, embedded: Embed, experiment: ClassifyExperiment
) -> PreTrainedModel:
    """Return the model with a classifier of frozen embeddings in it: a linear one as its head, or the rows that vote."""
    assert isinstance(model, PooledForSequenceClassification)
    model.config.normalize, model.config.length = True, 1.0  # what it is fitted on are unit vectors
    if isinstance(experiment.method, settings.Neighbours):
        return with_neighbours(model, data.train, embedded, experiment, experiment.method)
    if isinstance(experiment.method, settings.ZeroShot):
        nearest = ZeroShot(embedded, experiment.method.descriptions).fit(data.train)
        init_head(model, nearest.labels / nearest.temperature, -nearest.centre / nearest.temperature)
    else:
        init_head(model, *fitted_probe(embedded, data.train, experiment))
    return model


def fitted_probe(
    embed: Embed, rows: Labelled, experiment: ClassifyExperiment
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a linear probe's weights (K, D) and intercepts (K,); on the untuned encoder's embeddings it is the baseline."""
    metric, seed = experiment.selection.metric, experiment.seed
    if isinstance(embed, Embedded):
        probe: LinearProbe = KeptProbe(embed, metric=metric, seed=seed)
    else:
        probe = LinearProbe(embed, metric=metric, seed=seed)
    probe.fit(rows)
    return probe.coef_, probe.intercept_


def probe_first(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: LabelledData,
    embedded: Embed,
    experiment: ClassifyExperiment,
    rows: int,
    *,
    bf16: bool,
) -> None:
    """Fit a linear probe on what the head is given, and let the head start with it (LP-FT: Kumar et al. 2022).

    A pooled head is given the embeddings that the baselines have already, but for their length.
    """
    some = sample(data.train, rows, experiment.seed)
    if (
        isinstance(model, PooledForSequenceClassification)
        and model.config.normalize
        and experiment.reading.how == "head"
    ):
        coef, intercept = fitted_probe(embedded, some, experiment)
        coef /= model.config.length
    else:
        coef, intercept = fitted_probe(features_of(model, tokenizer, bf16=bf16), some, experiment)
    init_head(model, coef, intercept)
    start = score_dev(model, tokenizer, data.dev, experiment.selection.metric, bf16=bf16)
    say(f"linear probe of {len(some):,} rows: dev {experiment.selection.metric} {start:.4f}; the head starts from it")


def features_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, bf16: bool) -> Embed:
    """Return what turns texts into what the model's head is given."""

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        with autocast(bf16, str(model.device)):
            return head_features(model, tokenizer, texts)

    return embed


def untrained(score: float) -> Outcome:
    """Return the outcome of a way that trains no weights."""
    return Outcome(steps=0, best_step=0, best_score=score, evaluations=1, stopped_early=False, seen=Seen())
