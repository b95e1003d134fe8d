"""The tiny models by name: built when first asked for, then taken from the cache."""

import time
from pathlib import Path

from finewise.console import say
from finewise.data.keys import combine
from finewise.data.store import entry, made_by, peek
from finewise.errors import InputError
from finewise.names import unknown

CAUSAL, EMBEDDING = "tiny:causal", "tiny:embedding"
NAMES = (CAUSAL, EMBEDDING)
SECONDS = {CAUSAL: 25, EMBEDDING: 20}
CODE = tuple(f"longctx.tiny.{module}" for module in ("language", "lessons", "causal", "embedding"))
LIBRARIES = ("torch", "transformers", "tokenizers", "sentence-transformers", "numpy")


def is_tiny(name: str) -> bool:
    """Say whether a model's name means one of these."""
    return name.startswith("tiny:")


def tiny_model(name: str, seed: int) -> Path:
    """Return the folder of a tiny model, trained if the cache does not hold it.

    Args:
        name: "tiny:causal" (a transformers folder) or "tiny:embedding" (a SentenceTransformer folder).
        seed: Of its weights and training rows.

    Raises:
        InputError: No such model; or the cache folder cannot be written.
    """
    if name not in NAMES:
        raise InputError(unknown("model.name", name, NAMES))
    key = combine("tiny", name, seed, made_by(CODE, LIBRARIES))
    if peek(key, "models") is None:
        say(f"training {name} with seed {seed}, about {SECONDS[name]} s on one core; it is kept for the next time")
    folder, _ = entry(key, lambda part: _build(name, seed, part), "models")
    return folder


def _build(name: str, seed: int, folder: Path) -> dict[str, object]:
    import torch

    from finewise.device import quiet
    from longctx.tiny import causal, embedding

    quiet()

    start, threads = time.perf_counter(), torch.get_num_threads()
    torch.set_num_threads(1)  # products are so small that more would wait for one another
    try:
        accuracies = (causal if name == CAUSAL else embedding).build(seed, folder)
    finally:
        torch.set_num_threads(threads)
    return {"model": name, "seed": seed, "accuracies": accuracies, "seconds": time.perf_counter() - start}
