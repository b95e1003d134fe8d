"""The one form in which chats are trained on, and what makes a chat unusable."""

from dataclasses import dataclass

ROLES = ("system", "user", "assistant", "tool")


class BrokenChatError(ValueError):
    """A row that cannot be trained on: what is wrong with it, and how to repair it."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says.

    Attributes:
        role: One of ROLES.
        content: Its text.
        learnt: Whether the loss is on it, if it is the assistant's.
    """

    role: str
    content: str
    learnt: bool = True


@dataclass(frozen=True, slots=True)
class Chat:
    """One row.

    Attributes:
        turns: In order; the last is the assistant's.
        learn_from: The assistant's turns from this one on are learnt, but for those that say otherwise.
        plain: A prompt and its completion, two texts that are read as they stand, without a chat template.
    """

    turns: tuple[Turn, ...]
    learn_from: int = 0
    plain: bool = False

    @property
    def prompt(self) -> str:
        """All that is said before the last answer, without the system's turns."""
        return "\n".join(turn.content for turn in self.turns[:-1] if turn.role != "system")


def check(chat: Chat) -> Chat:
    """Return the chat if it can be trained on.

    Whether the system may speak later, or one side twice in a row, is the template's business: see longctx.sft.render.

    Raises:
        BrokenChatError: A turn is empty, the assistant begins or never speaks, or the last turn is not its own.
    """
    for number, turn in enumerate(chat.turns, 1):
        if not turn.content.strip():
            raise BrokenChatError(
                f"turn {number} ({turn.role}) is empty", "write its text, or remove the turn or the row"
            )
    if not chat.plain:
        spoken = [turn.role for turn in chat.turns if turn.role != "system"]
        if "assistant" not in spoken:
            raise BrokenChatError(
                "no turn is the assistant's", "add the answer that is to be learnt, or remove the row"
            )
        if spoken[0] != "user":
            raise BrokenChatError(f"the first turn is the {spoken[0]}'s", "begin with a user's turn")
        if chat.turns[-1].role != "assistant":
            raise BrokenChatError(
                f"the last turn is the {chat.turns[-1].role}'s", "add the assistant's answer, or remove that turn"
            )
    if not any(turn.learnt for turn in chat.turns[chat.learn_from :] if turn.role == "assistant"):
        raise BrokenChatError(
            "no turn of the assistant is to be learnt", "remove the row, or mark one with train: true"
        )
    return chat
