"""The encoder of an experiment."""

from transformers import set_seed

from embed.config import EmbedExperiment
from embed.inputs import refuse_dims
from finewise.device import pick_device
from finewise.encoder import Encoder, dimension, load_encoder
from finewise.errors import InputError


def load_for(experiment: EmbedExperiment) -> Encoder:
    """Load the model of an experiment, seeded, on its device.

    Raises:
        InputError: The model cannot be loaded, or is smaller than a Matryoshka dimension.
    """
    set_seed(experiment.seed)
    device = pick_device(experiment.run.device)

    model = load_encoder(
        experiment.model, device, execution=experiment.execution, micro_batch_tokens=experiment.micro_batch_tokens
    )
    refuse_dims(experiment, dimension(model))
    if experiment.matryoshka.dims and model.similarity_fn_name != "cosine":
        raise InputError(
            f"matryoshka.dims trains leading dimensions as unit vectors, and {experiment.model.name} compares by "
            f"{model.similarity_fn_name}; leave it out, or set model.similarity=cosine"
        )
    return model
