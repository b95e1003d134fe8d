"""Files of chats, checked to the last row and tokenised into the cache, memory-mapped.

Every row is looked at before anything else happens: one message tells how many rows are unusable, the first of each kind, and
how to repair them.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from finewise.console import progress
from finewise.data.arrow import ArrowSource, TextColumn
from finewise.data.keys import Keys, combine, text_keys
from finewise.data.opening import open_reference
from finewise.data.records import RecordSource
from finewise.data.store import entry, made_by
from finewise.data.table import Source
from finewise.data.tokenised import TextTokenizer
from finewise.errors import InputError
from longctx.sft.chats import BrokenChatError, Chat
from longctx.sft.formats import ONE_FORMAT, READ, convert, help_for, recognise, unread
from longctx.sft.render import Rendered, Renderer

MODULES = ("longctx.sft.chats", "longctx.sft.formats", "longctx.sft.render", "longctx.sft.rows", "finewise.data.keys")
LIBRARIES = ("tokenizers", "transformers", "trl", "jinja2")
ROWS = "prompts.arrow"
BATCH = 256
"""Rows tokenised between two moves of the progress bar."""

SHOWN = 3
"""Unusable rows of each kind that a message names."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChatRows:
    """Chats as tokens. N rows, whose tokens lie one behind the other in `ids`.

    Attributes:
        reference: What messages call the file.
        unit: "line", "row" or "item": what `numbers` count.
        split: "train", "dev" or "test".
        numbers: (N,) where each row starts in the file, from 1.
        begins: (N,) its first token.
        ends: (N,) behind its last.
        ids: Of all tokens of the file, int32.
        learnt: Of all, whether the token is one of the assistant's own.
        keys: (N,) equal for rows that differ only in case and white space.
        prompts: (N,) the same of all that is said before the last answer.
        codes: (N,) of the exact content.
        texts: The prompts of all rows of the file, and `places` (N,) in it.
        unread: Columns of the file that are not looked at.
        forged: What is to be said of rows in whose turns special tokens are written; empty if there are none.
    """

    reference: str
    unit: str
    split: str
    numbers: NDArray[np.int64]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    ids: NDArray[np.int32]
    learnt: NDArray[np.bool_]
    keys: Keys
    prompts: Keys
    codes: Keys
    texts: TextColumn
    places: NDArray[np.int64]
    unread: tuple[str, ...] = ()
    forged: str = ""

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) tokens of each row."""
        return self.ends - self.begins

    @property
    def revision(self) -> str:
        """sha256 over the content of the rows, in their order."""
        return combine("chats", self.codes.tobytes().hex())

    def where(self, row: int) -> str:
        """Return where a row stands in the user's file, such as "chats.jsonl line 7"."""
        return f"{self.reference} {self.unit} {self.numbers[row]}"

    def prompt(self, row: int) -> str:
        """Return what is said before the last answer of a row."""
        return self.texts[int(self.places[row])]

    def tokens(self, row: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Return the ids of a row, (T,), and which of them are learnt."""
        span = slice(self.begins[row], self.ends[row])
        return self.ids[span], self.learnt[span]

    def answers(self) -> NDArray[np.int64]:
        """Return (N,) how many tokens of each row are learnt; its first one cannot be."""
        return np.array(
            [int(self.learnt[a + 1 : b].sum()) for a, b in zip(self.begins, self.ends, strict=True)], np.int64
        )

    def select(self, rows: NDArray[np.int64], split: str | None = None) -> Self:
        """Return some of the rows; no token is copied."""
        names = ("numbers", "begins", "ends", "keys", "prompts", "codes", "places")
        return replace(self, split=split or self.split, **{name: getattr(self, name)[rows] for name in names})

    def cut(self, window: int) -> Self:
        """Return the rows cut behind their first `window` tokens."""
        return replace(self, ends=np.minimum(self.ends, self.begins + window))


def read_chats(reference: str, renderer: Renderer, split: str = "train") -> ChatRows:
    """Read, check and tokenise a file of chats, if that was not done before.

    Args:
        reference: A file of any format of finewise.data.formats, a folder with a file for each of train, dev and test,
            `package:MODULE/PATH` or `hub:NAME`.
        renderer: Makes the tokens.
        split: Which file of a folder, or split of a hub data set; a file has no choice.

    Raises:
        InputError: No such file, no chats in it, or rows that cannot be trained on.
    """
    source, content = open_reference(reference, split)
    columns = source.first_columns() if isinstance(source, RecordSource) else source.columns()
    if recognise(columns) is None:
        raise InputError(f"{source.name} {help_for(columns)}")
    tokenizer = TextTokenizer(renderer.tokenizer.backend_tokenizer, None)
    key = combine("chats", made_by(MODULES, LIBRARIES), content, source.unit, tokenizer.digest, renderer.key)
    folder, about = entry(key, lambda part: _convert(part, source, renderer), kind="tokens")
    bounds = np.fromfile(folder / "bounds.i8", np.int64)
    keys = np.fromfile(folder / "keys.u8", np.uint64).reshape(3, -1)
    return ChatRows(
        reference=source.name,
        unit=source.unit,
        split=split,
        numbers=np.fromfile(folder / "numbers.i8", np.int64),
        begins=bounds[:-1],
        ends=bounds[1:],
        ids=np.memmap(folder / "ids.i4", np.int32, mode="r"),
        learnt=np.memmap(folder / "learnt.b1", np.bool_, mode="r"),
        keys=keys[0],
        prompts=keys[1],
        codes=keys[2],
        texts=TextColumn.of(folder / ROWS, "prompt"),
        places=np.arange(len(bounds) - 1),
        unread=tuple(about["unread"]),
        forged=about["forged"],
    )


def _convert(folder: Path, source: Source, renderer: Renderer) -> dict[str, Any]:
    broken: list[tuple[int, BrokenChatError]] = []
    numbers: list[int] = []
    lengths: list[int] = []
    keys: list[Keys] = []
    rows = 0
    forged: list[tuple[int, str]] = []
    with (
        (folder / "ids.i4").open("wb") as ids_file,
        (folder / "learnt.b1").open("wb") as learnt_file,
        pa.OSFile(str(folder / ROWS), "wb") as sink,
        pa.ipc.new_stream(sink, pa.schema([("prompt", pa.string())])) as writer,
        progress(f"read {source.name}", source.rows) as advance,
    ):
        for chats, places, wrong in _batches(source):
            rows += len(chats) + len(wrong)
            broken += wrong
            kept: list[Chat] = []
            for chat, place, found in zip(chats, places, renderer(chats), strict=True):
                if isinstance(found, Rendered) and not found.learnt[1:].any():
                    found = BrokenChatError("no token of it is learnt", "write an answer that the tokenizer can read")
                if isinstance(found, BrokenChatError):
                    broken.append((place, found))
                    continue
                found.ids.tofile(ids_file)
                found.learnt.tofile(learnt_file)
                lengths.append(len(found.ids))
                numbers.append(place)
                kept.append(chat)
                if token := renderer.special_token_in(chat):
                    forged.append((place, token))
            keys.append(_keys(kept))
            writer.write_batch(pa.record_batch([pa.array([chat.prompt for chat in kept], pa.string())], ["prompt"]))
            advance(len(chats) + len(wrong))
    if broken:
        raise InputError(f"{source.name}: {_told(sorted(broken, key=lambda one: one[0]), rows, source.unit)}")
    np.array(numbers, np.int64).tofile(folder / "numbers.i8")
    np.cumsum([0, *lengths], dtype=np.int64).tofile(folder / "bounds.i8")
    np.concatenate(keys, axis=1).tofile(folder / "keys.u8")
    return {"unread": unread(source.columns()), "forged": _forged(forged, rows, source)}


def _batches(source: Source) -> Iterator[tuple[list[Chat], list[int], list[tuple[int, BrokenChatError]]]]:
    """Yield chats, their places, and the places of what is none."""
    columns = [column for column in READ if not isinstance(source, ArrowSource) or column in source.columns()]
    first: tuple[str, int] | None = None
    chats: list[Chat] = []
    places: list[int] = []
    wrong: list[tuple[int, BrokenChatError]] = []
    for batch, numbers in source.batches(dict.fromkeys(columns, "cell")):
        cells = [batch[column].to_pylist() for column in columns]
        for number, *row in zip(numbers.tolist(), *cells, strict=True):
            values = {column: json.loads(cell) for column, cell in zip(columns, row, strict=True)}
            kind = recognise([column for column, value in values.items() if value is not None])
            try:
                if kind is not None and first is not None and kind != first[0]:
                    raise BrokenChatError(f"it is {kind}, and {source.unit} {first[1]} is {first[0]}", ONE_FORMAT)
                first = first or ((kind, number) if kind is not None else None)
                chats.append(convert(values))
                places.append(number)
            except BrokenChatError as broken:
                wrong.append((number, broken))
            if len(chats) + len(wrong) >= BATCH:
                yield chats, places, wrong
                chats, places, wrong = [], [], []
    yield chats, places, wrong


def _keys(chats: Sequence[Chat]) -> Keys:
    """Return (3, n): keys of whole chats, of prompts, and of the exact content."""
    exact = [
        json.dumps([chat.learn_from, *([turn.role, turn.content, turn.learnt] for turn in chat.turns)])
        for chat in chats
    ]
    codes = np.fromiter((xxhash.xxh3_64_intdigest(text.encode()) for text in exact), np.uint64)
    whole = text_keys("\n".join(f"{turn.role}: {turn.content}" for turn in chat.turns) for chat in chats)
    return np.stack([whole, text_keys(chat.prompt for chat in chats), codes])


def _forged(found: Sequence[tuple[int, str]], rows: int, source: Source) -> str:
    """Return what is to be said of rows in whose turns special tokens are written."""
    if not found:
        return ""
    named = ", ".join(f"{source.unit} {place}: {token}" for place, token in found[:SHOWN])
    return (
        f"{source.name}: {len(found):,} of {rows:,} rows write special tokens in the text of a turn ({named}), which are "
        "read as the real ones: they end or begin turns in the middle of the text; remove them, or write them otherwise"
    )


def _told(broken: list[tuple[int, BrokenChatError]], rows: int, unit: str) -> str:
    """Return one line: how many rows are unusable, the first of each kind, and how to repair them."""
    kinds: dict[str, list[tuple[int, BrokenChatError]]] = {}
    for number, one in broken:
        kinds.setdefault(one.fix, []).append((number, one))
    parts = []
    for fix, found in kinds.items():
        named = ", ".join(f"{unit} {number}: {one.what}" for number, one in found[:SHOWN])
        more = f", and {len(found) - SHOWN:,} more such" if len(found) > SHOWN else ""
        parts.append(f"{named}{more}: {fix}")
    return f"{len(broken):,} of {rows:,} rows cannot be trained on: " + "; ".join(parts)
