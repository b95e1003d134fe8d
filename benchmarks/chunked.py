"""Long documents with an embedding model that reads short texts: the baselines of every stretched model.

- `ChunkPool`: the document is cut into windows that the model reads; the document's vector is the mean of their embeddings.
- `LateChunking` (Günther et al. 2024, arXiv 2409.04701, algorithm 2 for documents beyond the model's window): the model reads
  windows that overlap, and its token states, each with its context, are pooled in chunks afterwards.

Late chunking was made for an index of chunks, where the best chunk speaks for its document. Here a document has one vector, as
every other system of the comparison: the mean of its chunks' normalised embeddings, in both.

Both have the `encode` methods of a SentenceTransformer that benchmarks.dense and benchmarks.passkey use. A text that fits into
one window gets the model's own embedding, at length 1.

Shapes: N texts, C chunks, D dimensions.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from torch import Tensor

from benchmarks.pieces import special_tokens
from finewise.data.tokens import own_prompts
from finewise.errors import InputError
from finewise.execution import CPU_TOKENS

SPARE = 2
"""Tokens by which a chunk that is cut as text may grow when it is tokenised on its own."""

OVERLAP = 0.25


class _Chunked:
    """What both share: prompts, windows, and the mean of a document's chunks.

    Attributes:
        model: The model inside.
        window: Tokens that it reads at a time, special tokens and the prompt included.
        overlap: Share of a window that the next one reads again, at least.
    """

    reports_progress = False

    def __init__(self, model: SentenceTransformer, window: int | None = None, overlap: float = OVERLAP) -> None:
        """Wrap a model.

        Args:
            model: Any SentenceTransformer.
            window: See above; None: what it reads at most.
            overlap: See above, from 0 to below 1.

        Raises:
            InputError: The model has no limit, or a lower one than `window`.
        """
        assert 0 <= overlap < 1
        most = model.max_seq_length
        if most is None and window is None:
            raise InputError("chunked: this model has no longest text, so there is nothing to cut; leave chunked out")
        if window is not None and most is not None and window > most:
            raise InputError(f"chunked: the window must be at most {most} tokens, which this model reads; got {window}")
        size = window or most
        assert size is not None
        self.model, self.window, self.overlap = model, size, overlap

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.device

    def encode_query(self, inputs: Sequence[str], prompt: str | None = None, **kwargs: Any) -> NDArray[np.float32]:
        """Embed queries, with the model's own prompt for them if none is given."""
        return self.encode(inputs, prompt=prompt or own_prompts(self.model.prompts)["query"], **kwargs)

    def encode_document(self, inputs: Sequence[str], prompt: str | None = None, **kwargs: Any) -> NDArray[np.float32]:
        """Embed documents, with the model's own prompt for them if none is given."""
        return self.encode(inputs, prompt=prompt or own_prompts(self.model.prompts)["document"], **kwargs)

    def encode(
        self,
        inputs: Sequence[str],
        prompt: str | None = None,
        *,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        convert_to_numpy: bool = True,
    ) -> NDArray[np.float32]:
        """Return the vectors (N, D) of texts of any length.

        Args:
            inputs: The texts.
            prompt: Stands before every text, and every window of it.
            batch_size: Windows at a time, where the model pads its batches.
            show_progress_bar: As the library's; there is none.
            convert_to_numpy: As the library's; always.
        """
        assert convert_to_numpy
        assert not show_progress_bar
        vectors, of = self._chunks(list(inputs), prompt or "", batch_size)
        sums = np.zeros((len(inputs), vectors.shape[1]), np.float32)
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        np.add.at(sums, of, unit)
        counts = np.bincount(of, minlength=len(inputs))
        means: NDArray[np.float32] = (sums / counts[:, None]).astype(np.float32)
        return means

    def _chunks(self, texts: list[str], prompt: str, batch_size: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the chunks' embeddings (C, D), and of which text each is (C,)."""
        raise NotImplementedError

    def _tokens(self, texts: list[str], **kwargs: Any) -> Any:
        """Return the tokens of texts without special ones, whole."""
        return self.model.tokenizer(texts, add_special_tokens=False, truncation=False, verbose=False, **kwargs)

    def _room(self, prompt: str, special: int, spare: int = 0) -> int:
        """Return how many tokens of a text fit into a window.

        Raises:
            InputError: None do.
        """
        taken = special + len(self._tokens([prompt])["input_ids"][0]) + spare
        if self.window <= taken:
            raise InputError(
                f"chunked: a window of {self.window} tokens has no room for text: prompt and special tokens take {taken}"
            )
        return self.window - taken


class ChunkPool(_Chunked):
    """The mean of the embeddings of a document's windows."""

    def _chunks(self, texts: list[str], prompt: str, batch_size: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        before, after = special_tokens(self.model.tokenizer)
        room = self._room(prompt, len(before) + len(after))
        pieces: list[str] = []
        of: list[int] = []
        for number, text in enumerate(texts):
            tokens = self._tokens([text], return_offsets_mapping=True)
            offsets = tokens["offset_mapping"][0]
            if len(offsets) <= room:
                parts = [text]
            else:
                fitting = self._room(prompt, len(before) + len(after), SPARE)
                parts = [
                    text[offsets[start][0] : offsets[stop - 1][1]]
                    for start, stop in windows(len(offsets), fitting, self.overlap)
                ]
            pieces += parts
            of += [number] * len(parts)
        found = self.model.encode(
            pieces, prompt=prompt or None, batch_size=batch_size, show_progress_bar=False, convert_to_numpy=True
        )
        return np.asarray(found, np.float32), np.array(of, np.int64)


class Piece(NamedTuple):
    """A window as the model reads it: its tokens, and of which chunk each is; -1: of none."""

    tokens: list[int]
    chunks: list[int]


class LateChunking(_Chunked):
    """The mean of a document's chunks, pooled from token states that know what stands around them."""

    def __init__(
        self,
        model: SentenceTransformer,
        window: int | None = None,
        overlap: float = OVERLAP,
        chunk: int | None = None,
    ) -> None:
        """Wrap a model that pools by the mean.

        Args:
            model: A transformer and mean pooling; what else follows is applied to each chunk.
            window: Tokens that it reads at a time; None: what it reads at most.
            overlap: Share of a window that the next one reads again: context, whose states are those of the window before.
            chunk: Tokens of a chunk; None: a quarter of the window.

        Raises:
            InputError: The model is of another kind.
        """
        super().__init__(model, window, overlap)
        mode = model[1].pooling_mode if len(model) > 1 and isinstance(model[1], Pooling) else None
        if not isinstance(model[0], Transformer) or mode != "mean":
            raise InputError(
                "chunked: late chunking needs a transformer with mean pooling; this model has "
                f"{f'{mode} pooling' if mode else type(model[0]).__name__}: use chunk-and-pool, or leave it out"
            )
        self.chunk = chunk or max(1, self.window // 4)
        self._before, self._after = special_tokens(model.tokenizer)

    def _chunks(self, texts: list[str], prompt: str, batch_size: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        room = self._room(prompt, len(self._before) + len(self._after))
        head = len(self._tokens([prompt])["input_ids"][0])
        pieces: list[Piece] = []
        of: list[int] = []
        for number, text in enumerate(texts):
            # Together with the prompt, as the library does it: tokens can depend on what stands before them.
            tokens = self._tokens([prompt + text])["input_ids"][0]
            count = max(1, -(-(len(tokens) - head) // self.chunk)) if len(tokens) - head > room else 1
            pieces += self._read(tokens[:head], tokens[head:], room, len(of), count)
            of += [number] * count
        with torch.no_grad():
            features = {"sentence_embedding": self._pooled(pieces, len(of))}
            for module in list(self.model)[2:]:
                features = module(features)
        return features["sentence_embedding"].float().cpu().numpy(), np.array(of, np.int64)

    def _read(self, prompt: list[int], text: list[int], room: int, first: int, count: int) -> Iterator[Piece]:
        """Yield the windows over a text whose chunks have the numbers from `first` on.

        Special tokens and the prompt stand in every window. They are pooled once: with the first chunk, and the last.
        """
        bounds = np.linspace(0, len(text), count + 1).round().astype(np.int64)
        chunk_of = (first + np.repeat(np.arange(count), np.diff(bounds))).tolist()
        spans = list(windows(len(text), room, self.overlap))
        pooling = self.model[1]
        known = 0  # tokens of the text whose states an earlier window gave
        for place, (start, stop) in enumerate(spans):
            opens = first if place == 0 and pooling.include_prompt else -1
            begins = first if place == 0 and (pooling.include_prompt or not prompt) else -1
            closes = first + count - 1 if place == len(spans) - 1 else -1
            yield Piece(
                [*self._before, *prompt, *text[start:stop], *self._after],
                [
                    *([begins] * len(self._before)),
                    *([opens] * len(prompt)),
                    *([-1] * (known - start)),
                    *chunk_of[known:stop],
                    *([closes] * len(self._after)),
                ],
            )
            known = stop

    def _pooled(self, pieces: list[Piece], count: int) -> Tensor:
        """Return the mean state of each chunk's tokens, (C, D)."""
        self.model.eval()
        device = self.model.device
        order = sorted(range(len(pieces)), key=lambda row: -len(pieces[row].tokens))
        rows = max(1, CPU_TOKENS // self.window)
        padding = self.model.tokenizer.pad_token_id or 0
        sums: Tensor | None = None
        sizes = torch.zeros(count + 1, device=device)
        for start in range(0, len(order), rows):
            batch = [pieces[row] for row in order[start : start + rows]]
            longest = len(batch[0].tokens)
            ids = torch.tensor(
                [[*one.tokens, *([padding] * (longest - len(one.tokens)))] for one in batch], device=device
            )
            mask = torch.tensor(
                [[1] * len(one.tokens) + [0] * (longest - len(one.tokens)) for one in batch], device=device
            )
            # What is of no chunk goes to one behind the last, which nobody reads.
            chunks = torch.tensor(
                [
                    [at if at >= 0 else count for at in one.chunks] + [count] * (longest - len(one.chunks))
                    for one in batch
                ],
                device=device,
            ).flatten()
            states = self.model[0]({"input_ids": ids, "attention_mask": mask})["token_embeddings"].float().flatten(0, 1)
            if sums is None:
                sums = torch.zeros(count + 1, states.shape[1], device=device)
            sums.index_add_(0, chunks, states)
            sizes.index_add_(0, chunks, torch.ones_like(chunks, dtype=sizes.dtype))
        assert sums is not None
        return sums[:count] / sizes[:count, None].clamp(min=1)


def windows(tokens: int, room: int, overlap: float) -> Iterator[tuple[int, int]]:
    """Yield where windows begin and end: as few as possible, all full, evenly spread, overlapping by `overlap` at least.

    >>> list(windows(10, 4, 0.25))
    [(0, 4), (3, 7), (6, 10)]
    >>> list(windows(3, 4, 0.25))
    [(0, 3)]
    """
    if tokens <= room:
        yield 0, tokens
        return
    step = max(1, int(room * (1 - overlap)))
    count = 1 + -(-(tokens - room) // step)
    for start in np.linspace(0, tokens - room, count).round().astype(np.int64).tolist():
        yield start, start + room
