"""LoRA (Hu et al. 2022, arXiv 2106.09685) for language models, with norms and embeddings trained in full (LongLoRA).

LongLoRA (Chen et al. 2024, arXiv 2309.12307, section 3.3) finds that low-rank matrices alone do not learn a longer window, and
that they do once the norms and the embeddings learn too; these are a small part of the weights.
"""

from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, TaskType
from torch import nn
from transformers import PreTrainedModel

from finewise.lora import add_matrices, fold
from longctx.config import LoraConfig


def with_lora(model: PreTrainedModel, config: LoraConfig) -> PeftModel:
    """Freeze a causal language model and add low-rank matrices to its linear layers, all but the head over the vocabulary.

    Args:
        model: After it was stretched; changed in place.
        config: `rank` is above 0.
    """
    settings = PeftLoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=config.rank,
        lora_alpha=config.alpha or 2 * config.rank,  # type: ignore[arg-type]  # any number will do
        lora_dropout=config.dropout,
        target_modules="all-linear",
        modules_to_save=norms_and_embeddings(model) if config.norms_and_embeddings else None,
        # A head that shares its weights with the token embeddings goes on sharing them.
        ensure_weight_tying=config.norms_and_embeddings and bool(model.config.tie_word_embeddings),
    )
    return add_matrices(model, settings)


def norms_and_embeddings(model: PreTrainedModel) -> list[str]:
    """Return the names, as they end, of the model's norms and of its token embeddings."""
    embeddings = model.get_input_embeddings()
    found = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if module is embeddings
        or (type(module).__name__.lower().endswith("norm") and next(module.parameters(), None) is not None)
    }
    return sorted(found)


def merged(model: PeftModel) -> PreTrainedModel:
    """Return the model with the matrices folded into its weights, tied as before, all of it ready to learn."""
    found = fold(model)
    found.tie_weights()
    head = found.get_output_embeddings()  # type: ignore[no-untyped-call]
    if isinstance(head, nn.Linear):
        head.out_features, head.in_features = head.weight.shape  # peft exchanges them where the weights are tied
    for parameter in found.parameters():
        parameter.requires_grad_(True)
    return found
