"""LoRA (Hu et al. 2022, arXiv 2106.09685) through peft: matrices put into a model, and folded into its weights."""

import warnings

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel


def add_matrices(model: PreTrainedModel, settings: LoraConfig) -> PeftModel:
    """Freeze a model and add low-rank matrices to some of its layers; changed in place."""
    with warnings.catch_warnings():
        # peft asks a model of transformers 5 by an old name whether it recomputes activations.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return get_peft_model(model, settings)


def fold(model: PeftModel) -> PreTrainedModel:
    """Return the model with the matrices folded into its weights: W + alpha / rank * B A. peft is needed no longer.

    Raises:
        ValueError: The weights are not finite.
    """
    found = model.merge_and_unload(safe_merge=True)
    assert isinstance(found, PreTrainedModel)
    return found
