"""One training of a classifier's weights: what all ways share, whatever a batch and its loss are."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from peft import PeftModel
from torch.utils.data import Sampler
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, Trainer, TrainingArguments

from classify.config import ClassifyExperiment
from classify.heads import classifier, freeze, parameter_groups, trainable
from finewise.config import DEV_KEY, ExperimentConfig
from finewise.console import say
from finewise.device import use_bf16
from finewise.errors import InputError
from finewise.features import numbered
from finewise.fit import Outcome, Seen, callbacks, fit, needed_space, training_arguments
from finewise.memory import settle
from finewise.run import Run


class ClassifyTrainer(Trainer):
    """Scores dev by our own benchmark, gives parts of the model their own learning rates, and counts what it reads."""

    seen: Seen
    score: Callable[[], float]
    dev_key: str
    groups: Callable[[list[str]], list[dict[str, Any]]]
    sampler: Sampler[int] | None = None

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Count, then compute the loss as the library does."""
        if model.training:
            mask = inputs["attention_mask"]
            self.seen.texts += len(inputs["labels"]) * self.args.world_size
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

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self.sampler or super()._get_train_sampler(train_dataset)


def fit_weights(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    experiment: ExperimentConfig,
    run: Run,
    *,
    rows: int,
    steps: int,
    collator: Callable[[Sequence[Mapping[str, int]]], dict[str, Any]],
    loss: Callable[..., Any],
    score: Callable[[], float],
    sampler: Sampler[int] | None = None,
    groups: Callable[[list[str]], list[dict[str, Any]]] | None = None,
) -> Outcome:
    """Train a model in place; it ends with the weights of the checkpoint that dev chose.

    Args:
        model: After `classify.model.load_classifier`, with LoRA or without, or `classify.spans.model.load_tagger`.
        tokenizer: Its tokenizer.
        experiment: The settings: a ClassifyExperiment where `groups` is None.
        run: The run, which may be a resumed one.
        rows: Training rows, which the collator knows by their numbers.
        steps: Of the optimiser.
        collator: Makes a batch, with `labels`: one per text, or a row of them.
        loss: The Trainer's `compute_loss_func`.
        score: Gives the dev score of the model as it is.
        sampler: Order of the rows; None draws each once per epoch.
        groups: Optimiser's groups for the names of the weights that decay; None: those of a model with layers, after `tuning`.

    Raises:
        InputError: The loss became no number, no weight is left to train, or the disk is full.
    """
    run.check_space(needed_space(model, experiment.run.keep_checkpoints))
    if groups is None:
        assert isinstance(experiment, ClassifyExperiment)
        tuning, optim = experiment.tuning, experiment.optim
        freeze(model, tuning)
        groups = partial(
            parameter_groups, model, tuning, learning_rate=optim.learning_rate, weight_decay=optim.weight_decay
        )
    learn, weights = trainable(model)
    if not learn:
        raise InputError("tuning freezes all weights; nothing is left to train")
    if learn < weights:
        say(f"trained: {learn:,} of {weights:,} weights ({learn / weights:.1%})")
    say(
        settle(
            classifier(model),
            tokenizer.model_max_length,
            recompute=experiment.recompute,
            given_tokens=experiment.micro_batch_tokens,
            bf16=use_bf16(experiment.run.precision, str(model.device)),
            run=run,
        )
    )
    key = DEV_KEY.format(metric=experiment.selection.metric)
    seen = Seen()
    trainer = ClassifyTrainer(
        model=model,
        args=training_arguments(
            TrainingArguments,
            experiment,
            run,
            steps=steps,
            metric=key,
            remove_unused_columns=False,
            label_names=["labels"],
        ),
        train_dataset=numbered(rows),
        eval_dataset=numbered(1),  # it wants one; `evaluate` takes the rows themselves
        data_collator=collator,
        compute_loss_func=loss,
        callbacks=callbacks(run, seen, experiment),
    )
    trainer.seen, trainer.dev_key, trainer.score, trainer.groups, trainer.sampler = seen, key, score, groups, sampler
    trainer.remove_callback(PrinterCallback)  # our callbacks print; it would repeat every line
    return fit(trainer, run, seen, patience=experiment.selection.patience)
