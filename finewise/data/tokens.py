"""Counting tokens without torch: the tokenizer and the limit of a model's folder."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finewise.config import ModelConfig
from finewise.errors import InputError
from finewise.limits import reading_limit
from finewise.references import model_reference

if TYPE_CHECKING:
    from finewise.data.tokenised import TextTokenizer

Counter = Callable[[Sequence[str]], NDArray[np.int64]]
"""Texts in, tokens per text out, special tokens included, nothing cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLimit:
    """How long texts may be, and how their length is counted.

    Attributes:
        count: Counts tokens.
        max_seq_length: Tokens that the model reads, special tokens included.
        query_prompt: Put before anchors.
        document_prompt: Put before positives and negatives.
        tokenizer: What `count` counts with, when it can also give the ids.
    """

    count: Counter
    max_seq_length: int
    query_prompt: str = ""
    document_prompt: str = ""
    tokenizer: "TextTokenizer | None" = None


def limit_to_show(model: ModelConfig) -> TokenLimit | str:
    """Return `token_limit` of an audit alone, which the default model need not be there for: then one line that says why.

    Raises:
        InputError: A model that was asked for does not exist, or its tokenizer is damaged.
    """
    try:
        return token_limit(model)
    except InputError as error:
        if model.name != ModelConfig().name:
            raise
        return f"texts that will be cut were not counted: {error}"


def token_limit(model: ModelConfig) -> TokenLimit | str:
    """Read tokenizer and limit of a model's folder, or of a hub model that was downloaded before.

    Returns:
        The limit; or, when they cannot be had without the network or without torch, one line that says why.

    Raises:
        InputError: The model does not exist, or its tokenizer is damaged.
    """
    place = model_reference(model.name)
    read = _folder_reader(place) if isinstance(place, Path) else _hub_reader(place, model.revision)
    tokenizer_file = read("tokenizer.json")
    if tokenizer_file is None:
        where = "has no tokenizer.json" if isinstance(place, Path) else "is not downloaded yet"
        return f"texts that will be cut were not counted: {model.name} {where}"
    limit = model.max_seq_length or _own_limit(read)
    if limit is None:
        return f"texts that will be cut were not counted: {model.name} states no limit; set model.max_seq_length"
    from tokenizers import Tokenizer

    from finewise.data.tokenised import TextTokenizer

    try:
        tokenizer = TextTokenizer(Tokenizer.from_file(str(tokenizer_file)), limit, _cut_side(read))
    except Exception as error:  # the library raises bare Exception
        raise InputError(
            f"model.name={model.name}: {tokenizer_file} is damaged ({error}); save the model again"
        ) from None
    own = own_prompts(_content(read, "config_sentence_transformers.json").get("prompts") or {})
    return TokenLimit(
        count=tokenizer.count,
        max_seq_length=limit,
        query_prompt=model.query_prompt or own["query"],
        document_prompt=model.document_prompt or own["document"],
        tokenizer=tokenizer,
    )


def own_prompts(prompts: Mapping[str, str | None]) -> dict[str, str]:
    """Return the prompts "query" and "document" that a model brings along; "" for none.

    Models call a document's prompt "document", "passage" or "corpus"; `encode_document` promises to look for all three.

    >>> own_prompts({"query": "query: ", "document": "", "passage": "passage: "})
    {'query': 'query: ', 'document': 'passage: '}
    """
    document = next((prompts[name] for name in ("document", "passage", "corpus") if prompts.get(name)), None)
    return {"query": prompts.get("query") or "", "document": document or ""}


FileReader = Callable[[str], Path | None]


def _folder_reader(folder: Path) -> FileReader:
    """Look for a file in the folder of the first module, where sentence-transformers puts it, then on top."""
    places = [folder]
    modules = folder / "modules.json"
    if modules.is_file():
        places = [
            folder / entry["path"] for entry in json.loads(modules.read_text(encoding="utf-8")) if entry["idx"] == 0
        ]
    places.append(folder)
    return lambda name: next((place / name for place in places if (place / name).is_file()), None)


def _hub_reader(name: str, revision: str | None) -> FileReader:
    from huggingface_hub import try_to_load_from_cache

    def read(file: str) -> Path | None:
        found = try_to_load_from_cache(name, file, revision=revision)
        return Path(found) if isinstance(found, str) else None

    return read


def _own_limit(read: FileReader) -> int | None:
    """Return the model's own limit as sentence-transformers finds it: its setting, else the smaller of two others."""
    return reading_limit(
        _content(read, "config.json"),
        _content(read, "sentence_bert_config.json").get("max_seq_length"),
        _content(read, "tokenizer_config.json").get("model_max_length"),
    )


def _cut_side(read: FileReader) -> str:
    return str(_content(read, "tokenizer_config.json").get("truncation_side") or "right")


def _content(read: FileReader, name: str) -> dict[str, Any]:
    """Return what a JSON file of the model says; nothing if it is not there."""
    path = read(name)
    loaded = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
    return loaded if isinstance(loaded, dict) else {}
