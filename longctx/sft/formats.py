"""The layouts that chats come in, and how each becomes a `Chat`.

messages           a list of {role, content}
sharegpt           conversations: a list of {from, value} (human, gpt, system, tool); {role, content} is read too
alpaca             instruction, output, and perhaps input and system
prompt_completion  two texts, or two lists of {role, content} of which the second is learnt
"""

import json
from collections.abc import Collection, Mapping
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

OPTIONAL = {"alpaca": ("input", "system")}
REFUSED = ("tools", "functions", "images", "image", "videos", "audios", "history", "chosen", "rejected")
"""Columns that change what a row means, and are not supported."""

READ = tuple(dict.fromkeys(column for columns in (*NEEDED.values(), *OPTIONAL.values(), REFUSED) for column in columns))
"""All columns that are looked at."""

SPEAKERS = {"human": "user", "gpt": "assistant", "function_response": "tool", "observation": "tool"}
"""ShareGPT's names for ROLES, besides these themselves."""

TURN_REFUSED = ("tool_calls", "function_call", "weight", "images")
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
    return check(chat)


def _alpaca(cells: Mapping[str, Any]) -> Chat:
    texts = {column: _text(cells.get(column) or "", column) for column in ("system", "instruction", "input", "output")}
    asked = "\n\n".join(text for text in (texts["instruction"], texts["input"]) if text)
    turns = [Turn("user", asked), Turn("assistant", texts["output"])]
    return Chat((Turn("system", texts["system"]), *turns) if texts["system"] else tuple(turns))


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
    for key in TURN_REFUSED:
        if turn.get(key) not in (None, [], {}, 1):
            raise BrokenChatError(f"{where} has '{key}', which is not supported", "remove these rows, or the key")
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
    return Turn(role, content)


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
