"""The encoder of an experiment."""

from transformers import set_seed

from embed.config import EmbedExperiment
from finewise.device import pick_device
from finewise.encoder import Encoder, load_encoder, token_budget


def load_for(experiment: EmbedExperiment) -> Encoder:
    """Load the model of an experiment, seeded, on its device."""
    set_seed(experiment.seed)
    device = pick_device(experiment.run.device)
    budget = token_budget(experiment.execution, experiment.micro_batch_tokens, device)
    return load_encoder(experiment.model, device, micro_batch_tokens=budget)
