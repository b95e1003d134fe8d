"""A trained classifier with its decisions, ready for texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from classify.decide import Decisions
from classify.logits import logits
from classify.model import load_classifier
from classify.saved import read_decisions, read_space
from classify.stack import Stack
from finewise.config import ModelConfig
from finewise.device import pick_device, use_bf16

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """What is said of N texts.

    Attributes:
        probabilities: (N, K), calibrated.
        labels: (N,) class numbers or (N, K) bool.
        abstained: (N,) whether the text is better left undecided.
        sets: (N, K) conformal sets, if they were asked for.
        names: The K labels.
    """

    probabilities: NDArray[np.float64]
    labels: NDArray[Any]
    abstained: NDArray[np.bool_]
    sets: NDArray[np.bool_] | None
    names: tuple[str, ...]

    def columns(self) -> dict[str, list[Any]]:
        """Return the columns predicted, probability, abstained and, if there are sets, set.

        With any number of labels, `predicted` and `probability` hold lists, most probable first.
        """
        found: dict[str, list[Any]] = {"predicted": [], "probability": []}
        if self.labels.ndim == 1:
            found["predicted"] = [self.names[label] for label in self.labels]
            found["probability"] = self.probabilities[np.arange(len(self.labels)), self.labels].tolist()
        else:
            for row, given in zip(self.probabilities, self.labels, strict=True):
                order = self._order(row, given)
                found["predicted"].append([self.names[label] for label in order])
                found["probability"].append(row[order].tolist())
        found["abstained"] = self.abstained.tolist()
        if self.sets is not None:
            found["set"] = [
                [self.names[label] for label in self._order(row, inside)]
                for row, inside in zip(self.probabilities, self.sets, strict=True)
            ]
        return found

    @staticmethod
    def _order(row: NDArray[np.float64], given: NDArray[np.bool_]) -> NDArray[np.intp]:
        labels = np.flatnonzero(given)
        return labels[np.argsort(-row[labels], kind="stable")]


class Predictor:
    """A classifier's folder, loaded.

    Attributes:
        decisions: What turns its logits into labels; those of the folder, or none fitted.
        stack: What its logits are combined with first, if the folder was saved by method=stack.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        decisions: Decisions,
        *,
        bf16: bool = False,
        stack: Stack | None = None,
    ) -> None:
        self.model, self.tokenizer, self.decisions, self.bf16, self.stack = model, tokenizer, decisions, bf16, stack

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        device: str = "auto",
        precision: str = "auto",
        execution: str = "auto",
        trust_remote_code: bool = False,
    ) -> Self:
        """Load a classifier that transformers saved, with decisions.json if the folder has it.

        Args:
            folder: The folder.
            device: auto, cpu, cuda or mps.
            precision: auto, bf16 or fp32.
            execution: How batches are computed; see `finewise.execution.attach`.
            trust_remote_code: Run code that the folder brings.

        Raises:
            InputError: It holds no classifier, or decisions for another one.
        """
        space = read_space(Path(folder))
        decisions = read_decisions(Path(folder), space)
        stack = Stack.load(Path(folder), len(space.names))
        model, tokenizer = load_classifier(
            ModelConfig(name=str(folder), trust_remote_code=trust_remote_code), space, device, execution=execution
        )
        return cls(model, tokenizer, decisions, bf16=use_bf16(precision, pick_device(device)), stack=stack)

    def answers(
        self, texts: Sequence[str], level: float | None = None, advance: Advance = lambda count: None
    ) -> Answers:
        """Return what is said of the texts.

        Args:
            texts: N of them, in any order; they are computed longest first.
            level: Of the conformal sets, if they are wanted.
            advance: Called with the number of texts that are done.

        Raises:
            InputError: No sets of this level were fitted.
        """
        decisions = self.decisions
        raw = logits(self.model, self.tokenizer, texts, bf16=self.bf16, advance=advance)
        probabilities = decisions.probabilities(raw if self.stack is None else self.stack.combine(raw, texts))
        return Answers(
            probabilities=probabilities,
            labels=decisions.decide(probabilities),
            abstained=decisions.abstains(probabilities),
            sets=None if level is None else decisions.sets(probabilities, level),
            names=decisions.names,
        )

    def predict(self, texts: Sequence[str], level: float | None = None) -> list[dict[str, Any]]:
        """Return for each text a dictionary: predicted, probability, abstained and, with a level, set."""
        columns = self.answers(texts, level).columns()
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
