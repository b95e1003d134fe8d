"""A search for LongRoPE's factors on a real model: the score of a list, the proof on other documents, the record.

Shapes: P pieces, T tokens of the new window, D rotary dimensions of a head.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks import by_length
from benchmarks.by_length import PERPLEXITY, ByLength
from benchmarks.needle.kept import Kept
from benchmarks.needle.reader import evaluating
from benchmarks.perplexity import perplexity
from benchmarks.perplexity_config import PerplexityConfig
from benchmarks.pieces import Names, Pieces, read_pieces
from benchmarks.rows import corrected
from benchmarks.table import bracket
from benchmarks.token_loss import check_fits, guesses_better, token_losses
from finewise import record
from finewise.causal import load_causal
from finewise.console import progress, say
from finewise.data.documents import Documents, read_documents
from finewise.data.hub import is_hub
from finewise.data.keys import combine, text_keys
from finewise.data.sources import splits
from finewise.data.splits import held_out
from finewise.device import autocast, describe, pick_device, use_bf16
from finewise.errors import InputError
from finewise.run import REPORT, Run
from longctx.document_audit import Part
from longctx.evolution import Found, check_longer, search_factors, start_factors
from longctx.rope_config import Linear, LongRope, NtkAware, RopeConfig, StretchConfig, Yarn
from longctx.search_config import SearchDataConfig, SearchRunConfig
from longctx.stretch import present_parameters, rotary_dimensions, stretch, window

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

SCORES, PROOF = "scores.jsonl", "proof"
SEARCHED, UNTUNED = "longrope", "untuned"
BESIDE: dict[str, RopeConfig] = {"linear": Linear(), "ntk": NtkAware(), "yarn": Yarn()}
"""What the result is proved beside: methods that need no search."""


def search(config: SearchRunConfig, run: Run) -> None:
    """Search and prove; write record, pictures and report.

    Raises:
        InputError: The model cannot be stretched by a list, no document is as long as the new window, or it does not fit into
            memory.
    """
    with run.stage("model"):
        device = pick_device(config.run.device)
        bf16 = use_bf16(config.run.precision, device)
        model, tokenizer = load_causal(config.model, device, dtype=torch.float32)
        target = window(model.config, config.stretch)
        original = config.stretch.original or int(model.config.max_position_embeddings)
        check_longer(original, target)
        how = StretchConfig(target=target, original=original)
        parameters = present_parameters(model.config)
        size, theta = rotary_dimensions(model.config, parameters), float(str(parameters["rope_theta"]))
        stretch(model.config, LongRope(long_factors=[1.0] * (size // 2)), how)  # refuses what cannot be
        check_fits(model, target, "stretch.factor", bf16=bf16)
    with run.stage("data"):
        train, test = read_data(config.data, tokenizer, original, target, config.seed)
        run.pin("data", combine(train.revision, test.revision))
        check_language(model, train, original, config, bf16=bf16)
    run.announce()
    with run.stage("score"):
        score = scorer(model, train, how, run, bf16=bf16)
        with progress("score lists of factors", config.search.most) as advance:

            def counted(factors: list[float]) -> float:
                found = score(factors)
                advance()
                return found

            found = search_factors(counted, size, theta, original, target, config.search, config.seed)
    with run.stage("prove"):
        systems: dict[str, RopeConfig | None] = {
            UNTUNED: None,
            **BESIDE,
            SEARCHED: LongRope(long_factors=found.factors),
        }
        results = []
        for name, rope in systems.items():
            file = run.dir / PROOF / f"{name}.npz"
            if not file.is_file():
                subject = model if rope is None else stretch(model, rope, how, share=True)
                file.parent.mkdir(exist_ok=True)
                by_length.save(file, [_read(name, subject, tokenizer, test, original, config, bf16)])
            results += by_length.load(file)
    starts = start_factors(size, theta, original, target)
    model_facts = {"name": config.model.name, "revision": config.model.revision, "original": original, "window": target}
    about = {"seed": config.seed, "device": describe(device, bf16), "model": model_facts}
    finish(found, {name: values.tolist() for name, values in starts.items()}, results, config, run, about)


def read_data(
    config: SearchDataConfig, tokenizer: PreTrainedTokenizerBase, original: int, target: int, seed: int
) -> tuple[Pieces, Pieces]:
    """Return the pieces (P, T) that lists are scored by, and those of other documents that the result is proved on.

    Args:
        config: The documents.
        tokenizer: The model's.
        original: L; the proof reads pieces through windows of L, too.
        target: L'.
        seed: Draws documents and pieces.

    Raises:
        InputError: Wrong files, too few documents to split, or none as long as the new window.
    """
    own = [] if is_hub(config.train) else splits(config.train)
    documents: Documents = read_documents(config.train, config.text)
    if config.test is not None or "test" in own:
        given = Part.of(read_documents(config.test or config.train, config.text, "test"), "test")
        held = given.without(np.flatnonzero(np.isin(given.keys, text_keys(documents.texts))))
        if not len(held):
            raise InputError(
                f"data.test={config.test or config.train}: every document is one of data.train={config.train}; leave data.test "
                "out to prove on half of the documents"
            )
        if len(held) < len(given):
            say(f"note: data.test: {len(given) - len(held):,} of {len(given):,} documents are in data.train: left out")
    else:
        if len(documents) < 2:
            raise InputError(
                f"{config.train} has one document; a search needs another one to prove its result (data.test)"
            )
        keys, half = text_keys(documents.texts), {"test": len(documents) // 2}
        parts = held_out(keys, half, seed, documents.reference, "too many documents are equal")
        held = Part.of(documents, "test", parts["test"])
        documents = Part.of(documents, "train", parts["train"]).as_documents()

    def pieces(some: Documents, lengths: list[int], count: int, name: str, key: str) -> Pieces:
        settings = PerplexityConfig(data=None, lengths=lengths, documents=count)
        names = Names("stretch.factor", f"data.{name}", key)
        return read_pieces(settings, tokenizer, lengths, lengths[0], seed, split=name, documents=some, names=names)

    return (
        pieces(documents, [target], config.pieces, "train", "data.pieces"),
        pieces(held.as_documents(), [original, target], config.test_pieces, "test", "data.test_pieces"),
    )


def check_language(
    model: PreTrainedModel, pieces: Pieces, original: int, config: SearchRunConfig, *, bf16: bool
) -> None:
    """Refuse documents that the model, as it is, does not know as language: factors found by them would mean nothing.

    Raises:
        InputError: Its perplexity within its own window is worse than a guess's.
    """
    with evaluating(model), autocast(bf16, str(model.device)):
        loss = token_losses(model, torch.from_numpy(pieces.tokens[:1, :original]).to(model.device)).double().mean()
    if remark := guesses_better(model, float(loss)):
        raise InputError(f"{config.model.name} and data.train={config.data.train}: {remark}; name others")


def scorer(
    model: PreTrainedModel, pieces: Pieces, how: StretchConfig, run: Run, *, bf16: bool
) -> Callable[[list[float]], float]:
    """Return what scores a list: the mean loss per token of the pieces, in nats, of the model stretched by it.

    Scores are kept in the run's folder: one that is killed and resumed reads no list again.

    Args:
        model: The unstretched model.
        pieces: What is read, each in one window.
        how: How far it is stretched.
        run: The run.
        bf16: Compute under autocast.
    """
    kept = Kept(run.dir / SCORES)
    ids = torch.from_numpy(pieces.tokens)
    before = torch.tensor(pieces.before, dtype=torch.int64)
    first = max(len(before), 1)

    def score(factors: list[float]) -> float:
        key = combine("factors", pieces.revision, bf16, model.device.type, *factors)
        if key not in kept.answers:
            stretched = stretch(model, LongRope(long_factors=factors), how, share=True)
            losses: list[Tensor] = []
            with evaluating(stretched), autocast(bf16, str(model.device)):
                for row in ids:
                    whole = torch.cat([before, row])[None].to(model.device)
                    losses.append(token_losses(stretched, whole, first).double().mean())
            kept.add({key: repr(float(torch.stack(losses).mean()))})
        return float(kept.answers[key])

    return score


def _read(
    system: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pieces: Pieces,
    original: int,
    config: SearchRunConfig,
    bf16: bool,
) -> ByLength:
    settings = PerplexityConfig(data=None, lengths=list(pieces.lengths), documents=config.data.test_pieces)
    result, _ = perplexity(
        lambda length: model,
        tokenizer,
        system,
        pieces.lengths,
        settings,
        bf16=bf16,
        seed=config.seed,
        original=original,
        pieces=pieces,
    )
    return result


def finish(
    found: Found,
    starts: dict[str, list[float]],
    results: Sequence[ByLength],
    config: SearchRunConfig,
    run: Run,
    about: dict[str, Any],
) -> None:
    """Write the results, pictures, report and record."""
    from benchmarks import length_plots
    from finewise.report import page, preformatted
    from finewise.report import table as rows_of

    by_length.save(run.dir / by_length.FILE, results)
    scored = [score for result in results for score in by_length.scores(result)]
    compared = corrected([row for other in results[:-1] for row in by_length.compare(results[-1], other)])
    lists, lengths = (
        picture({**starts, SEARCHED: found.factors}),
        length_plots.by_length(results, original=about["model"]["original"]),
    )
    length_plots.write(run.dir / "plots", "factors", lists)
    length_plots.write(run.dir / "plots", "perplexity-by-length", lengths)

    def report(content: dict[str, Any]) -> None:
        sections = [
            ("Perplexity on documents that the search did not see", rows_of(content["scores"])),
            ("Minus the others", rows_of(content["comparisons"])),
            ("By length", length_plots.drawing(lengths)),
            ("Factors", length_plots.drawing(lists)),
            ("Settings", preformatted((run.dir / "config.yaml").read_text(encoding="utf-8"))),
        ]
        (run.dir / REPORT).write_text(page(f"Factors for {config.model.name}", sections), encoding="utf-8")

    run.finish(
        {
            **about,
            "data": {
                "name": config.data.train,
                "revision": results[-1].data_revision,
                "pieces": len(set(results[-1].ids)),
            },
            "rope": {"method": SEARCHED, "long_factors": found.factors},
            "search": {
                "by": f"{PERPLEXITY} of train documents at {about['model']['window']} tokens",
                "loss": found.score,
                "start": found.start,
                "curve": found.curve,
                "scored": found.scored,
            },
            "scores": record.rows(scored),
            "comparisons": record.rows(compared),
        },
        report,
    )


def table(content: dict[str, Any]) -> "Table":
    """Return the perplexities of a record as a table: a row per system, a column per length."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    lengths = list(dict.fromkeys(row["metric"] for row in content["scores"]))
    made = Table(caption="[...]: 95% interval over pieces of documents", caption_justify="left", box=SIMPLE_HEAD)
    made.add_column("system")
    for name in lengths:
        made.add_column(name, justify="right")
    for system in dict.fromkeys(row["system"] for row in content["scores"]):
        cells = {row["metric"]: row for row in content["scores"] if row["system"] == system}
        made.add_row(
            system,
            *(
                escape(f"{cells[name]['value']:.3f} {bracket(cells[name]['low'], cells[name]['high'])}")
                for name in lengths
            ),
        )
    return made


def picture(lists: dict[str, list[float]]) -> "Figure":
    """Return the factor of each pair of dimensions, for each list (D/2,): the fastest pair is on the left."""
    from matplotlib.figure import Figure

    from benchmarks.length_plots import COLORS

    figure = Figure(figsize=(8.5, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    for (name, factors), color in zip(lists.items(), COLORS, strict=False):
        style = "-" if name == SEARCHED else "--"
        axes.plot(
            np.arange(len(factors)), factors, style, color=color, label=name, drawstyle="steps-mid", linewidth=1.8
        )
    axes.set_xlabel("pair of rotary dimensions")
    axes.set_ylabel("factor")
    axes.set_yscale("log", base=2)
    top = math.ceil(math.log2(max(max(factors) for factors in lists.values())))
    axes.set_yticks([2**power for power in range(top + 1)], [str(2**power) for power in range(top + 1)])
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure
