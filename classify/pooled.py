"""A text classifier: any encoder, its pooling, one linear layer. Saved beside the weights, and needs transformers alone."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class PooledConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """Configuration of the encoder (`body`), and how its hidden states become one vector."""

    model_type = "pooled-classifier"
    sub_configs = {"body": AutoConfig}  # noqa: RUF012

    def __init__(
        self,
        body: Any = None,
        pooling: str = "mean",
        normalize: bool = True,
        length: float = 1.0,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        if isinstance(body, dict):
            body = AutoConfig.for_model(**body)
        self.body = body
        self.pooling = pooling
        self.normalize = normalize
        self.length = length
        self.dropout = dropout
        super().__init__(**kwargs)


class PooledForSequenceClassification(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Logits (B, K) of the pooled hidden states (B, T, D)."""

    config_class = PooledConfig
    base_model_prefix = "body"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config: PooledConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.body = AutoModel.from_config(config.body)  # type: ignore[no-untyped-call]
        if getattr(self.body, "pooler", None) is not None:
            self.body.pooler = None  # some encoders' own pooling, which nothing would read
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.body.hidden_size, config.num_labels)  # type: ignore[arg-type]
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = True,
    ) -> Any:
        """Return logits (B, K), and the loss if there are labels."""
        if attention_mask is None:
            given: Any = inputs_embeds if input_ids is None else input_ids
            attention_mask = torch.ones(given.shape[:2], dtype=torch.long, device=given.device)
        more = {
            "input_ids": input_ids,
            "token_type_ids": token_type_ids,
            "inputs_embeds": inputs_embeds,
            "output_hidden_states": output_hidden_states,
            "output_attentions": output_attentions,
        }
        outputs = self.body(
            attention_mask=attention_mask,
            **{key: value for key, value in more.items() if value is not None},
        )
        logits = self.classifier(self.dropout(self.pool(outputs.last_hidden_state, attention_mask)))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        output = SequenceClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=getattr(outputs, "hidden_states", None),
            attentions=getattr(outputs, "attentions", None),
        )
        return output.to_tuple() if return_dict is False else output

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return one vector (B, D) per text, in fp32, of the configured length if the configuration says so."""
        hidden = hidden.float()
        if self.config.pooling == "mean":
            weights = mask.unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * weights).sum(1) / weights.sum(1).clamp_min(1)
        else:
            length = mask.shape[1]
            first = mask.to(torch.int).argmax(1)
            last = length - 1 - mask.flip(1).to(torch.int).argmax(1)
            place = first if self.config.pooling == "cls" else last
            pooled = hidden[torch.arange(len(hidden), device=hidden.device), place]
        if self.config.normalize:
            pooled = nn.functional.normalize(pooled, dim=1) * self.config.length
        return pooled
