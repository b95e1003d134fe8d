"""The losses of classifiers, through the Trainer's own hook `compute_loss_func`.

Each function takes logits z in fp32 and gives one loss per item: (B,) where a text has one label, (B, K) where it has
any number. The sum is divided by the number of items of the whole step, which the Trainer counts over all accumulated batches
and devices, so that accumulation changes nothing.

Ordinal and hierarchical models give K logits and softmax probabilities p as all others do, and load wherever those load; what
the losses add are sums of p. So P(label above k) falls with k, a parent is at least as probable as each of its children, and
the parents of the most probable label are its parents, whatever the weights: no head has to be built so that this holds.

Shapes: B texts, K labels, L parents of a label at most.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from classify.losses_config import (
    Asymmetric,
    BinaryCrossEntropy,
    CrossEntropy,
    Focal,
    Hierarchical,
    LogitAdjusted,
    LossConfig,
    Ordinal,
    Weighted,
    loss_for,
)
from finewise.data.labels.space import LabelSpace
from finewise.errors import InputError
from finewise.names import unknown

_SMALL = 1e-12
"""Where a power of a probability would have no finite slope."""


def cross_entropy(logits: Tensor, labels: Tensor, *, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Return -(1 - e) w_y log p_y - e / K sum_c w_c log p_c (Szegedy et al. 2016, arXiv 1512.00567); e = smoothing.

    Args:
        logits: (B, K).
        labels: (B,).
        weights: w (K,).
        smoothing: Share that is spread.
    """
    return functional.cross_entropy(logits, labels, weight=weights, label_smoothing=smoothing, reduction="none")


def focal(logits: Tensor, labels: Tensor, *, gamma: float, weights: Tensor | None = None) -> Tensor:
    """Return -w_y (1 - p_y)^gamma log p_y (Lin et al. 2017, arXiv 1708.02002, eq. 5), with softmax p.

    Args:
        logits: (B, K).
        labels: (B,).
        gamma: 0 gives cross-entropy.
        weights: w (K,), the paper's alpha.
    """
    log_p = functional.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]
    losses = -_power(-torch.expm1(log_p), gamma) * log_p
    return losses if weights is None else losses * weights[labels]


def logit_adjusted(logits: Tensor, labels: Tensor, *, shift: Tensor) -> Tensor:
    """Return the cross-entropy of z + tau log prior (Menon et al. 2021, arXiv 2007.07314, eq. 10).

    Used as they are at prediction, the logits then rank the classes as if all were equally frequent.

    Args:
        logits: (B, K).
        labels: (B,).
        shift: tau log prior (K,).
    """
    return functional.cross_entropy(logits + shift, labels, reduction="none")


def binary_cross_entropy(logits: Tensor, labels: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Return -w y log s(z) - (1 - y) log(1 - s(z)) per text and label, with the logistic function s.

    Args:
        logits: (B, K).
        labels: y (B, K).
        weights: w (K,), torch's pos_weight.
    """
    return functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=weights, reduction="none")


def asymmetric(logits: Tensor, labels: Tensor, *, gamma_neg: float, gamma_pos: float, clip: float) -> Tensor:
    """Return -y (1 - p)^g+ log p - (1 - y) q^g- log(1 - q) with q = max(p - clip, 0).

    Ridnik et al. 2021, arXiv 2009.14119, eq. 7. With both exponents equal and clip=0 this is the binary focal loss.

    Args:
        logits: (B, K); p = s(z).
        labels: y (B, K).
        gamma_neg: g-.
        gamma_pos: g+.
        clip: The probability margin.
    """
    with_label = -_power(torch.sigmoid(-logits), gamma_pos) * functional.logsigmoid(logits)
    shifted = (torch.sigmoid(logits) - clip).clamp_min(0)
    # Without a margin, 1 - p is 0 in fp32 from a logit of 17 on, and its logarithm infinite.
    log_not = torch.log1p(-shifted) if clip > 0 else functional.logsigmoid(-logits)
    without = -_power(shifted, gamma_neg) * log_not
    return labels * with_label + (1 - labels) * without


def cumulative(logits: Tensor, labels: Tensor) -> Tensor:
    """Return -sum over k < K-1 of log P(y on its side of threshold k), with P(y <= k) = sum over j <= k of p_j.

    CORAL's loss (Cao et al. 2020, arXiv 1901.07884, eq. 4, all thresholds weighted the same) on the cumulative probabilities of
    the softmax instead of K-1 logistic ones: these cannot contradict each other, and a plain head gives them.

    Args:
        logits: (B, K), from the lowest class to the highest.
        labels: (B,).
    """
    log_p = functional.log_softmax(logits, dim=1)
    below = torch.logcumsumexp(log_p, dim=1)[:, :-1]
    above = torch.logcumsumexp(log_p.flip(1), dim=1).flip(1)[:, 1:]
    return -torch.where(_above(labels, logits), above, below).sum(1)


def squared_emd(logits: Tensor, labels: Tensor) -> Tensor:
    """Return sum over k < K-1 of (P(y <= k) - [label <= k])^2 (Hou et al. 2016, arXiv 1611.05916, eq. 6, with l = 2).

    Args:
        logits: (B, K), from the lowest class to the highest.
        labels: (B,).
    """
    found = functional.softmax(logits, dim=1).cumsum(1)[:, :-1]
    return (found - (~_above(labels, logits)).to(found.dtype)).square().sum(1)


def hierarchical(logits: Tensor, labels: Tensor, *, parents: Tensor, below: Tensor, weight: float) -> Tensor:
    """Return -log p_y - weight * sum over the parents a of y of log(sum of p_k over the labels k below a).

    Marginalisation, as in Deng et al. 2014 (ECCV, label relation graphs) for a tree.

    Args:
        logits: (B, K).
        labels: (B,).
        parents: (K, L) which parents a label has; those with fewer have the last one, below which everything is.
        below: (A + 1, K) bool: the labels below each parent.
        weight: See above.
    """
    log_p = functional.log_softmax(logits, dim=1)
    inside = below[parents[labels]]
    of_parents = torch.logsumexp(log_p[:, None, :].masked_fill(~inside, -torch.inf), dim=2)
    return -log_p.gather(1, labels[:, None])[:, 0] - weight * of_parents.sum(1)


def class_weights(config: Weighted, names: tuple[str, ...], counts: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Return w (K,), scaled so that the mean over the training rows is 1; None where all are 1.

    balanced: w_c = n / (K n_c), as scikit-learn's. effective: w_c = (1 - b) / (1 - b^n_c) (Cui et al. 2019, arXiv 1901.05555).
    A class without rows counts as one with one row. torch's reduction="mean" divides a batch's loss by the sum of the weights
    of that batch's labels, so that accumulated batches are not one large batch; here it is divided by the number of rows. Over
    all training rows the two agree, because the mean weight is 1.

    Raises:
        InputError: A weight is given for an unknown label.
    """
    rows = np.maximum(counts, 1).astype(np.float64)
    if config.weights == "none":
        return None
    if config.weights == "balanced":
        weights = 1 / rows
    elif config.weights == "effective":
        weights = (1 - config.beta) / (1 - config.beta**rows)
    else:
        weights = _given(config.given, names)
    scaled: NDArray[np.float64] = weights * counts.sum() / (weights @ counts)
    return scaled


def positive_weights(
    config: BinaryCrossEntropy, names: tuple[str, ...], counts: NDArray[np.int64], rows: int
) -> NDArray[np.float64] | None:
    """Return w (K,) of texts with the label, against 1 of those without; None where all are 1.

    balanced: (n - n_c) / n_c, at most `max_weight`, so that both sides count the same.

    Raises:
        InputError: A weight is given for an unknown label.
    """
    if config.weights == "none":
        return None
    if config.weights == "given":
        return _given(config.given, names)
    return np.clip((rows - counts) / np.maximum(counts, 1), 1 / config.max_weight, config.max_weight)


class Objective:
    """What the Trainer calls for the loss of a batch.

    Attributes:
        per_item: Gives the losses for logits in fp32 and labels.
        space: The labels.
    """

    def __init__(self, per_item: Callable[[Tensor, Tensor], Tensor], space: LabelSpace) -> None:
        self.per_item = per_item
        self.space = space

    def __call__(
        self, outputs: Mapping[str, Any], labels: Tensor | None, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Return the loss of a batch, as its part of the mean over the whole step.

        Args:
            outputs: With `logits` (B, K).
            labels: (B,) class numbers, or (B, K) zeros and ones.
            num_items_in_batch: Labels of the whole step, counted by the Trainer: texts, or texts x K. None: this batch alone.

        Raises:
            InputError: There are no labels, or others than the model knows.
        """
        logits: Tensor = outputs["logits"]
        targets = _checked(labels, self.space).to(logits.device)
        # bf16 has three digits: of two logits near 8 it may not tell which is larger.
        with torch.autocast(logits.device.type, enabled=False):
            losses = self.per_item(logits.float(), targets)
        return losses.sum() / (targets.numel() if num_items_in_batch is None else num_items_in_batch)


def build(
    config: LossConfig, space: LabelSpace, counts: NDArray[np.int64], rows: int, device: str | torch.device = "cpu"
) -> Objective:
    """Return the Trainer's `compute_loss_func` for the settings.

    Args:
        config: Which loss; `auto` is resolved by the kind of labels.
        space: The labels.
        counts: (K,) training rows with each label.
        rows: Training rows.
        device: Where the model computes.

    Raises:
        ValueError: The loss is for another kind of labels.
        InputError: A weight is given for an unknown label.
    """
    config = loss_for(config, space.kind)

    def tensor(values: NDArray[np.float64] | None) -> Tensor | None:
        return None if values is None else torch.tensor(values, dtype=torch.float32, device=device)

    per_item: Callable[[Tensor, Tensor], Tensor]
    if isinstance(config, CrossEntropy):
        weights = tensor(class_weights(config, space.names, counts))
        per_item = partial(cross_entropy, weights=weights, smoothing=config.label_smoothing)
    elif isinstance(config, Focal):
        per_item = partial(focal, gamma=config.gamma, weights=tensor(class_weights(config, space.names, counts)))
    elif isinstance(config, LogitAdjusted):
        seen = np.maximum(counts, 1)
        per_item = partial(
            logit_adjusted,
            shift=torch.tensor(config.tau * np.log(seen / seen.sum()), dtype=torch.float32, device=device),
        )
    elif isinstance(config, BinaryCrossEntropy):
        per_item = partial(binary_cross_entropy, weights=tensor(positive_weights(config, space.names, counts, rows)))
    elif isinstance(config, Asymmetric):
        per_item = partial(asymmetric, gamma_neg=config.gamma_neg, gamma_pos=config.gamma_pos, clip=config.clip)
    elif isinstance(config, Ordinal):
        per_item = cumulative if config.form == "cumulative" else squared_emd
    elif isinstance(config, Hierarchical):
        parents, below = _tree(space.ancestors)
        per_item = partial(
            hierarchical, parents=parents.to(device), below=below.to(device), weight=config.parent_weight
        )
    else:
        raise AssertionError(f"no loss is built for {type(config).__name__}")
    return Objective(per_item, space)


def _power(probability: Tensor, exponent: float) -> Tensor:
    if exponent == 0:
        return torch.ones_like(probability)
    return probability.clamp_min(_SMALL) ** exponent


def _above(labels: Tensor, logits: Tensor) -> Tensor:
    """Return (B, K-1): whether the label is above threshold k."""
    return labels[:, None] > torch.arange(logits.shape[1] - 1, device=logits.device)


def _given(given: Mapping[str, float], names: tuple[str, ...]) -> NDArray[np.float64]:
    for label in given:
        if label not in names:
            raise InputError(f"loss.given: {unknown('label', label, names)}")
    return np.array([given.get(name, 1.0) for name in names])


def _tree(ancestors: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """Return `parents` (K, L) and `below` (A + 1, K) of `hierarchical`; ancestors (K, A), a label's own node among them."""
    # A node with one label says what the label says, and one with all says nothing.
    size = ancestors.sum(0)
    below = ancestors[:, (size > 1) & (size < len(ancestors))].T
    below = np.concatenate([below, np.ones((1, len(ancestors)), dtype=bool)])
    of_label = [np.flatnonzero(below[:-1, label]) for label in range(len(ancestors))]
    parents = np.full((len(ancestors), max(1, *map(len, of_label))), len(below) - 1)
    for label, found in enumerate(of_label):
        parents[label, : len(found)] = found
    return torch.from_numpy(parents), torch.from_numpy(below)


def _checked(labels: Tensor | None, space: LabelSpace) -> Tensor:
    """Return labels as the losses take them: int64 (B,), or fp32 (B, K)."""
    classes = len(space.names)
    if labels is None:
        raise InputError("a batch has no labels; the rows that are trained or evaluated on need the column 'labels'")
    if space.kind == "multi":
        if labels.dim() != 2 or labels.shape[1] != classes:
            raise InputError(
                f"labels must be of shape (texts, {classes}) with data.kind=multi; got {tuple(labels.shape)}"
            )
        labels = labels.to(torch.float32)
        if not bool(((labels == 0) | (labels == 1)).all()):
            raise InputError("labels must be 0 or 1 with data.kind=multi; another value came in a batch")
        return labels
    if labels.dim() != 1 or labels.is_floating_point() or labels.dtype is torch.bool:
        kind = str(labels.dtype).removeprefix("torch.")
        raise InputError(
            f"labels must be one class number per text with data.kind={space.kind}; got {kind} of shape "
            f"{tuple(labels.shape)}; is the data multi-label (data.kind=multi)?"
        )
    outside = (labels < 0) | (labels >= classes)
    if bool(outside.any()):
        value = int(labels[outside][0])
        hint = ": a text without a label; leave it out" if value == -100 else ""
        raise InputError(f"labels must be class numbers from 0 to {classes - 1}; got {value}{hint}")
    return labels.long()
