"""A text classifier without layers: one vector per token, their mean, one linear layer. Needs transformers alone.

Shapes: B texts, T tokens, D dimensions, K labels.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput


class StaticConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """How many tokens there are, and how long their vectors are."""

    model_type = "static-classifier"

    def __init__(self, vocab_size: int = 1, hidden_size: int = 1, **kwargs: Any) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        super().__init__(**kwargs)


class StaticVectors(PreTrainedModel):  # type: ignore[no-untyped-call]
    """The vector (B, T, D) of each token, whatever stands around it."""

    config_class = StaticConfig

    def __init__(self, config: StaticConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> BaseModelOutput:
        """Look the vectors up."""
        return BaseModelOutput(last_hidden_state=self.embeddings(input_ids))


class StaticForSequenceClassification(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Logits (B, K) of the mean of a text's token vectors, scaled to length 1.

    A token's weight in the mean is the length of its vector (Arora et al. 2017; model2vec): special tokens have none.
    """

    config_class = StaticConfig
    base_model_prefix = "body"

    def __init__(self, config: StaticConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.body = StaticVectors(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)  # type: ignore[arg-type]
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = True,
    ) -> Any:
        """Return logits (B, K), and the loss if there are labels."""
        hidden = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        # A batched product: the masked vectors themselves would be a second copy.
        mean = torch.bmm(mask.to(hidden.dtype).unsqueeze(1), hidden).squeeze(1)
        logits = self.classifier(nn.functional.normalize(mean, dim=1))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        output = SequenceClassifierOutput(loss=loss, logits=logits)
        return output.to_tuple() if return_dict is False else output
