"""A causal language model as a reader of prompts: it generates the answer, or is asked for each token of the right one.

- generate: greedy, with the tokenizer's chat template where it has one; it ends at the end-of-text token, after the task's
  number of tokens, or as soon as the score can only stay 1.
- forced: the right answer stands behind the prompt, and one pass tells for each of its tokens which one the model would have
  chosen there. All must be right: exact match, for base models, which go on in forms that no scoring foresees.

Prompts of one sample share their haystack up to the needle; deep needles are read first, so that each next one finds what it
begins with in the cache (`benchmarks.needle.prefix_cache`). Samples are read side by side. To generate, all depths are read
before all their answers are generated together, as far as they fit into memory.
"""

import json
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, groupby
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.needle.config import NeedleConfig
from benchmarks.needle.filling import in_template
from benchmarks.needle.memory import rows_that_fit
from benchmarks.needle.prefix_cache import CachedRows, Tokens, common, kind_of, rope_types, tokens_of
from benchmarks.needle.prompts import Prompt
from benchmarks.needle.scoring import score
from benchmarks.perplexity import check_positions
from finewise.data.keys import combine
from finewise.data.tokenised import TextTokenizer
from finewise.fingerprint import weights
from finewise.limits import usable_positions

ModelAt = Callable[[int], PreTrainedModel]
"""The model for texts of so many tokens: always the same one, but for dynamic NTK, where it is built anew for each length."""

GENERATE, FORCED = "generate", "forced"
_LOOK = 4  # generated tokens between two looks whether the answer is complete


class Given(NamedTuple):
    """A prompt as tokens.

    Attributes:
        tokens: All that is read; with a forced answer that answer too.
        asked: Positions after which the next token is asked for.
    """

    tokens: Tokens
    asked: range


class Reader:
    """Answers prompts with a model.

    Attributes:
        way: "generate" or "forced"; what `config.answer` means for this tokenizer.
        chat: Whether prompts go through the tokenizer's chat template.
    """

    def __init__(
        self, model_at: ModelAt, tokenizer: PreTrainedTokenizerBase, config: NeedleConfig, *, bf16: bool
    ) -> None:
        """Decide how answers are read.

        Args:
            model_at: Gives the model for a length.
            tokenizer: The model's.
            config: How answers are read, and how many tokens at a time.
            bf16: Compute under autocast.
        """
        self.model_at = model_at
        self.tokenizer = tokenizer
        self.config = config
        self.bf16 = bf16
        has_template = bool(getattr(tokenizer, "chat_template", None))
        self.way = config.answer if config.answer != "auto" else GENERATE if has_template else FORCED
        self.chat = has_template and self.way == GENERATE
        self._known: tuple[weakref.ref[PreTrainedModel], str] | None = None

    def answers(self, prompts: Sequence[Prompt]) -> list[str]:
        """Return the answers to prompts of one length."""
        found = dict(pair for batch in self.read(prompts) for pair in batch)
        return [found[number] for number in range(len(prompts))]

    def read(self, prompts: Sequence[Prompt]) -> Iterator[list[tuple[int, str]]]:
        """Answer prompts of one length; yield (number of the prompt, answer) of each batch as soon as it is read."""
        if not prompts:
            return
        length = prompts[0].length
        assert all(prompt.length == length for prompt in prompts)
        given = [self.encode(prompt) for prompt in prompts]
        new = 0 if self.way == FORCED else max(prompt.new_tokens for prompt in prompts)
        columns = max(len(each.tokens) for each in given) + new
        with evaluating(self.model_at(length)) as model:
            settle_frequencies(model, length + new)
            shared = kind_of(model.config) == "shared"
            most = rows_that_fit(model, columns, self.config.batch_tokens, bf16=self.bf16) if shared else 1
            for samples, kept in _batches(prompts, most, together=self.way == GENERATE):
                rows = CachedRows(model, len(samples), columns, bf16=self.bf16, kept=kept)
                depths = list(zip(*samples, strict=True))
                for first in range(0, len(depths), kept):
                    numbers = list(chain(*depths[first : first + kept]))
                    texts = self._answer(rows, [prompts[n] for n in numbers], [given[n] for n in numbers])
                    yield list(zip(numbers, texts, strict=True))

    def check_positions(self, prompts: Sequence[Prompt]) -> None:
        """Refuse prompts of one length that reach beyond the positions of a model that learnt a vector for each.

        Raises:
            InputError: They do, with the chat template around them and the answer behind them.
        """
        config = self.model_at(prompts[0].length).config
        if getattr(config.get_text_config(decoder=True), "rope_parameters", None) is not None:
            return
        longest = max(
            len(self.encode(prompt).tokens) + (prompt.new_tokens if self.way == GENERATE else 0) for prompt in prompts
        )
        positions = usable_positions(config.get_text_config(decoder=True).to_dict())
        if positions is not None:
            check_positions(config, longest, "needle.lengths", prompts[0].length - (longest - positions))

    def encode(self, prompt: Prompt) -> Given:
        """Return a prompt as the model gets it."""
        if self.chat:
            user, begun = prompt.chat
            tokens = tokens_of(self.tokenizer, in_template(self.tokenizer, user) + begun, special=False)
        else:
            tokens = tokens_of(self.tokenizer, prompt.text)
        if self.way == GENERATE:
            return Given(tokens, range(len(tokens) - 1, len(tokens)))
        gap = "" if prompt.text[-1:].isspace() else " "
        whole = tokens_of(self.tokenizer, prompt.text + gap + expected(prompt))
        # The answer begins where the tokens part, wherever the text does.
        begin = common(tokens, whole)
        return Given(whole, range(begin - 1, len(whole) - 1))

    def revision(self, length: int) -> str:
        """Return the sha256 of all that decides the answers to prompts of a length, but for the prompts."""
        model = self.model_at(length)
        if self._known is None or self._known[0]() is not model:
            self._known = weakref.ref(model), weights(model)
        settings = {
            key: value for key, value in model.config.to_dict().items() if key not in ("_name_or_path", "dtype")
        }
        return combine(
            self._known[1],
            json.dumps(settings, sort_keys=True, default=repr),
            model.config._attn_implementation,
            sorted(ends_of(model, self.tokenizer)),
            _content(self.tokenizer),
            self.tokenizer.chat_template if self.chat else None,
            (self.way, self.bf16, model.device.type),
        )

    def _answer(self, rows: CachedRows, prompts: Sequence[Prompt], given: Sequence[Given]) -> list[str]:
        """Return the answers to the prompts that the rows read next."""
        texts = [each.tokens for each in given]
        if self.way == FORCED:
            chosen = [logits.argmax(-1).tolist() for logits in rows.read(texts, [each.asked for each in given])]
            return [
                expected(prompt) if tokens == each.tokens[each.asked.start + 1 :].tolist() else self._text(tokens)
                for prompt, tokens, each in zip(prompts, chosen, given, strict=True)
            ]
        stops = ends_of(rows.model, self.tokenizer)

        def ended(row: int, tokens: list[int]) -> bool:
            prompt, count = prompts[row], len(tokens)
            if tokens[-1] in stops or count >= prompt.new_tokens:
                return True
            # More text cannot lower a score of 1: it asks what stands in the answer, or what it begins with.
            return count % _LOOK == 0 and score(prompt, self._text(tokens)) == 1

        return [self._text(tokens) for tokens in rows.generate(texts, max(p.new_tokens for p in prompts), ended)]

    def _text(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)).strip()


def expected(prompt: Prompt) -> str:
    """Return the right answer as text that goes on from the prompt."""
    return ", ".join(prompt.answers)


def ends_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the tokens that end an answer: the model's and the tokenizer's."""
    generation: Any = getattr(model, "generation_config", None)
    own = getattr(generation, "eos_token_id", None)
    listed = own if isinstance(own, list) else [own]
    return {int(token) for token in (*listed, tokenizer.eos_token_id) if token is not None}


def _content(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the sha256 of a tokenizer's content."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return TextTokenizer(backend, None).digest
    return combine(type(tokenizer).__name__, sorted(tokenizer.get_vocab().items()))


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """Switch dropout off inside the block."""
    training = model.training
    torch.nn.Module.eval(model)
    try:
        yield model
    finally:
        model.train(training)


def settle_frequencies(model: PreTrainedModel, length: int) -> None:
    """Fix dynamic NTK's frequencies at those of the longest text that can come; else they would follow the longest so far."""
    if "dynamic" in rope_types(model.config):
        for place in (0, length - 1):  # they only grow, but a text within the trained window makes them begin anew
            at = torch.tensor([[place]], device=model.device)
            with torch.no_grad():
                model(input_ids=torch.zeros_like(at), position_ids=at, use_cache=False)


def _batches(prompts: Sequence[Prompt], most: int, *, together: bool) -> Iterator[tuple[list[list[int]], int]]:
    """Divide prompts into batches that hold at most so many of them in the cache.

    Yields:
        Samples to be read side by side, each the numbers of its prompts, deepest first, and as many of each; and how many of
        their depths are kept: as many as can be if answers are generated `together`, else one.
    """

    def sample(number: int) -> tuple[str, int]:
        return prompts[number].task, prompts[number].sample

    def depth(number: int) -> float:
        found = prompts[number].depth
        return -found if found == found else 0.0

    numbers = sorted(range(len(prompts)), key=lambda number: (sample(number), depth(number)))
    samples = sorted((list(group) for _, group in groupby(numbers, key=sample)), key=len)
    for depths, same in groupby(samples, key=len):
        equal, kept = list(same), min(depths, most) if together else 1
        side = most // kept
        yield from ((equal[start : start + side], kept) for start in range(0, len(equal), side))
