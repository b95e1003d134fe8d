"""The encoder: a sentence-transformers model that computes its batches as micro-batches or packs."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from finewise.batching import longest_first
from finewise.checkpoint import missing_weights, read_json, refuse_random, settle_padding, silent
from finewise.config import ModelConfig
from finewise.data.tokens import own_prompts
from finewise.device import pick_device, quiet
from finewise.errors import InputError
from finewise.execution import (
    CPU_TOKENS,
    Execution,
    attach,
    has_relative_positions,
    micro_batch,
    padded_left,
    recomputes,
)
from finewise.fused import fused
from finewise.limits import known_limit, reading_limit, refuse_beyond, usable_positions
from finewise.references import model_reference
from finewise.vectors import settle_vectors

_READ = {"prompt", "advance", "normalize_embeddings", "truncate_dim", "convert_to_tensor", "task"}

_DEFAULTS = {
    "output_value": "sentence_embedding",
    "precision": "float32",
    "convert_to_numpy": True,
    "show_progress_bar": False,
}


class Encoder(SentenceTransformer):
    """A SentenceTransformer that computes a batch in micro-batches or packs of its texts.

    What it saves is a plain SentenceTransformer. The results are those of the padded batch (the order of the texts is put
    back), so every loss that reads `sentence_embedding` works as before; one backward pass goes through all of them.

    Attributes:
        execution: How batches are computed.
        recompute: "always" keeps the activations of one micro-batch at a time and computes them again in the backward pass,
            as the gradient cache does for one loss (Gao et al. 2021, arXiv 2101.06983), here under any loss; "auto" does so
            with batches that would take more than half of the free memory; "never".
        reports_progress: `encode` takes `advance`.
        activation_bytes: Bytes that a token's activations take; 0 if not measured.
    """

    reports_progress = True
    execution: Execution = Execution("padded", CPU_TOKENS)
    recompute: str = "never"
    activation_bytes: float = 0.0

    @property
    def max_seq_length(self) -> int | None:
        """Tokens at which texts are truncated; None if the model has no limit."""
        return known_limit(super().max_seq_length)

    @max_seq_length.setter
    def max_seq_length(self, value: int | None) -> None:
        SentenceTransformer.max_seq_length.fset(self, value)  # type: ignore[attr-defined]  # super() has no setters

    def execute(self, execution: str, micro_batch_tokens: int | None = None) -> Execution:
        """Compute batches in this way from now on; see `finewise.execution.attach`.

        Raises:
            InputError: execution=packed, and the model cannot do it.
        """
        base = transformer(self)
        if base is None:
            if execution == "packed":
                raise InputError(
                    f"execution=packed: {type(self[0]).__name__} is no transformers model; set execution=auto"
                )
            self.execution = Execution("padded" if execution == "auto" else execution, micro_batch_tokens or CPU_TOKENS)
        else:
            self.execution = attach(base, execution=execution, micro_batch_tokens=micro_batch_tokens)
        return self.execution

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Recompute activations in the backward pass; the trainer asks by this name, the library knows the old one alone."""
        for module in self.modules():
            if isinstance(module, PreTrainedModel) and module.supports_gradient_checkpointing:
                module.activation_checkpointing_enable(activation_checkpointing_kwargs, **kwargs)

    def forward(self, input: dict[str, Any], **kwargs: Any) -> dict[str, Any]:  # noqa: A002 - the library's own name
        """Compute `sentence_embedding` (B, D) for tokenised texts: input_ids and attention_mask (B, T)."""
        mask = input.get("attention_mask")
        if self.execution.mode == "padded" or not isinstance(mask, Tensor) or mask.dim() != 2:
            return super().forward(input, **kwargs)
        lengths = mask.sum(dim=1).tolist()
        groups = self.execution.groups([max(1, length) for length in lengths])
        recompute = (
            self.training
            and torch.is_grad_enabled()
            and recomputes(self.recompute, sum(lengths), self.activation_bytes, str(self.device))
        )
        if (len(groups) == 1 and not recompute) or not self._may_cut(mask):
            return super().forward(input, **kwargs)

        def embed(group: list[int], longest: int) -> Tensor:
            part = micro_batch(input, mask, group, longest)
            found: Tensor = super(Encoder, self).forward(part, **kwargs)["sentence_embedding"]
            return found

        parts = []
        for group in groups:
            longest = max(1, *(lengths[row] for row in group))
            if recompute:
                parts.append(checkpoint(embed, group, longest, use_reentrant=False))
            else:
                parts.append(embed(group, longest))
        order = torch.tensor([row for group in groups for row in group], device=mask.device)
        found = torch.cat(parts)
        return {**input, "sentence_embedding": torch.empty_like(found).index_copy(0, order, found)}

    def encode(self, inputs: Any, *args: Any, advance: Callable[[int], None] | None = None, **kwargs: Any) -> Any:
        """Embed texts as the library does, packed or sorted; the next texts are tokenised while these are computed.

        Args:
            inputs: Texts.
            args: As the library's.
            advance: Called with the number of texts embedded since the last call.
            kwargs: As the library's; `batch_size` counts where batches are padded, else the execution's tokens do.

        Returns:
            As the library: (N, D) by default.
        """
        given = {
            key: value
            for key, value in kwargs.items()
            if value is not None and key not in ("batch_size", "prompt_name")
        }
        texts = isinstance(inputs, list) and len(inputs) > 0 and all(isinstance(text, str) for text in inputs)
        plain = all(given.get(key, value) == value for key, value in _DEFAULTS.items())
        routed = "task" in given and any(isinstance(module, Router) for module in self)  # queries take another way
        more = args or routed or set(given) - _READ - set(_DEFAULTS)
        if more or not texts or not plain or self.execution.mode == "padded":
            found = super().encode(inputs, *args, **kwargs)
            if advance is not None:
                advance(1 if isinstance(inputs, str) else len(inputs))
            return found
        prompt = self._resolve_prompt(given.get("prompt"), kwargs.get("prompt_name"))
        dim = given.get("truncate_dim", self.truncate_dim)
        normalize, as_tensor = given.get("normalize_embeddings", False), given.get("convert_to_tensor", False)
        self.eval()
        chunks = self._chunks(inputs)
        parts = []
        with torch.inference_mode(), ThreadPoolExecutor(1, "tokeniser") as tokeniser, ExitStack() as stack:
            if len(chunks) > 1:  # laying the weights out takes as long as a few texts
                stack.enter_context(fused(self))
            # The tokenizer works without Python's lock, one chunk ahead of the model.
            ahead = tokeniser.submit(self._preprocess, [inputs[row] for row in chunks[0]], prompt)
            for number, chunk in enumerate(chunks):
                features = ahead.result()
                if number + 1 < len(chunks):
                    ahead = tokeniser.submit(self._preprocess, [inputs[row] for row in chunks[number + 1]], prompt)
                features = {
                    key: value.to(self.device) if isinstance(value, Tensor) else value
                    for key, value in features.items()
                }
                found = self(features)["sentence_embedding"][:, :dim]
                found = functional.normalize(found, p=2, dim=1) if normalize else found
                parts.append(found if as_tensor else found.float().cpu())
                if advance is not None:
                    advance(len(chunk))
        order = torch.tensor([row for chunk in chunks for row in chunk], device=parts[0].device)
        found = torch.cat(parts)
        found = torch.empty_like(found).index_copy(0, order, found)
        return found if as_tensor else found.numpy()

    def _preprocess(self, texts: list[str], prompt: str | None) -> dict[str, Any]:
        return dict(self.preprocess(texts, prompt=prompt))

    def _chunks(self, texts: Sequence[str]) -> list[list[int]]:
        """Cut texts into runs of similar length: about a micro-batch of tokens each, as far as letters tell."""
        chunks: list[list[int]] = []
        size = 0
        for row in longest_first([len(text) for text in texts]):
            if not chunks or size > self.execution.tokens:
                chunks.append([])
                size = 0
            chunks[-1].append(row)
            size += len(texts[row]) // 4 + 2
        return chunks

    def _may_cut(self, mask: Tensor) -> bool:
        """Tell whether padding can be cut away: on the left, only where absolute positions do not matter."""
        base = transformer(self)
        return base is None or not padded_left(mask) or has_relative_positions(base)


def transformer(model: SentenceTransformer) -> PreTrainedModel | None:
    """Return the transformers model inside, without a head; None if the model is of another kind."""
    inner = getattr(model[0], "model", None)
    base = inner.base_model if isinstance(inner, PreTrainedModel) else None
    return base if isinstance(base, PreTrainedModel) else None


def dimension(model: SentenceTransformer) -> int:
    """Return the number of dimensions of the model's embeddings."""
    size = model.get_embedding_dimension()
    assert size is not None
    return size


def load_encoder(
    config: ModelConfig,
    device: str = "auto",
    *,
    execution: str = "auto",
    micro_batch_tokens: int | None = None,
    compared: bool = True,
) -> Encoder:
    """Load the model with fp32 weights (autocast lowers the precision of the computation, never of the weights).

    Args:
        config: Where the model is, its limit, its prompts, its pooling and its similarity.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        execution: "padded", "sorted", "packed" or "auto"; see `finewise.execution.attach`.
        micro_batch_tokens: Tokens computed at a time; None takes what is fast on the device.
        compared: Whether the vectors are compared by the model's similarity; see `finewise.vectors.settle_vectors`.

    Raises:
        InputError: There is no such model, its weights are missing or broken, or the hub cannot be reached.
    """
    quiet()
    reference = model_reference(config.name)
    prompts = {"query": config.query_prompt, "document": config.document_prompt}
    try:
        with silent():
            model = Encoder(
                str(reference),
                device=pick_device(device),
                revision=config.revision,
                trust_remote_code=config.trust_remote_code,
                model_kwargs={"dtype": torch.float32},
                prompts={key: text for key, text in prompts.items() if text} or None,
            )
        _refuse_random(model, config)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"model.name={config.name}: cannot load it: {_first_line(error)}") from error
    # The library looks for a prompt called "document" first, which is always there, and so never finds the others.
    model.prompts |= own_prompts(model.prompts)
    settle_vectors(model, config, str(reference), compared=compared)
    inner = transformer(model)
    if inner is not None:
        settle_padding(
            model, lambda text: model(text)["sentence_embedding"], model.tokenizer, config.name, type(inner).__name__
        )
        _settle_limit(model, inner, config)
    elif config.max_seq_length is not None:
        model.max_seq_length = config.max_seq_length
    model.execute(execution, micro_batch_tokens)
    return model


def _refuse_random(model: Encoder, config: ModelConfig) -> None:
    """Refuse random weights of the transformer inside; the pooler, of which a Pooling module reads nothing, may be random.

    Raises:
        InputError: Weights are missing.
    """
    first: Any = model[0]
    inner = getattr(first, "model", None)
    if not isinstance(inner, PreTrainedModel) or hasattr(inner, "peft_config"):
        return
    stored = read_json(str(inner.name_or_path), "modules.json", config.revision) or []
    folder = next((entry["path"] for entry in stored if entry["idx"] == 0), "")
    source = {"revision": config.revision, "trust_remote_code": config.trust_remote_code, "subfolder": folder}
    missing = missing_weights(inner, source)
    if getattr(first, "module_output_name", "") == "token_embeddings":
        missing = {key for key in missing if "pooler" not in key}
    refuse_random(config.name, missing, type(inner).__name__)


def _settle_limit(model: Encoder, inner: PreTrainedModel, config: ModelConfig) -> None:
    """Let the model truncate texts at `max_seq_length`, or at what it says itself and has positions for.

    Raises:
        InputError: It has fewer positions.
    """
    stated = inner.config.to_dict()
    limit = reading_limit(stated, model.max_seq_length)
    if config.max_seq_length is not None:
        refuse_beyond(config, usable_positions(stated) or limit)
        limit = config.max_seq_length
    if limit is not None:
        model.max_seq_length = limit


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
