"""The losses: the formulas of their papers, torch's and scikit-learn's numbers, and the same step however it is accumulated."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn import functional

from classify import losses
from classify.losses import Objective, build, class_weights, positive_weights
from classify.losses_config import (
    LOSSES,
    Asymmetric,
    Auto,
    BinaryCrossEntropy,
    CrossEntropy,
    Focal,
    Hierarchical,
    LogitAdjusted,
    LossConfig,
    Ordinal,
    loss_for,
)
from finewise.data.labels.space import LabelSpace
from finewise.errors import InputError

SINGLE = LabelSpace(kind="single", names=("a", "b", "c", "d"))
MULTI = LabelSpace(kind="multi", names=("a", "b", "c", "d"))
ORDINAL = LabelSpace(kind="ordinal", names=("1", "2", "3", "4"))
TREE = LabelSpace(
    kind="hierarchical", names=("art", "science/biology/cells", "science/biology/plants", "science/physics")
)
SPACES = {"single": SINGLE, "multi": MULTI, "ordinal": ORDINAL, "hierarchical": TREE}
COUNTS = np.array([5, 3, 1, 1])


def some(rows: int = 10, seed: int = 0, scale: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits, labels with COUNTS of each class, and multi-hot labels."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, 4, generator=generator, dtype=torch.float64) * scale
    labels = torch.tensor(np.repeat(np.arange(4), COUNTS))[torch.randperm(10, generator=generator)][:rows]
    return logits, labels, (torch.rand(rows, 4, generator=generator) < 0.4).double()


def call(objective: Objective, logits: Tensor, labels: Tensor, items: int | None = None) -> Tensor:
    return objective({"logits": logits}, labels, num_items_in_batch=items)


def made(config: LossConfig, kind: str = "single") -> Objective:
    return build(config, SPACES[kind], COUNTS, 10)


def test_plain_cross_entropy_is_scikit_learns_log_loss() -> None:
    logits, labels, _ = some()
    found = call(made(CrossEntropy()), logits, labels).item()
    assert found == pytest.approx(log_loss(labels, logits.softmax(1), labels=range(4)), rel=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        CrossEntropy(weights="balanced"),
        CrossEntropy(weights="effective", beta=0.9, label_smoothing=0.1),
        CrossEntropy(weights="given", given={"c": 4.0}),
    ],
)
def test_weighted_cross_entropy_over_all_training_rows_is_torchs_mean(config: CrossEntropy) -> None:
    logits, labels, _ = some()
    weights = class_weights(config, SINGLE.names, COUNTS)
    expected = functional.cross_entropy(
        logits, labels, weight=torch.tensor(weights), label_smoothing=config.label_smoothing
    )
    assert call(made(config), logits, labels).item() == pytest.approx(expected.item(), rel=1e-5)


def test_class_weights_are_those_of_scikit_learn_and_of_the_paper() -> None:
    labels = np.repeat(np.arange(4), COUNTS)
    balanced = class_weights(CrossEntropy(weights="balanced"), SINGLE.names, COUNTS)
    assert balanced == pytest.approx(compute_class_weight("balanced", classes=np.arange(4), y=labels))
    beta = 0.9
    effective = class_weights(CrossEntropy(weights="effective", beta=beta), SINGLE.names, COUNTS)
    paper = np.array([1 / sum(beta**power for power in range(count)) for count in COUNTS])
    assert effective is not None
    assert effective / effective[0] == pytest.approx(paper / paper[0])
    assert np.average(effective, weights=COUNTS) == pytest.approx(1)


def test_a_class_without_rows_has_a_finite_weight() -> None:
    counts = np.array([5, 0, 4, 1])
    for weights in ("balanced", "effective"):
        found = class_weights(CrossEntropy(weights=weights), SINGLE.names, counts)
        assert found is not None
        assert np.isfinite(found).all()
    logits, labels, _ = some()
    assert torch.isfinite(call(build(LogitAdjusted(), SINGLE, counts, 10), logits, labels))


def test_focal_is_its_formula_and_without_gamma_cross_entropy() -> None:
    logits, labels, _ = some()
    p = logits.softmax(1)[torch.arange(10), labels]
    weights = torch.tensor(class_weights(Focal(weights="balanced"), SINGLE.names, COUNTS))[labels]
    expected = (-weights * (1 - p) ** 2 * p.log()).mean()
    assert call(made(Focal(weights="balanced")), logits, labels).item() == pytest.approx(expected.item(), rel=1e-5)
    assert call(made(Focal(gamma=0.0)), logits, labels).item() == pytest.approx(
        functional.cross_entropy(logits, labels).item(), rel=1e-5
    )


def test_logit_adjustment_is_the_pairwise_margin_of_the_paper() -> None:
    logits, labels, _ = some()
    prior = torch.tensor(COUNTS / 10)
    margins = (prior[None, :] / prior[labels][:, None]).log() + logits - logits[torch.arange(10), labels][:, None]
    expected = margins.exp().sum(1).log().mean()  # eq. 10: log(1 + the sum over the other classes)
    assert call(made(LogitAdjusted()), logits, labels).item() == pytest.approx(expected.item(), rel=1e-5)


def test_binary_cross_entropy_is_torchs_with_positive_weights() -> None:
    logits, _, hot = some()
    config = BinaryCrossEntropy(weights="balanced", max_weight=5)
    weights = positive_weights(config, MULTI.names, COUNTS, 10)
    assert weights == pytest.approx([1.0, 7 / 3, 5.0, 5.0])
    expected = functional.binary_cross_entropy_with_logits(logits, hot, pos_weight=torch.tensor(weights))
    for labels in (hot, hot.bool(), hot.long()):
        assert call(made(config, "multi"), logits, labels).item() == pytest.approx(expected.item(), rel=1e-5)


def test_asymmetric_loss_is_its_formula_and_without_asymmetry_binary_cross_entropy() -> None:
    logits, _, hot = some()
    p = logits.sigmoid()
    q = (p - 0.05).clamp(min=0)
    expected = (-hot * (1 - p) * p.log() - (1 - hot) * q**4 * (1 - q).log()).mean()
    found = call(made(Asymmetric(gamma_pos=1.0), "multi"), logits, hot)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    plain = call(made(Asymmetric(gamma_neg=0, gamma_pos=0, clip=0), "multi"), logits, hot)
    assert plain.item() == pytest.approx(functional.binary_cross_entropy_with_logits(logits, hot).item(), rel=1e-5)


def test_ordinal_losses_are_sums_over_the_thresholds() -> None:
    logits, labels, _ = some()
    p = logits.softmax(1)
    log_losses, squares = torch.zeros(()), torch.zeros(())
    for threshold in range(3):
        above = p[:, threshold + 1 :].sum(1)
        truth = (labels > threshold).double()
        log_losses = log_losses + functional.binary_cross_entropy(above, truth)
        squares = squares + (above - truth).square().mean()
    assert call(made(Ordinal(), "ordinal"), logits, labels).item() == pytest.approx(log_losses.item(), rel=1e-5)
    assert call(made(Ordinal(form="squared_emd"), "ordinal"), logits, labels).item() == pytest.approx(
        squares.item(), rel=1e-5
    )


@pytest.mark.parametrize("form", ["cumulative", "squared_emd"])
def test_a_far_miss_costs_more_than_a_near_one(form: str) -> None:
    loss = made(Ordinal(form=form), "ordinal")
    costs = [call(loss, 4.0 * torch.eye(4)[[guess]], torch.tensor([0])).item() for guess in range(4)]
    assert costs == sorted(costs)
    assert len(set(costs)) == 4


def test_two_ordered_classes_are_a_binary_cross_entropy() -> None:
    logits, labels, _ = some()
    two, labels = logits[:, :2], labels.clamp(max=1)
    assert losses.cumulative(two, labels).mean().item() == pytest.approx(
        functional.cross_entropy(two, labels).item(), rel=1e-9
    )


def test_hierarchical_loss_adds_each_parent() -> None:
    logits, labels, _ = some()
    p = logits.softmax(1)
    science, biology = p[:, 1:].sum(1), p[:, 1:3].sum(1)
    expected = -p[torch.arange(10), labels].log()
    expected = expected - 0.5 * torch.where(labels >= 1, science.log(), 0.0)
    expected = expected - 0.5 * torch.where((labels == 1) | (labels == 2), biology.log(), 0.0)
    found = call(made(Hierarchical(parent_weight=0.5), "hierarchical"), logits, labels)
    assert found.item() == pytest.approx(expected.mean().item(), rel=1e-5)


def test_a_hierarchy_of_one_level_is_plain_cross_entropy() -> None:
    flat = LabelSpace(kind="hierarchical", names=("a", "b", "c", "d"))
    logits, labels, _ = some()
    found = call(build(Hierarchical(), flat, COUNTS, 10), logits, labels)
    assert found.item() == pytest.approx(functional.cross_entropy(logits, labels).item(), rel=1e-5)


EVERY: list[tuple[LossConfig, str]] = [
    (CrossEntropy(weights="balanced", label_smoothing=0.1), "single"),
    (Focal(gamma=0.5), "single"),
    (Focal(weights="balanced"), "single"),
    (LogitAdjusted(tau=1.5), "single"),
    (BinaryCrossEntropy(weights="balanced"), "multi"),
    (Asymmetric(), "multi"),
    (Asymmetric(gamma_neg=0.5, gamma_pos=1.0, clip=0.0), "multi"),
    (Ordinal(), "ordinal"),
    (Ordinal(form="squared_emd"), "ordinal"),
    (Hierarchical(), "hierarchical"),
]


@pytest.mark.parametrize(("config", "kind"), EVERY)
def test_gradients_are_those_of_finite_differences(config: LossConfig, kind: str) -> None:
    objective = made(config, kind)
    per_item = objective.per_item
    logits, labels, hot = some(6, scale=1.0)
    targets = hot if kind == "multi" else labels

    def total(given: Tensor) -> Tensor:
        # Constants of the losses are fp32, as logits are; the check needs fp64.
        if isinstance(per_item, partial):
            wide = {
                key: value.double() if isinstance(value, Tensor) and value.is_floating_point() else value
                for key, value in per_item.keywords.items()
            }
            found: Tensor = per_item.func(given, targets, **wide)
        else:
            found = per_item(given, targets)
        return found.sum()

    assert torch.autograd.gradcheck(total, (logits.requires_grad_(),))


@pytest.mark.parametrize(("config", "kind"), EVERY)
@settings(max_examples=15, deadline=None)
@given(cut=st.integers(1, 9), seed=st.integers(0, 1000))
def test_accumulated_batches_are_one_batch(config: LossConfig, kind: str, cut: int, seed: int) -> None:
    objective = made(config, kind)
    logits, labels, hot = some(seed=seed)
    targets = hot if kind == "multi" else labels
    whole = call(objective, logits, targets)
    items = targets.numel()
    parts = call(objective, logits[:cut], targets[:cut], items) + call(objective, logits[cut:], targets[cut:], items)
    assert parts.item() == pytest.approx(whole.item(), rel=1e-5)


@pytest.mark.parametrize(("config", "kind"), EVERY)
def test_extreme_logits_give_finite_losses_and_gradients(config: LossConfig, kind: str) -> None:
    logits = torch.tensor([[60.0, -60.0, 0.0, 1.0], [-90.0, 90.0, 3.0, 0.0]], requires_grad=True)
    for labels in ([0, 1], [1, 0]):
        targets = functional.one_hot(torch.tensor(labels), 4) if kind == "multi" else torch.tensor(labels)
        value = call(made(config, kind), logits, targets)
        (gradient,) = torch.autograd.grad(value, logits)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(("config", "kind"), EVERY)
def test_bf16_logits_lose_nothing_more_in_the_loss(config: LossConfig, kind: str) -> None:
    logits, labels, hot = some()
    targets = hot if kind == "multi" else labels
    low = logits.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = call(made(config, kind), low, targets)
    assert found.dtype is torch.float32
    assert found.item() == pytest.approx(call(made(config, kind), low.float(), targets).item(), rel=1e-6)


@pytest.mark.parametrize("kind", sorted(SPACES))
def test_auto_is_a_loss_that_fits(kind: str) -> None:
    logits, labels, hot = some()
    assert torch.isfinite(call(made(Auto(), kind), logits, hot if kind == "multi" else labels))
    assert kind in loss_for(Auto(), kind).kinds


def test_a_loss_for_other_labels_is_refused_with_those_that_fit() -> None:
    with pytest.raises(
        ValueError, match=r"loss=asymmetric is for multi labels; data.kind is single: choose auto, cross_"
    ):
        made(Asymmetric())
    with pytest.raises(ValueError, match=r"data.kind is multi: choose auto, bce, asymmetric$"):
        made(CrossEntropy(), "multi")
    assert all(kind in SPACES for loss in LOSSES.values() for kind in loss.kinds)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CrossEntropy(given={"a": 2.0}), "loss.weights=given and loss.given"),
        (lambda: CrossEntropy(weights="given"), "loss.weights=given and loss.given"),
        (lambda: CrossEntropy(weights="given", given={"a": 0.0}), "loss.given.a must be above 0"),
        (lambda: CrossEntropy(label_smoothing=1.0), "loss.label_smoothing must be in"),
        (lambda: Focal(gamma=-1.0), "loss.gamma must be at least 0"),
        (lambda: Asymmetric(clip=1.0), "loss.clip must be in"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], LossConfig], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_weight_for_an_unknown_label_is_refused() -> None:
    space = LabelSpace(kind="single", names=("ham", "spam"))
    with pytest.raises(InputError, match=r"loss.given: unknown label 'spma'; did you mean 'spam'\?"):
        build(CrossEntropy(weights="given", given={"spma": 2.0}), space, np.array([1, 1]), 2)


@pytest.mark.parametrize(
    ("kind", "labels", "message"),
    [
        ("single", None, "a batch has no labels"),
        ("single", torch.tensor([0, 4]), "from 0 to 3; got 4"),
        ("single", torch.tensor([0, -100]), "got -100: a text without a label"),
        ("single", torch.tensor([-100, -100]), "got -100: a text without a label"),
        ("single", torch.tensor([[0, 1, 1, 0]] * 2), r"one class number per text .*data.kind=multi"),
        ("single", torch.tensor([0.0, 1.0]), "got float32"),
        ("multi", torch.tensor([0, 1]), r"shape \(texts, 4\)"),
        ("multi", torch.tensor([[0, 1, 2, 0]] * 2), "labels must be 0 or 1"),
        ("multi", torch.tensor([[0, 1, -100, 0]] * 2), "labels must be 0 or 1"),
    ],
)
def test_labels_that_cannot_be_are_one_clear_line(kind: str, labels: Tensor | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        made(Auto(), kind)({"logits": torch.zeros(2, 4)}, labels)
