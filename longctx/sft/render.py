"""From a chat to tokens, and which of them are the assistant's own words.

The assistant's words are found in one of two ways, tried out on a small chat when the tokenizer is known:

1. by the template's own {% generation %} marks, if it has them and they hold the token that ends a turn;
2. by prefixes: what the template adds for a turn, over what it writes to ask for that turn, is the turn. This needs a template
   that writes the beginning of a chat the same way whatever follows. For known templates that do not (they leave out earlier
   reasoning), TRL has marked ones.

White space behind the token that ends a turn is left out: nothing is ever asked to say it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import TemplateError
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase
from trl.chat_template_utils import (
    get_training_chat_template,
    has_generation_markers,
    is_chat_template_stop_token_trained,
)

from finewise.errors import InputError
from longctx.sft.chats import BrokenChatError, Chat, Turn

Span = tuple[int, int]
PROBE = Chat(
    (Turn("user", "ask one"), Turn("assistant", "say two"), Turn("user", "ask three"), Turn("assistant", "say"))
)
SYSTEM = Turn("system", "be brief")
MARKERS = ("0" * 8, "1" * 8)
"""Two answers without a letter in common: what the template writes before them is what both have before themselves."""


class UnstableError(Exception):
    """The template writes the beginning of a chat differently once more follows."""


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """One chat in tokens.

    Attributes:
        ids: (T,) int32.
        learnt: (T,) True where the token is one of the assistant's own.
    """

    ids: NDArray[np.int32]
    learnt: NDArray[np.bool_]


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids of all special tokens, those too that stand for none of the tokenizer's roles, such as <|eot_id|>."""
    return sorted(number for number, token in tokenizer.added_tokens_decoder.items() if token.special)


class Renderer:
    """Turns chats into tokens with one tokenizer.

    Attributes:
        template: The chat template; None where the tokenizer has none.
        marked: Whether its {% generation %} marks are used, rather than prefixes.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        """Choose the way.

        Args:
            tokenizer: A fast one.
            name: What messages call it.

        Raises:
            InputError: It gives no places of its tokens, or its template can be read in neither way.
        """
        if not tokenizer.is_fast:
            raise InputError(f"model.name={name}: its tokenizer is no fast one (no tokenizer.json); convert it first")
        self.tokenizer = tokenizer
        self.name = name
        special = [tokenizer.added_tokens_decoder[token].content for token in special_tokens(tokenizer)]
        # The longest first, as the tokenizer itself looks for them.
        pattern = "|".join(re.escape(token) for token in sorted(filter(None, special), key=len, reverse=True))
        self._special = re.compile(pattern) if pattern else None
        self.template: str | None = tokenizer.get_chat_template() if tokenizer.chat_template else None
        self.marked = False
        if self.template is not None:
            self.template, self.marked = self._way(self.template)

    def special_token_in(self, chat: Chat) -> str | None:
        """Return a special token that stands as text in a turn of a chat; a plain prompt may be written with them."""
        if chat.plain or self._special is None:
            return None
        for turn in chat.turns:
            if found := self._special.search(turn.content):
                return found.group()
        return None

    @property
    def key(self) -> str:
        """All of the template that decides the tokens."""
        return f"{self.marked} {self.template} {self.tokenizer.special_tokens_map}"

    def _way(self, template: str) -> tuple[str, bool]:
        if has_generation_markers(template) and self._marks_the_end(template):
            return template, True
        try:
            self._try(template)
        except UnstableError:
            try:
                known = get_training_chat_template(self.tokenizer)
            except ValueError:
                known = None
            if known is None:
                raise InputError(
                    f"model.name={self.name}: its chat template writes earlier turns differently once more follow, so the "
                    "assistant's words cannot be told from the rest; give the tokenizer a template with {% generation %} "
                    "marks, or write every answer as a row of prompt and completion"
                ) from None
            return known, True
        return template, False

    def _marks_the_end(self, template: str) -> bool:
        """Return whether the template's marks hold the token that ends a turn."""
        try:
            if is_chat_template_stop_token_trained(self.tokenizer, template):
                return True
            self._write(PROBE.turns, template)
            return False
        except TemplateError:  # it refuses the library's trial chat, and ours, which have no system turn
            found = self._by_marks(Chat((SYSTEM, *PROBE.turns)))
            return bool(np.isin(found.ids[found.learnt][-1:], special_tokens(self.tokenizer)).any())

    def _try(self, template: str) -> None:
        """Render a small chat, with a system turn if the template wants one; a template that refuses both is tried on the data.

        Raises:
            UnstableError: The template writes the beginning of a chat differently once more follows.
        """
        for chat in (PROBE, Chat((SYSTEM, *PROBE.turns))):
            try:
                self._spans(chat, template)
                return
            except TemplateError:
                continue

    def __call__(self, chats: Sequence[Chat]) -> list[Rendered | BrokenChatError]:
        """Return the chats in tokens, or what is wrong with them.

        Raises:
            InputError: There is no template, and a chat that needs one.
        """
        found: list[Rendered | BrokenChatError] = []
        for chat in chats:
            try:
                found.append(self._plain(chat) if chat.plain else self._chat(chat))
            except BrokenChatError as broken:
                found.append(broken)
        return found

    def _chat(self, chat: Chat) -> Rendered:
        if self.template is None:
            raise InputError(
                f"model.name={self.name}: its tokenizer has no chat template, which chats need; start from an instruction "
                "model, save a template with the tokenizer (chat_template.jinja), or give rows of prompt and completion"
            )
        try:
            if self.marked:
                return self._by_marks(chat)
            text, spans = self._spans(chat, self.template)
        except TemplateError as error:
            raise BrokenChatError(
                f"the model's chat template refuses it: {' '.join(str(error).split())}",
                "write it as the template wants",
            ) from None
        except UnstableError:
            raise BrokenChatError(
                "the chat template writes its earlier turns differently once more follow",
                "write every answer as a row of its own",
            ) from None
        return self._encoded(text, spans, special=False)

    def _write(self, turns: Sequence[Turn], template: str | None, *, ask: bool = False) -> str:
        written = self.tokenizer.apply_chat_template(
            [{"role": turn.role, "content": turn.content} for turn in turns],
            chat_template=template,
            tokenize=False,
            add_generation_prompt=ask,
        )
        assert isinstance(written, str)
        return written

    def _spans(self, chat: Chat, template: str) -> tuple[str, list[Span]]:
        """Return the whole text, and where in it the assistant speaks."""
        turns = chat.turns
        text = self._write(turns, template)
        spans = []
        for place in range(chat.learn_from, len(turns)):
            if turns[place].role != "assistant" or not turns[place].learnt:
                continue
            asked = self._write(turns[:place], template, ask=True)
            told = text if place == len(turns) - 1 else self._write(turns[: place + 1], template)
            if not (told.startswith(asked) and text.startswith(told)):
                raise UnstableError
            start = len(asked)
            if asked == self._write(turns[:place], template):
                # The template knows no way to ask for an answer: what it puts before the words is not for the model to say.
                one, other = (self._write([*turns[:place], Turn("assistant", marker)], template) for marker in MARKERS)
                pairs = enumerate(zip(one, other, strict=False))
                begins = next(at for at, (here, there) in pairs if here != there)
                if not told.startswith(one[:begins]):
                    raise UnstableError
                start = max(start, begins)
            spans.append((start, len(told.rstrip())))
        return text, spans

    def _by_marks(self, chat: Chat) -> Rendered:
        found: Any = self.tokenizer.apply_chat_template(
            [{"role": turn.role, "content": turn.content} for turn in chat.turns],
            chat_template=self.template,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        ids, learnt = np.array(found["input_ids"], np.int32), np.array(found["assistant_masks"], bool)
        if chat.learn_from:
            before: Any = self.tokenizer.apply_chat_template(
                [{"role": turn.role, "content": turn.content} for turn in chat.turns[: chat.learn_from]],
                chat_template=self.template,
                tokenize=True,
                return_dict=True,
            )
            learnt[: len(before["input_ids"])] = False
        spoken = [turn.learnt for turn in chat.turns[chat.learn_from :] if turn.role == "assistant"]
        if not all(spoken):
            edges = np.flatnonzero(np.diff(np.concatenate([[False], learnt, [False]]))).reshape(-1, 2)
            if len(edges) != len(spoken):
                raise BrokenChatError(
                    "its turns cannot be told apart by the template's marks, and one of them is not to be learnt",
                    "write what is learnt as rows of prompt and completion",
                )
            for (start, end), wanted in zip(edges.tolist(), spoken, strict=True):
                learnt[start:end] = wanted
        return Rendered(ids, learnt)

    def _plain(self, chat: Chat) -> Rendered:
        """Return a prompt, its completion and the token that ends a text, if there is one."""
        prompt, completion = (turn.content for turn in chat.turns)
        whole = self._once_begun(
            self._encoded(prompt + completion, [(len(prompt), len(prompt) + len(completion))], special=True)
        )
        first = self._once_begun(self._encoded(prompt, [], special=True)).ids
        end = self.tokenizer.eos_token_id
        if len(first) and first[-1] == end:
            first = first[:-1]
        if not np.array_equal(whole.ids[: len(first)], first):
            # A token would reach across the border, which the model could never be asked for: keep the two apart.
            rest = self._encoded(completion, [(0, len(completion))], special=False)
            learnt = np.concatenate([np.zeros(len(first), bool), rest.learnt])
            whole = Rendered(np.concatenate([first, rest.ids]), learnt)
        ids, learnt = whole.ids, whole.learnt
        if isinstance(end, int):
            if ids[-1] != end:
                ids, learnt = np.append(ids, np.int32(end)), np.append(learnt, False)
            learnt[-1] = True
        return Rendered(ids, learnt)

    def _once_begun(self, found: Rendered) -> Rendered:
        """Return a text without the tokenizer's first token if it brings its own, as a rendered prompt does."""
        bos = self.tokenizer.bos_token_id
        doubled = bos is not None and len(found.ids) > 1 and found.ids[0] == found.ids[1] == bos
        return Rendered(found.ids[1:], found.learnt[1:]) if doubled else found

    def _encoded(self, text: str, spans: Sequence[Span], *, special: bool) -> Rendered:
        """Tokenise a text; a token is learnt if any of its characters lies in a span."""
        found = self.tokenizer(
            text, add_special_tokens=special, return_offsets_mapping=True, verbose=False, return_attention_mask=False
        )
        offsets = np.array(found["offset_mapping"], np.int64).reshape(-1, 2)
        learnt = np.zeros(len(offsets), bool)
        for start, end in spans:
            learnt |= (offsets[:, 1] > start) & (offsets[:, 0] < end)
        return Rendered(np.array(found["input_ids"], np.int32), learnt)
