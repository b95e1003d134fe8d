"""The head of a classifier, and which parts of the model learn how fast."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from scipy.special import logit
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from classify.model_config import TuningConfig
from classify.neighbours import NeighboursForSequenceClassification
from classify.reading import DOCUMENTS, Reader, mean_of_documents
from finewise.batching import longest_first
from finewise.errors import InputError

TEXTS_AT_A_TIME = 256


class Float32Linear(nn.Linear):
    """A linear layer that computes in fp32 under autocast too: in bf16 many texts would get the very same logits."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        """Return (..., out) for (..., in)."""
        with torch.autocast(input.device.type, enabled=False):
            return functional.linear(input.to(self.weight.dtype), self.weight, self.bias)


def classifier(model: nn.Module) -> PreTrainedModel:
    """Return the classifier itself, which LoRA wraps."""
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(inner, PreTrainedModel)
    return inner


def body(model: nn.Module) -> PreTrainedModel:
    """Return the encoder inside a classifier, with LoRA or without."""
    base = classifier(model).base_model
    assert isinstance(base, PreTrainedModel)
    return base


def head_name(model: PreTrainedModel) -> str:
    """Return the full name of the linear layer that gives the logits."""
    if isinstance(model, NeighboursForSequenceClassification):
        raise InputError("a classifier of method=knn has no head that could learn; give the encoder it was made of")
    inside = set(body(model).modules())
    names: list[str] = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module not in inside and module.out_features == model.config.num_labels
    ]
    if not names:
        raise InputError(
            f"{type(model).__name__} ends in no linear layer that gives the logits; set tuning.head=pooled"
        )
    return names[-1]


def head_linear(model: PreTrainedModel) -> nn.Linear:
    """Return the linear layer that gives the logits: weight (K, D)."""
    layer = model.get_submodule(head_name(model))
    assert isinstance(layer, nn.Linear)
    return layer


def new_head(layer: nn.Linear, deviation: float, shares: NDArray[np.floating[Any]] | None = None) -> None:
    """Draw the layer's weights anew from a normal distribution of this standard deviation.

    The biases are 0, or those with which each label is as likely as it is frequent: with many rare labels the first steps would
    else go by in learning that nearly none of them applies (Lin et al. 2017, section 3.3).

    Args:
        layer: Gives K logits.
        deviation: Of the weights.
        shares: (K,) of the rows, in (0, 1), that have each label.
    """
    with torch.no_grad():
        layer.weight.normal_(0.0, deviation)
        if layer.bias is not None:
            layer.bias.zero_()
            if shares is not None:
                layer.bias.copy_(torch.from_numpy(logit(shares)))


def init_head(model: PreTrainedModel, coef: NDArray[np.floating[Any]], intercept: NDArray[np.floating[Any]]) -> None:
    """Set the head to a probe that was fitted on `head_features` (LP-FT: Kumar et al. 2022, arXiv 2202.10054).

    Args:
        model: The classifier.
        coef: (K, D).
        intercept: (K,).

    Raises:
        InputError: The head has no bias to take the intercepts.
    """
    layer = head_linear(model)
    if layer.bias is None:
        raise InputError(f"{type(model).__name__}'s head has no bias, which the probe needs; set tuning.head=pooled")
    expected = tuple(layer.weight.shape)
    if coef.shape != expected or intercept.shape != expected[:1]:
        raise ValueError(
            f"coef must be {expected} and intercept {expected[:1]}; got {coef.shape} and {intercept.shape}"
        )
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(coef)))
        layer.bias.copy_(torch.from_numpy(np.ascontiguousarray(intercept)))


def encode(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> dict[str, Any]:
    """Return what the model takes for some texts, without padding: the model's prompt is put before each, and each is cut.

    With reading.how=chunks there is a row per window, and `documents` says whose it is; see `classify.reading`.

    Args:
        model: As `load_classifier` returns it; its configuration holds the prompt and how long texts are read.
        tokenizer: Its tokenizer, which knows the limit.
        texts: N of them.
    """
    prompt = getattr(model.config, "prompt", "")
    prompted = [prompt + text for text in texts]
    reader = Reader.of(model, tokenizer)
    if reader is None:
        return dict(tokenizer(prompted, truncation=True))
    whole = tokenizer(prompted, truncation=False, verbose=False)["input_ids"]
    return reader.rows(whole, tokenizer.model_input_names)


def head_features(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> NDArray[np.float32]:
    """Return (N, D): what the head's last linear layer is given for each text, without dropout.

    Under the caller's autocast. The logits are these times the layer's weight, plus its bias. Of a text that is read in
    windows, it is the mean of theirs.

    Args:
        model: The classifier.
        tokenizer: Its tokenizer.
        texts: N of them.
    """
    layer = head_linear(model)
    caught: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, given: caught.append(given[0].float().cpu()))
    training = model.training
    model.train(False)
    order = longest_first([len(text) for text in texts])
    try:
        with torch.inference_mode():
            for start in range(0, len(order), TEXTS_AT_A_TIME):
                rows = encode(model, tokenizer, [texts[row] for row in order[start : start + TEXTS_AT_A_TIME]])
                batch = tokenizer.pad(rows, return_tensors="pt").to(model.device)
                model(**batch)
                if DOCUMENTS in batch:
                    caught[-1] = mean_of_documents(caught[-1], batch[DOCUMENTS].cpu())
    finally:
        hook.remove()
        model.train(training)
    found = np.empty((len(texts), layer.in_features), dtype=np.float32)
    if caught:
        found[order] = torch.cat(caught).numpy()
    return found


def freeze(model: nn.Module, config: TuningConfig) -> None:
    """Stop the embeddings, or the lowest layers with them, from learning.

    Raises:
        InputError: The model has fewer layers.
    """
    if not config.freeze_embeddings and not config.freeze_layers:
        return
    depths, layers = _depths(body(model))
    if config.freeze_layers > layers:
        raise InputError(
            f"tuning.freeze_layers must be at most {layers}, the model's layers; got {config.freeze_layers}"
        )
    for parameter, depth in depths:
        if depth <= config.freeze_layers:
            parameter.requires_grad_(False)


def trainable(model: nn.Module) -> tuple[int, int]:
    """Return how many weights learn, and how many there are."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, learns in sizes if learns), sum(size for size, _ in sizes)


def parameter_groups(
    model: nn.Module, config: TuningConfig, decayed: Sequence[str], *, learning_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Return the optimiser's groups, with the learning rate of layer l of n: learning_rate * layer_decay^(n + 1 - l).

    Layer-wise decay of the learning rate (Howard & Ruder 2018, arXiv 1801.06146; Clark et al. 2020, arXiv 2003.10555):
    l = 0 for the embeddings, 1 to n for the layers, n + 1 for what is above them.

    Args:
        model: The classifier, with LoRA or without.
        config: `layer_decay` and `head_learning_rate`.
        decayed: Names of parameters, from `Trainer.get_decay_parameter_names`.
        learning_rate: Peak rate of what is above the layers.
        weight_decay: Of the weights in `decayed`; 0 for the others.
    """
    depths, layers = _depths(body(model))
    depth_of = {id(parameter): depth for parameter, depth in depths}
    last = {id(parameter) for parameter in head_linear(classifier(model)).parameters()}
    names = set(decayed)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = learning_rate * config.layer_decay ** (layers + 1 - depth_of.get(id(parameter), layers + 1))
        if id(parameter) in last and config.head_learning_rate is not None:
            rate = config.head_learning_rate
        groups.setdefault((rate, weight_decay if name in names else 0.0), []).append(parameter)
    return [{"params": found, "lr": rate, "weight_decay": decay} for (rate, decay), found in groups.items()]


def _depths(base: PreTrainedModel) -> tuple[list[tuple[nn.Parameter, int]], int]:
    """Return every parameter of the encoder with its depth (0: before the layers, n + 1: behind them), and n."""
    count = getattr(base.config, "num_hidden_layers", 0)
    lists = [module for module in base.modules() if isinstance(module, nn.ModuleList) and len(module) == count > 0]
    if not lists:
        raise InputError(f"{type(base).__name__} has no list of layers that could be frozen or slowed one by one")
    depth_of = {id(parameter): depth for depth, layer in enumerate(lists[0], 1) for parameter in layer.parameters()}

    def walk() -> Iterator[tuple[nn.Parameter, int]]:
        behind = False
        for parameter in base.parameters():  # in the order in which the model was built
            depth = depth_of.get(id(parameter))
            behind = behind or depth is not None
            yield parameter, depth if depth is not None else count + 1 if behind else 0

    return list(walk()), count
