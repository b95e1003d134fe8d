"""The encoder: a sentence-transformers model that computes its batches as length-sorted micro-batches."""

from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from finewise.batching import micro_batches
from finewise.config import ModelConfig
from finewise.device import pick_device, quiet
from finewise.errors import InputError
from finewise.references import model_reference


class Encoder(SentenceTransformer):
    """A SentenceTransformer whose forward pass may cut a batch into length-sorted micro-batches.

    What it saves is a plain SentenceTransformer. The results are those of the padded batch (the order of the texts is put
    back), so every loss that reads `sentence_embedding` works as before; one backward pass goes through all micro-batches.

    Attributes:
        micro_batch_tokens: Budget of padded tokens per micro-batch; None computes each batch whole.
    """

    micro_batch_tokens: int | None = None

    def forward(self, input: dict[str, Any], **kwargs: Any) -> dict[str, Any]:  # noqa: A002 - the library's own name
        """Compute `sentence_embedding` (B, D) for tokenised texts: input_ids and attention_mask (B, T)."""
        mask = input.get("attention_mask")
        budget = self.micro_batch_tokens
        if budget is None or not isinstance(mask, Tensor) or mask.dim() != 2 or mask.numel() <= budget:
            return super().forward(input, **kwargs)
        size, width = mask.shape
        padded_left = bool((mask[:, -1] == 1).all()) and not bool((mask[:, 0] == 1).all())
        if padded_left and not self._has_relative_positions():
            # Cutting padding on the left moves every token to another position, which only relative positions survive.
            return super().forward(input, **kwargs)
        lengths = mask.sum(dim=1).tolist()
        groups = micro_batches(lengths, budget)
        parts = []
        for group in groups:
            rows = torch.tensor(group, device=mask.device)
            longest = lengths[group[0]]
            columns = slice(width - longest, width) if padded_left else slice(0, longest)
            part: dict[str, Any] = {}
            for key, value in input.items():
                if isinstance(value, Tensor) and value.dim() >= 1 and value.shape[0] == size:
                    value = value.index_select(0, rows)
                    if value.dim() >= 2 and value.shape[1] == width:
                        value = value[:, columns]
                part[key] = value
            parts.append(super().forward(part, **kwargs)["sentence_embedding"])
        back = torch.empty(size, dtype=torch.long, device=mask.device)
        back[torch.tensor([index for group in groups for index in group], device=mask.device)] = torch.arange(
            size, device=mask.device
        )
        return {**input, "sentence_embedding": torch.cat(parts).index_select(0, back)}

    def _has_relative_positions(self) -> bool:
        config = getattr(getattr(self[0], "model", None), "config", None)
        return getattr(config, "rope_parameters", None) is not None


def dimension(model: SentenceTransformer) -> int:
    """Return the number of dimensions of the model's embeddings."""
    size = model.get_embedding_dimension()
    assert size is not None
    return size


def token_budget(execution: str, tokens: int | None, device: str) -> int | None:
    """Return the budget of a micro-batch, or None for whole batches. A GPU wants large products, a CPU its cache."""
    if execution == "padded":
        return None
    return tokens or (2048 if torch.device(device).type == "cpu" else 65536)


def load_encoder(config: ModelConfig, device: str = "auto", *, micro_batch_tokens: int | None = None) -> Encoder:
    """Load the model with fp32 weights (autocast lowers the precision of the computation, never of the weights).

    Args:
        config: Where the model is, its limit and its prompts.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        micro_batch_tokens: See Encoder.

    Raises:
        InputError: There is no such model, its weights are missing or broken, or the hub cannot be reached.
    """
    quiet()
    reference = model_reference(config.name)
    prompts = {"query": config.query_prompt, "document": config.document_prompt}
    try:
        model = Encoder(
            str(reference),
            device=pick_device(device),
            revision=config.revision,
            trust_remote_code=config.trust_remote_code,
            model_kwargs={"dtype": torch.float32},
            prompts={key: text for key, text in prompts.items() if text} or None,
        )
    except Exception as error:
        raise InputError(f"model.name={config.name}: cannot load it: {_first_line(error)}") from error
    if config.max_seq_length is not None:
        limit = model.max_seq_length
        positions = getattr(getattr(model[0], "model", None), "config", None)
        most = getattr(positions, "max_position_embeddings", None) or limit
        if most is not None and config.max_seq_length > most:
            raise InputError(
                f"model.max_seq_length must be at most {most} with {config.name}, which has no positions beyond; "
                f"got {config.max_seq_length}"
            )
        model.max_seq_length = config.max_seq_length
    model.micro_batch_tokens = micro_batch_tokens
    return model


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
