"""A model with a head on each token computes the same packed as padded: logits, loss and gradients on real tokens."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoModelForTokenClassification,
    BertConfig,
    DistilBertConfig,
    ModernBertConfig,
    PretrainedConfig,
    PreTrainedModel,
    RobertaConfig,
)

from classify.spans.align import IGNORED
from classify.spans.tagging import padded
from classify.spans.trainer import CrossEntropy, balanced
from finewise.execution import attach

SIZES: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24,
    "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3, "num_labels": 5,
}  # fmt: skip
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
FAMILIES: dict[str, PretrainedConfig] = {
    "bert": BertConfig(**SIZES, **STILL, max_position_embeddings=64),
    "roberta": RobertaConfig(**SIZES, **STILL, max_position_embeddings=66),
    "distilbert": DistilBertConfig(
        vocab_size=50, dim=16, n_layers=2, n_heads=4, hidden_dim=24, max_position_embeddings=64, pad_token_id=1,
        dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0, num_labels=5,
    ),
    "modernbert": ModernBertConfig(**SIZES, local_attention=16, global_attn_every_n_layers=2, max_position_embeddings=64),
}  # fmt: skip


def build(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForTokenClassification.from_config(copy.deepcopy(FAMILIES[family]))
    for weight in model.parameters():  # a fresh model's small weights would hide mistakes in attention
        weight.data.add_(torch.randn(weight.shape) * 0.2)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.float().train()


def batch() -> dict[str, Tensor]:
    rng = np.random.default_rng(0)
    ids = [rng.integers(5, 50, size) for size in (30, 3, 17, 8, 8, 25, 1)]
    tags = [np.where(rng.random(len(one)) < 0.3, IGNORED, rng.integers(0, 5, len(one))) for one in ids]
    return padded(ids, 1, tags)


def outcome(model: PreTrainedModel) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Logits of the real tokens, the loss, and the gradients of all weights."""
    inputs = batch()
    target = inputs.pop("labels")
    outputs = model(**inputs)
    loss = CrossEntropy(None)(outputs, target)
    loss.backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return outputs.logits[inputs["attention_mask"].bool()].detach(), loss.detach(), gradients


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("execution", ["packed", "sorted"])
def test_logits_loss_and_gradients(family: str, execution: str) -> None:
    logits, loss, gradients = outcome(build(family))
    model = build(family)
    assert attach(model, execution=execution, micro_batch_tokens=40).mode == execution
    found_logits, found_loss, found = outcome(model)
    torch.testing.assert_close(found_logits, logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found_loss, loss, rtol=1e-5, atol=1e-6)
    assert found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            found[name], gradient, rtol=1e-3, atol=1e-5, msg=lambda text, at=name: f"{at}: {text}"
        )


def test_the_loss_is_torchs_and_its_parts_add_up() -> None:
    logits, target = torch.randn(2, 4, 3), torch.tensor([[0, 1, IGNORED, 2], [IGNORED, IGNORED, 1, 1]])
    whole = CrossEntropy(None)({"logits": logits}, target)
    torch.testing.assert_close(whole, functional.cross_entropy(logits.flatten(0, 1), target.flatten()))
    parts = [CrossEntropy(None)({"logits": logits[row : row + 1]}, target[row : row + 1], 5) for row in range(2)]
    torch.testing.assert_close(sum(parts), whole)


def test_balanced_weights_are_scikit_learns() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    counts = np.array([70, 5, 0, 25])
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=np.repeat(np.arange(4), counts))
    assert balanced(counts)[[0, 1, 3]] == pytest.approx(expected)
    assert balanced(counts)[2] == 1
