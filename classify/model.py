"""The classifier: an encoder with a head, as transformers knows it, that computes its batches packed."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging
from transformers.utils.hub import cached_file

from classify.heads import Float32Linear, body, head_linear, head_name, new_head
from classify.neighbours import NeighboursConfig, NeighboursForSequenceClassification
from classify.pooled import PooledConfig, PooledForSequenceClassification
from classify.reading import Reader, read_windows, set_reading
from classify.reading_config import ReadingConfig
from classify.static import StaticConfig, StaticForSequenceClassification
from finewise.config import ModelConfig
from finewise.data.labels.space import LabelSpace
from finewise.device import pick_device, quiet
from finewise.errors import InputError
from finewise.execution import attach
from finewise.references import model_reference

for config, model in (
    (PooledConfig, PooledForSequenceClassification),
    (NeighboursConfig, NeighboursForSequenceClassification),
    (StaticConfig, StaticForSequenceClassification),
):
    AutoConfig.register(config.model_type, config)
    AutoModelForSequenceClassification.register(config, model)
    # The saved folder brings the file of these classes, and names them in its configuration.
    config.register_for_auto_class()  # type: ignore[no-untyped-call]
    model.register_for_auto_class("AutoModelForSequenceClassification")  # type: ignore[no-untyped-call]

POOLINGS = {"mean": "mean", "cls": "cls", "lasttoken": "last"}
"""Poolings of sentence-transformers, and what `classify.pooled` calls them."""


def load_classifier(
    config: ModelConfig,
    space: LabelSpace,
    device: str = "auto",
    *,
    head: str = "transformers",
    execution: str = "auto",
    micro_batch_tokens: int | None = None,
    reading: ReadingConfig | None = None,
    seed: int = 42,
    shares: NDArray[np.floating[Any]] | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load an encoder with a head for these labels, with fp32 weights.

    A head that the checkpoint has is kept if it is for the same labels in the same order; else its last layer is drawn anew.
    The configuration gets the labels' names, the kind of problem, and what `heads.encode` goes by: the prompt that it puts
    before texts, and how long ones are read.

    Args:
        config: Where the encoder or classifier is, its limit and its prompt (`query_prompt`).
        space: The labels.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        head: "transformers", the architecture's own; "pooled", sentence-transformers' pooling and a linear layer.
        execution: "padded", "sorted", "packed" or "auto"; see `finewise.execution.attach`.
        micro_batch_tokens: Tokens computed at a time; None takes what is fast on the device.
        reading: How texts above the limit are read; None keeps what the model's folder says, which is their head if nothing.
        seed: Of the new head's weights.
        shares: (K,) of the rows, in (0, 1), that have each label; a new head starts with these. None: all the same.

    Returns:
        The model, and its tokenizer, which cuts at the model's limit.

    Raises:
        InputError: There is no such model, it has no such head, weights of its body are missing, or it has fewer positions
            than `max_seq_length` or another setting of `reading` needs.
    """
    quiet()
    classes = len(space.names)
    if space.kind != "multi" and classes < 2:
        raise InputError(f"a classifier needs two labels at least; the training rows have {classes}")
    reference = str(model_reference(config.name, config.revision))
    source = {"revision": config.revision, "trust_remote_code": config.trust_remote_code}
    target = pick_device(device)
    try:
        parts = Parts.read(reference, config.revision)
        found = AutoConfig.from_pretrained(reference, subfolder=parts.subfolder, **source)
        own = keeps_head(found, "SequenceClassification", space.names)
        if isinstance(found, NeighboursConfig) and not own:
            raise InputError(
                f"model.name={config.name} was saved by method=knn for other labels; give the encoder it was made of"
            )
        multi = space.kind == "multi"
        labels: dict[str, Any] = {
            "num_labels": classes,
            "id2label": space.id2label,
            "label2id": space.label2id,
            # Without it transformers guesses by the labels' type, and takes one label for a regression.
            "problem_type": "multi_label_classification" if multi else "single_label_classification",
        }
        with silent(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if head == "pooled" and not isinstance(found, PooledConfig):
                model: PreTrainedModel = _pooled(config.name, reference, parts, source, labels)
            else:
                for key, value in labels.items():
                    setattr(found, key, value)
                model = pretrained(AutoModelForSequenceClassification, config.name, reference, found, parts, source)
            if not own:
                new_head(head_linear(model), getattr(found, "initializer_range", None) or 0.02, shares)
        tokenizer = AutoTokenizer.from_pretrained(reference, subfolder=parts.tokenizer, **source)
    except InputError:
        raise
    except Exception as error:  # whatever the libraries and a model's own code raise
        hint = "; set tuning.head=pooled" if "Unrecognized configuration class" in str(error) else ""
        raise InputError(
            f"model.name={config.name}: cannot load it as a classifier: {first_line(error)}{hint}"
        ) from error
    set_limit(config, parts, model, tokenizer)
    if getattr(model.config, "pad_token_id", None) is None:  # heads of decoders find the last token by it
        model.config.pad_token_id = tokenizer.pad_token_id
    if config.query_prompt:
        model.config.prompt = config.query_prompt
    if reading is not None:
        set_reading(model, reading)
    if Reader.of(model, tokenizer) is not None:
        read_windows(model)
    if not isinstance(model, NeighboursForSequenceClassification):
        head_linear(model).__class__ = Float32Linear
    model.to(torch.device(target))  # type: ignore[arg-type]  # its decorator loses self
    attach(model, execution=execution, micro_batch_tokens=micro_batch_tokens)
    return model, tokenizer


class Parts:
    """What a sentence-transformers folder says of its parts; a plain transformers one says nothing.

    Attributes:
        subfolder: Where the encoder is.
        tokenizer: Where the tokenizer is.
        pooling: Its pooling, in sentence-transformers' word.
        normalize: Whether embeddings are scaled to length 1.
        others: Classes of other parts, which `classify.pooled` does not have.
        limit: Tokens at which texts are cut, if it says so.
    """

    def __init__(self) -> None:
        self.subfolder = ""
        self.tokenizer = ""
        self.pooling: str | tuple[str, ...] = "mean"
        self.normalize = False
        self.others: list[str] = []
        self.limit: int | None = None

    @classmethod
    def read(cls, reference: str, revision: str | None) -> "Parts":
        """Read what the folder or the hub says."""
        parts = cls()
        modules = _read(reference, "modules.json", revision)
        for entry in modules or []:
            kind = entry["type"].rpartition(".")[2]
            if kind == "Transformer":
                parts.subfolder = entry["path"]
            elif kind == "Pooling":
                parts.pooling = Pooling.load(reference, subfolder=entry["path"], revision=revision).pooling_mode
            elif kind == "Normalize":
                parts.normalize = True
            else:
                parts.others.append(kind)
        if _read(reference, "tokenizer_config.json", revision) is None:
            parts.tokenizer = parts.subfolder
        settings = _read(reference, str(Path(parts.subfolder) / "sentence_bert_config.json"), revision) or {}
        parts.limit = settings.get("max_seq_length")
        return parts


def _read(reference: str, file: str, revision: str | None) -> Any:
    """Return what a JSON file of the model holds; None if there is none."""
    path = cached_file(
        reference,
        file,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))


def _pooled(
    name: str, reference: str, parts: Parts, source: dict[str, Any], labels: dict[str, Any]
) -> PooledForSequenceClassification:
    if parts.others or not isinstance(parts.pooling, str) or parts.pooling not in POOLINGS:
        what = ", ".join(parts.others) or f"pooling {parts.pooling}"
        raise InputError(
            f"tuning.head=pooled takes an encoder with {', '.join(POOLINGS)} pooling and nothing behind it but a "
            f"normalisation; {name} has {what}; set tuning.head=transformers"
        )
    encoder, info = AutoModel.from_pretrained(
        reference, subfolder=parts.subfolder, dtype=torch.float32, output_loading_info=True, **source
    )
    if type(encoder).__module__.startswith("transformers_modules"):
        raise InputError(f"tuning.head=pooled cannot save the code that {name} brings; set tuning.head=transformers")
    missing = [key for key in info["missing_keys"] if "pooler" not in key]
    _refuse(name, missing, encoder)
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    dropout = getattr(encoder.config, "hidden_dropout_prob", 0.0)
    model = PooledForSequenceClassification(
        PooledConfig(
            body=encoder.config,
            pooling=POOLINGS[parts.pooling],
            normalize=parts.normalize,
            # A component is then about 1, as behind a layer norm; of unit vectors a new head learns slowly.
            length=encoder.config.hidden_size**0.5,
            dropout=dropout,
            dtype="float32",
            **labels,
        )
    )
    model.body.load_state_dict(encoder.state_dict())
    return model


def keeps_head(found: PretrainedConfig, kind: str, names: tuple[str, ...]) -> bool:
    """Tell whether the checkpoint has a head of this kind for these labels in this order."""
    architectures = getattr(found, "architectures", None) or []
    known = {int(index): name for index, name in (found.id2label or {}).items()}
    return any(kind in name for name in architectures) and tuple(known[index] for index in sorted(known)) == names


def pretrained(
    kind: Any, name: str, reference: str, found: PretrainedConfig, parts: Parts, source: dict[str, Any]
) -> PreTrainedModel:
    """Load a model with a head in fp32, and refuse a checkpoint that lacks weights of the body.

    The library would draw those at random and go on.

    Args:
        kind: transformers' AutoModelFor... of the head.
        name: The model, as the settings name it.
        reference: Where it is.
        found: Its configuration, with the labels of the head.
        parts: Where in it the encoder is.
        source: More arguments of `from_pretrained`.

    Raises:
        InputError: Names a weight that is missing.
    """
    model, info = kind.from_pretrained(
        reference,
        config=found,
        subfolder=parts.subfolder,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **source,
    )
    drawn: tuple[str, ...] = ()  # what of it may be drawn anew
    prefix = ""
    if not isinstance(model, NeighboursForSequenceClassification):
        drawn, prefix = (head_name(model) + ".",), model.base_model_prefix + "."
    sizes = [key for key, *_ in info["mismatched_keys"] if not key.startswith(drawn)]
    # Many checkpoints have no pooler, because what they were trained for reads none; it is drawn anew with the head.
    missing = [key for key in info["missing_keys"] if key.startswith(prefix) and "pooler" not in key]
    _refuse(name, sorted([*missing, *sizes]), model)
    loaded: PreTrainedModel = model
    return loaded


def _refuse(name: str, missing: list[str], model: PreTrainedModel) -> None:
    if missing:
        raise InputError(
            f"model.name={name}: {len(missing)} weights of {type(model).__name__} are missing or of another size, such as "
            f"{missing[0]}; save or download the model again"
        )


def set_limit(config: ModelConfig, parts: Parts, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Let the tokenizer cut texts at `max_seq_length`, or at what the model says itself, and let it pad."""
    base = body(model)
    text = base.config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None)
    embeddings = getattr(base, "embeddings", None)
    if positions is not None and hasattr(embeddings, "create_position_ids_from_input_ids"):
        positions -= int(getattr(embeddings, "padding_idx", 0)) + 1  # RoBERTa counts from behind the padding index
    limits = [limit for limit in (parts.limit, tokenizer.model_max_length, positions) if limit is not None]
    if config.max_seq_length is not None and positions is not None and config.max_seq_length > positions:
        raise InputError(
            f"model.max_seq_length must be at most {positions} with {config.name}, which has no positions beyond; "
            f"got {config.max_seq_length}"
        )
    tokenizer.model_max_length = config.max_seq_length or min(limits)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token


@contextmanager
def silent() -> Iterator[None]:
    """Keep the library's report of new and missing weights off the screen: what matters in it is checked here."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(before)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
