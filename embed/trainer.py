"""Fine-tuning: the trunk's contrastive training, with dev scored by retrieval."""

from embed.config import EmbedExperiment
from embed.data import EmbedData
from embed.prove import score_dev
from finewise.contrastive.negatives import Plan
from finewise.contrastive.trainer import train_encoder
from finewise.encoder import Encoder
from finewise.fit import Outcome
from finewise.run import Run


def train(model: Encoder, data: EmbedData, experiment: EmbedExperiment, run: Run) -> tuple[Outcome, Plan | None]:
    """Fine-tune the model in place; see `finewise.contrastive.trainer.train_encoder`.

    Args:
        model: The encoder.
        data: The training rows, and dev, which chooses.
        experiment: The settings.
        run: The run, which may be a resumed one.
    """
    return train_encoder(
        model,
        data.train,
        experiment.loss,
        experiment,
        run,
        sampler=experiment.sampler,
        matryoshka=experiment.matryoshka,
        score=lambda model: score_dev(model, data.dev, experiment),
    )
