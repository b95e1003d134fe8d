"""The settings of the needle benchmarks. Imports nothing heavy."""

from dataclasses import dataclass

from benchmarks.needle.names import HAYSTACKS, TASKS, check_task
from finewise.config import EMBEDS, ModelConfig, PlaceConfig, at_least, positive, setting


@dataclass(slots=True, kw_only=True)
class NeedleConfig:
    """A grid of lengths, depths and samples, for each task."""

    tasks: list[str] = setting(
        lambda: ["niah_single_2"], f"what is asked: {', '.join(TASKS)}; ruler stands for RULER's thirteen"
    )
    lengths: list[int] = setting(
        list,
        "tokens of the prompt, its question and answer included (empty: the trained window times 1, 2, 4, ... to the new)",
    )
    depths: list[float] = setting(
        lambda: [0.0, 0.25, 0.5, 0.75, 1.0], "where the needle stands: 0 at the beginning, 1 right before the question"
    )
    samples: int = setting(10, "prompts per length and depth, each with its own haystack, needle and question")
    haystack: str | None = setting(None, "what the needle lies in (null: as the task defines it)", (*HAYSTACKS,))
    answer: str = setting(
        "auto",
        "generate the answer, or look whether each of its tokens would be the model's choice (forced: exact match for base "
        "models); auto: generate if the tokenizer has a chat template",
        ("auto", "generate", "forced"),
    )
    batch_tokens: int | None = setting(
        None, "tokens held in the key-value cache at a time (null: what fits into memory)"
    )

    def __post_init__(self) -> None:
        for task in self.tasks:
            check_task(task)
        for length in self.lengths:
            at_least("needle.lengths", length, 16)
        if not self.depths or not all(0 <= depth <= 1 for depth in self.depths):
            raise ValueError(f"needle.depths must be from 0 to 1; got {self.depths}")
        positive("needle.samples", self.samples)
        positive("needle.batch_tokens", self.batch_tokens)


@dataclass(slots=True, kw_only=True)
class PasskeyConfig:
    """LongEmbed's retrieval of long documents by what is hidden in them (arXiv 2404.12096), for embedding models."""

    lengths: list[int] = setting(
        list, "tokens of the documents (empty: the trained window times 1, 2, 4, ... to the new)"
    )
    queries: int = setting(50, "queries per length")
    documents: int = setting(100, "documents per length")
    kinds: list[str] = setting(lambda: ["passkey", "needle"], "what is hidden: passkey, needle")

    def __post_init__(self) -> None:
        for length in self.lengths:
            at_least("passkey.lengths", length, 16)
        positive("passkey.queries", self.queries)
        at_least("passkey.documents", self.documents, 2)
        if self.queries > self.documents:
            raise ValueError(
                f"passkey.queries={self.queries} is more than passkey.documents={self.documents}; each query needs its own "
                "document"
            )
        if not self.kinds or set(self.kinds) - {"passkey", "needle"}:
            raise ValueError(f"passkey.kinds must be of passkey, needle; got {self.kinds}")


@dataclass(slots=True, kw_only=True)
class NeedleRunConfig:
    """`python -m benchmarks.needle`: where in a long text a language model still finds what it was told."""

    model: ModelConfig = setting(ModelConfig, "the language model: a folder, hub id, or .gguf file")
    needle: NeedleConfig = setting(NeedleConfig, "the grid")
    run: PlaceConfig = setting(PlaceConfig, "where the record is kept, and what it runs on")
    seed: int = setting(42, "seed of the prompts")
    resume: str = setting("never", "auto: finish this command's unfinished run, if there is one", ("never", "auto"))

    def __post_init__(self) -> None:
        if not self.needle.tasks:
            raise ValueError("needle.tasks must name at least one task; got an empty list")
        at_least("seed", self.seed, 0)
        self.model.refuse_unread(EMBEDS, "is for embedding models and not read here")
