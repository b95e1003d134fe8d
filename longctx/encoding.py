"""An embedding model under study: stretched, trained on pairs with long documents, read by passkey retrieval."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import set_seed

from benchmarks.by_length import ByLength, doublings
from benchmarks.chunked import ChunkPool, LateChunking
from benchmarks.passkey import Encode, PasskeySet, encoding_of, passkey, passkey_sets
from finewise.console import err, say
from finewise.data.tokens import own_prompts, token_limit
from finewise.device import describe, pick_device, use_bf16
from finewise.encoder import Encoder, load_encoder, transformer
from finewise.errors import InputError
from finewise.fit import Outcome
from finewise.run import Run
from longctx.arms import Arm, arms_of
from longctx.config import Contrastive, LongContextExperiment
from longctx.contrastive import LongPairs, load_pairs, train_contrastive
from longctx.memory import check_batch
from longctx.passages import cut_documents
from longctx.retrieval import LongRetrieval
from longctx.rope_config import DynamicNtk, SelfExtend, StretchConfig
from longctx.self_extend import check_methods, extend, positions_of, sizes_of
from longctx.stretch import stretch_encoder, window
from longctx.study import DEV_SEEDS
from longctx.tiny.language import TinyPairs
from longctx.tiny.models import EMBEDDING, is_tiny, tiny_model
from longctx.tiny.supply import TINY, tiny_rows

BESIDE: dict[str, Callable[[Encoder], Any]] = {"chunk and pool": ChunkPool, "late chunking": LateChunking}
"""What reads long texts with a model that does not: the untuned model, window by window."""


class EmbeddingModel:
    """See `longctx.study.Subject`."""

    def __init__(self, experiment: LongContextExperiment, run: Run, group: int) -> None:
        set_seed(experiment.seed)
        self.experiment, self.run, self.group = experiment, run, group
        self.texts_seed = experiment.seed - group  # all seeds' models read the same texts
        self.device = pick_device(experiment.run.device)
        self.bf16 = use_bf16(experiment.run.precision, self.device)
        self.config, self.wording = experiment.model, None
        if is_tiny(self.config.name):
            self.config = replace(self.config, name=str(tiny_model(self.config.name, experiment.seed)))
            self.wording = TinyPairs()
        self.untuned = load_encoder(self.config, self.device)
        base = transformer(self.untuned)
        if base is None:
            raise InputError(
                f"model.name={experiment.model.name}: {type(self.untuned[0]).__name__} has no positions to stretch"
            )
        self.target = window(base.config, experiment.stretch)
        self.original = experiment.stretch.original or int(base.config.max_position_embeddings)
        self.lengths = tuple(sorted({*(experiment.passkey.lengths or doublings(self.original, self.target))}))
        if self.lengths[-1] > self.target:
            raise InputError(
                f"passkey.lengths: {self.lengths[-1]} tokens are beyond the new window of {self.target}, where texts are cut; "
                "lower it, or raise stretch.factor"
            )
        check_methods(base, [arm.method for arm in arms_of(experiment)], self.original, self.target)
        self._pairs: LongPairs | None = None
        self._test: LongRetrieval | None = None
        self._sets: dict[str, list[PasskeySet]] = {}
        self._beside: dict[str, Any] = {}
        for name, way in BESIDE.items() if experiment.chunked else ():
            try:
                self._beside[name] = way(self.untuned)
            except InputError as error:
                say(f"note: {name} is left out: {error}")
        if experiment.adapt:
            # Mistakes in the data, and what does not fit, are told before everything is read.
            counted = [cut.longest for cut in self._data().report.truncation if cut.split == "train"]
            check_batch(
                base,
                1,  # what is computed at a time shrinks to what fits, down to one text
                min(self.target, max(counted, default=self.target)),
                activation_checkpointing=experiment.optim.activation_checkpointing,
                bf16=self.bf16,
                logits_chunk=0,
            )

    @property
    def facts(self) -> dict[str, Any]:
        """What the record says of model and data."""
        return {
            "device": describe(self.device, self.bf16),
            "model": {"name": self.experiment.model.name, "original": self.original, "target": self.target},
            "lengths": list(self.lengths),
            "data": self._data().facts() if self.experiment.adapt else None,
        }

    def stretched(self, arm: Arm) -> Encoder:
        """Return the model, stretched by the arm's method, untrained."""
        if isinstance(arm.method, SelfExtend):
            return self._extended(arm.method)
        encoder = load_encoder(self.config, self.device)
        stretch_encoder(encoder, arm.method, StretchConfig(target=self.target, original=self.original))
        if not isinstance(arm.method, DynamicNtk):  # whose positions follow the longest text of what is read at a time
            encoder.execute(self.experiment.execution, self.experiment.micro_batch_tokens)
        return encoder

    def positions(self, arm: Arm) -> str:
        """Return a text that is the same for arms whose untrained models are."""
        base = transformer(self.untuned)
        assert base is not None
        return positions_of(base.config, arm.method, self.original, self.target)

    def adapt(self, arm: Arm, run: Run) -> tuple[Encoder, Outcome]:
        """Return it trained, and what the training led to."""
        encoder = self.stretched(arm)
        set_seed(self.experiment.seed)
        return encoder, train_contrastive(encoder, self._data(), self.experiment, run, score=self.dev_score)

    def dev_score(self, model: Encoder) -> float:
        """Return the accuracy of the first rank at the trained and at the new window, on dev's own texts."""
        ends = sorted({self.lengths[0], self.lengths[-1]})
        found = self._passkey(model, "dev", ends, DEV_SEEDS + self.texts_seed)
        return sum(result.mean() for result in found) / len(found)

    def read(self, model: Encoder, arm: Arm, run: Run) -> list[ByLength]:
        """Search for what is hidden at all lengths, and among the data's own documents."""
        found = self._passkey(model, arm.system, self.lengths, self.texts_seed)
        held = self._held_out()
        return [*found, held.read(model, arm.system)] if held else found

    def beside(self, run: Run) -> list[ByLength]:
        """Score the untuned model, which reads the texts in windows, and BM25 where the documents are real."""
        held = self._held_out()
        found = []
        for name, reader in self._beside.items():
            found += self._passkey(reader, name, self.lengths, self.texts_seed)
            found += [held.read(reader, name)] if held else []
        return [*found, held.bm25()] if held else found

    def save(self, model: Encoder, folder: Path) -> None:
        """Save the model in sentence-transformers' own format; with Self-Extend, which no model holds, as it was."""
        if isinstance(self.experiment.rope, SelfExtend):
            model = self.untuned
        model.save_pretrained(str(folder), create_model_card=False)

    def _extended(self, method: SelfExtend) -> Encoder:
        """Return the model reading by Self-Extend: with its own attention, so not packed."""
        execution = "padded" if self.experiment.execution == "padded" else "sorted"
        encoder = load_encoder(
            self.config, self.device, execution=execution, micro_batch_tokens=self.experiment.micro_batch_tokens
        )
        base = transformer(encoder)
        assert base is not None
        extend(base, sizes_of(method, self.original, self.target))
        encoder.max_seq_length = self.target
        return encoder

    def _passkey(self, model: Any, system: str, lengths: Any, seed: int) -> list[ByLength]:
        split = "dev" if system == "dev" else "test"
        config, tokenizer = replace(self.experiment.passkey, lengths=[]), self.untuned.tokenizer
        if split not in self._sets:
            prompt = own_prompts(self.untuned.prompts)["document"]
            self._sets[split] = passkey_sets(lengths, config, tokenizer, seed=seed, wording=self.wording, prompt=prompt)
        return passkey(
            self._encode(model),
            system,
            lengths,
            config,
            tokenizer,
            seed=seed,
            group=self.group,
            wording=self.wording,
            split=split,
            sets=self._sets[split],
        )

    def _held_out(self) -> LongRetrieval | None:
        """Return the data's own test, if there is data; the made-up language has nothing to read but passkeys."""
        if not self.experiment.adapt or self.wording is not None:
            return None
        if self._test is None:
            self._test = LongRetrieval(
                task=self._data().test,
                tokenizer=self.untuned.tokenizer,
                buckets=self.lengths,
                bf16=self.bf16,
                group=self.group,
            )
        return self._test

    def _encode(self, model: Any) -> Encode:
        return encoding_of(model, bf16=self.bf16)

    def _data(self) -> LongPairs:
        """Return the pairs that are trained on."""
        if self._pairs is None:
            experiment, objective = self.experiment, self.experiment.objective
            assert isinstance(objective, Contrastive)
            config = experiment.data
            # All seeds' models are tested with the same rows; the made-up language has rows of each seed's own.
            seed = self.texts_seed if self.wording is None else experiment.seed
            if config.train == TINY:
                config = tiny_rows(EMBEDDING, experiment, self.run, self.original, self.target)
            elif config.documents:
                config = cut_documents(
                    config,
                    experiment.audit,
                    self.untuned.tokenizer,
                    own_prompts(self.untuned.prompts)["document"],
                    seed,
                    original=self.original,
                    target=self.target,
                    folder=self.run.inside("data").dir,
                )
            limit = token_limit(replace(self.config, max_seq_length=self.target))
            self._pairs = load_pairs(config, objective, experiment.audit, seed, limit, original=self.original)
            if self.group == 0:
                err.print(self._pairs.report.brief(), soft_wrap=True)
        return self._pairs
