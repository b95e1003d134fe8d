"""The masked losses: the library's numbers where nothing is masked, and nothing learnt from a known positive."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer import losses

from finewise.config import ModelConfig
from finewise.contrastive.config import (
    CachedMultipleNegativesRanking,
    CoSENT,
    LossConfig,
    MatryoshkaConfig,
    MultipleNegativesRanking,
    Triplet,
)
from finewise.contrastive.losses import build, info_nce
from finewise.contrastive.negatives import KnownPositives
from finewise.encoder import Encoder, load_encoder

TEXTS = [
    ["bal bam", "dol dom", "kil kim kin", "lul"],
    ["bal bam ban bar", "dol", "kil kin bal bam bar ban", "lul lum"],
    ["mel", "nol nom non", "pal", "ril rim rin"],
]


@pytest.fixture
def model(tiny_model: Path) -> Encoder:
    encoder = load_encoder(ModelConfig(name=str(tiny_model)), "cpu")
    return encoder.eval()


def features(model: Encoder, columns: int = 3) -> list[dict[str, Any]]:
    return [model.preprocess(texts) for texts in TEXTS[:columns]]


def known(pairs: list[tuple[int, ...]]) -> KnownPositives:
    table = np.array(pairs, dtype=np.uint64)
    return KnownPositives.from_hashes(table[:, 0], table[:, 1:])


def ids_of(texts: KnownPositives) -> torch.Tensor:
    return torch.from_numpy(np.column_stack([texts.anchors, texts.documents]))


DISTINCT = [(0, 0, 10), (1, 1, 11), (2, 2, 12), (3, 3, 13)]
OVERLAP = [
    (0, 0, 10),
    (0, 1, 11),
    (2, 2, 1),
    (3, 3, 13),
]  # anchor 0 twice; row 2's hard negative is a positive of anchor 0


def value_and_gradient(model: Encoder, loss: torch.nn.Module, columns: int = 3) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    texts = getattr(loss, "known", getattr(getattr(loss, "loss", None), "known", None))
    labels = torch.tensor([0.9, 0.1, 0.5, 0.3]) if texts is None else ids_of(texts)
    value = loss(features(model, columns), labels)
    value.backward()
    gradient = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
    return value.item(), gradient.clone()


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("columns", [2, 3])
def test_without_shared_texts_it_is_the_librarys_loss(model: Encoder, symmetric: bool, columns: int) -> None:
    directions: dict[str, Any] = (
        {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"} if symmetric else {}
    )
    config = MultipleNegativesRanking(temperature=0.05, symmetric=symmetric)
    table = [row[:columns] for row in DISTINCT]
    ours = build(config, MatryoshkaConfig(), model, known(table))
    theirs = losses.MultipleNegativesRankingLoss(model, scale=20, **directions)
    value, gradient = value_and_gradient(model, ours, columns)
    expected, expected_gradient = value_and_gradient(model, theirs, columns)
    assert value == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("table", [DISTINCT, OVERLAP])
@pytest.mark.parametrize("symmetric", [True, False])
def test_cached_equals_uncached(model: Encoder, table: list[tuple[int, ...]], symmetric: bool) -> None:
    plain = MultipleNegativesRanking(symmetric=symmetric)
    cached = CachedMultipleNegativesRanking(symmetric=symmetric, mini_batch_tokens=8)
    value, gradient = value_and_gradient(model, build(plain, MatryoshkaConfig(), model, known(table)))
    again, again_gradient = value_and_gradient(model, build(cached, MatryoshkaConfig(), model, known(table)))
    assert again == pytest.approx(value, rel=1e-5)
    torch.testing.assert_close(again_gradient, gradient, rtol=1e-4, atol=1e-6)


def test_a_known_positive_gets_no_push(model: Encoder) -> None:
    anchors = torch.nn.functional.normalize(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    documents = torch.nn.functional.normalize(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    documents.requires_grad_()
    mask = torch.from_numpy(known(OVERLAP).mask(ids_of(known(OVERLAP)).numpy()))
    info_nce(anchors, documents, scale=20, symmetric=False, known=mask, count=1)[0].backward()
    assert documents.grad is not None
    # Anchor 0 knows documents 0 (its own), 1 (row 1's positive) and 1 again (row 2's hard negative, place 6).
    pushed = documents.grad.abs().sum(dim=1) > 0
    assert pushed.tolist() == [True, False, True, True, True, True, False, True]


def test_info_nce_against_the_formula_written_out() -> None:
    anchors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    documents = torch.tensor([[1.0, 0.0], [math.sqrt(0.5), math.sqrt(0.5)]])
    expected = [
        math.log(math.exp(2) + math.exp(2 * math.sqrt(0.5))) - 2,
        math.log(math.exp(0) + math.exp(2 * math.sqrt(0.5))) - 2 * math.sqrt(0.5),
    ]
    got = info_nce(anchors, documents, scale=2, symmetric=False, known=None, count=2)
    assert got.tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "config",
    [MultipleNegativesRanking(), CachedMultipleNegativesRanking(), CoSENT(), Triplet()],
    ids=lambda c: type(c).__name__,
)
def test_matryoshka_goes_around_every_loss(model: Encoder, config: LossConfig) -> None:
    columns = 2 if isinstance(config, CoSENT) else 3
    mask = isinstance(config, MultipleNegativesRanking)
    plain = build(config, MatryoshkaConfig(), model, known(DISTINCT) if mask else None)
    wrapped = build(config, MatryoshkaConfig(dims=[32, 8]), model, known(DISTINCT) if mask else None)
    value, _ = value_and_gradient(model, plain, columns)
    more, gradient = value_and_gradient(model, wrapped, columns)
    assert more != value
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0
