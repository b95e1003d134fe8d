"""The settings of the long-context branch: what is stretched how far, what it is trained on, and how it is proved.

How positions are stretched, the group `rope`: `longctx.rope_config`.
"""

from dataclasses import dataclass, fields, replace
from itertools import accumulate, pairwise

from benchmarks.needle.config import NeedleConfig, PasskeyConfig
from benchmarks.perplexity_config import PerplexityConfig
from finewise.config import ColumnsConfig, ExperimentConfig, SplitsConfig, at_least, positive, setting
from finewise.contrastive.config import MultipleNegativesRanking, check_batches
from finewise.names import unknown
from longctx.rope_config import ROPES, Abf, DynamicNtk, LongRope, RopeConfig, SelfExtend, StretchConfig, Yarn, name_of

CAUSAL_METRICS = ("needle", "neg_log_loss")
EMBEDDING_METRICS = ("passkey",)


@dataclass(slots=True, kw_only=True)
class ObjectiveConfig:
    """Base of what is trained; each is one row of the group `objective`."""


@dataclass(slots=True, kw_only=True)
class LanguageModeling(ObjectiveConfig):
    """Continued pretraining on documents: cross-entropy of the next token."""

    window: int | None = setting(None, "tokens of a training row (null: the new window; with pose the trained one)")
    short_share: float = setting(
        0.5,
        "share of the tokens that is read in pieces no longer than the trained window, which keeps what it could do",
    )
    pose: bool = setting(
        False,
        "PoSE: rows of the trained window whose positions skip, so that they reach to the new one (short_share counts on)",
    )
    logits_chunk: int = setting(
        1024, "tokens whose logits exist at a time: bounds the memory, does not change the loss"
    )

    def __post_init__(self) -> None:
        at_least("objective.window", self.window, 8)
        if not 0 <= self.short_share <= 1:
            raise ValueError(f"objective.short_share must be from 0 to 1; got {self.short_share}")
        positive("objective.logits_chunk", self.logits_chunk)


@dataclass(slots=True, kw_only=True)
class InstructionTuning(ObjectiveConfig):
    """Instruction tuning on chats or prompts with answers, by TRL; the loss is on the assistant's words alone."""

    packing: bool = setting(True, "lay several chats into one row of the window, kept apart")
    too_long: str = setting(
        "refuse",
        "chats longer than the window: stop and name them, leave them out, or cut their end (said how many)",
        ("refuse", "drop", "cut"),
    )
    short_share: float | None = setting(
        None, "share of the tokens from rows no longer than the trained window (null: as the data is)"
    )

    def __post_init__(self) -> None:
        if self.short_share is not None and not 0 <= self.short_share <= 1:
            raise ValueError(f"objective.short_share must be from 0 to 1; got {self.short_share}")


@dataclass(slots=True, kw_only=True)
class Contrastive(ObjectiveConfig):
    """Contrastive training of an embedding model on pairs with long documents: the embedding branch's loss and batches."""

    loss: MultipleNegativesRanking = setting(MultipleNegativesRanking, "the loss")
    sampler: str = setting(
        "no_known_positives",
        "how batches are drawn: no_known_positives keeps known positives apart",
        ("no_known_positives", "random"),
    )


OBJECTIVES: dict[str, type[ObjectiveConfig]] = {
    "lm": LanguageModeling,
    "sft": InstructionTuning,
    "contrastive": Contrastive,
}
"""The group `objective`: what can stand in `objective=...`."""


@dataclass(slots=True, kw_only=True)
class LongDataConfig(SplitsConfig):
    """Documents (lm), chats or prompts with completions (sft), pairs or documents (contrastive)."""

    train: str = setting(
        "",
        "rows to train on, needed with adapt=true: a file (jsonl, csv, tsv, parquet), a folder, hub:NAME, "
        "package:MODULE/PATH or built-in",
    )
    text: str = setting("text", "objective=lm, or with data.documents: column with the document")
    documents: bool = setting(
        False,
        "objective=contrastive: the files hold documents, not pairs; they are cut into passages of a quarter of the trained "
        "window to the new one, and a sentence taken out of each is its query",
    )
    columns: ColumnsConfig = setting(ColumnsConfig, "objective=contrastive: which columns hold what")
    split_by: str = setting(
        "linked",
        "objective=contrastive: when dev or test is split off, what stays in one split: all rows linked by a shared "
        "text or group, or the rows of one anchor or group (documents are then in several splits, and remembering them helps)",
        ("linked", "anchor"),
    )
    relevant_score: float = setting(
        0.5, "objective=contrastive, with scores: rows count as positive pairs from this score on"
    )
    max_dev_rows: int | None = setting(
        None, "choose on at most this many dev rows, sampled with data.split_seed (null: all)"
    )

    def __post_init__(self) -> None:
        SplitsConfig.__post_init__(self)
        positive("data.max_dev_rows", self.max_dev_rows)


@dataclass(slots=True, kw_only=True)
class LoraConfig:
    """LoRA instead of all weights (Hu et al. 2021); with norms and embeddings trained too (LongLoRA, arXiv 2309.12307)."""

    rank: int = setting(0, "rank of the added matrices (0: train all weights)")
    alpha: float | None = setting(None, "scale of the added matrices (null: twice the rank)")
    dropout: float = setting(0.0, "dropout before them")
    norms_and_embeddings: bool = setting(
        True, "with lora.rank above 0: train the norms and the token embeddings in full as well"
    )

    def __post_init__(self) -> None:
        at_least("lora.rank", self.rank, 0)
        positive("lora.alpha", self.alpha)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"lora.dropout must be in [0, 1); got {self.dropout}")
        if not self.rank and (self.alpha is not None or self.dropout or not self.norms_and_embeddings):
            raise ValueError(
                "lora.alpha, lora.dropout and lora.norms_and_embeddings are read with lora.rank above 0 alone; set it"
            )


@dataclass(slots=True, kw_only=True)
class StagesConfig:
    """A training in stages of growing windows, such as ABF's: one entry per stage in each list."""

    factors: list[float] = setting(list, "times the trained window, stage by stage, such as [2,4] (empty: one stage)")
    thetas: list[float] = setting(
        list, "rope=abf: the base of each stage, the last of which is rope.theta (empty: rope.theta in all)"
    )
    shares: list[float] = setting(list, "part of the steps of each stage (empty: equal parts)")

    def __post_init__(self) -> None:
        for factor in self.factors:
            at_least("stages.factors", factor, 1)
        if any(later <= earlier for earlier, later in pairwise(self.factors)):
            raise ValueError(f"stages.factors must grow from stage to stage; got {self.factors}")
        for key in ("thetas", "shares"):
            values = getattr(self, key)
            for value in values:
                positive(f"stages.{key}", value)
            if values and len(values) != len(self.factors):
                raise ValueError(
                    f"stages.{key} must have one value per stage; got {len(values)} for {len(self.factors)} of stages.factors"
                )

    def steps(self, total: int) -> list[int]:
        """Return the steps of each stage, `total` in all.

        >>> StagesConfig(factors=[2, 4], shares=[1, 2]).steps(300)
        [100, 200]
        >>> StagesConfig(factors=[2, 4, 8, 16]).steps(10)
        [2, 3, 3, 2]
        """
        shares = self.shares or [1.0] * len(self.factors)
        ends = [0, *(round(total * part / sum(shares)) for part in accumulate(shares))]
        return [end - start for start, end in pairwise(ends)]


@dataclass(slots=True, kw_only=True)
class LongContextExperiment(ExperimentConfig):
    """One long-context experiment: a model, a way to stretch it, what it is adapted on, and what it is compared with."""

    data: LongDataConfig = setting(LongDataConfig, "what the stretched model is adapted on")
    rope: RopeConfig = setting(Yarn, "how positions are stretched")
    stretch: StretchConfig = setting(StretchConfig, "how far")
    objective: ObjectiveConfig = setting(LanguageModeling, "what is trained: objective=lm, sft or contrastive")
    adapt: bool = setting(True, "train the stretched model (false: only stretch and score it)")
    lora: LoraConfig = setting(LoraConfig, "train added matrices instead of all weights")
    stages: StagesConfig = setting(StagesConfig, "train in stages of growing windows, such as ABF's")
    compare: list[str] = setting(
        lambda: ["none", "linear", "ntk", "yarn"], "methods scored beside, each untrained (none: the model as it is)"
    )
    compare_adapted: bool = setting(
        False, "also train each of `compare` in the same way (but self_extend and dynamic, which only read)"
    )
    seeds: int = setting(1, "repeat with so many seeds, from `seed` on; intervals are over seeds and prompts")
    parallel_seeds: int = setting(1, "seeds that run at a time, each in a process of its own (CPU only)")
    needle: NeedleConfig = setting(
        NeedleConfig, "needle in a haystack, for language models (needle.tasks=[]: read none)"
    )
    perplexity: PerplexityConfig = setting(PerplexityConfig, "perplexity of held-out documents, for language models")
    passkey: PasskeyConfig = setting(
        PasskeyConfig, "retrieval of what is hidden in long documents, for embedding models"
    )
    chunked: bool = setting(True, "embedding models: score chunk-and-pool and late chunking beside")

    def __post_init__(self) -> None:
        ExperimentConfig.__post_init__(self)
        self._check_kind()
        self._check_unread()
        self._check_methods()
        if self.adapt and not self.data.train:
            raise ValueError("data.train must name what the model is adapted on; give a file, or set adapt=false")
        at_least("seeds", self.seeds, 1)
        at_least("parallel_seeds", self.parallel_seeds, 1)
        if self.parallel_seeds > self.seeds:
            raise ValueError(f"parallel_seeds={self.parallel_seeds} is more than seeds={self.seeds}; lower it")
        if self.parallel_seeds > 1 and self.run.device not in ("auto", "cpu"):
            raise ValueError(f"parallel_seeds={self.parallel_seeds} is for CPUs; got run.device={self.run.device}")
        if self.curve:
            raise ValueError("curve=true is not measured for long context; leave it out")
        if self.stages.factors and not self.adapt:
            raise ValueError("stages.factors is not read with adapt=false; leave one of the two out")
        if self.stages.factors and self.embeds:
            raise ValueError("stages.factors is for language models; with objective=contrastive there is one stage")
        if self.stages.factors and self.optim.max_steps is None:
            raise ValueError("stages.factors needs optim.max_steps, of which each stage gets its share")
        if self.stages.factors and 0 in self.stages.steps(self.optim.max_steps or 0):
            raise ValueError(
                f"optim.max_steps={self.optim.max_steps} leaves a stage of stages.factors={self.stages.factors} without a "
                "step; raise it"
            )
        if self.stages.factors and self.stretch.factor not in (None, self.stages.factors[-1]):
            raise ValueError(
                f"stages.factors must end with stretch.factor={self.stretch.factor:g}; got {self.stages.factors}"
            )

    @property
    def embeds(self) -> bool:
        """Whether the model is an embedding model, rather than a language model."""
        return isinstance(self.objective, Contrastive)

    @property
    def objective_name(self) -> str:
        """What stands in `objective=...`."""
        return next(key for key, kind in OBJECTIVES.items() if type(self.objective) is kind)

    def unread(self) -> dict[str, str]:
        """Return the settings that speak of a training where there is none."""
        if self.adapt:
            return {}
        keys = ["data", "audit", "optim", "selection", "lora", "compare_adapted", "recompute"]
        keys += [
            "run.report_to",
            "run.keep_checkpoints",
            *(f"objective.{field.name}" for field in fields(self.objective)),
        ]
        if not self.embeds:
            keys += ["execution", "micro_batch_tokens"]
        return dict.fromkeys(keys, "adapt=false")

    def _check_kind(self) -> None:
        known = EMBEDDING_METRICS if self.embeds else CAUSAL_METRICS
        name = self.objective_name
        if self.adapt and self.selection.metric not in known:
            raise ValueError(
                f"selection.metric must be {' or '.join(known)} with objective={name}; got {self.selection.metric}"
            )
        if not self.embeds and not self.needle.tasks and (not self.adapt or self.selection.metric == "needle"):
            raise ValueError(
                "needle.tasks=[] leaves nothing to read with adapt=false; name a task, or use python -m benchmarks.perplexity"
                if not self.adapt
                else "selection.metric=needle is of needle.tasks, which is empty; set selection.metric=neg_log_loss"
            )
        if self.embeds and self.lora.rank:
            raise ValueError("lora.rank is for language models; with objective=contrastive all weights are trained")
        if not self.embeds and (self.model.query_prompt or self.model.document_prompt):
            raise ValueError(f"model.query_prompt and model.document_prompt are for embedding models; objective={name}")
        if not self.embeds:
            self.model.refuse_unread(
                ("pooling", "similarity"), f"is for embedding models and not read with objective={name}"
            )
        if self.model.max_seq_length is not None:
            raise ValueError(
                "model.max_seq_length is not read here: stretch.factor or stretch.target says how far to read"
            )

    def _check_unread(self) -> None:
        """Refuse what the objective does not read, so that no setting is passed over in silence."""
        name, plain = self.objective_name, LongDataConfig()
        unread = {}
        if self.embeds:
            unread["needle"] = self.needle != NeedleConfig()
            unread["perplexity"] = self.perplexity != PerplexityConfig()
            unread["data.text"] = self.data.text != plain.text and not self.data.documents
        else:
            unread["passkey"] = self.passkey != PasskeyConfig()
            unread["chunked"] = not self.chunked
            unread["data.columns"] = self.data.columns != plain.columns
            unread["data.split_by"] = self.data.split_by != plain.split_by
            unread["data.relevant_score"] = self.data.relevant_score != plain.relevant_score
            unread["data.documents"] = self.data.documents
        if isinstance(self.objective, InstructionTuning):
            unread["data.text"] = self.data.text != plain.text
            unread["execution"] = self.execution != "auto"
            unread["micro_batch_tokens"] = self.micro_batch_tokens is not None
        for key, wrong in unread.items():
            if wrong:
                raise ValueError(f"{key} is not read with objective={name}; leave it out")
        if self.data.documents and any(
            getattr(self.data, key) != getattr(plain, key) for key in ("columns", "relevant_score", "split_by")
        ):
            raise ValueError(
                "data.columns, data.relevant_score and data.split_by are not read with data.documents=true; leave them out"
            )
        if not self.embeds and self.recompute != "auto":
            raise ValueError(
                f"recompute={self.recompute} is not read with objective={name}, which keeps one micro-batch at a time anyway; "
                "for less memory set optim.activation_checkpointing=true"
            )

    def _check_methods(self) -> None:
        if isinstance(self.objective, Contrastive) and self.adapt:
            losses = {"mnrl": MultipleNegativesRanking}
            check_batches(self.objective.loss, self.objective.sampler, self.optim, above="objective.", losses=losses)
        if len(set(self.compare)) < len(self.compare):
            raise ValueError(f"compare names a method twice; got {self.compare}")
        if self.adapt and isinstance(self.rope, SelfExtend):
            raise ValueError(
                "rope=self_extend only reads: nothing of it can be trained or saved; set adapt=false, or train another method "
                "and name it in compare"
            )
        if self.execution == "packed" and "self_extend" in (name_of(self.rope), *self.compare):
            raise ValueError(
                "execution=packed does not go with self_extend, whose attention is its own; set execution=auto"
            )
        if self.adapt and isinstance(self.rope, DynamicNtk):
            raise ValueError(
                "rope=dynamic has other frequencies at every length, and a step of training reads several: it is not trained; "
                "train rope=ntk or yarn, or set adapt=false"
            )
        if self.adapt and isinstance(self.rope, LongRope) and not isinstance(self.objective, LanguageModeling):
            raise ValueError(
                f"rope=longrope is not trained with objective={self.objective_name}, whose batches hold long and short texts: "
                "the longest would decide which list all are read by; take objective=lm, or another method"
            )
        for method in self.compare:
            if method not in ROPES:
                raise ValueError(unknown("compare", method, ROPES))
            if method in ("longrope", "abf") and method != name_of(self.rope):
                raise ValueError(
                    f"compare={method} needs settings of its own; make it the run's own method: rope={method}"
                )
        if self.stages.thetas and not isinstance(self.rope, Abf):
            raise ValueError(f"stages.thetas is read with rope=abf alone; got rope={name_of(self.rope)}")
        if isinstance(self.rope, Abf) and self.stages.thetas:
            last = self.stages.thetas[-1]
            if self.rope.theta not in (Abf().theta, last):
                raise ValueError(
                    f"stages.thetas={self.stages.thetas} ends with another base than rope.theta={self.rope.theta:g}; leave "
                    "rope.theta out"
                )
            self.rope = replace(self.rope, theta=last)
