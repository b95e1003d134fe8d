"""Perplexity of held-out documents by length and by position: `python -m benchmarks.perplexity model.name=...`.

All lengths and systems score the same tokens. A piece of a document, as long as the longest window, is read through windows of
each length (Press, Smith & Lewis 2021, arXiv 2108.12409, appendix B: the sliding window): the first is scored whole, each next
one begins `stride` of a window later and is scored on its new tokens alone. So a shorter window differs by what the model
could see of the text before a token, and by nothing else. No window goes beyond a document. Special tokens that the tokenizer
puts before a text stand before each window; a piece's first token has nothing before it and is not scored.

perplexity = exp(sum of the tokens' negative log-likelihoods / number of tokens)

Perplexity tells what stretching costs at short lengths. That it falls with the length does not show that the model finds what
it needs in a long text (HELMET, arXiv 2410.02694): for that see benchmarks.needle.

Shapes: P pieces, T tokens of a piece, W of a window.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.by_length import FILE, PERPLEXITY, ByLength, doublings, save, scores
from benchmarks.perplexity_config import PerplexityConfig, PerplexityRunConfig
from benchmarks.table import bracket
from finewise import record
from finewise.console import Advance, out, progress, say
from finewise.errors import InputError
from finewise.limits import usable_positions
from finewise.processes import refuse_several
from finewise.run import REPORT, Run
from finewise.settings import entry

if TYPE_CHECKING:
    from rich.table import Table
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from benchmarks.needle.reader import ModelAt
    from benchmarks.pieces import Pieces

PER_OCTAVE = 2
"""Position buckets between a position and twice of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """A system's loss by position, in windows of the greatest length. B buckets.

    Attributes:
        system: Whose.
        length: Tokens of the window.
        edges: (B + 1,) a bucket goes from one edge to before the next; a position is the number of tokens before the one that
            is predicted.
        nll: (B,) mean negative log-likelihood per token, in nats.
        counts: (B,) tokens.
    """

    system: str
    length: int
    edges: tuple[int, ...]
    nll: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def curve(self) -> tuple[list[float], list[float]]:
        """The middle position (geometric) and the perplexity of each bucket, for `benchmarks.length_plots.by_position`."""
        middles = [math.sqrt(low * (high - 1)) for low, high in pairwise(self.edges)]
        return middles, [math.exp(loss) for loss in self.nll]


class Window(NamedTuple):
    """Tokens `start` to before `end` are read, those from `new` on are scored."""

    start: int
    new: int
    end: int


def perplexity(
    model_at: ModelAt,
    tokenizer: PreTrainedTokenizerBase,
    system: str,
    lengths: Sequence[int],
    config: PerplexityConfig,
    *,
    bf16: bool,
    seed: int,
    group: int = 0,
    original: int,
    pieces: Pieces | None = None,
    benchmark: str = PERPLEXITY,
) -> tuple[ByLength, Positions]:
    """Read the pieces through windows of each length.

    Args:
        model_at: The model for a length.
        tokenizer: Its tokenizer.
        system: What records call it.
        lengths: Windows, where the settings name none; one within `original` is added if there is none.
        config: The documents, and how much of them is read.
        bf16: Compute under autocast.
        seed: Draws the pieces.
        group: Which of several models (seeds) it is.
        original: The window that the model was trained with.
        pieces: What `read_pieces` gave for the same settings, so that several systems need not tokenise again.
        benchmark: What records call it.

    Raises:
        InputError: No document is long enough, a window does not fit into memory, or a loss is not finite.
    """
    from benchmarks.pieces import read_pieces
    from benchmarks.token_loss import check_fits, guesses_better

    if pieces is None:
        pieces = read_pieces(config, tokenizer, lengths, original, seed)
    longest = pieces.lengths[-1]
    check_fits(model_at(longest), longest, "perplexity.lengths", bf16=bf16)
    losses = np.empty((0, 0))
    values = []
    with progress(f"{system}: perplexity", _read_tokens(pieces, config.stride)) as advance:
        for length in pieces.lengths:
            losses = _losses(model_at(length), pieces, length, config.stride, bf16, advance)
            if not np.isfinite(losses).all():
                raise InputError(
                    f"{system}: the loss at {length} tokens is not finite; the weights are damaged, or it needs "
                    "run.precision=fp32"
                )
            values.append(losses.mean(axis=1))
            if len(values) == 1 and (remark := guesses_better(model_at(length), float(losses.mean()))):
                say(f"{system}: {remark}")
    count, number = len(pieces.ids), len(pieces.lengths)
    result = ByLength(
        system=system,
        benchmark=benchmark,
        split=pieces.split,
        data_revision=pieces.revision,
        metric=PERPLEXITY,
        ids=pieces.ids * number,
        lengths=np.repeat(np.array(pieces.lengths, dtype=np.int64), count),
        depths=np.full(count * number, np.nan),
        groups=np.full(count * number, group, dtype=np.int64),
        values=np.concatenate(values),
        weights=np.full(count * number, float(losses.shape[1])),
        clusters=np.array(pieces.documents * number),
    )
    return result, by_position(losses, system, longest)


def windows(tokens: int, window: int, stride: float) -> Iterator[Window]:
    """Yield the windows over a piece; every token but the first is new in exactly one, and has at least one before it.

    Args:
        tokens: Of the piece, T.
        window: Tokens of a window, W <= T. All are of that size: the last begins early enough.
        stride: By which share of a window the next one moves on.

    >>> [tuple(window) for window in windows(10, 4, 0.5)]
    [(0, 1, 4), (2, 4, 6), (4, 6, 8), (6, 8, 10)]
    """
    step = max(1, min(round(stride * window), window - 1))
    start, new, end = 0, 1, window
    yield Window(start, new, end)
    while end < tokens:
        start, new = min(start + step, tokens - window), end
        end = start + window
        yield Window(start, new, end)


def _read_tokens(pieces: Pieces, stride: float) -> int:
    """Return how many tokens all windows have together."""
    size = pieces.tokens.shape[1]
    return len(pieces.ids) * sum(
        length * sum(1 for _ in windows(size, length - len(pieces.before), stride)) for length in pieces.lengths
    )


def _losses(
    model: PreTrainedModel, pieces: Pieces, length: int, stride: float, bf16: bool, advance: Advance
) -> NDArray[np.float64]:
    """Return the negative log-likelihood of each token of the pieces but their first, (P, T - 1)."""
    import torch

    from benchmarks.needle.reader import evaluating
    from benchmarks.token_loss import token_losses
    from finewise.device import autocast

    before = torch.tensor(pieces.before, dtype=torch.int64)
    count, size = pieces.tokens.shape
    found = np.empty((count, size))
    at_once = max(1, pieces.lengths[-1] // length)  # never more tokens than the longest window has, which fits
    with evaluating(model), autocast(bf16, str(model.device)):
        for window in windows(size, length - len(before), stride):
            for row in range(0, count, at_once):
                rows = slice(row, row + at_once)
                text = torch.from_numpy(pieces.tokens[rows, window.start : window.end])
                ids = torch.cat([before.expand(len(text), -1), text], dim=1).to(model.device)
                first = len(before) + window.new - window.start
                found[rows, window.new : window.end] = token_losses(model, ids, first).cpu().numpy()
                advance(ids.numel())
    return found[:, 1:]


def by_position(losses: NDArray[np.float64], system: str, length: int) -> Positions:
    """Return the mean loss in buckets of positions, PER_OCTAVE to a doubling.

    Args:
        losses: (P, T - 1) of windows that were scored whole; the first is of a token with one before it.
        system: Whose.
        length: Tokens of the window.
    """
    last = losses.shape[1] + 1
    octaves = np.arange(0, np.log2(last), 1 / PER_OCTAVE)
    edges = np.unique([*np.round(2**octaves).astype(np.int64), last])
    means = losses.mean(axis=0)
    parts = [means[low - 1 : high - 1] for low, high in pairwise(edges.tolist())]
    return Positions(
        system=system,
        length=length,
        edges=tuple(edges.tolist()),
        nll=tuple(float(part.mean()) for part in parts),
        counts=tuple(len(part) * len(losses) for part in parts),
    )


@entry(
    "perplexity",
    PerplexityRunConfig,
    description="perplexity of a language model by length and position, without training",
)
def main(config: PerplexityRunConfig) -> float:
    """Score the model; print the table, write record and report, return the perplexity at the longest window."""
    refuse_several("benchmarks.perplexity")
    check_settings(config)
    from benchmarks.pieces import read_pieces
    from finewise.causal import load_causal
    from finewise.device import describe, pick_device, use_bf16

    assert config.perplexity.data is not None
    with Run.open("perplexity", config, name=Path(config.perplexity.data).stem) as run:
        import torch

        device = pick_device(config.run.device)
        bf16 = use_bf16(config.run.precision, device)
        model, tokenizer = load_causal(config.model, device, dtype=torch.float32)
        original, lengths = trained_windows(model.config)
        pieces = read_pieces(config.perplexity, tokenizer, lengths, original, config.seed)
        check_positions(model.config, pieces.lengths[-1])
        with run.stage("read"):
            result, positions = perplexity(
                lambda length: model,
                tokenizer,
                config.model.name,
                lengths,
                config.perplexity,
                bf16=bf16,
                seed=config.seed,
                original=original,
                pieces=pieces,
            )
        save(run.dir / FILE, [result])
        scored = scores(result)
        run.finish(
            {
                "seed": config.seed,
                "model": {"name": config.model.name, "revision": config.model.revision, "original": original},
                "device": describe(device, bf16),
                "data": {
                    "name": config.perplexity.data,
                    "revision": result.data_revision,
                    "pieces": len(pieces.ids),
                    "tokens_each": int(pieces.tokens.shape[1]),
                    "special_tokens_before": list(pieces.before),
                },
                "scores": record.rows(scored),
                "comparisons": [],
                "positions": asdict(positions),
            },
            lambda content: write_report(run, content, positions, original),
        )
        out.print(length_table(scored))
    return result.mean(pieces.lengths[-1])


def check_settings(config: PerplexityRunConfig) -> None:
    """Refuse a model or documents that are not there, before anything slow is imported."""
    from finewise.data.documents import check_documents
    from finewise.references import check_hub, model_reference

    reference = model_reference(config.model.name, config.model.revision, gguf=True)
    if isinstance(reference, str):
        check_hub(reference, config.model.revision)
    assert config.perplexity.data is not None
    check_documents(config.perplexity.data, "test")


def trained_windows(config: PretrainedConfig) -> tuple[int, list[int]]:
    """Return the window that a model was trained with, and its doublings up to what the model is set to read."""
    from finewise.causal import stated_window, trained_window

    original = trained_window(config)
    return original, doublings(original, stated_window(config))


def check_positions(config: PretrainedConfig, longest: int, key: str = "perplexity.lengths", fits: int = 0) -> None:
    """Refuse a window beyond the positions of a model that learnt a vector for each.

    Args:
        config: The model's.
        longest: Tokens that it would read.
        key: The setting that says how many.
        fits: A value of that setting that fits, for the message; 0 if none is known.

    Raises:
        InputError: The model has no positions there.
    """
    text = config.get_text_config()
    positions = usable_positions(text.to_dict())  # none that end: recurrent layers, ALiBi
    if getattr(text, "rope_parameters", None) is None and positions is not None and longest > positions:
        raise InputError(
            f"{key}: this model ({text.model_type}) has {positions} positions and no rotary "
            f"ones, so it cannot read {longest} tokens; lower {key}" + (f" to {fits}" if fits > 0 else "")
        )


def length_table(scored: Sequence[record.Score]) -> Table:
    """Return a table of one system's scores, a row per length."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(caption="[...]: 95% interval over pieces of documents", caption_justify="left", box=SIMPLE_HEAD)
    for name in ("window", "perplexity", "", "pieces"):
        table.add_column(name, justify="right")
    for score in scored:
        length = score.metric.partition("@")[2]
        around = escape(bracket(score.low, score.high))
        table.add_row(f"{int(length):,}", f"{score.value:.3f}", around, str(score.n))
    return table


def write_report(run: Run, content: dict[str, Any], positions: Positions, original: int) -> None:
    """Write report.html and the picture of the perplexity by position."""
    from benchmarks import length_plots
    from finewise.report import page, preformatted, table

    figure = length_plots.by_position({positions.system: positions.curve}, original=original)
    length_plots.write(run.dir / "plots", "perplexity-by-position", figure)
    sections = [
        ("Scores", table(content["scores"])),
        ("By position", length_plots.drawing(figure)),
        ("Settings", preformatted((run.dir / "config.yaml").read_text(encoding="utf-8"))),
    ]
    (run.dir / REPORT).write_text(page(f"Perplexity of {positions.system}", sections), encoding="utf-8")


if __name__ == "__main__":
    main()
