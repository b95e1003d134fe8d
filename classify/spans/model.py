"""The tagger: any transformers encoder with a head on each token, that computes its batches packed."""

from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from classify.heads import Float32Linear, head_linear, new_head
from classify.model import Parts, first_line, own_head, pretrained, put_in_order, set_limit
from finewise.checkpoint import settle_padding, silent
from finewise.config import ModelConfig
from finewise.data.labels.space import LabelSpace
from finewise.device import pick_device, quiet
from finewise.errors import InputError
from finewise.execution import attach
from finewise.references import model_reference


def load_tagger(
    config: ModelConfig,
    space: LabelSpace,
    device: str = "auto",
    *,
    execution: str = "auto",
    micro_batch_tokens: int | None = None,
    seed: int = 42,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load an encoder with a head for these tags, with fp32 weights; the head computes in fp32 whatever the body does.

    A head that the checkpoint has is kept if it is for the same tags, whatever their order; else it is drawn anew.

    Args:
        config: Where the encoder or tagger is, and its limit.
        space: The tags.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        execution: See `finewise.execution.attach`.
        micro_batch_tokens: Tokens computed at a time; None takes what is fast on the device.
        seed: Of the new head's weights.

    Returns:
        The model, and its tokenizer, which knows the model's limit.

    Raises:
        InputError: There is no such model, it has no such head, or weights of its body are missing.
    """
    quiet()
    reference = str(model_reference(config.name, config.revision))
    source: dict[str, Any] = {"revision": config.revision, "trust_remote_code": config.trust_remote_code}
    target = pick_device(device)
    try:
        parts = Parts.read(reference, config.revision)
        found = AutoConfig.from_pretrained(reference, subfolder=parts.subfolder, **source)
        own = own_head(found, "TokenClassification", space.names, config.name)
        found.num_labels, found.id2label, found.label2id = len(space), space.id2label, space.label2id
        with silent(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            kind = AutoModelForTokenClassification
            model = pretrained(kind, config.name, reference, found, parts, source, own=own is not None)
            if own is None:
                new_head(head_linear(model), getattr(found, "initializer_range", None) or 0.02)
            else:
                put_in_order(model, own)
        tokenizer = AutoTokenizer.from_pretrained(reference, subfolder=parts.tokenizer, **source)
    except InputError:
        raise
    except Exception as error:  # whatever the libraries and a model's own code raise
        raise InputError(
            f"model.name={config.name}: cannot load it as a token classifier: {first_line(error)}"
        ) from error
    set_limit(config, parts, model, tokenizer)
    settle_padding(model, lambda text: model(**text).logits, tokenizer, config.name)
    head_linear(model).__class__ = Float32Linear
    model.to(torch.device(target))  # type: ignore[arg-type]  # its decorator loses self
    attach(model, execution=execution, micro_batch_tokens=micro_batch_tokens)
    return model, tokenizer
