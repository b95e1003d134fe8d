"""The tiny embedding model: a EuroBERT of 85k parameters with mean pooling, taught to find the document of a pair of names.

Documents are filler with `SET a b END` in them; the hard negative of each has the same names the other way round.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from torch import Tensor, nn
from transformers import EuroBertConfig, EuroBertModel

from finewise.console import progress, say
from longctx.tiny.language import (
    ASK,
    EMBEDDING_WORDS,
    END,
    FILLER,
    NAMES,
    PAD,
    SET,
    SHAPE,
    WINDOW,
    filler,
    tokenizer_of,
)

LEARNING_RATE = 2e-3
BETAS = (0.9, 0.98)
TEMPERATURE = 0.05
BATCH = 64
DECAY = 0.4

_SET, _ASK, _END = (EMBEDDING_WORDS.index(word) for word in (SET, ASK, END))
_FILLER, _NAMES = (EMBEDDING_WORDS.index(words[0]) for words in (FILLER, NAMES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Documents of one length.

    Attributes:
        length: Tokens.
        steps: At most.
        enough: Running accuracy within the batch at which it ends; above 1 it takes all steps.
    """

    length: int
    steps: int
    enough: float


CURRICULUM = (Stage(length=16, steps=400, enough=0.5), Stage(length=WINDOW, steps=100, enough=2.0))


def config() -> EuroBertConfig:
    """Return the architecture."""
    return EuroBertConfig(
        vocab_size=len(EMBEDDING_WORDS),
        **SHAPE,
        bos_token_id=None,
        pad_token_id=EMBEDDING_WORDS.index(PAD),
        eos_token_id=EMBEDDING_WORDS.index(END),
        mask_token_id=EMBEDDING_WORDS.index(PAD),
    )


def build(seed: int, folder: Path, curriculum: Sequence[Stage] = CURRICULUM) -> dict[str, float]:
    """Train the model and save it as a SentenceTransformer.

    Args:
        seed: Of the weights and the documents.
        folder: Where it is saved.
        curriculum: Short documents first: with long ones alone it would take far longer to begin.

    Returns:
        The running accuracy within the batch at the end of each stage.
    """
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        model = EuroBertModel(config())
        optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, BETAS, weight_decay=0.0, fused=True)
        rng = np.random.default_rng(seed)
        accuracies = {}
        with progress("train tiny:embedding", sum(stage.steps for stage in curriculum)) as advance:
            for number, stage in enumerate(curriculum):
                running = 0.0
                for step in range(stage.steps):
                    left = (stage.steps - step) / (stage.steps * DECAY) if number == len(curriculum) - 1 else 1.0
                    for group in optimizer.param_groups:
                        group["lr"] = LEARNING_RATE * min(1.0, left)
                    running = 0.9 * running + 0.1 * _step(model, optimizer, rng, stage.length)
                    advance()
                    if running > stage.enough:
                        advance(stage.steps - step - 1)
                        break
                accuracies[f"{stage.length} tokens"] = running
                if stage.enough <= 1 and running <= stage.enough:
                    say(
                        f"tiny:embedding, seed {seed}: {stage.length} tokens ended at an accuracy of {running:.2f}, below "
                        f"{stage.enough:g}; it may read badly"
                    )
    model.eval()  # type: ignore[no-untyped-call]
    _save(model, folder)
    return accuracies


def documents(rng: np.random.Generator, pairs: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Return (B, length) token numbers of documents about pairs of names (B, 2)."""
    rows = len(pairs)
    facts = np.column_stack([np.full(rows, _SET), pairs + _NAMES, np.full(rows, _END)])
    width = facts.shape[1]
    before = rng.integers(length - width + 1, size=(rows, 1))
    place = np.arange(length)[None]
    inside = (place >= before) & (place < before + width)
    hay = filler(rng, rows, length) + _FILLER
    return np.where(inside, np.take_along_axis(facts, np.clip(place - before, 0, width - 1), axis=1), hay)


def _step(model: EuroBertModel, optimizer: torch.optim.Optimizer, rng: np.random.Generator, length: int) -> float:
    """Train on one batch; return the share of its queries whose own document is the nearest.

    InfoNCE from the queries over all documents and hard negatives, and from the documents over all queries.
    """
    first = rng.integers(len(NAMES), size=BATCH)
    pairs = np.column_stack([first, (first + rng.integers(1, len(NAMES), size=BATCH)) % len(NAMES)])
    asked = np.column_stack([np.full(BATCH, _ASK), pairs + _NAMES])
    read = np.concatenate([documents(rng, pairs, length), documents(rng, pairs[:, ::-1], length)])
    queries, found = _embed(model, asked), _embed(model, read)
    similar = queries @ found.T / TEMPERATURE
    same = torch.from_numpy((pairs[:, None] == pairs[None]).all(axis=2))
    reverse = torch.from_numpy((pairs[:, None] == pairs[None, :, ::-1]).all(axis=2))
    own = torch.arange(BATCH)
    # A document drawn twice, or as another's hard negative, is no wrong answer.
    other = ~torch.eye(BATCH, 2 * BATCH, dtype=torch.bool)
    similar = similar.masked_fill(torch.cat([same, reverse], dim=1) & other, -torch.inf)
    loss = nn.functional.cross_entropy(similar, own) + nn.functional.cross_entropy(similar[:, :BATCH].T, own)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
    optimizer.step()
    optimizer.zero_grad()
    return float((similar.argmax(dim=1) == own).float().mean())


def _embed(model: EuroBertModel, inputs: NDArray[np.int64]) -> Tensor:
    hidden: Tensor = model(input_ids=torch.from_numpy(np.ascontiguousarray(inputs))).last_hidden_state
    return nn.functional.normalize(hidden.mean(dim=1), dim=1)


def _save(model: EuroBertModel, folder: Path) -> None:
    with TemporaryDirectory() as plain:
        model.save_pretrained(plain)
        tokenizer_of(EMBEDDING_WORDS).save_pretrained(plain)
        reader = Transformer(plain, max_seq_length=WINDOW)
        pooling = Pooling(model.config.hidden_size, pooling_mode="mean")
        SentenceTransformer(modules=[reader, pooling], device="cpu").save(str(folder), create_model_card=False)
