"""Distillation: a trained classifier, the teacher, labels texts with probabilities, and a smaller student learns them.

Hinton et al. 2015, arXiv 1503.02531. The teacher reads every text once, before the training.

Shapes: N labelled rows, M rows with the unlabelled ones behind them, B rows of a batch, K labels.
"""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase

from classify.config import ClassifyExperiment
from classify.distil_config import FewerLayersConfig, SoftLabelsConfig
from classify.features import RowCollator
from classify.fitting import fit_weights
from classify.heads import Float32Linear, body, head_linear
from classify.logits import logits
from classify.losses import build
from classify.model import load_classifier
from classify.pooled import PooledConfig
from classify.reading import Reader, read_windows
from classify.stack import FILE as STACK
from classify.trainer import score_dev
from finewise import processes
from finewise.console import progress, say
from finewise.data.arrow import TextColumn
from finewise.data.formats import open_source
from finewise.data.hub import HubSource, is_hub
from finewise.data.keys import combine, digest_texts, text_keys
from finewise.data.labels.columns import Rows, as_is
from finewise.data.labels.load import LabelledData
from finewise.data.labels.rows import Labelled
from finewise.data.labels.space import LabelSpace
from finewise.data.sources import resolve
from finewise.data.table import Source
from finewise.errors import InputError
from finewise.execution import attach
from finewise.fit import Outcome, total_steps
from finewise.names import nearest
from finewise.references import model_reference
from finewise.run import Run

SPEED_TEXTS = 500
"""So many texts of dev are classified to compare the student's speed with the teacher's."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Teacher:
    """The teacher, with the data's labels in the data's order.

    Attributes:
        model: The classifier.
        tokenizer: Its tokenizer.
        bf16: Whether its body computes in bf16.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    bf16: bool

    def logits(self, texts: Any, title: str) -> NDArray[np.float32]:
        """Return the logits of the texts, in the data's order of labels."""
        with progress(title, len(texts)) as advance:
            return logits(self.model, self.tokenizer, texts, bf16=self.bf16, advance=advance)


def load_teacher(config: SoftLabelsConfig, space: LabelSpace, experiment: ClassifyExperiment, *, bf16: bool) -> Teacher:
    """Load the teacher. Its limit and its prompt are its own, unless the settings give others.

    Raises:
        InputError: It cannot be loaded, or has other labels than the data.
    """
    _check_labels(config, space, experiment)
    reference = model_reference(config.teacher, None)
    if isinstance(reference, Path) and (reference / STACK).is_file():
        say("note: method.teacher is stacked with TF-IDF; its classifier alone teaches")
    model, tokenizer = load_classifier(
        replace(experiment.model, name=config.teacher, revision=None),
        space,
        experiment.run.device,
        execution=experiment.execution,
        micro_batch_tokens=experiment.micro_batch_tokens,
        seed=experiment.seed,
    )
    return Teacher(model=model, tokenizer=tokenizer, bf16=bf16)


def _check_labels(config: SoftLabelsConfig, space: LabelSpace, experiment: ClassifyExperiment) -> None:
    """Check that the teacher's labels are the data's, in any order.

    Raises:
        InputError: They are not.
    """
    where = f"method.teacher={config.teacher}"
    try:
        found = AutoConfig.from_pretrained(
            str(model_reference(config.teacher, None)), trust_remote_code=experiment.model.trust_remote_code
        )
    except InputError:
        raise
    except Exception as error:  # whatever the libraries and a model's own code raise
        raise InputError(f"{where}: cannot be loaded: {' '.join(str(error).split())[:200]}") from error
    if not any("SequenceClassification" in name for name in found.architectures or []):
        raise InputError(f"{where} is no text classifier; train one first: python -m classify.train")
    names = tuple(str(found.id2label[key]) for key in sorted(found.id2label, key=int))
    for name in names:
        if name not in space.names:
            guess = nearest(name, space.names)
            hint = f" (did you mean '{guess}'?)" if guess else ""
            raise InputError(
                f"{where} knows the label '{name}', and the data does not{hint}; teach with a model of the same labels"
            )
    for name in space.names:
        if name not in names:
            raise InputError(f"{where} does not know the data's label '{name}'; teach with a model of the same labels")
    if (found.problem_type == "multi_label_classification") != (space.kind == "multi"):
        own = "any number of labels" if space.kind != "multi" else "one label"
        raise InputError(f"{where} gives a text {own}, and the data is data.kind={space.kind}")


def soft_loss(student: Tensor, teacher: Tensor, temperature: float, *, multi: bool) -> Tensor:
    """Return (B,) T^2 KL(p || q) of the teacher's p and the student's q, both at temperature T (Hinton et al. 2015, sec. 2).

    Multi-label: the mean over the labels of the divergences of two-valued distributions.

    Args:
        student: Logits (B, K).
        teacher: Logits (B, K).
        temperature: T.
        multi: Whether a probability is the sigmoid of its logit; else the softmax of all.
    """
    student, teacher = student / temperature, teacher / temperature
    if multi:
        student, teacher = torch.stack([student, -student]), torch.stack([teacher, -teacher])
        log_q, log_p = functional.logsigmoid(student), functional.logsigmoid(teacher)
        divergence = (log_p.exp() * (log_p - log_q)).sum(0).mean(1)
    else:
        log_q, log_p = functional.log_softmax(student, dim=1), functional.log_softmax(teacher, dim=1)
        divergence = (log_p.exp() * (log_p - log_q)).sum(1)
    return divergence * temperature**2


class SoftLabels:
    """The Trainer's `compute_loss_func`: alpha of the soft loss, the rest of the rows' own; labels are row numbers.

    A row without a label of its own has the soft part alone.

    Attributes:
        gold: Labels of the first N rows, as the loss takes them.
        teacher: Logits (M, K).
    """

    def __init__(
        self,
        teacher: NDArray[np.float32],
        train: Labelled,
        config: SoftLabelsConfig,
        experiment: ClassifyExperiment,
        device: torch.device,
    ) -> None:
        self.multi = train.space.kind == "multi"
        self.teacher = torch.from_numpy(teacher).to(device)
        self.gold = torch.from_numpy(train.labels.astype(np.float32) if self.multi else train.labels).to(device)
        self.hard = build(experiment.loss, train.space, train.counts, len(train), device)
        self.config = config

    def __call__(
        self, outputs: Mapping[str, Any], labels: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Return the loss of a batch, as its part of the mean over the whole step."""
        given: Tensor = outputs["logits"]
        rows = labels.to(given.device)
        own = rows < len(self.gold)
        with torch.autocast(given.device.type, enabled=False):
            given = given.float()
            soft = soft_loss(given, self.teacher[rows], self.config.temperature, multi=self.multi).sum()
            hard = self.hard.per_item(given[own], self.gold[rows[own]])
            hard = hard.mean(1).sum() if hard.dim() == 2 else hard.sum()
        loss = self.config.alpha * soft + (1 - self.config.alpha) * hard
        return loss / (len(rows) if num_items_in_batch is None else num_items_in_batch)


def with_unlabelled(config: SoftLabelsConfig, data: LabelledData) -> Labelled:
    """Return the training rows with the unlabelled texts behind them; the labels are the rows' numbers.

    Texts that dev or test hold are left out: their scores would else be of texts that the student was taught.

    Raises:
        InputError: The file cannot be read, or has no such column.
    """
    train = data.train
    texts, revision = train.texts, train.revision
    if config.unlabelled is not None:
        more = _read(config.unlabelled, config.unlabelled_column)
        found = text_keys(more)
        held = np.isin(found, np.concatenate([data.dev.keys, data.test.keys]))
        more = [text for text, out in zip(more, held.tolist(), strict=True) if not out]
        say(
            f"unlabelled: {len(more):,} texts of {config.unlabelled}; {int(held.sum()):,} left out that dev or test hold"
        )
        texts = Rows(TextColumn(pa.chunked_array([pa.array(list(texts)), pa.array(more, pa.string())])), None, as_is)
        revision = combine(revision, digest_texts(more))
    count = np.arange(len(texts))
    return replace(
        train,
        texts=texts,
        revision=revision,
        numbers=count,
        labels=count,
        space=replace(train.space, kind="single"),
    )


def _read(reference: str, column: str) -> list[str]:
    """Return the texts of a file's column that are not empty."""
    source: Source = HubSource(reference, "train") if is_hub(reference) else open_source(resolve(reference), reference)
    if column not in source.columns():
        raise InputError(
            f"method.unlabelled={reference} has no column '{column}'; it has {', '.join(source.columns())}; name yours: "
            "method.unlabelled_column=..."
        )
    texts = (text for columns, _ in source.batches({column: "text"}) for text in columns[column].to_pylist())
    return [text for text in texts if text and text.strip()]


def kept_layers(count: int, layers: int, pick: str) -> list[int]:
    """Return which of `count` layers a student of `layers` gets.

    >>> kept_layers(6, 3, "spread"), kept_layers(6, 3, "first"), kept_layers(12, 4, "spread")
    ([0, 2, 5], [0, 1, 2], [0, 4, 7, 11])
    """
    if pick == "first" or layers == 1:
        return list(range(layers))
    return [round(place * (count - 1) / (layers - 1)) for place in range(layers)]


def fewer_layers(teacher: PreTrainedModel, config: FewerLayersConfig) -> PreTrainedModel:
    """Return a copy of the teacher with some of its layers alone (Sanh et al. 2019, arXiv 1910.01108, sec. 3).

    It is built from its own configuration, as it will be when it is loaded.

    Raises:
        InputError: The teacher has fewer layers, or none that could be left out.
    """
    base = body(teacher)
    count = int(getattr(base.config, "num_hidden_layers", 0))
    inside = set(base.modules())
    lists = [
        name
        for name, module in teacher.named_modules()
        if module in inside and isinstance(module, nn.ModuleList) and len(module) == count > 0
    ]
    if not lists:
        raise InputError(
            f"method.teacher={config.teacher}: {type(base).__name__} has no list of layers to leave some out of"
        )
    layers = config.layers if config.layers is not None else max(1, count // 2)
    if layers > count:
        raise InputError(f"method.layers must be at most {count}, the layers of {config.teacher}; got {layers}")
    kept = kept_layers(count, layers, config.pick)
    settings = copy.deepcopy(teacher.config)
    inner: Any = settings.body if isinstance(settings, PooledConfig) else settings
    inner.num_hidden_layers = layers
    if getattr(inner, "layer_types", None) is not None:  # which layers attend to neighbours alone
        inner.layer_types = [inner.layer_types[place] for place in kept]
    with torch.random.fork_rng(devices=[]):
        student = type(teacher)(settings)
    prefix = lists[0] + "."
    places = {str(place): str(new) for new, place in enumerate(kept)}
    weights = {}
    for name, value in teacher.state_dict().items():
        if not name.startswith(prefix):
            weights[name] = value
            continue
        place, _, rest = name[len(prefix) :].partition(".")
        if place in places:
            weights[f"{prefix}{places[place]}.{rest}"] = value
    student.load_state_dict(weights)
    head_linear(student).__class__ = Float32Linear
    return student


def student_of(teacher: Teacher, config: FewerLayersConfig, experiment: ClassifyExperiment) -> PreTrainedModel:
    """Return the student with fewer layers, on the teacher's device, before it has learnt."""
    student = fewer_layers(teacher.model, config)
    student.to(teacher.model.device)  # type: ignore[arg-type]  # its decorator loses self
    if Reader.of(student, teacher.tokenizer) is not None:
        read_windows(student)
    attach(student, execution=experiment.execution, micro_batch_tokens=experiment.micro_batch_tokens)
    kept, whole = (sum(weight.numel() for weight in model.parameters()) for model in (student, teacher.model))
    say(
        f"student: {body(student).config.num_hidden_layers} of {body(teacher.model).config.num_hidden_layers} layers, "
        f"{kept / 1e6:.1f} of {whole / 1e6:.1f} million weights"
    )
    return student


def teach(
    student: PreTrainedModel,
    teacher: Teacher,
    data: LabelledData,
    experiment: ClassifyExperiment,
    run: Run,
    config: SoftLabelsConfig,
    *,
    groups: Callable[[list[str]], list[dict[str, Any]]] | None = None,
) -> Outcome:
    """Train the student in place on what the teacher says; dev chooses the checkpoint.

    Args:
        student: With the data's labels.
        teacher: Likewise; its tokenizer is the student's.
        data: The rows.
        experiment: The settings.
        run: The run.
        config: The method's settings.
        groups: Optimiser's groups, see `fit_weights`.

    Raises:
        InputError: The unlabelled texts cannot be read, or the training fails.
    """
    pool = with_unlabelled(config, data)
    said = teacher.logits(pool.texts, "teacher: train")
    metric, tokenizer = experiment.selection.metric, teacher.tokenizer
    best = score_dev(teacher.model, tokenizer, data.dev, metric, bf16=teacher.bf16)
    say(f"teacher: dev {metric} {best:.4f}")
    outcome = fit_weights(
        student,
        tokenizer,
        experiment,
        run,
        rows=len(pool),
        steps=total_steps(experiment, -(-len(pool) // (experiment.optim.batch_size * processes.world()))),
        collator=RowCollator(student, tokenizer, pool),
        loss=SoftLabels(said, data.train, config, experiment, student.device),
        score=lambda: score_dev(student, tokenizer, data.dev, metric, bf16=teacher.bf16),
        groups=groups,
    )
    if run.is_first:
        told = speeds(teacher, student, list(data.dev.texts[:SPEED_TEXTS]))
        say(
            f"dev: teacher {told[0]:,.0f} texts/s, student {told[1]:,.0f} texts/s, {told[1] / told[0]:.1f} times as many"
        )
    return outcome


def speeds(teacher: Teacher, student: PreTrainedModel, texts: list[str]) -> tuple[float, float]:
    """Return how many texts the teacher and the student classify per second, tokenising included; the better of two turns."""
    best = [0.0, 0.0]
    for _ in range(2):
        for place, model in enumerate((teacher.model, student)):
            started = time.perf_counter()
            logits(model, teacher.tokenizer, texts, bf16=teacher.bf16)
            best[place] = max(best[place], len(texts) / (time.perf_counter() - started))
    return best[0], best[1]
