"""The encoder of an experiment."""

from transformers import set_seed

from embed.config import EmbedExperiment
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
    full = dimension(model)
    too_large = [dim for dim in experiment.matryoshka.dims if dim > full]
    if too_large:
        raise InputError(f"matryoshka.dims must be at most {full}, the model's dimension; got {too_large}")
    if experiment.matryoshka.dims and model.similarity_fn_name != "cosine":
        raise InputError(
            f"matryoshka.dims trains leading dimensions as unit vectors, and {experiment.model.name} compares by "
            f"{model.similarity_fn_name}; leave it out, or set model.similarity=cosine"
        )
    return model
