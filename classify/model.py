"""The classifier: an encoder with a head, as transformers knows it, that computes its batches packed."""

from collections.abc import Sequence
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

from classify.heads import Float32Linear, body, head_linear, head_name, new_head
from classify.neighbours import NeighboursConfig, NeighboursForSequenceClassification
from classify.pooled import PooledConfig, PooledForSequenceClassification
from classify.reading import Reader, read_windows, set_reading
from classify.reading_config import ReadingConfig
from classify.static import StaticConfig, StaticForSequenceClassification
from finewise.checkpoint import read_json, refuse_random, settle_padding, silent
from finewise.config import ModelConfig
from finewise.console import say_once
from finewise.data.labels.space import LabelSpace
from finewise.data.tokens import own_prompts
from finewise.device import pick_device, quiet
from finewise.errors import InputError
from finewise.execution import attach
from finewise.limits import reading_limit, refuse_beyond, usable_positions
from finewise.references import model_reference
from finewise.vectors import usual_pooling, warn_of_defaults

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

UNLIMITED = 10**9
"""The tokenizer's limit where neither it nor the model has one."""

POOLINGS = {"mean": "mean", "cls": "cls", "lasttoken": "last"}
"""Poolings of sentence-transformers, and what `classify.pooled` calls them."""


def load_classifier(
    config: ModelConfig,
    space: LabelSpace,
    device: str = "auto",
    *,
    head: str = "auto",
    execution: str = "auto",
    micro_batch_tokens: int | None = None,
    reading: ReadingConfig | None = None,
    seed: int = 42,
    shares: NDArray[np.floating[Any]] | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load an encoder with a head for these labels, with fp32 weights.

    A head that the checkpoint has is kept if it is for the same labels, whatever their order; else its last layer is drawn
    anew.
    The configuration gets the labels' names, the kind of problem, and what `heads.encode` goes by: the prompt that it puts
    before texts, and how long ones are read.

    Args:
        config: Where the encoder or classifier is, its limit, its pooling and its prompt (`query_prompt`, or else its own).
        space: The labels.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        head: "transformers", the architecture's own; "pooled", sentence-transformers' pooling and a linear layer; "auto":
            pooled if the model is a sentence-transformers one that allows it.
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
        pooled = not isinstance(found, PooledConfig) and (
            head == "pooled" or (head == "auto" and parts.poolable(found))
        )
        if pooled:
            _settle_pooling(parts, config, found)
        own = None if pooled else own_head(found, "SequenceClassification", space.names, config.name)
        if isinstance(found, NeighboursConfig) and own != list(range(classes)):
            raise InputError(
                f"model.name={config.name} was saved by method=knn for other labels, or for these in another order; give the "
                "encoder it was made of"
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
            if pooled:
                model: PreTrainedModel = _pooled(config.name, reference, parts, source, labels)
            else:
                for key, value in labels.items():
                    setattr(found, key, value)
                kind = AutoModelForSequenceClassification
                model = pretrained(kind, config.name, reference, found, parts, source, own=own is not None)
            if own is None:
                new_head(head_linear(model), getattr(found, "initializer_range", None) or 0.02, shares)
            else:
                put_in_order(model, own)
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
    settle_padding(model, lambda text: model(**text).logits, tokenizer, config.name)
    if prompt := config.query_prompt or getattr(model.config, "prompt", "") or parts.prompt:
        model.config.prompt = prompt
    if reading is not None:
        set_reading(model, reading)
    if Reader.of(model, tokenizer) is not None:
        read_windows(model)
    if not isinstance(model, NeighboursForSequenceClassification):
        head_linear(model).__class__ = Float32Linear
    model.to(torch.device(target))  # type: ignore[arg-type]  # its decorator loses self
    attach(model, execution=execution, micro_batch_tokens=micro_batch_tokens)
    return model, tokenizer


def check_weights(config: ModelConfig) -> None:
    """Refuse a checkpoint that lacks weights of its body, from their names alone: before baselines are computed.

    Raises:
        InputError: It does.
    """
    quiet()
    reference = str(model_reference(config.name, config.revision))
    try:
        folder = Parts.read(reference, config.revision).subfolder
        with silent():
            body, info = AutoModel.from_pretrained(
                reference,
                subfolder=folder,
                device_map="meta",
                output_loading_info=True,
                revision=config.revision,
                trust_remote_code=config.trust_remote_code,
            )
    except Exception:  # whoever loads it says what is wrong, and classifiers of our own classes have no such body
        return
    refuse_random(config.name, [key for key in info["missing_keys"] if "pooler" not in key], type(body).__name__)


class Parts:
    """What a sentence-transformers folder says of its parts; a plain transformers one says nothing.

    Attributes:
        stated: Whether it is a sentence-transformers folder.
        subfolder: Where the encoder is.
        tokenizer: Where the tokenizer is.
        pooling: Its pooling, in sentence-transformers' word.
        normalize: Whether embeddings are scaled to length 1.
        others: Classes of other parts, which `classify.pooled` does not have.
        limit: Tokens at which texts are cut, if it says so.
        prompt: What it puts before a query, or before any text; "" for nothing.
    """

    def __init__(self) -> None:
        self.stated = False
        self.subfolder = ""
        self.tokenizer = ""
        self.pooling: str | tuple[str, ...] = "mean"
        self.normalize = False
        self.others: list[str] = []
        self.limit: int | None = None
        self.prompt = ""

    def poolable(self, found: PretrainedConfig) -> bool:
        """Return whether the folder is a sentence-transformers model that `classify.pooled` can hold, and no classifier."""
        known = not self.others and isinstance(self.pooling, str) and self.pooling in POOLINGS
        own_code, kinds = getattr(found, "auto_map", None), getattr(found, "architectures", None) or []
        return self.stated and known and not own_code and not any("SequenceClassification" in kind for kind in kinds)

    @classmethod
    def read(cls, reference: str, revision: str | None) -> "Parts":
        """Read what the folder or the hub says."""
        parts = cls()
        modules = read_json(reference, "modules.json", revision)
        parts.stated = modules is not None
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
        if read_json(reference, "tokenizer_config.json", revision) is None:
            parts.tokenizer = parts.subfolder
        settings = read_json(reference, str(Path(parts.subfolder) / "sentence_bert_config.json"), revision) or {}
        parts.limit = settings.get("max_seq_length")
        stated = read_json(reference, "config_sentence_transformers.json", revision) or {}
        prompts = stated.get("prompts") or {}
        parts.prompt = own_prompts(prompts)["query"] or prompts.get(stated.get("default_prompt_name")) or ""
        return parts


def _settle_pooling(parts: Parts, config: ModelConfig, found: PretrainedConfig) -> None:
    """Set the pooling as the settings say, or as `finewise.vectors` does for the encoder where nobody says it."""
    if config.pooling is not None:
        parts.pooling = config.pooling
    elif not parts.stated:
        parts.pooling = usual_pooling(found)
        warn_of_defaults(config.name, {"pooling": f"{parts.pooling} pooling"})


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
    refuse_random(name, [key for key in info["missing_keys"] if "pooler" not in key], type(encoder).__name__)
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


def own_head(found: PretrainedConfig, kind: str, names: tuple[str, ...], model: str) -> list[int] | None:
    """Return where each label stands in the checkpoint's head of this kind; None if it has none for these labels.

    A head for other labels is drawn anew, which is said.

    Args:
        found: The checkpoint's configuration.
        kind: Part of the class that it was saved as, such as "SequenceClassification".
        names: The labels.
        model: The model, as the settings name it.
    """
    architectures = getattr(found, "architectures", None) or []
    known = {str(name): int(index) for index, name in (found.id2label or {}).items()}
    if not any(kind in name for name in architectures):
        return None
    if known.keys() == set(names) and len(known) == len(found.id2label or {}):
        return [known[name] for name in names]
    shown = ", ".join(list(known)[:4]) + (", ..." if len(known) > 4 else "")
    say_once(
        f"note: model.name={model} is a classifier of other labels ({shown}): its head is not used, and a new one is drawn"
    )
    return None


def put_in_order(model: PreTrainedModel, order: Sequence[int]) -> None:
    """Put the rows of the head into another order: row k becomes what was row order[k]."""
    if list(order) == list(range(len(order))) or isinstance(model, NeighboursForSequenceClassification):
        return
    layer, rows = head_linear(model), torch.tensor(order)
    with torch.no_grad():
        layer.weight.copy_(layer.weight[rows.to(layer.weight.device)])
        if layer.bias is not None:
            layer.bias.copy_(layer.bias[rows.to(layer.bias.device)])


def pretrained(
    kind: Any,
    name: str,
    reference: str,
    found: PretrainedConfig,
    parts: Parts,
    source: dict[str, Any],
    *,
    own: bool = False,
) -> PreTrainedModel:
    """Load a model with a head in fp32, and refuse a checkpoint that lacks weights of the body, or of a head that is kept.

    The library would draw those at random and go on.

    Args:
        kind: transformers' AutoModelFor... of the head.
        name: The model, as the settings name it.
        reference: Where it is.
        found: Its configuration, with the labels of the head.
        parts: Where in it the encoder is.
        source: More arguments of `from_pretrained`.
        own: Whether the checkpoint's own head is kept.

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
    missing = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
    if not own:
        # The head may be drawn anew, and with it the pooler, which checkpoints of other tasks lack.
        prefix = f"{model.base_model_prefix}."
        last = "" if isinstance(model, NeighboursForSequenceClassification) else head_name(model)
        wrong = {key for key, *_ in info["mismatched_keys"] if not key.startswith(f"{last}.")}
        missing = {key for key in info["missing_keys"] if key.startswith(prefix) and "pooler" not in key} | wrong
    refuse_random(name, missing, type(model).__name__)
    loaded: PreTrainedModel = model
    return loaded


def set_limit(config: ModelConfig, parts: Parts, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Let the tokenizer truncate texts at `max_seq_length`, or at what the model says itself, and let it pad."""
    base = body(model)
    stated = base.config.to_dict()
    refuse_beyond(config, usable_positions(stated))
    limit = config.max_seq_length or reading_limit(stated, parts.limit, tokenizer.model_max_length)
    tokenizer.model_max_length = UNLIMITED if limit is None else limit
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
