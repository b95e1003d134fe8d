"""The layouts that chats come in, and how each becomes a `Chat`.

messages           a list of {role, content}
sharegpt           conversations: a list of {from, value} (human, gpt, system, tool); {role, content} is read too
alpaca             instruction, output, and perhaps input
prompt_completion  two texts, or two lists of {role, content} of which the second is learnt

A column `system` stands before the turns of all but two plain texts. A turn with train: false or weight: 0 is read and not
learnt. Other keys of a turn are refused where they may change what it means; a few that never do are passed over.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from finewise.data.table import shown
from finewise.names import nearest
from longctx.sft.chats import ROLES, BrokenChatError, Chat, Turn, check

NEEDED = {
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "alpaca": ("instruction", "output"),
    "prompt_completion": ("prompt", "completion"),
}
"""Format -> the columns that make it."""

OPTIONAL = {
    "messages": ("system",),
    "sharegpt": ("system",),
    "alpaca": ("input", "system"),
    "prompt_completion": ("system",),
}
"""Format -> the columns that it may have besides."""

REFUSED = ("tools", "functions", "images", "image", "videos", "audios", "history", "chosen", "rejected")
"""Columns that change what a row means, and are not supported."""

READ = tuple(dict.fromkeys(column for columns in (*NEEDED.values(), *OPTIONAL.values(), REFUSED) for column in columns))
"""All columns that are looked at."""

SPEAKERS = {"human": "user", "gpt": "assistant", "function_response": "tool", "observation": "tool"}
"""ShareGPT's names for ROLES, besides these themselves."""

TURN_READ = {"messages": ("role", "content"), "sharegpt": ("from", "value", "role", "content")}
"""Format -> the keys of a turn that hold it; prompts and completions have those of messages."""

LEARNT_KEYS = ("train", "weight")
"""Keys of a turn that say whether it is learnt: true and 1, or false and 0."""

PASSED_OVER = (
    "id", "turn_id", "turn_identifier", "index", "timestamp", "created", "created_at", "date", "language", "lang",
    "country", "hashed_ip", "header", "source", "url", "model", "toxic", "redacted", "moderation", "openai_moderation",
    "detoxify_moderation", "markdown",
)  # fmt: skip
"""Keys of a turn that are about it and not a part of it."""

ONE_FORMAT = "put rows of different formats into files of their own"


def recognise(columns: Collection[str]) -> str | None:
    """Return the format that columns make, or None.

    >>> recognise(["id", "conversations"])
    'sharegpt'
    """
    found = [name for name, needed in NEEDED.items() if set(needed) <= set(columns)]
    return found[0] if len(found) == 1 else None


def help_for(columns: Collection[str]) -> str:
    """Return what to say when `recognise` found nothing, or too much."""
    found = [name for name, needed in NEEDED.items() if set(needed) <= set(columns)]
    if found:
        return f"has the columns of {' and '.join(found)}; remove those that are not to be read"
    known = "; ".join(f"{name}: {', '.join(needed)}" for name, needed in NEEDED.items())
    if "text" in columns:
        return f"has a column 'text' and no chats; train on documents with objective=lm, or give one of: {known}"
    return f"has no chats (columns: {', '.join(columns)}); give one of: {known}"


def convert(cells: Mapping[str, Any]) -> Chat:
    """Return a row as a chat.

    Args:
        cells: Column of READ -> value; None where the row lacks it.

    Raises:
        BrokenChatError: It is none.
    """
    filled = {column: value for column, value in cells.items() if value not in (None, [], {}, "", "[]")}
    for column in REFUSED:
        if column in filled:
            raise BrokenChatError(
                f"'{column}' is not supported", "remove these rows, or the column if it does not matter"
            )
    named = [column for column, value in cells.items() if value is not None]
    match recognise(named):
        case "messages":
            chat = Chat(_turns(cells["messages"], "messages"))
        case "sharegpt":
            chat = Chat(_turns(cells["conversations"], "conversations"))
        case "alpaca":
            chat = _alpaca(cells)
        case "prompt_completion":
            chat = _pair(cells["prompt"], cells["completion"])
        case _:
            raise BrokenChatError(help_for(named), "every row must have these columns, filled")
    return check(_with_system(chat, _text(filled.get("system", ""), "system")))


def unread(columns: Collection[str]) -> list[str]:
    """Return the columns that are not looked at in rows of the format that the columns make.

    >>> unread(["messages", "prompt", "system"])
    ['prompt']
    """
    kind = recognise(columns)
    read = (*NEEDED[kind], *OPTIONAL[kind], *REFUSED) if kind else READ
    return [column for column in columns if column not in read]


def _with_system(chat: Chat, system: str) -> Chat:
    """Return the chat after the words of a column `system`, if there are any."""
    if not system.strip():
        return chat
    if chat.plain:
        raise BrokenChatError(
            "'system' stands next to a prompt that is plain text",
            "write it into the prompt, or make prompt a list of turns",
        )
    own = [turn for turn in chat.turns if turn.role == "system"]
    if own and own[0].content.strip() != system.strip():
        raise BrokenChatError("'system' and the system turn of the chat differ", "keep one of the two")
    if own:
        return chat
    learn_from = chat.learn_from + 1 if chat.learn_from else 0
    return replace(chat, turns=(Turn("system", system), *chat.turns), learn_from=learn_from)


def _alpaca(cells: Mapping[str, Any]) -> Chat:
    texts = {column: _text(cells.get(column) or "", column) for column in ("instruction", "input", "output")}
    asked = "\n\n".join(text for text in (texts["instruction"], texts["input"]) if text)
    return Chat((Turn("user", asked), Turn("assistant", texts["output"])))


def _pair(prompt: Any, completion: Any) -> Chat:
    prompt, completion = _parsed(prompt), _parsed(completion)
    if isinstance(prompt, list) != isinstance(completion, list):
        raise BrokenChatError(
            "one of prompt and completion is a list, the other is not", "make both texts or both lists"
        )
    if not isinstance(prompt, list):
        texts = Turn("user", _text(prompt, "prompt")), Turn("assistant", _text(completion, "completion"))
        return Chat(texts, learn_from=1, plain=True)
    before, after = _turns(prompt, "prompt"), _turns(completion, "completion")
    if after[0].role != "assistant":
        raise BrokenChatError(f"'completion' begins with the {after[0].role}", "begin it with the assistant's answer")
    return Chat(before + after, learn_from=len(before))


def _turns(cell: Any, column: str) -> tuple[Turn, ...]:
    turns = _parsed(cell)
    if not isinstance(turns, list) or not turns:
        raise BrokenChatError(
            f"'{column}' is no list of turns: {shown(cell)}", 'write [{"role": "user", "content": "..."}, ...]'
        )
    return tuple(_turn(turn, number, column) for number, turn in enumerate(turns, 1))


def _turn(turn: Any, number: int, column: str) -> Turn:
    where = f"turn {number} of '{column}'" if column in ("prompt", "completion") else f"turn {number}"
    fix = "give every turn a role and a content" if column != "conversations" else "give every turn a from and a value"
    if not isinstance(turn, dict):
        raise BrokenChatError(f"{where} is {shown(turn)}", fix)
    pairs = [pair for pair in (("role", "content"), ("from", "value")) if turn.get(pair[0]) is not None]
    if not pairs:
        raise BrokenChatError(f"{where} has no role", fix)
    read = TURN_READ["sharegpt" if column == "conversations" else "messages"]
    for key, value in turn.items():
        if key not in (*read, *LEARNT_KEYS, *PASSED_OVER) and value not in (None, "", [], {}):
            raise BrokenChatError(
                f"{where} has '{key}', which is not supported",
                "write it into the content, or remove the key or these rows",
            )
    speaker, content = (turn.get(key) for key in pairs[0])
    role = SPEAKERS.get(str(speaker), str(speaker))
    if role not in ROLES:
        guess = nearest(str(speaker), [*ROLES, *SPEAKERS])
        raise BrokenChatError(
            f"{where} has the unknown role '{speaker}'" + (f" (did you mean '{guess}'?)" if guess else ""),
            f"name it one of: {', '.join([*ROLES, *SPEAKERS])}",
        )
    if not isinstance(content, str):
        raise BrokenChatError(f"the content of {where} is {shown(content)}", "write it as one text")
    return Turn(role, content, _learnt(turn, where))


def _learnt(turn: Mapping[str, Any], where: str) -> bool:
    """Return whether the keys of a turn say that it is learnt."""
    found = {turn[key] for key in LEARNT_KEYS if isinstance(turn.get(key), (bool, int, float))}
    strange = [key for key in LEARNT_KEYS if turn.get(key) is not None and turn[key] not in (0, 1)]
    if strange:
        raise BrokenChatError(
            f"{where} has '{strange[0]}': {shown(turn[strange[0]])}",
            "write true or 1 for what is learnt, else false or 0",
        )
    if len(found) > 1:
        raise BrokenChatError(f"'train' and 'weight' of {where} disagree", "keep one of the two")
    return found != {0}


def _parsed(cell: Any) -> Any:
    """Return a list that a text (such as a field of a CSV file) holds as JSON; anything else as it is."""
    if isinstance(cell, str) and cell.lstrip().startswith("[{"):
        try:
            return json.loads(cell)
        except json.JSONDecodeError:
            return cell
    return cell


def _text(cell: Any, column: str) -> str:
    if not isinstance(cell, str):
        raise BrokenChatError(f"'{column}' is {shown(cell)}", "write it as one text")
    return cell
