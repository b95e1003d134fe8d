"""The library's trainer, put together from the settings: loss, batches, dev score, counters."""

from collections.abc import Callable
from typing import Any

from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator
from transformers import PrinterCallback

from finewise import processes
from finewise.config import DEV_KEY, ExperimentConfig
from finewise.console import say
from finewise.contrastive.collator import RowCollator, cached_features
from finewise.contrastive.config import LossConfig, MatryoshkaConfig, MultipleNegativesRanking
from finewise.contrastive.losses import build
from finewise.contrastive.negatives import KnownPositives, NoKnownPositives, Plan
from finewise.contrastive.rows import TrainingRows
from finewise.data.tokens import own_prompts
from finewise.device import use_bf16
from finewise.encoder import Encoder
from finewise.errors import InputError
from finewise.features import numbered
from finewise.fit import Outcome, Seen, callbacks, fit, needed_space, one_batch, total_steps, training_arguments
from finewise.memory import settle
from finewise.run import Run


class DevScore(SentenceEvaluator):
    """The dev score, in the form that the trainer calls."""

    def __init__(self, metric: str, score: Callable[[Encoder], float]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.key = f"dev_{metric}"
        self.primary_metric = self.key
        self.score = score

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Return the dev score under its key."""
        return {self.key: self.score(model)}


class EncoderTrainer(SentenceTransformerTrainer):
    """SentenceTransformerTrainer that draws its batches from our sampler and counts the texts and tokens it reads."""

    seen: Seen
    sampler: NoKnownPositives | None = None

    def get_batch_sampler(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """Return our sampler, or the library's random one."""
        return self.sampler or super().get_batch_sampler(dataset, *args, **kwargs)

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Do nothing: the library's card tokenises examples at every start, and ours is written at the end."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Count, then compute the loss as the library does."""
        if model.training:
            for key, value in inputs.items():
                if key.endswith("attention_mask"):
                    self.seen.texts += len(value) * self.args.world_size
                    self.seen.tokens += int(value.sum()) * self.args.world_size
        return super().compute_loss(model, inputs, *args, **kwargs)


def train_encoder(
    model: Encoder,
    train: TrainingRows,
    loss: LossConfig,
    experiment: ExperimentConfig,
    run: Run,
    *,
    sampler: str = "no_known_positives",
    matryoshka: MatryoshkaConfig | None = None,
    score: Callable[[Encoder], float],
    above: str = "",
) -> tuple[Outcome, Plan | None]:
    """Fine-tune the model in place; it ends with the weights of the checkpoint that dev chose.

    Args:
        model: The encoder.
        train: The training rows.
        loss: The loss.
        experiment: The settings that all branches share.
        run: The run, which may be a resumed one.
        sampler: How batches of losses with in-batch negatives are drawn: "no_known_positives" or "random".
        matryoshka: Leading dimensions to train as well.
        score: Scores the model on dev; the higher, the better.
        above: What stands before `sampler` in the key of the setting, such as "objective.".

    Returns:
        What the training led to, and how its batches were drawn (None: at random).

    Raises:
        InputError: There are too few rows for a batch, or as `finewise.fit.fit` and `training_arguments`.
    """
    run.check_space(needed_space(model, experiment.run.keep_checkpoints))
    world = processes.world()
    bf16 = use_bf16(experiment.run.precision, str(model.device))
    tokens = experiment.micro_batch_tokens
    say(settle(model, recompute=experiment.recompute, given_tokens=tokens, bf16=bf16, run=run))
    rows = train.rows
    draw_apart = isinstance(loss, MultipleNegativesRanking) and sampler == "no_known_positives"
    # Numbering the texts takes a while with millions of rows: only where the sampler or the loss will use it.
    known = KnownPositives.of(train) if draw_apart or train.mask else None
    seen = Seen()

    apart = None
    if draw_apart and known is not None:
        apart = NoKnownPositives(known, experiment.optim.batch_size, seed=experiment.seed, world=world)
        tell(apart.plan, len(rows), experiment.optim.batch_size, above)
    elif isinstance(loss, MultipleNegativesRanking) and world == 1 and len(rows) % experiment.optim.batch_size == 1:
        say("note: the last batch of an epoch has one row, which has no negative of another row")
    if told := one_batch(len(rows), experiment.optim.batch_size):
        say(f"note: {told}")
    steps = total_steps(experiment, batches_of(apart, len(rows), experiment.optim.batch_size, world))
    own = own_prompts(model.prompts)
    prompts = {"anchor": own["query"], "positive": own["document"]}
    prompts |= {name: prompts["positive"] for name in rows.column_names if name.startswith("negative")}
    arguments = training_arguments(
        SentenceTransformerTrainingArguments,
        experiment,
        run,
        steps=steps,
        metric=DEV_KEY.format(metric=experiment.selection.metric),
        prompts={name: text for name, text in prompts.items() if text} or None,
        dataloader_drop_last=world > 1 and apart is None,
        accelerator_config={"even_batches": False} if apart else None,
    )
    trainer = EncoderTrainer(
        model=model,
        args=arguments,
        train_dataset=numbered(len(rows)),
        loss=build(loss, matryoshka or MatryoshkaConfig(), model, known if train.mask else None, world=world),
        evaluator=DevScore(experiment.selection.metric, score),
        callbacks=callbacks(run, seen, experiment),
    )
    trainer.seen = seen
    features = cached_features(model, train, prompts)
    trainer.data_collator = RowCollator(  # type: ignore[assignment] # it is only called
        trainer.data_collator, train, features, known if train.mask else None
    )
    trainer.sampler = apart
    trainer.remove_callback(PrinterCallback)  # our callbacks print; it would repeat every line
    return fit(trainer, run, seen, patience=experiment.selection.patience), apart.plan if apart else None


def batches_of(sampler: NoKnownPositives | None, rows: int, batch_size: int, world: int) -> int:
    """Return the batches per device and epoch.

    Raises:
        InputError: There is none.
    """
    if sampler is not None:
        batches = len(sampler) // world
    else:
        batches = rows // (batch_size * world) if world > 1 else -(-rows // batch_size)
    if batches == 0:
        raise InputError(
            f"{rows} training rows make no batch for {world} processes of optim.batch_size={batch_size}"
            + (": all rows share their texts with one another" if sampler is not None else "")
            + "; lower optim.batch_size, train on fewer processes, or add rows"
        )
    return batches


def tell(plan: Plan, rows: int, batch_size: int, above: str = "") -> None:
    """Say when batches are notably smaller than asked for, or rows are left out; `above` as in `train_encoder`."""
    fewest = -(-rows // batch_size)  # batches if any rows went together; the last may be small
    if plan.batches > fewest + 1 and plan.mean_rows < 0.9 * rows / fewest:
        say(
            f"note: rows share anchors or texts: to keep known positives out of the negatives, an epoch has {plan.batches} "
            f"batches of {plan.mean_rows:.1f} rows on average, not {fewest} of up to {batch_size}; "
            f"{above}sampler=random fills the batches, and the loss still masks known positives"
        )
    if plan.left_out:
        say(
            f"note: about {plan.left_out} of {rows} rows are not read in an epoch: their texts stand in so many rows that no "
            "batch with negatives for them is left"
        )
