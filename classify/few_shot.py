"""Few rows per class: the encoder learns which texts belong together, then logistic regression learns the classes.

SetFit's plan (Tunstall et al. 2022, arXiv 2209.11055) without its list of pairs, which grows with the square of the rows: a
batch holds some rows of some classes, and its loss compares all of them with one another.

Shapes: A parts that labels are made of, B rows of a batch, D dimensions, K classes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Sampler
from transformers import PreTrainedTokenizerBase

from benchmarks.text.logistic import Logistic
from classify.config import ClassifyExperiment
from classify.features import RowCollator
from classify.few_shot_config import FewShotConfig
from classify.fitting import fit_weights
from classify.heads import head_features, head_linear, init_head
from classify.pooled import PooledForSequenceClassification
from classify.reading import DOCUMENTS, mean_of_documents
from classify.trainer import score_dev
from finewise import processes
from finewise.console import say
from finewise.data.labels.load import LabelledData
from finewise.data.labels.rows import Labelled
from finewise.data.labels.space import LabelSpace
from finewise.device import autocast
from finewise.errors import InputError
from finewise.fit import Outcome, total_steps
from finewise.run import Run

CELLS = 1 << 24
"""Pairs of pairs that are compared at a time: 64 MiB of differences."""

STRENGTH = 1.0
"""C of the logistic regression on unit embeddings, scikit-learn's and SetFit's default."""


def label_sets(labels: Tensor, space: LabelSpace) -> Tensor:
    """Return (B, A) what the labels of each row are made of: the label, all its labels, or its path's nodes.

    Args:
        labels: (B,) class numbers, or (B, K) bool.
        space: The classes.
    """
    if labels.dim() == 2:
        return labels
    if space.kind == "hierarchical":
        return torch.from_numpy(space.ancestors).to(labels.device)[labels]
    return functional.one_hot(labels, len(space))


def likeness(sets: Tensor) -> Tensor:
    """Return (B, B) how much the labels of two rows have in common: |both| / |either| (Jaccard); 0 for rows without labels.

    For single labels it is 1 for equal ones and 0 for others.

    Args:
        sets: (B, A), 0 or 1.
    """
    sets = sets.float()
    both = sets @ sets.T
    size = sets.sum(1)
    return both / (size[:, None] + size[None, :] - both).clamp_min(1)


def contrastive(features: Tensor, like: Tensor, same: Tensor, scale: float) -> Tensor:
    """Return (B,) log(1 + sum exp(scale * (cos_in - cos_ip))) over all p, n where row p is more like row i than row n is.

    The unified pair loss (Sun et al. 2020, arXiv 2002.10857, eq. 1, without margin): for single labels, p are rows of the same
    class and n those of others; labels that are alike in part (several labels, paths) are put in order in the same way, as
    CoSENT does with scores. A row that is equally like all others gives 0, and a text is never compared with an equal one.

    Hardest triplets are not used: with 54 classes the embeddings fall into one point.

    Args:
        features: (B, D).
        like: (B, B) in [0, 1].
        same: (B, B) where the texts are equal, the diagonal among them.
        scale: Above 0; a large one leaves pairs alone whose order is right.
    """
    unit = functional.normalize(features.float(), dim=1)
    cosine = unit @ unit.T
    losses = []
    rows = max(1, CELLS // len(cosine) ** 2)
    for start in range(0, len(cosine), rows):
        part, by, out = (values[start : start + rows] for values in (cosine, like, same))
        counts = (by[:, :, None] > by[:, None, :]) & ~out[:, :, None] & ~out[:, None, :]
        # Far below every gap, and finite: a row that nothing is compared with has a gradient of 0, and not none.
        gaps = (scale * (part[:, None, :] - part[:, :, None])).masked_fill(~counts, torch.finfo(torch.float32).min)
        losses.append(functional.softplus(gaps.flatten(1).logsumexp(1)))
    return torch.cat(losses)


class ClassBatches(Sampler[int]):
    """Draws rows so that each batch holds some rows of some classes, all classes equally often; never a row twice in a batch.

    Lazily, in an order that the seed decides: classes come round in random order, and so do the rows of each.

    Args:
        members: Row numbers of each class, at least one per class.
        batch: Rows per batch, at most as many as there are.
        per_class: Rows of a class that are drawn one after the other.
        batches: How many batches there are.
        seed: Of the order.
    """

    def __init__(self, members: list[NDArray[np.int64]], batch: int, per_class: int, batches: int, seed: int) -> None:
        self.members, self.batch, self.per_class, self.batches, self.seed = members, batch, per_class, batches, seed

    def __len__(self) -> int:
        return self.batches * self.batch

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng(self.seed)
        classes = _rounds(np.arange(len(self.members)), rng)
        rows = [_rounds(found, rng) for found in self.members]
        for _ in range(self.batches):
            drawn: dict[int, None] = {}
            while len(drawn) < self.batch:
                label = next(classes)
                wanted = min(len(drawn) + self.per_class, self.batch)
                for _ in range(2 * len(self.members[label])):  # all of its rows, wherever in their round they are
                    if len(drawn) == wanted:
                        break
                    drawn.setdefault(next(rows[label]))
            yield from drawn


def _rounds(values: NDArray[np.int64], rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(values).tolist()


class Contrast:
    """The Trainer's `compute_loss_func`: labels are row numbers, and what the head is given is compared, not its logits."""

    def __init__(self, model: PooledForSequenceClassification, train: Labelled, scale: float) -> None:
        self.labels = torch.from_numpy(train.labels).to(model.device)
        self.space = train.space
        self.keys = torch.from_numpy(train.keys.astype(np.int64)).to(model.device)
        self.scale = scale
        self.documents: Tensor | None = None
        self.features: Tensor | None = None
        self.hooks = [
            model.register_forward_pre_hook(self._windows, with_kwargs=True),
            head_linear(model).register_forward_pre_hook(self._features),
        ]

    def remove(self) -> None:
        """Stop looking into the model."""
        for hook in self.hooks:
            hook.remove()

    def _windows(self, model: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self.documents = kwargs.get(DOCUMENTS)

    def _features(self, layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        self.features = args[0]

    def __call__(
        self, outputs: Mapping[str, Any], labels: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Return the loss of a batch, as its part of the mean over the whole step; labels (B,) are row numbers."""
        assert self.features is not None
        features = self.features if self.documents is None else mean_of_documents(self.features, self.documents)
        self.features = None
        rows = labels.to(self.keys.device)
        keys = self.keys[rows]
        with torch.autocast(features.device.type, enabled=False):
            like = likeness(label_sets(self.labels[rows], self.space))
            losses = contrastive(features, like, keys[:, None] == keys[None, :], self.scale)
        return losses.sum() / (len(labels) if num_items_in_batch is None else num_items_in_batch)


def members(train: Labelled) -> list[NDArray[np.int64]]:
    """Return the rows of each class (multi-label: of each label) that has some."""
    if train.labels.ndim == 2:
        found = [np.flatnonzero(having) for having in train.labels.T]
    else:
        found = np.split(np.argsort(train.labels, kind="stable"), np.cumsum(train.counts)[:-1])
    return [rows for rows in found if len(rows)]


def fit_head(
    model: PooledForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    train: Labelled,
    *,
    bf16: bool,
) -> None:
    """Put logistic regression on the embeddings of the training rows into the model's head."""
    with autocast(bf16, str(model.device)):
        features = head_features(model, tokenizer, train.texts)
    found = Logistic(len(train.space)).fit(features, train.labels, STRENGTH, balanced=True)
    init_head(model, found.coef, found.intercept)


def train_few_shot(
    model: PooledForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    data: LabelledData,
    experiment: ClassifyExperiment,
    run: Run,
    config: FewShotConfig,
    *,
    bf16: bool,
    or_untuned: bool = True,
) -> Outcome:
    """Train the body by contrast and fit the head, in place; dev chooses the checkpoint.

    A few rows of many classes can teach an encoder less than it forgets, most of all with several labels per text.

    Args:
        model: From `load_classifier(head="pooled")`.
        tokenizer: Its tokenizer.
        data: Its training rows are learnt from, all of them.
        experiment: The settings.
        run: The run.
        config: The method's settings.
        bf16: Whether the body computes in bf16.
        or_untuned: Dev may also choose the encoder as it came, with a head fitted on its embeddings (best_step is then 0).

    Raises:
        InputError: No class has two rows that differ.
    """
    train, optim, world = data.train, experiment.optim, processes.world()
    classes = members(train)
    if not any(len(np.unique(train.keys[rows])) > 1 for rows in classes):
        raise InputError(
            f"{train.reference}: no class has two training rows with different texts, and method=few_shot learns from texts "
            "of one class; add rows, or set method=linear_probe"
        )
    model.config.normalize, model.config.length = True, 1.0
    model.dropout.p = 0.0  # of the head; the body keeps its own
    head_linear(model).requires_grad_(False)
    reachable = len(np.unique(np.concatenate(classes)))
    batch = min(optim.batch_size, reachable)
    batches = -(-config.draws * reachable // (batch * world))
    steps = total_steps(experiment, batches)
    say(
        f"few_shot: {reachable} rows of {len(classes)} classes, {steps} steps of {batch * world} rows"
        + (f" (optim.batch_size={optim.batch_size} is more than there are)" if batch < optim.batch_size else "")
    )
    sampler = ClassBatches(
        classes,
        batch,
        # All classes in every batch where they fit, with as many rows each as that leaves room for.
        max(config.rows_per_class, batch // len(classes)),
        steps * optim.gradient_accumulation_steps * world,
        experiment.seed,
    )
    contrast = Contrast(model, train, config.scale)

    def score() -> float:
        fit_head(model, tokenizer, train, bf16=bf16)
        return score_dev(model, tokenizer, data.dev, metric, bf16=bf16)

    metric = experiment.selection.metric
    start = score() if or_untuned else -np.inf
    untuned = {name: values.detach().clone() for name, values in model.state_dict().items()} if or_untuned else {}
    if or_untuned:
        say(f"few_shot: dev {metric} {start:.4f} with the encoder as it is")
    try:
        outcome = fit_weights(
            model,
            tokenizer,
            replace(experiment, optim=replace(optim, batch_size=batch)),
            run,
            rows=len(train),
            steps=steps,
            collator=RowCollator(
                model,
                tokenizer,
                replace(train, labels=np.arange(len(train)), space=replace(train.space, kind="single")),
            ),
            loss=contrast,
            score=score,
            sampler=sampler,
        )
    finally:
        contrast.remove()
    if outcome.best_score >= start:
        return outcome
    say(
        f"few_shot: training brought dev {metric} to {outcome.best_score:.4f} at best; the encoder is kept as it was, with a "
        "head of its own. A lower optim.learning_rate or more rows may help; method=linear_probe is about the same in seconds"
    )
    model.load_state_dict(untuned)
    return replace(outcome, best_step=0, best_score=start)
