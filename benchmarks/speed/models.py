"""The models and texts that the benches compute: real ones, or a real shape with random weights where only speed is asked."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import nn

from finewise.config import ModelConfig
from finewise.data.sources import resolve
from finewise.encoder import Encoder, load_encoder

MINILM = "minilm"
RANDOM = ("modernbert-base",)
"""Built from their configuration with random weights: as fast as trained ones, and they need no download."""

TEXTS = ("debian", "long")


def reference(name: str, scratch: Path) -> str:
    """Return what load_encoder and SentenceTransformer both load.

    Args:
        name: "minilm", one of RANDOM, or anything that `model.name` takes.
        scratch: An existing folder, in which a model with random weights is built.
    """
    if name in RANDOM:
        return str(build_modernbert(scratch / name))
    return ModelConfig().name if name == MINILM else name


def build_modernbert(folder: Path, **changes: Any) -> Path:
    """Save a sentence-transformers model of ModernBERT-base's shape with seeded random weights; return its folder.

    Its tokenizer is MiniLM's, whose ids are a part of its vocabulary: real texts keep a real length.

    Args:
        folder: Made, unless it is there.
        changes: Of the configuration.
    """
    if folder.is_dir():
        return folder
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoTokenizer, ModernBertConfig, ModernBertModel

    from finewise.references import model_reference

    torch.manual_seed(0)
    config = ModernBertConfig(pad_token_id=0, **changes)
    base = folder.with_name(folder.name + "-base")
    ModernBertModel(config).save_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(str(model_reference(ModelConfig().name)))
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(base)
    transformer = Transformer(str(base))
    SentenceTransformer(modules=[transformer, Pooling(config.hidden_size)], device="cpu").save_pretrained(str(folder))
    return folder


def library_model(found: str, device: str, limit: int | None) -> Any:
    """Return the library's own model, as anybody would load it.

    Args:
        found: From `reference`.
        device: As pick_device returns it.
        limit: Tokens per text; None keeps the model's own. More than the model has positions for is cut to these.
    """
    from sentence_transformers import SentenceTransformer

    from finewise.references import model_reference

    model: Any = SentenceTransformer(str(model_reference(found)), device=device)
    if limit is not None:
        positions = getattr(model[0].model.config, "max_position_embeddings", None)
        model.max_seq_length = min(limit, positions or limit)
    return model


def our_model(found: str, device: str, limit: int | None, execution: str = "auto") -> Encoder:
    """Return the same model as our encoder.

    Args:
        found: See library_model, as for the rest.
        device: Likewise.
        limit: What the library's model has.
        execution: How it computes a batch.
    """
    return load_encoder(ModelConfig(name=found, max_seq_length=limit), device, execution=execution)


def pairs(count: int, kind: str) -> tuple[list[str], list[str]]:
    """Return anchors and positives: Debian's one-line and long descriptions.

    Args:
        count: How many; the rows stand in the order of a hash, so the first are a fair sample.
        kind: "debian" as they are (12 and 91 tokens on average); "long": 1 to 32 long descriptions in a row make one text
            (about 800 tokens on average, long-tailed).
    """
    table = pq.read_table(resolve("debian") / "train.parquet", columns=["anchor", "positive"])
    anchors, bodies = table["anchor"].to_pylist(), table["positive"].to_pylist()
    if kind == "long":
        draw = random.Random(0)
        joined = []
        for _ in range(count):
            start, length = draw.randrange(len(bodies) - 32), round(2 ** draw.uniform(0, 5))
            joined.append("\n".join(bodies[start : start + length]))
        bodies = joined
    return anchors[:count], bodies[:count]


def without_dropout(model: nn.Module) -> None:
    """Switch every dropout of a model off, those inside the attention included: equal batches then give equal losses."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "attn_dropout", "dropout_prob"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def token_counts(tokenizer: Any, texts: Sequence[str], limit: int) -> list[int]:
    """Return how many real tokens the model reads of each text, special tokens included."""
    found = tokenizer(list(texts), truncation=True, max_length=limit, return_attention_mask=False)
    return [len(ids) for ids in found["input_ids"]]
