"""The losses: the library's own, and InfoNCE with a mask for known positives. A new loss is one row in `build`."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from sentence_transformers import util
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sentence_transformer.modules import Normalize
from torch import Tensor, nn
from torch.nn import functional

from finewise.contrastive.config import (
    CachedMultipleNegativesRanking,
    CoSENT,
    LossConfig,
    MatryoshkaConfig,
    MultipleNegativesRanking,
    Triplet,
)
from finewise.contrastive.negatives import KnownPositives
from finewise.encoder import Encoder

Similarity = Callable[[Tensor, Tensor], Tensor]

SIMILARITIES: dict[str, Similarity] = {
    "cosine": util.cos_sim,
    "dot": util.dot_score,
    "euclidean": util.euclidean_sim,
    "manhattan": util.manhattan_sim,
}
"""Of all rows (A, D) with all others (B, D): (A, B), the higher the closer."""


def _euclidean(a: Tensor, b: Tensor) -> Tensor:
    return -functional.pairwise_distance(a, b)  # which has a gradient for equal vectors too


PAIRWISE: dict[str, Similarity] = {
    "cosine": util.pairwise_cos_sim,
    "dot": util.pairwise_dot_score,
    "euclidean": _euclidean,
    "manhattan": util.pairwise_manhattan_sim,
}
"""Of each row (B, D) with its own (B, D): (B,)."""


def _dot_distance(a: Tensor, b: Tensor) -> Tensor:
    return -util.pairwise_dot_score(a, b)


DISTANCES: dict[str, Similarity] = {
    "cosine": losses.TripletDistanceMetric.COSINE,
    "dot": _dot_distance,
    "euclidean": losses.TripletDistanceMetric.EUCLIDEAN,
    "manhattan": losses.TripletDistanceMetric.MANHATTAN,
}


def info_nce(
    anchors: Tensor,
    documents: Tensor,
    *,
    scale: float,
    symmetric: bool,
    known: Tensor | None,
    first: int = 0,
    count: int,
    similarity: Similarity = util.cos_sim,
) -> Tensor:
    """InfoNCE per anchor, with known positives taken out of the denominator.

    For anchor i with own positive i and candidates C(i) = all documents but its other known positives:
    loss_i = -log( exp(s a_i d_i) / sum over j in C(i) of exp(s a_i d_j) ), van den Oord et al. 2018 (arXiv 1807.03748), eq. 4;
    symmetric adds the same over the anchors for each positive (Radford et al. 2021, arXiv 2103.00020) and takes the mean.

    Args:
        anchors: (B, D) all anchors of the gathered batch.
        documents: (B * (1 + negatives), D) all positives, then all first negatives, and so on.
        scale: s, one over the temperature, applied to the similarities.
        symmetric: See above.
        known: (B, B * (1 + negatives)) True where the document is another known positive of the anchor; None for none.
        first: The first of the rows whose loss is wanted: a device's own, or a chunk of the cached loss.
        count: How many rows from there.
        similarity: Row of SIMILARITIES; a_i d_j above stands for it.

    Returns:
        (count,) losses.
    """
    own = torch.arange(first, first + count, device=anchors.device)
    rows = torch.arange(count, device=anchors.device)
    # In bf16 a logit near 20 has steps of 0.125, as large as the loss itself late in a training.
    with torch.autocast(anchors.device.type, enabled=False):
        anchors, documents = anchors.float(), documents.float()
        to_document = similarity(anchors[own], documents) * scale
        if known is not None:
            to_document = to_document.masked_fill(known[own], -torch.inf)
        positive = to_document[rows, own]
        log_z = torch.logsumexp(to_document, dim=1)
        if symmetric:
            to_anchor = similarity(documents[own], anchors) * scale
            if known is not None:
                to_anchor = to_anchor.masked_fill(known[:, own].T, -torch.inf)
            log_z = (log_z + torch.logsumexp(to_anchor, dim=1)) / 2
        return log_z - positive


class MaskedMultipleNegativesRankingLoss(losses.MultipleNegativesRankingLoss):
    """The library's multiple negatives ranking loss; the texts' ids arrive as labels and decide the mask."""

    def __init__(
        self,
        model: Encoder,
        known: KnownPositives,
        *,
        scale: float,
        similarity: Similarity,
        symmetric: bool,
        gather: bool,
    ) -> None:
        super().__init__(
            model, scale=scale, similarity_fct=similarity, gather_across_devices=gather, **_directions(symmetric)
        )
        self.known = known
        self.symmetric = symmetric

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor) -> Tensor:
        """Return the mean loss of this device's rows; embeddings (B, D) per column, labels (B, 2 + negatives) ids."""
        anchors, documents, ids, first = _gather(embeddings, labels, self.gather_across_devices)
        known = _mask(self.known, ids, anchors.device)
        count = len(labels)
        return info_nce(
            anchors,
            documents,
            scale=self.scale,
            symmetric=self.symmetric,
            known=known,
            first=first,
            count=count,
            similarity=self.similarity_fct,
        ).mean()


class CachedMaskedMultipleNegativesRankingLoss(losses.CachedMultipleNegativesRankingLoss):
    """The same with the library's gradient cache (Gao et al. 2021, arXiv 2101.06983)."""

    def __init__(
        self,
        model: Encoder,
        known: KnownPositives,
        *,
        scale: float,
        similarity: Similarity,
        symmetric: bool,
        gather: bool,
        tokens: int,
    ) -> None:
        super().__init__(
            model,
            scale=scale,
            similarity_fct=similarity,
            gather_across_devices=gather,
            mini_batch_num_tokens=tokens,
            **_directions(symmetric),
        )
        self.known = known
        self.symmetric = symmetric

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Tensor | None = None, *, with_backward: bool = False
    ) -> Tensor:
        """Return the mean loss of this device's rows, computed some rows at a time."""
        assert labels is not None
        columns = [torch.cat(parts) for parts in reps]
        anchors, documents, ids, first = _gather(columns, labels, self.gather_across_devices)
        known = _mask(self.known, ids, anchors.device)
        count = len(labels)
        total = torch.zeros((), device=anchors.device)
        for start in range(0, count, self.mini_batch_size):
            size = min(self.mini_batch_size, count - start)
            part = info_nce(
                anchors,
                documents,
                scale=self.scale,
                symmetric=self.symmetric,
                known=known,
                first=first + start,
                count=size,
                similarity=self.similarity_fct,
            )
            part = part.sum() / count
            if with_backward:
                part.backward()  # type: ignore[no-untyped-call]
                part = part.detach()
            total = total + part
        return total


def build(
    config: LossConfig,
    matryoshka: MatryoshkaConfig,
    model: Encoder,
    known: KnownPositives | None,
    *,
    world: int = 1,
) -> nn.Module:
    """Return the loss module of the settings.

    Args:
        config: Which loss, with its settings.
        matryoshka: Leading dimensions to train as well.
        model: The encoder.
        known: What belongs together among the training rows; labels are then ids of texts, by which known positives are
            masked. None masks nothing.
        world: Number of devices; from two on, embeddings are gathered so that all devices' texts are candidates.
    """
    gather = world > 1
    name = str(model.similarity_fn_name)
    unit = name == "cosine" or isinstance(model[-1], Normalize)
    loss: nn.Module
    if isinstance(config, MultipleNegativesRanking):
        scale, similarity = 1 / (config.temperature or (0.05 if unit else 1.0)), SIMILARITIES[name]
        cached = isinstance(config, CachedMultipleNegativesRanking)
        tokens = config.mini_batch_tokens if isinstance(config, CachedMultipleNegativesRanking) else 0
        if known is not None and cached:
            loss = CachedMaskedMultipleNegativesRankingLoss(
                model,
                known,
                scale=scale,
                similarity=similarity,
                symmetric=config.symmetric,
                gather=gather,
                tokens=tokens,
            )
        elif known is not None:
            loss = MaskedMultipleNegativesRankingLoss(
                model, known, scale=scale, similarity=similarity, symmetric=config.symmetric, gather=gather
            )
        elif cached:
            loss = losses.CachedMultipleNegativesRankingLoss(
                model,
                scale=scale,
                similarity_fct=similarity,
                gather_across_devices=gather,
                mini_batch_num_tokens=tokens,
                **_directions(config.symmetric),
            )
        else:
            loss = losses.MultipleNegativesRankingLoss(
                model,
                scale=scale,
                similarity_fct=similarity,
                gather_across_devices=gather,
                **_directions(config.symmetric),
            )
    elif isinstance(config, CoSENT):
        scale = 1 / (config.temperature or (0.05 if unit else 1.0))
        loss = losses.CoSENTLoss(model, scale=scale, similarity_fct=PAIRWISE[name])
    elif isinstance(config, Triplet):
        distance = config.distance or name
        margin = config.margin or (0.3 if distance == "cosine" or isinstance(model[-1], Normalize) else 5.0)
        loss = losses.TripletLoss(model, distance_metric=DISTANCES[distance], triplet_margin=margin)
    else:
        raise AssertionError(f"no loss is built for {type(config).__name__}")
    if not matryoshka.dims:
        return loss
    return losses.MatryoshkaLoss(
        model, loss, matryoshka_dims=matryoshka.dims, matryoshka_weights=matryoshka.weights or None
    )


def _directions(symmetric: bool) -> dict[str, Any]:
    if symmetric:
        return {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
    return {"directions": ("query_to_doc",), "partition_mode": "joint"}


def _gather(columns: Sequence[Tensor], labels: Tensor, gather: bool) -> tuple[Tensor, Tensor, Tensor, int]:
    """Return anchors, documents, ids of the whole batch, and the place of this device's first row."""
    first = 0
    if gather:
        columns = [util.all_gather_with_grad(column) for column in columns]
        first = util.get_rank() * len(labels)
        labels = util.all_gather(labels)
    return columns[0], torch.cat(list(columns[1:])), labels, first


def _mask(known: KnownPositives, ids: Tensor, device: torch.device) -> Tensor | None:
    mask = known.mask(ids.cpu().numpy())
    return torch.from_numpy(mask).to(device) if mask.any() else None
