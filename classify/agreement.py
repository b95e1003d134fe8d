"""How predictions agree with the labels that a file has. Imports no torch."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.classes import METRICS, evaluated
from benchmarks.metrics.outcome import Outcome
from classify.predict_config import PredictConfig
from classify.table import Chunk, Texts
from finewise.console import out
from finewise.data.labels.cells import UnlabelledError, label_name
from finewise.data.table import shown
from finewise.errors import InputError
from finewise.names import nearest

if TYPE_CHECKING:
    from classify.predictor import Answers


class Agreement:
    """Gathers, chunk by chunk, what is right and what was said.

    Args:
        config: Which column holds the labels.
        texts: The file.
        names: The model's labels.
        multi: Whether any number of them can be right.

    Raises:
        InputError: The file has no such column.
    """

    def __init__(self, config: PredictConfig, texts: Texts, names: tuple[str, ...], multi: bool) -> None:
        texts.require(config.gold, "gold")
        self.config, self.texts, self.names, self.multi = config, texts, names, multi
        self.places = {name: place for place, name in enumerate(names)}
        self.gold: list[NDArray[Any]] = []
        self.predicted: list[NDArray[Any]] = []
        self.abstained: list[NDArray[np.bool_]] = []
        self.inside: list[NDArray[np.float64]] = []

    def read(self, chunk: Chunk) -> NDArray[Any]:
        """Return the labels of a chunk, (n,) or (n, K) bool.

        Raises:
            InputError: A label that the model does not have.
        """
        rows = [
            self._labels(record.get(self.config.gold), number)
            for record, number in zip(chunk.records, chunk.numbers, strict=True)
        ]
        if not self.multi:
            return np.array([row[0] for row in rows], dtype=np.int64)
        gold = np.zeros((len(rows), len(self.names)), dtype=bool)
        for place, labels in enumerate(rows):
            gold[place, labels] = True
        return gold

    def add(self, chunk: Chunk, answers: "Answers") -> None:
        """Keep a chunk."""
        gold = self.read(chunk)
        self.gold.append(gold)
        self.predicted.append(answers.labels)
        self.abstained.append(answers.abstained)
        if answers.sets is not None:
            if self.multi:  # what the coverage is of: the mean over texts with labels of the share of their labels
                labelled = gold.any(axis=1)
                inside, right = (answers.sets & gold)[labelled].sum(axis=1), gold[labelled].sum(axis=1)
                self.inside.append(inside / right)
            else:
                self.inside.append(answers.sets[np.arange(len(gold)), gold].astype(np.float64))

    def show(self) -> float:
        """Print the scores, of all rows and of those that were decided; return the first."""
        abstained = np.concatenate(self.abstained)
        first = self._show("", np.ones(len(abstained), dtype=bool))
        if abstained.any() and not abstained.all():
            self._show("without the undecided: ", ~abstained)
        if self.config.level is not None:
            shares = np.concatenate(self.inside)
            share = f"{shares.mean():.4f}" if len(shares) else "no text has a label"
            out.print(f"right labels inside the sets of level {self.config.level:g}: {share}")
        return first

    def _show(self, what: str, rows: NDArray[np.bool_]) -> float:
        gold, predicted = np.concatenate(self.gold)[rows], np.concatenate(self.predicted)[rows]
        names = ("exact_match", "f1_macro", "f1_micro") if self.multi else ("accuracy", "f1_macro")
        found = evaluated(Outcome(gold=gold, predicted=predicted, probabilities=None, classes=len(self.names)), names)
        line = ", ".join(f"{METRICS[name].label} {value:.4f}" for name, value in found.items())
        out.print(f"{what}{line} ({len(gold)} rows)")
        return found[names[0]]

    def _labels(self, cell: Any, number: int) -> list[int]:
        items = cell if isinstance(cell, list) else [cell]
        if self.multi and isinstance(cell, str):
            items = [item.strip() for item in cell.split(self.config.delimiter) if item.strip()]
        where = f"{self.texts.name}: {self.texts.unit} {number}: '{self.config.gold}'"
        if not self.multi and len(items) != 1:
            raise InputError(f"{where} must be one label; got {shown(cell)}")
        found = []
        for item in items:
            try:
                name, _ = label_name(item, None)  # as the training read it
            except UnlabelledError:
                raise InputError(f"{where} says nothing; remove the row, or set score=false") from None
            except ValueError as error:
                raise InputError(f"{where} {error}") from None
            if name not in self.places:
                guess = nearest(name, self.names)
                hint = f"; did you mean '{guess}'?" if guess else ""
                raise InputError(f"{where} holds {shown(item)}, which the model does not know{hint}")
            found.append(self.places[name])
        return found
