"""Instruction tuning by TRL's SFTTrainer, inside finewise.fit: rows, packing, dev score and counters are ours.

TRL 1.16 computes the loss without ever holding the logits of a whole batch (its fused head works through the tokens in pieces):
the sum over learnt tokens, divided by their number in the whole optimiser step.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from finewise import processes
from finewise.config import DEV_KEY, ExperimentConfig
from finewise.console import say
from finewise.features import numbered
from finewise.fit import Outcome, Seen, callbacks, few_steps, fit, needed_space, total_steps, training_arguments
from finewise.run import Run
from longctx.sft.data import SftData
from longctx.sft.packed import Collator, packs_per_step
from longctx.tied import TiedCheckpoints


class ChatTrainer(TiedCheckpoints, SFTTrainer):
    """SFTTrainer that scores dev by our own benchmark and counts what it reads; it reports to nobody."""

    seen: Seen
    score: Callable[[PreTrainedModel], float]
    dev_key: str

    def _send_telemetry(self) -> None:
        """Do nothing: the library would tell its makers of every training."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: ours is written at the end."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Count, then compute the loss as the library does."""
        self.seen.texts += inputs.pop("texts") * self.args.world_size
        self.seen.tokens += inputs.pop("tokens") * self.args.world_size
        return super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[no-untyped-call]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log without the library's own counts: of rows of several chats they are wrong, and after a resume they begin anew."""
        for metrics in self._metrics.values():
            metrics.clear()
        super().log(logs, start_time)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Return the dev score under its key."""
        assert self.model is not None
        self.model.eval()
        found = {self.dev_key: self.score(self.model)}  # type: ignore[arg-type]
        self.log(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found


def train_sft(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    data: SftData,
    experiment: ExperimentConfig,
    run: Run,
    *,
    score: Callable[[PreTrainedModel], float],
) -> Outcome:
    """Train a model in place; it ends with the weights of the checkpoint that dev chose.

    Args:
        model: A causal language model, stretched, with LoRA or without.
        tokenizer: Its tokenizer, saved with the checkpoints.
        data: From `longctx.sft.data.load_chats`.
        experiment: The settings.
        run: The run, which may be a resumed one.
        score: Gives the dev score of a model; higher is better.

    Raises:
        InputError: The loss became no number, or the disk is full.
    """
    run.check_space(needed_space(model, experiment.run.keep_checkpoints))
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(inner, PreTrainedModel)
    key = DEV_KEY.format(metric=experiment.selection.metric)
    seen = Seen()
    # A batch counts chats, packed or not: with packs of many short ones, an epoch would be a step or two.
    size = packs_per_step(len(data.train), len(data.packs), experiment.optim.batch_size)
    steps = total_steps(experiment, -(-len(data.packs) // (size * processes.world())))
    if told := few_steps(steps):
        say(f"note: {told}")
    packed = replace(experiment, optim=replace(experiment.optim, batch_size=size))
    trainer = ChatTrainer(
        model=model,
        args=training_arguments(
            SFTConfig,
            packed,
            run,
            steps=steps,
            metric=key,
            remove_unused_columns=False,
            label_names=["labels"],
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=numbered(len(data.packs)),
        eval_dataset=numbered(1),  # it wants one; `evaluate` takes the rows themselves
        processing_class=tokenizer,
        data_collator=Collator(data.train, data.packs, flash="flash" in str(inner.config._attn_implementation)),
        callbacks=callbacks(run, seen, experiment),
    )
    trainer.seen, trainer.dev_key, trainer.score = seen, key, score
    trainer.remove_callback(PrinterCallback)  # our callbacks print; it would repeat every line
    try:
        return fit(trainer, run, seen, patience=experiment.selection.patience)
    finally:
        # The library puts its own forward over the model's, and leaves it there.
        inner.__dict__.pop("forward", None)
