"""LoRA (Hu et al. 2022, arXiv 2106.09685) for classifiers; folded into plain weights before the model is saved."""

from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, TaskType
from torch import nn
from transformers import PreTrainedModel

from classify.heads import body
from classify.model_config import LoraConfig
from finewise.errors import InputError
from finewise.lora import add_matrices


def add_lora(model: PreTrainedModel, config: LoraConfig) -> PeftModel:
    """Freeze the body, add low-rank matrices to its linear layers, and let these and the head learn.

    Args:
        model: From `load_classifier`; changed in place.
        config: Rank and so on.

    Raises:
        InputError: The body has no such layers.
    """
    base = body(model)
    pooler = getattr(base, "pooler", None)
    # A pooler belongs to the head: a checkpoint may have none, and a frozen random layer would spoil everything behind it.
    above = set(pooler.modules()) if isinstance(pooler, nn.Module) else set()
    adaptable = {module for module in base.modules() if isinstance(module, nn.Linear)} - above
    inside = [name for name, module in model.named_modules() if module in adaptable]
    names = [name for name in inside if not config.targets or name.rpartition(".")[2] in config.targets]
    if not names:
        known = sorted({name.rpartition(".")[2] for name in inside})
        raise InputError(f"lora.targets: {type(base).__name__} has none of {config.targets}; it has {', '.join(known)}")
    head = [
        name
        for name, child in model.named_children()
        if child is not base and next(child.parameters(), None) is not None
    ]
    settings = PeftLoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # any number will do
        lora_dropout=config.dropout,
        target_modules=names,
        modules_to_save=[*head, *(["pooler"] if above else [])],
    )
    return add_matrices(model, settings)
