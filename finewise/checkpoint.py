"""What a checkpoint must bring: every weight that is used, and padding that its positions survive."""

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging
from transformers.utils.hub import cached_file

from finewise.console import say_once
from finewise.errors import InputError

SAME = 1e-3
"""Results that differ by a smaller share are the same: padding changes the order in which sums are added up."""

PADDING = 3


def read_json(reference: str, file: str, revision: str | None) -> Any:
    """Return what a JSON file of a model's folder or hub repository holds; None if there is none."""
    path = cached_file(
        reference,
        file,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))


@contextmanager
def silent() -> Iterator[None]:
    """Keep the library's report of new and missing weights off the screen: what matters in it is checked here."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(before)


def missing_weights(model: PreTrainedModel, source: dict[str, Any]) -> set[str]:
    """Return the names of the weights that a loaded model's checkpoint lacks, so that the library drew them at random.

    For models that were loaded where the library does not hand out its report. Reads names and shapes, no weights.

    Args:
        model: As it was loaded, without adapters.
        source: The arguments of `from_pretrained` that say where from, besides `model.name_or_path`.
    """
    with silent():
        loaded: Any = type(model).from_pretrained(
            model.name_or_path, config=model.config, device_map="meta", output_loading_info=True, **source
        )
    _, report = loaded
    return set(report["missing_keys"])


def refuse_random(name: str, missing: Collection[str], kind: str) -> None:
    """Refuse a checkpoint that lacks weights, which the library would draw at random at every start.

    Args:
        name: The model, as the settings name it.
        missing: Names of the weights.
        kind: The class that they are missing in.

    Raises:
        InputError: Names one of them.
    """
    if missing:
        raise InputError(
            f"model.name={name}: {len(missing)} weights of {kind} are missing or of another size, such as "
            f"{min(missing)}, and would be random; save or download the model again"
        )


def settle_padding(
    model: nn.Module,
    compute: Callable[[dict[str, Tensor]], Tensor],
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    kind: str = "",
) -> None:
    """Let the tokenizer pad on the side where padding changes nothing, so that no result depends on the texts of its batch.

    Positions that are counted from the first column are moved by padding on the left, and a head that reads the last column
    by padding on the right. Tried with one text, alone and padded.

    Args:
        model: The model, as it was loaded.
        compute: Gives its result for a text's features: (1, D), or (1, T, D) for its tokens.
        tokenizer: Its tokenizer.
        name: The model, as the settings name it.
        kind: What messages call the model; empty: its class.

    Raises:
        InputError: Padding changes the result on either side, or there is none.
    """
    kind, before = kind or type(model).__name__, tokenizer.padding_side
    other = "right" if before == "left" else "left"
    text = {key: value for key, value in tokenizer(["1 2 3"], return_tensors="pt").items() if value.dim() == 2}
    if not text["input_ids"].numel():
        return
    training, device = model.training, next(model.parameters()).device
    model.train(False)
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            alone = compute({key: value.to(device) for key, value in text.items()})[0]
            moved = {
                side: _differ(alone, compute(_padded(text, side, tokenizer.pad_token_id or 0, device))[0], side)
                for side in (before, other)
            }
    except Exception as error:  # whatever a model's own code does with a text
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(f"model.name={name}: {kind} cannot read a text: {reason}") from error
    finally:
        model.train(training)
    if not moved[before]:
        return
    if moved[other]:
        raise InputError(
            f"model.name={name}: padding changes what {kind} computes for a text, on the left and on the right; give a model "
            "whose results do not depend on the batch"
        )
    tokenizer.padding_side = other
    say_once(
        f"note: model.name={name}: padding on the {before}, as its tokenizer does it, changes what {kind} computes; texts are "
        f"padded on the {other} here, and the saved model does the same"
    )


def _padded(text: dict[str, Tensor], side: str, pad: int, device: torch.device) -> dict[str, Tensor]:
    where = (PADDING, 0) if side == "left" else (0, PADDING)
    fill = {"input_ids": pad}
    return {key: functional.pad(value.to(device), where, value=fill.get(key, 0)) for key, value in text.items()}


def _differ(alone: Tensor, padded: Tensor, side: str) -> bool:
    """Return whether a result (D,), or the part of it (T, D) that is not padding, is another one."""
    if alone.dim() == 2:
        padded = padded[-len(alone) :] if side == "left" else padded[: len(alone)]
    far = float((alone.float() - padded.float()).abs().max())
    return not far <= SAME * float(alone.float().abs().max().clamp_min(1e-6))
