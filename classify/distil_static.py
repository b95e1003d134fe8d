"""A static student: the teacher's vector of every token alone, put together without layers.

What model2vec does (Tulkens & van Dongen 2024), on the tokenizer and in the format of transformers, and then trained on the
teacher's probabilities.

Shapes: V tokens, D dimensions of the teacher, E of the student, K classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.text.logistic import Logistic
from classify.config import ClassifyExperiment
from classify.distil import Teacher
from classify.distil_config import StaticConfig as StaticSettings
from classify.heads import Float32Linear, body, head_features, head_linear, init_head
from classify.static import StaticConfig, StaticForSequenceClassification
from finewise.console import progress, say
from finewise.data.labels.load import LabelledData
from finewise.device import autocast

SMOOTHING = 1e-4
"""a of the weights a / (a + p): tokens that are more frequent than it count for little."""

ROWS = 20_000
"""At most so many training rows are counted and fitted on to start with; the training sees all."""

TOKENS_AT_A_TIME = 1024
STRENGTH = 10.0
"""C of the logistic regression that the head starts with."""


def token_vectors(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> NDArray[np.float32]:
    """Return (V, D): the mean of the hidden states of each token as a text of its own, special tokens around it.

    Args:
        model: The teacher.
        tokenizer: Its tokenizer.
    """
    base = body(model.train(False))
    table = base.get_input_embeddings()
    assert isinstance(table, nn.Embedding)
    size = table.num_embeddings
    start, end = around(tokenizer)
    found = []
    with progress("teacher: tokens", size) as advance, torch.inference_mode():
        for first in range(0, size, TOKENS_AT_A_TIME):
            ids = torch.arange(first, min(first + TOKENS_AT_A_TIME, size))
            texts = torch.cat(
                [torch.tensor(start).expand(len(ids), -1), ids[:, None], torch.tensor(end).expand(len(ids), -1)], dim=1
            ).to(torch.int64)
            hidden = base(
                input_ids=texts.to(model.device), attention_mask=torch.ones_like(texts).to(model.device)
            ).last_hidden_state
            found.append(hidden.float().mean(1).cpu())
            advance(len(ids))
    return np.asarray(torch.cat(found).numpy())


def around(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the special tokens before and behind a text."""
    whole: list[int] = tokenizer("a")["input_ids"]
    bare: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
    before = next(place for place in range(len(whole)) if whole[place : place + len(bare)] == bare)
    return whole[:before], whole[before + len(bare) :]


def frequencies(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], size: int) -> NDArray[np.float64]:
    """Return (V,) the share of each token among all tokens of the texts, each counted once more than it occurs."""
    counts = np.ones(size)
    for start in range(0, len(texts), 1000):
        for ids in tokenizer(list(texts[start : start + 1000]), truncation=True)["input_ids"]:
            np.add.at(counts, ids, 1)
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares


def weighted(vectors: NDArray[np.float32], share: NDArray[np.float64], dimensions: int | None) -> NDArray[np.float32]:
    """Return (V, E): the first principal components of the vectors, times a / (a + p) (Arora et al. 2017, eq. 1).

    Args:
        vectors: (V, D).
        share: p (V,).
        dimensions: E; None or more than D: D.
    """
    centred = vectors - vectors.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    components = directions[:, ::-1][:, :dimensions]
    weighed = centred @ components * (SMOOTHING / (SMOOTHING + share))[:, None]
    return np.asarray(weighed, dtype=np.float32)


def static_student(
    teacher: Teacher, data: LabelledData, config: StaticSettings, experiment: ClassifyExperiment
) -> StaticForSequenceClassification:
    """Return the student, its head fitted to the training rows' labels, before the teacher has taught it.

    Args:
        teacher: The teacher.
        data: The rows.
        config: The method's settings.
        experiment: The settings: the seed of the rows that are counted.
    """
    train, tokenizer = data.train, teacher.tokenizer
    some = np.sort(np.random.default_rng(experiment.seed).permutation(len(train))[:ROWS])
    train = train.select(some)
    with autocast(teacher.bf16, str(teacher.model.device)):
        vectors = token_vectors(teacher.model, tokenizer)
    vectors = weighted(vectors, frequencies(tokenizer, train.texts, len(vectors)), config.dimensions)
    special = [token for token in tokenizer.all_special_ids if token < len(vectors)]
    vectors[special] = 0
    settings = StaticConfig(
        vocab_size=len(vectors),
        hidden_size=vectors.shape[1],
        id2label=data.space.id2label,
        label2id=data.space.label2id,
        problem_type=teacher.model.config.problem_type,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    if getattr(teacher.model.config, "prompt", ""):
        settings.prompt = teacher.model.config.prompt
    with torch.random.fork_rng(devices=[]):
        student = StaticForSequenceClassification(settings)
    with torch.no_grad():
        student.body.embeddings.weight.copy_(torch.from_numpy(vectors))
    head_linear(student).__class__ = Float32Linear
    student.to(teacher.model.device)  # type: ignore[arg-type]  # its decorator loses self
    found = Logistic(len(data.space)).fit(
        head_features(student, tokenizer, train.texts), train.labels, STRENGTH, balanced=False
    )
    init_head(student, found.coef, found.intercept)
    say(f"student: {len(vectors):,} token vectors of {vectors.shape[1]} dimensions")
    return student


def groups(student: StaticForSequenceClassification, experiment: ClassifyExperiment) -> list[dict[str, Any]]:
    """Return the optimiser's groups: the vectors without weight decay, which would shrink those that no text holds."""
    optim, tuning = experiment.optim, experiment.tuning
    head = optim.learning_rate if tuning.head_learning_rate is None else tuning.head_learning_rate
    vectors = student.body.embeddings.weight.requires_grad_(not tuning.freeze_embeddings)
    parts: list[dict[str, Any]] = [
        {"params": list(student.classifier.parameters()), "lr": head, "weight_decay": optim.weight_decay}
    ]
    if not tuning.freeze_embeddings:
        parts.append({"params": [vectors], "lr": optim.learning_rate, "weight_decay": 0.0})
    return parts
