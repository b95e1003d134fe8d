"""The frame of the benches that train: plain trainers against ours, on the same batches, with the proof that they agree."""

import argparse
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.agreement import Agreement, agree
from benchmarks.speed.command import parser, positive
from benchmarks.speed.harness import Side, alternate
from benchmarks.speed.models import MINILM, RANDOM, reference
from benchmarks.speed.report import Report
from benchmarks.speed.roofline import Shape, peaks, training_flop
from benchmarks.speed.trainers import StepClock, TrainerSide, Work, arguments
from finewise.console import say
from finewise.device import fast_bf16, use_bf16
from finewise.errors import InputError
from finewise.names import unknown

COMPILED = "-compiled"
WARM_UP_COMPILED = 3  # the second shape makes the compiler generalise, the third shows that it has
PROOF_ROWS = 32
FP32 = {"cpu": 1e-5}  # relative; the same sums in another order
FP32_ELSEWHERE = 1e-4  # a GPU's kernels are chosen by shape, and each has an order of its own
BF16 = {
    "loss": 2e-2,
    "grad_norm": 5e-2,
}  # relative; bf16 has 8 bits, so that every product is off by up to 2**-9 = 2e-3


class Contest(ABC):
    """Sides that train a model each, on the same rows.

    A bench says what its sides, its rows and its trainers are.

    Attributes:
        bench: Its name on the command line.
        unit: What a row is.
        plain: Sides that are the library's own. A name that ends in -bf16 says the precision, any other is fp32.
        ours: Sides that compute with finewise, in the device's own precision.
        usual: Those that run unless --sides says otherwise; none means all.
        right: The plain side whose first step is right by definition.
        shape: The encoder's; None where it is not known.
        chosen: What became of execution=auto.
    """

    bench: str
    unit: str
    plain: Sequence[str]
    ours: Sequence[str]
    usual: Sequence[str] = ()
    right: str = "plain-fp32"
    shape: Shape | None
    chosen: str = ""

    def __init__(self, given: argparse.Namespace, scratch: Path) -> None:
        """Choose the sides; the bench goes on to read its texts.

        Raises:
            InputError: --sides names what is no side, or none that can run here.
        """
        self.given = given
        self.scratch = scratch
        self.device: str = given.device
        self.bf16 = use_bf16("auto", self.device)
        self.reference = reference(given.model, scratch)
        self.names = self._sides()

    @classmethod
    def parser(cls, doc: str | None, *, batch: int, steps: int = 1, dropout: str = "on") -> argparse.ArgumentParser:
        """Return the command line of a bench that trains.

        Args:
            doc: The bench's docstring.
            batch: Default of --batch.
            steps: Default of --steps.
            dropout: Default of --dropout.
        """
        made = parser(doc)
        made.add_argument("--model", default=MINILM, help=f"{MINILM}, {', '.join(RANDOM)}, a folder or a hub id")
        made.add_argument("--batch", type=positive, default=batch, help=f"{cls.unit} per step (default {batch})")
        made.add_argument("--steps", type=positive, default=steps, help=f"steps per round (default {steps})")
        made.add_argument("--dropout", default=dropout, choices=("on", "off", "both"), help=f"(default {dropout})")
        made.add_argument("--compile", action="store_true", help="also with torch.compile; its warm-up is shown")
        made.add_argument(
            "--sides",
            nargs="+",
            metavar="SIDE",
            help=f"of {', '.join((*cls.plain, *cls.ours))} (default {' '.join(cls.usual or ('all',))})",
        )
        return made

    @classmethod
    def measure(cls, given: argparse.Namespace) -> list[Report]:
        """Prove that all sides compute the same, then time them without and with dropout."""
        with tempfile.TemporaryDirectory() as folder:
            contest = cls(given, Path(folder))
            proof = contest.prove()
            peak = peaks(contest.device)
            wanted = {"on": [True], "off": [False], "both": [False, True]}[given.dropout]
            return [contest.compare(dropout, proof if dropout == wanted[0] else [], peak) for dropout in wanted]

    @abstractmethod
    def rows(self, count: int) -> tuple[Any, list[list[int]]]:
        """Return (the first `count` rows as a datasets.Dataset, the real tokens of each row's texts)."""

    @abstractmethod
    def trainer(self, side: str, rows: Any, clock: StepClock, *, batch: int, dropout: bool, **more: Any) -> Any:
        """Return the Trainer of a side, with a model of its own that has the same weights as all others.

        Args:
            side: Its name, without -compiled.
            rows: To begin with.
            clock: One of its callbacks.
            batch: Rows per step.
            dropout: Whether the model has it.
            more: Training arguments of the side: bf16, torch_compile.
        """

    @abstractmethod
    def tells(self) -> str:
        """Return what is compared, in full sentences; without a full stop at the end."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what the numbers depend on, besides batch and steps."""

    def works(self, rounds: int, rows: int) -> list[Work]:
        """Return the rows of each round, `rows` of them."""
        data, lengths = self.rows(rounds * rows)
        found = []
        for start in range(0, rounds * rows, rows):
            tokens = [count for texts in lengths[start : start + rows] for count in texts]
            flop = training_flop(self.shape, tokens) if self.shape else None
            part = data.select(range(start, start + rows))
            found.append(Work(rows=part, items=rows, lengths=tokens, flop=flop))
        return found

    def side(self, name: str, works: Sequence[Work], *, batch: int, dropout: bool, bf16: bool) -> Side:
        """Return the side of this name."""
        clock = StepClock(self.device)
        compiled = name.endswith(COMPILED)
        more: dict[str, Any] = {"bf16": bf16, **({"torch_compile": True} if compiled else {})}
        kind = name.removesuffix(COMPILED)
        side = TrainerSide(
            lambda: self.trainer(kind, works[0].rows, clock, batch=batch, dropout=dropout, **more), works, clock
        )
        return Side(
            name=name,
            run=side.run,
            prepare=side.prepare,
            precision="bf16" if bf16 else "fp32",
            warm_up=WARM_UP_COMPILED if compiled else 1,
            optional=compiled,
        )

    def prove(self) -> list[Agreement]:
        """Let every side do one step from equal weights, without dropout, in fp32 and in bf16."""
        works = self.works(1, PROOF_ROWS)
        found: list[Agreement] = []
        exact = FP32.get(torch.device(self.device).type, FP32_ELSEWHERE)
        names = dict.fromkeys([self.right, *(name for name in self.names if not name.endswith(COMPILED))])
        for bf16 in (False, True) if fast_bf16(self.device) else (False,):
            first = {}
            for name in names:
                if bf16 or not name.endswith("-bf16"):
                    own = bf16 and (name in self.ours or name.endswith("-bf16"))
                    side = self.side(name, works, batch=PROOF_ROWS, dropout=False, bf16=own)
                    side.prepare()
                    first[name] = side.run(0).computed
            for what, bound in BF16.items():
                title = f"{what} of the first step, {'bf16' if bf16 else 'fp32'}, no dropout"
                values = {name: computed[what] for name, computed in first.items()}
                found += agree(title, values, base=self.right, tolerance=bound if bf16 else exact)
        return found

    def compare(self, dropout: bool, proof: Sequence[Agreement], peak: dict[str, float]) -> Report:
        """Time all sides, with or without dropout."""
        given = self.given
        warm_up = WARM_UP_COMPILED if any(name.endswith(COMPILED) for name in self.names) else 1
        works = self.works(warm_up + given.rounds, given.batch * given.steps)
        sides = [
            self.side(name, works, batch=given.batch, dropout=dropout, bf16=self._in_bf16(name)) for name in self.names
        ]
        title = f"{self.bench.capitalize()}, {given.model}, dropout {'on' if dropout else 'off'}"
        results = alternate(sides, given.rounds, self.device, title=title)
        return Report(
            bench=self.bench,
            title=title,
            compares=(
                f"{given.steps} optimiser step(s) per round on {given.batch} {self.unit} each, on {self.device}. "
                f"{self.tells()}{f' (auto: {self.chosen})' if self.chosen else ''}. The same {self.unit} on every side; only "
                "real tokens are counted."
            ),
            unit=self.unit,
            bases=[name for name in self.names if name in self.plain] or self.names[:1],
            results=results,
            agreements=proof,
            peak=peak,
            settings={
                "model": given.model,
                "batch": given.batch,
                "steps": given.steps,
                "dropout": dropout,
                **self.settings(),
            },
            facts={"auto": self.chosen} if self.chosen else {},
        )

    def _in_bf16(self, name: str) -> bool:
        return self.bf16 if name.removesuffix(COMPILED) in self.ours else "-bf16" in name

    def _sides(self) -> list[str]:
        known = [*self.plain, *self.ours]
        given: Sequence[str] = self.given.sides or self.usual or known
        for name in given:
            if name not in known:
                raise InputError(f"--sides: {unknown('side', name, known)}")
        names = [name for name in known if name in given]
        if self.given.compile:
            fastest = [name for name in names if self._in_bf16(name) == self.bf16]
            names += [name + COMPILED for name in fastest if name.startswith("plain-") or name == "auto"]
        if not fast_bf16(self.device) and any("-bf16" in name for name in names):
            say(f"note: {self.device} is not made for bf16; those sides are left out")
            names = [name for name in names if "-bf16" not in name]
        if not names:
            raise InputError("--sides: none of them can run here")
        return names

    def training_arguments(self, kind: Any, batch: int, more: dict[str, Any]) -> Any:
        """Return the library's default arguments with what the side changes; see trainers.arguments."""
        return arguments(kind, self.device, batch=batch, scratch=self.scratch, **more)
