"""Tokenised texts on the disk: a column of texts becomes memory-mapped token ids, once, whatever its size.

Without torch: the fast tokenizer alone. The ids are exactly those that the model's own preprocessing gives, prompts and cuts
included. They are kept in the cache (finewise.data.store) under the content of texts, tokenizer, limit and prompt.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from finewise.console import progress
from finewise.data.keys import combine
from finewise.data.near import chunks
from finewise.data.pairs import Pairs
from finewise.data.store import entry

VERSION = 1
"""Raise it when the files or the way to them change."""

IDS, OFFSETS, WHOLE = "ids.i4", "offsets.i8", "whole.i4"

Ids = NDArray[np.int32]


class TextTokenizer:
    """A fast tokenizer that cuts texts at a limit.

    Attributes:
        limit: Tokens that are kept, special tokens included; None keeps all.
        side: On which side of a text the rest is cut away: "right" or "left".
    """

    def __init__(self, tokenizer: Tokenizer, limit: int | None, side: str = "right") -> None:
        """Make a tokenizer.

        Args:
            tokenizer: May be the one inside a model: it is used as it is, and its own settings are put back afterwards.
            limit: See above.
            side: See above.
        """
        self._tokenizer = tokenizer
        self.limit = limit
        self.side = side

    @cached_property
    def digest(self) -> str:
        """The sha256 of the tokenizer, the limit and the side."""
        with self._bare() as tokenizer:
            content = hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
        return combine("tokenizer", content, self.limit, self.side, metadata.version("tokenizers"))

    def count(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the tokens of each text, nothing cut, (N,)."""
        with self._bare() as tokenizer:
            return np.array([len(found) for found in tokenizer.encode_batch_fast(list(texts))], dtype=np.int64)

    def encode(self, texts: Sequence[str]) -> tuple[list[Ids], NDArray[np.int32]]:
        """Return the ids of each text, cut, and how many tokens (N,) each has uncut."""
        with self._bare() as tokenizer:
            ids = [np.array(found.ids, dtype=np.int32) for found in tokenizer.encode_batch_fast(list(texts))]
            whole = np.array([len(row) for row in ids], dtype=np.int32)
            if self.limit is not None:
                # Cutting is the tokenizer's business: special tokens stay. Few texts are long, so those go through it again.
                long = np.flatnonzero(whole > self.limit).tolist()
                tokenizer.enable_truncation(self.limit, stride=0, strategy="longest_first", direction=self.side)
                cut = tokenizer.encode_batch_fast([texts[row] for row in long])
                for row, found in zip(long, cut, strict=True):
                    ids[row] = np.array(found.ids, dtype=np.int32)
        return ids, whole

    @contextmanager
    def _bare(self) -> Iterator[Tokenizer]:
        """Give the tokenizer without padding and cutting, and put its settings back at the end."""
        tokenizer = self._tokenizer
        padding, truncation = tokenizer.padding, tokenizer.truncation
        tokenizer.no_padding()
        tokenizer.no_truncation()
        try:
            yield tokenizer
        finally:
            tokenizer.no_truncation()
            if truncation is not None:
                tokenizer.enable_truncation(**truncation)
            if padding is not None:
                tokenizer.enable_padding(**padding)


@dataclass(frozen=True, slots=True, eq=False)
class Tokenised:
    """Token ids of N texts.

    Attributes:
        ids: (T,) memory-mapped ids of all texts, one behind the other.
        offsets: (N + 1,) where each text begins.
        whole: (N,) tokens of each text before it was cut.
    """

    ids: Ids
    offsets: NDArray[np.int64]
    whole: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text as it is kept, (N,)."""
        return np.diff(self.offsets)

    def rows(self, rows: NDArray[np.int64] | Sequence[int]) -> list[Ids]:
        """Return the ids of some texts."""
        places = np.asarray(rows, dtype=np.int64)
        bounds = zip(self.offsets[places].tolist(), self.offsets[places + 1].tolist(), strict=True)
        return [self.ids[start:end] for start, end in bounds]


def tokenise(
    content: str,
    texts: Callable[[], Iterable[str]],
    count: int,
    tokenizer: TextTokenizer,
    *,
    prompt: str,
    title: str | None = None,
) -> Tokenised:
    """Return the tokens of texts, from the cache if these texts were tokenised before.

    Args:
        content: sha256 of the texts.
        texts: Gives them, in order; called only when they are not there yet.
        count: How many there are.
        tokenizer: Cuts as the model does.
        prompt: Put before each.
        title: What the progress bar says; None for no bar.

    Raises:
        InputError: The cache folder cannot be written.
    """
    key = combine("tokens", VERSION, content, tokenizer.digest, repr(prompt))

    def build(folder: Path) -> dict[str, Any]:
        with progress(title, count) if title else nullcontext(lambda count: None) as advance:
            _write(folder, texts(), tokenizer, prompt, advance)
        return {}

    folder, _ = entry(key, build, kind="tokens")
    return Tokenised(
        _mapped(folder / IDS, np.int32), _mapped(folder / OFFSETS, np.int64), _mapped(folder / WHOLE, np.int32)
    )


def tokenise_column(
    pairs: Pairs, column: str, tokenizer: TextTokenizer, prompt: str, *, title: str | None = None
) -> Tokenised:
    """Return the tokens of a column of training pairs; see `tokenise`.

    Raises:
        InputError: The cache folder cannot be written.
    """

    def texts() -> Iterator[str]:
        for _, table in pairs.batches([column]):
            yield from table.column(column).to_pylist()

    content = combine(pairs.revision, column)
    return tokenise(content, texts, len(pairs), tokenizer, prompt=prompt, title=title)


def _write(
    folder: Path, texts: Iterable[str], tokenizer: TextTokenizer, prompt: str, advance: Callable[[int], None]
) -> None:
    """Write the three files, some thousand texts at a time."""
    end = 0
    with (
        (folder / IDS).open("wb") as ids,
        (folder / OFFSETS).open("wb") as offsets,
        (folder / WHOLE).open("wb") as all_,
    ):
        offsets.write(np.zeros(1, dtype=np.int64).tobytes())
        for chunk in chunks(texts):
            rows, whole = tokenizer.encode([prompt + text for text in chunk] if prompt else chunk)
            ids.write(np.concatenate(rows).tobytes())
            ends = end + np.cumsum([len(row) for row in rows], dtype=np.int64)
            end = int(ends[-1])
            offsets.write(ends.tobytes())
            all_.write(whole.tobytes())
            advance(len(chunk))


def _mapped(path: Path, kind: Any) -> NDArray[Any]:
    """Map a file; an empty one cannot be mapped."""
    return np.asarray(np.memmap(path, dtype=kind, mode="r")) if path.stat().st_size else np.zeros(0, dtype=kind)
