"""The training of a classifier on labelled rows: loss, batches, dev score."""

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.classification import evaluate, value
from benchmarks.text.logistic import probabilities
from classify.config import ClassifyExperiment
from classify.features import RowCollator
from classify.fitting import fit_weights
from classify.heads import classifier
from classify.logits import logits
from classify.losses import build
from finewise import processes
from finewise.console import say
from finewise.data.labels.load import LabelledData
from finewise.data.labels.rows import Labelled
from finewise.device import use_bf16
from finewise.fit import Outcome, one_batch, total_steps
from finewise.run import Run

LARGE, RATE_OF_LARGE = 80, 5e-5
"""Million parameters of a model above which a learning rate above this is called high."""


def train(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    data: LabelledData,
    experiment: ClassifyExperiment,
    run: Run,
) -> Outcome:
    """Fine-tune the classifier in place; it ends with the weights of the checkpoint that dev chose.

    Args:
        model: From `classify.model.load_classifier`, with LoRA or without.
        tokenizer: Its tokenizer.
        data: The training rows, and dev, which chooses.
        experiment: The settings.
        run: The run, which may be a resumed one.

    Raises:
        InputError: The loss became no number, no weight is left to train, or the disk is full.
    """
    inner = classifier(model)
    rows, metric = len(data.train), experiment.selection.metric
    bf16 = use_bf16(experiment.run.precision, str(model.device))
    if told := one_batch(rows, experiment.optim.batch_size):
        say(f"note: {told}")
    size, rate = sum(weight.numel() for weight in model.parameters()) / 1e6, experiment.optim.learning_rate
    if size > LARGE and rate > RATE_OF_LARGE and not isinstance(model, PeftModel):
        say(
            f"note: optim.learning_rate={rate:g} is high for {size:.0f}M parameters; 2e-5 to {RATE_OF_LARGE:g} is usual"
        )
    return fit_weights(
        model,
        tokenizer,
        experiment,
        run,
        rows=rows,
        steps=total_steps(experiment, -(-rows // (experiment.optim.batch_size * processes.world()))),
        collator=RowCollator(inner, tokenizer, data.train),
        loss=build(experiment.loss, data.space, data.train.counts, rows, model.device),
        score=lambda: score_dev(inner, tokenizer, data.dev, metric, bf16=bf16),
    )


def score_dev(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dev: Labelled, metric: str, *, bf16: bool
) -> float:
    """Return the selection metric on dev, of the model's own probabilities and decisions."""
    raw = logits(model, tokenizer, dev.texts, bf16=bf16)
    return value(evaluate(dev, "dev", probabilities(raw, dev.space.kind == "multi")), metric)
