"""Embeddings of an encoder as it is, computed once: what was embedded with the same content is read from the cache."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from finewise.config import ModelConfig
from finewise.console import progress
from finewise.data.keys import combine, digest_texts
from finewise.data.store import entry, made_by
from finewise.data.tokens import own_prompts
from finewise.device import autocast, pick_device, use_bf16
from finewise.encoder import Encoder, load_encoder
from finewise.errors import InputError
from finewise.fingerprint import LIBRARIES, fingerprint

KIND = "embeddings"
SCHEMA = 2
FILE = "vectors.npy"
CODE = ("benchmarks.embedded", "finewise")


class Embedded:
    """Call with texts to get their unit vectors (N, D) in float32.

    Texts that one call has seen, another finds again, in this process one by one, in a later one as the same sequence. A model
    with parts that cannot be looked into (`finewise.fingerprint`) is never read from the cache, but remembered in the process.

    Attributes:
        seconds: Spent embedding, in this process.
    """

    def __init__(
        self,
        config: ModelConfig,
        device: str = "auto",
        precision: str = "auto",
        execution: str = "auto",
        micro_batch_tokens: int | None = None,
    ) -> None:
        """Say which model; it is loaded when it is first needed.

        Args:
            config: The model, its limit, and its query_prompt, or else the model's own, which is put before every text.
            device: `run.device`.
            precision: `run.precision`.
            execution: As in the experiment.
            micro_batch_tokens: Likewise.
        """
        self.config = config
        self.device = pick_device(device)
        self.bf16 = use_bf16(precision, self.device)
        self.execution = execution
        self.micro_batch_tokens = micro_batch_tokens
        self.seconds = 0.0
        self._blocks: list[NDArray[np.float32]] = []
        self._known: dict[int, tuple[int, int]] = {}  # checksum of a text -> its block and row

    @cached_property
    def model(self) -> Encoder:
        """The encoder.

        Raises:
            InputError: It cannot be loaded.
        """
        return load_encoder(
            self.config,
            self.device,
            execution=self.execution,
            micro_batch_tokens=self.micro_batch_tokens,
            compared=False,
        )

    @cached_property
    def identity(self) -> str | None:
        """The sha256 of all that decides an embedding besides its text, or None if it cannot be told."""
        model = fingerprint(self.model, bf16=self.bf16)
        return model and combine("embedded", SCHEMA, made_by(CODE, LIBRARIES), model)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings of the texts (N, D), each of L2 norm 1 (zeros stay zeros).

        Raises:
            InputError: The model cannot be loaded, gave NaN or infinity, or the cache folder cannot be written.
        """
        keys = [xxhash.xxh3_128_intdigest(text.encode("utf-8", "surrogatepass")) for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        if new or not self._blocks:
            block = self._embed(list(new.values()))
            self._known.update((key, (len(self._blocks), row)) for row, key in enumerate(new))
            self._blocks.append(block)
        places = np.array([self._known[key] for key in keys], np.int64).reshape(-1, 2)
        found = np.empty((len(keys), self._blocks[0].shape[1]), np.float32)
        for number in np.unique(places[:, 0]).tolist():
            mine = places[:, 0] == number
            found[mine] = self._blocks[number][places[mine, 1]]
        return found

    def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Return the embeddings of texts that this process has not seen, from the cache if they are there."""
        if self.identity is None or not texts:
            return self._encode(texts)

        def build(folder: Path) -> dict[str, Any]:
            np.save(folder / FILE, self._encode(texts))
            return {}

        folder, _ = entry(combine(self.identity, digest_texts(texts)), build, KIND)
        vectors: NDArray[np.float32] = np.load(folder / FILE, mmap_mode="r")
        return vectors

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        if not texts:
            size = self.model.get_embedding_dimension()
            return np.empty((0, size or 0), np.float32)
        prompt = own_prompts(self.model.prompts)["query"]
        more = {"prompt": prompt} if prompt else {}  # without one, `encode` takes the model's default prompt
        started = time.perf_counter()
        with progress("embed texts", len(texts)) as advance, autocast(self.bf16, self.device):
            found = np.asarray(self.model.encode(texts, advance=advance, **more), np.float32)
        self.seconds += time.perf_counter() - started
        bad = ~np.isfinite(found).all(axis=1)
        if bad.any():
            raise InputError(
                f"model.name={self.config.name}: {int(bad.sum())} of {len(texts)} embeddings are not finite, the first of "
                f"'{texts[int(bad.argmax())][:60]}'; the model's weights are damaged, or it needs run.precision=fp32"
            )
        norm = np.linalg.norm(found, axis=1, keepdims=True)
        unit: NDArray[np.float32] = found / np.maximum(norm, np.finfo(np.float32).tiny)
        return unit
