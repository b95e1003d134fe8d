"""transformers' Trainer, put together from the settings: loss, batches, dev score, counters."""

from collections.abc import Callable
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, Trainer, TrainingArguments

from benchmarks.classification import evaluate, value
from benchmarks.text.logistic import probabilities
from classify.config import ClassifyExperiment
from classify.features import RowCollator
from classify.heads import freeze, parameter_groups, trainable
from classify.logits import logits
from classify.losses import build
from finewise import processes
from finewise.config import DEV_KEY
from finewise.console import say
from finewise.data.labels.load import LabelledData
from finewise.data.labels.rows import Labelled
from finewise.device import use_bf16
from finewise.errors import InputError
from finewise.features import numbered
from finewise.fit import Outcome, Seen, callbacks, fit, needed_space, total_steps, training_arguments
from finewise.memory import settle
from finewise.run import Run


class ClassifyTrainer(Trainer):
    """Scores dev by our own benchmark, gives parts of the model their own learning rates, and counts what it reads."""

    seen: Seen
    score: Callable[[], float]
    dev_key: str
    groups: Callable[[list[str]], list[dict[str, Any]]]

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Count, then compute the loss as the library does."""
        if model.training:
            mask = inputs["attention_mask"]
            self.seen.texts += len(mask) * self.args.world_size
            self.seen.tokens += int(mask.sum()) * self.args.world_size
        return super().compute_loss(model, inputs, *args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Return the dev score under its key."""
        found = {self.dev_key: self.score()}
        self.log(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """Make the library's optimiser over our groups of parameters."""
        if self.optimizer is None:
            assert self.model is not None
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args, self.model)  # type: ignore[arg-type] # it only reads parameters
            decayed = self.get_decay_parameter_names(self.model)
            self.optimizer = kind(self.groups(decayed), **settings)
        return self.optimizer


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
    run.check_space(needed_space(model, experiment.run.keep_checkpoints))
    bf16 = use_bf16(experiment.run.precision, str(model.device))
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(inner, PreTrainedModel)
    freeze(model, experiment.tuning)
    learn, weights = trainable(model)
    if not learn:
        raise InputError("tuning freezes all weights; nothing is left to train")
    if learn < weights:
        say(f"trained: {learn:,} of {weights:,} weights ({learn / weights:.1%})")
    say(
        settle(
            inner,
            tokenizer.model_max_length,
            recompute=experiment.recompute,
            given_tokens=experiment.micro_batch_tokens,
            bf16=bf16,
        )
    )
    rows, batch, world = len(data.train), experiment.optim.batch_size, processes.world()
    steps = total_steps(experiment, -(-rows // (batch * world)))
    metric = experiment.selection.metric
    optim = experiment.optim
    seen = Seen()
    trainer = ClassifyTrainer(
        model=model,
        args=training_arguments(
            TrainingArguments,
            experiment,
            run,
            steps=steps,
            metric=DEV_KEY.format(metric=metric),
            remove_unused_columns=False,
            label_names=["labels"],
        ),
        train_dataset=numbered(rows),
        eval_dataset=numbered(len(data.dev)),  # it wants one; `evaluate` takes the rows themselves
        data_collator=RowCollator(inner, tokenizer, data.train),
        compute_loss_func=build(experiment.loss, data.space, data.train.counts, rows, model.device),
        callbacks=callbacks(run, seen, experiment),
    )
    trainer.seen = seen
    trainer.dev_key = DEV_KEY.format(metric=metric)
    trainer.score = lambda: score_dev(inner, tokenizer, data.dev, metric, bf16=bf16)
    trainer.groups = lambda decayed: parameter_groups(
        model,
        experiment.tuning,
        learning_rate=optim.learning_rate,
        weight_decay=optim.weight_decay,
        decayed=decayed,
    )
    trainer.remove_callback(PrinterCallback)  # our callbacks print; it would repeat every line
    return fit(trainer, run, seen, patience=experiment.selection.patience)


def score_dev(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dev: Labelled, metric: str, *, bf16: bool
) -> float:
    """Return the selection metric on dev, of the model's own probabilities and decisions."""
    raw = logits(model, tokenizer, dev.texts, bf16=bf16)
    return value(evaluate(dev, "dev", probabilities(raw, dev.space.kind == "multi")), metric)
