"""A language model under study: stretched, adapted on documents or chats, read by needle and perplexity."""

import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import PreTrainedModel, set_seed

from benchmarks.by_length import PERPLEXITY, ByLength, doublings
from benchmarks.needle.memory import check_memory
from benchmarks.needle.prefix_cache import rope_types
from benchmarks.needle.reader import ModelAt, Reader
from benchmarks.needle.run import needle
from benchmarks.perplexity import perplexity
from benchmarks.pieces import Pieces, read_pieces
from benchmarks.token_loss import check_fits
from finewise.causal import load_causal
from finewise.console import err, say
from finewise.data.documents import read_documents
from finewise.device import describe, pick_device, use_bf16
from finewise.errors import InputError
from finewise.fit import Outcome
from finewise.record import write_json
from finewise.run import Run
from longctx import causal
from longctx.arms import Arm, arms_of, subject_of
from longctx.config import InstructionTuning, LanguageModeling, LongContextExperiment
from longctx.data import LongData, load_documents
from longctx.document_audit import Part
from longctx.lora import merged, with_lora
from longctx.memory import check_batch
from longctx.positions import POSITIONS
from longctx.rope_config import Abf, RopeConfig, SelfExtend, StretchConfig
from longctx.self_extend import check_methods, extend, positions_of, sizes_of
from longctx.sft import loss as sft_loss
from longctx.sft.data import SftData, load_chats
from longctx.sft.ends import name_ends
from longctx.sft.packed import keeps_chats_apart, packs_per_step
from longctx.sft.train import train_sft
from longctx.stretch import raise_limit, stretch, window, with_weights
from longctx.study import DEV_SEEDS
from longctx.tiny.language import Tiny
from longctx.tiny.models import CAUSAL, is_tiny, tiny_model
from longctx.tiny.supply import TINY, tiny_rows

KEPT = "needle.jsonl"


class LanguageModel:
    """See `longctx.study.Subject`."""

    def __init__(self, experiment: LongContextExperiment, run: Run, group: int) -> None:
        set_seed(experiment.seed)
        self.experiment, self.run, self.group = experiment, run, group
        self.prompts_seed = experiment.seed - group  # all seeds' models read the same prompts
        self.device = pick_device(experiment.run.device)
        self.bf16 = use_bf16(experiment.run.precision, self.device)
        config, self.wording = experiment.model, None
        if is_tiny(config.name):
            config, self.wording = replace(config, name=str(tiny_model(config.name, experiment.seed))), Tiny()
        self.model, self.tokenizer = load_causal(config, self.device, dtype=torch.float32)
        self.target = window(self.model.config, experiment.stretch)
        self.original = experiment.stretch.original or int(self.model.config.max_position_embeddings)
        self._check_stages()
        self.lengths = tuple(sorted({*(experiment.needle.lengths or doublings(self.original, self.target))}))
        check_methods(self.model, [arm.method for arm in arms_of(experiment)], self.original, self.target)
        self._rows: dict[int, LongData | SftData] = {}
        self._pieces: list[tuple[str, Pieces]] | None = None
        self._packs = True
        if experiment.adapt and isinstance(experiment.objective, InstructionTuning) and experiment.objective.packing:
            self._packs = keeps_chats_apart(self.model)
            if not self._packs:
                say(
                    f"note: objective.packing: a {type(self.model).__name__} does not keep packed chats apart (as "
                    "convolutional and recurrent layers do not), so each gets a row of its own"
                )
        if experiment.adapt:
            # Mistakes in the data, and what does not fit, are told before hours of reading.
            for factor in (*experiment.stages.factors[:-1], self.target / self.original):
                self._data(StretchConfig(factor=factor).window(self.original))
        if not self._readings() and not experiment.needle.tasks and not isinstance(self._rows[self.target], SftData):
            raise InputError(
                "needle.tasks=[] and no document for perplexity: nothing would be measured; give perplexity.data, longer "
                "data.test documents, or needle.tasks"
            )
        self._check_memory()

    def _check_stages(self) -> None:
        """Refuse stages that do not end at the new window, or that the model cannot be stretched by.

        Raises:
            InputError: Says which stage.
        """
        stages, method = self.experiment.stages, self.experiment.rope
        factors = stages.factors
        end = StretchConfig(factor=factors[-1]).window(self.original) if factors else self.target
        if end != self.target:
            raise InputError(
                f"stages.factors={factors} ends at {end} tokens, and the new window has {self.target}; let it end with "
                f"{self.target / self.original:g}"
            )
        for number in range(len(factors)):
            try:
                stretch(self.model.config, *self._stage(method, number))
            except InputError as error:
                raise InputError(f"stage {number + 1} of stages.factors={factors}: {error}") from None

    def _stage(self, method: RopeConfig, number: int) -> tuple[RopeConfig, StretchConfig]:
        """Return the method of a stage, and how far it goes."""
        stages = self.experiment.stages
        if stages.thetas and isinstance(method, Abf):
            method = replace(method, theta=stages.thetas[number])
        return method, StretchConfig(factor=stages.factors[number], original=self.original)

    @property
    def facts(self) -> dict[str, Any]:
        """What the record says of model and data."""
        data = self._data(self.target) if self.experiment.adapt else None
        return {
            "device": describe(self.device, self.bf16),
            "model": {"name": self.experiment.model.name, "original": self.original, "target": self.target},
            "lengths": list(self.lengths),
            "data": None if data is None else {"name": self.experiment.data.name, **data.facts()},
        }

    def stretched(self, arm: Arm) -> PreTrainedModel:
        """Return the model, stretched by the arm's method, untrained."""
        if isinstance(arm.method, SelfExtend):
            model = with_weights(copy.deepcopy(self.model.config), self.model)
            extend(model, sizes_of(arm.method, self.original, self.target))
            return model
        return stretch(self.model, arm.method, StretchConfig(target=self.target, original=self.original))

    def positions(self, arm: Arm) -> str:
        """Return a text that is the same for arms whose untrained models are."""
        return positions_of(self.model.config, arm.method, self.original, self.target)

    def adapt(self, arm: Arm, run: Run) -> tuple[PreTrainedModel, Outcome]:
        """Return it trained, in one stage or several of growing windows, and what that led to."""
        stages = self.experiment.stages
        if not stages.factors:
            return self._train(self.stretched(arm), self.experiment, self.target, run)
        model, outcome = self.model, None
        for number, steps in enumerate(stages.steps(self.experiment.optim.max_steps or 0)):
            method, how = self._stage(arm.method, number)
            model = stretch(with_weights(self.model.config, model), method, how)
            one = replace(self.experiment, optim=replace(self.experiment.optim, max_steps=steps))
            before = outcome
            model, outcome = self._train(model, one, how.window(self.original), run.inside(f"stage-{number + 1}"))
            outcome = outcome if before is None else outcome.after(before)
        assert outcome is not None
        return model, outcome

    def dev_score(self, model: PreTrainedModel, target: int | None = None) -> float:
        """Return the selection metric on dev; with adapt=false, when nothing is selected, the needle's.

        Args:
            model: As it is now.
            target: The window of a stage: what is read and asked for within it; None: the new window.
        """
        target = target or self.target
        if self.experiment.adapt and self.experiment.selection.metric == "neg_log_loss":
            data = self._data(target)
            if isinstance(data, LongData):
                assert isinstance(self.experiment.objective, LanguageModeling)
                chunk = self.experiment.objective.logits_chunk
                return causal.dev_loss(model, data.dev, bf16=self.bf16, logits_chunk=chunk)
            return -sft_loss.dev_loss(model, data.dev, bf16=self.bf16)
        config = self.experiment.needle
        few = replace(config, samples=max(1, config.samples // 4))
        within = [length for length in self.lengths if length <= target or target == self.target] or [self.lengths[0]]
        found = needle(
            self._reader(model, few),
            "dev",
            sorted({within[0], within[-1]}),
            few,
            seed=DEV_SEEDS + self.prompts_seed,
            wording=self.wording,
            split="dev",
        )
        return sum(result.mean() for result in found) / len(found)

    def read(self, model: PreTrainedModel, arm: Arm, run: Run) -> list[ByLength]:
        """Read the needle's prompts and the documents at all lengths."""
        config, reading = self.experiment.needle, self.experiment.perplexity
        found = needle(
            self._reader(model, config),
            arm.system,
            self.lengths,
            config,
            seed=self.prompts_seed,
            group=self.group,
            wording=self.wording,
            keep=run.dir / KEPT,
        )
        for number, (name, pieces) in enumerate(self._readings()):
            result, positions = perplexity(
                model_at(model),
                self.tokenizer,
                arm.system,
                self.lengths,
                reading,
                bf16=self.bf16,
                seed=self.prompts_seed,
                group=self.group,
                original=self.original,
                pieces=pieces,
                benchmark=name,
            )
            found.append(result)
            if number == 0:
                write_json(run.dir / POSITIONS, asdict(positions))
        data = self._rows.get(self.target)
        if isinstance(data, SftData) and self.wording is None:
            found.append(
                sft_loss.answers(
                    model,
                    data.test,
                    arm.system,
                    self.experiment.data.name,
                    self.original,
                    self.target,
                    bf16=self.bf16,
                    group=self.group,
                )
            )
        return found

    def _readings(self) -> list[tuple[str, Pieces]]:
        """Return what perplexity is read of: the documents of the settings, and those that the data holds back for test."""
        if self._pieces is not None:
            return self._pieces
        config, self._pieces = self.experiment.perplexity, []
        data = self._rows.get(self.target)
        held = Part.of(data.test.as_documents(), "test") if isinstance(data, LongData) else None
        named = None
        if config.data is not None:
            named = Part.of(read_documents(config.data, config.text, "test"), "test")
            seen = np.isin(named.keys, data.seen) if isinstance(data, LongData) else np.zeros(len(named), np.bool_)
            if seen.any():
                named = named.select(np.flatnonzero(~seen))
                say(
                    f"note: perplexity.data={config.data}: {seen.sum():,} of {len(seen):,} documents are trained on or choose "
                    "the checkpoint: left out"
                )
            if held is not None and seen.any() and not len(np.setdiff1d(named.keys, held.keys)):
                named = None  # what is left of it is read as the data's own test documents
        if named is not None:
            self._pieces.append((PERPLEXITY, self._cut(named)))
        if held is not None and (named is None or len(np.setxor1d(named.keys, held.keys))):
            try:
                self._pieces.append((f"{PERPLEXITY} of {self.experiment.data.name}", self._cut(held)))
            except InputError as error:
                say(f"note: data.test: {error}; its perplexity is not measured")
        return self._pieces

    def _cut(self, part: Part) -> Pieces:
        return read_pieces(
            self.experiment.perplexity,
            self.tokenizer,
            self.lengths,
            self.original,
            self.prompts_seed,
            documents=part.as_documents(),
        )

    def beside(self, run: Run) -> list[ByLength]:
        """Return nothing: what splits a long text is for embedding models."""
        return []

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        """Save model and tokenizer in transformers' own format; with Self-Extend, which no model holds, as they were."""
        untouched = isinstance(self.experiment.rope, SelfExtend)
        (self.model if untouched else model).save_pretrained(folder)
        tokenizer = copy.deepcopy(self.tokenizer)
        if not untouched:
            raise_limit(tokenizer, self.target)
        tokenizer.save_pretrained(folder)

    def _reader(self, model: PreTrainedModel, config: Any) -> Reader:
        return Reader(model_at(model), self.tokenizer, config, bf16=self.bf16)

    def _train(
        self, model: PreTrainedModel, experiment: LongContextExperiment, target: int, run: Run
    ) -> tuple[PreTrainedModel, Outcome]:
        """Train a stretched model by the objective of the experiment; LoRA's matrices are merged at the end."""
        set_seed(experiment.seed)
        stops: Any = getattr(model.generation_config, "eos_token_id", None)
        learner = with_lora(model, experiment.lora) if experiment.lora.rank else model
        data = self._data(target)

        def score(model: PreTrainedModel) -> float:
            return self.dev_score(model, target)

        if isinstance(data, LongData):
            outcome = causal.train_lm(learner, self.tokenizer, data.train, experiment, run, score=score)
        else:
            outcome = train_sft(learner, self.tokenizer, data, experiment, run, score=score)
        trained = merged(learner) if isinstance(learner, PeftModel) else model
        if isinstance(data, SftData):
            name_ends(trained, self.tokenizer, data.train, stops)
        return trained, outcome

    def _check_memory(self) -> None:
        """Refuse what does not fit into memory: reading at the greatest lengths, and training at the new window."""
        check_memory(self.model, max(self.lengths), bf16=self.bf16)
        for _, pieces in self._readings():
            check_fits(self.model, pieces.lengths[-1], "perplexity.lengths", bf16=self.bf16)
        if not self.experiment.adapt:
            return
        experiment, data = self.experiment, self._data(self.target)
        model = self.stretched(subject_of(experiment))
        learner = with_lora(model, experiment.lora) if experiment.lora.rank else model
        if isinstance(data, LongData):
            causal.plan(learner, data.train, experiment)
            return
        check_batch(
            model,
            packs_per_step(len(data.train), len(data.packs), experiment.optim.batch_size),
            max(int(data.train.lengths[pack].sum()) for pack in map(list, data.packs)),
            activation_checkpointing=experiment.optim.activation_checkpointing,
            bf16=self.bf16,
            lora=isinstance(learner, PeftModel),
        )

    def _data(self, target: int) -> LongData | SftData:
        """Return what is trained on, for a window."""
        if target not in self._rows:
            experiment, objective = self.experiment, self.experiment.objective
            config = experiment.data
            # Real data is split by the first seed: results of different test sets could not be joined.
            seed = self.prompts_seed
            if config.train == TINY:
                seed = experiment.seed
                config = tiny_rows(CAUSAL, experiment, self.run, self.original, target)
            if isinstance(objective, LanguageModeling):
                self._rows[target] = load_documents(
                    config, objective, self.tokenizer, experiment.audit, self.original, target, seed
                )
            else:
                assert isinstance(objective, InstructionTuning)
                if objective.packing and not self._packs:
                    objective = replace(objective, packing=False)
                self._rows[target] = load_chats(
                    config,
                    objective,
                    self.tokenizer,
                    experiment.audit,
                    self.original,
                    target,
                    seed,
                    later=target < self.target,
                    most=experiment.optim.batch_size,
                )
            if self.group == 0:
                err.print(self._rows[target].report.brief(), soft_wrap=True)
        return self._rows[target]


def model_at(model: PreTrainedModel) -> ModelAt:
    """Return the model for each length: always the same, but fresh where its positions depend on what it read before."""
    if "dynamic" in rope_types(model.config):
        return lambda length: with_weights(model.config, model)
    return lambda length: model
