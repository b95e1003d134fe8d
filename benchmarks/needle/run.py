"""The needle benchmarks: prompts of all lengths, depths and samples, read by one system, and scored."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.by_length import ByLength
from benchmarks.needle.config import NeedleConfig
from benchmarks.needle.kept import Kept
from benchmarks.needle.memory import check_memory
from benchmarks.needle.names import expanded
from benchmarks.needle.prompts import Prompt, prompts
from benchmarks.needle.reader import FORCED, Reader, expected
from benchmarks.needle.scoring import score
from benchmarks.needle.wording import Wording
from finewise.console import Advance, progress
from finewise.data.keys import combine


def needle(
    reader: Reader,
    system: str,
    lengths: Sequence[int],
    config: NeedleConfig,
    *,
    seed: int,
    group: int = 0,
    wording: Wording | None = None,
    keep: Path | None = None,
    split: str = "test",
) -> list[ByLength]:
    """Read and score the grid of each task.

    Args:
        reader: Of the system's model.
        system: Its name in tables.
        lengths: Tokens; longest last.
        config: Tasks, depths, samples.
        seed: Of the prompts. Systems, and models of several seeds, are compared on prompts of one seed.
        group: Which of several models this is.
        wording: How needles are said; None takes the task's own.
        keep: A file that answers are appended to as soon as they are read, and taken up from.
        split: What `ByLength` calls these prompts.

    Returns:
        One result per task, called "needle TASK". The metric of forced answers is exact.

    Raises:
        InputError: A length is too short for a task, or does not fit into memory.
    """
    for length in lengths:
        check_memory(reader.model_at(length), length, bf16=reader.bf16)
    kept = Kept(keep)
    found = []
    for task in expanded(config.tasks):
        grid = [prompts(config, task, length, reader.tokenizer, seed, wording) for length in lengths]
        for cells in grid:
            reader.check_positions(cells)
        with progress(f"needle {task}, {system}", sum(map(len, grid))) as advance:
            answers = [answer for cells in grid for answer in _read(reader, cells, kept, advance)]
        every = [prompt for cells in grid for prompt in cells]
        found.append(
            ByLength(
                system=system,
                benchmark=f"needle {task}",
                split=split,
                data_revision=revision(every, reader.way),
                metric="exact" if reader.way == FORCED else every[0].metric,
                ids=tuple(prompt.id for prompt in every),
                lengths=np.array([prompt.length for prompt in every], np.int64),
                depths=np.array([prompt.depth for prompt in every], np.float64),
                groups=np.full(len(every), group, np.int64),
                values=np.array([value(*pair, reader.way) for pair in zip(every, answers, strict=True)], np.float64),
                weights=np.ones(len(every)),
                clusters=np.array([f"{prompt.length} {prompt.sample}" for prompt in every]),
            )
        )
    return found


def value(prompt: Prompt, answer: str, way: str) -> float:
    """Return an answer's score: the task's own for what was generated, all tokens right for what was forced."""
    return float(answer == expected(prompt)) if way == FORCED else score(prompt, answer)


def revision(every: Sequence[Prompt], way: str) -> str:
    """Return the sha256 of the prompts' content and of how their answers are read."""
    return combine("needle", way, *(repr(prompt) for prompt in every))


def _read(reader: Reader, cells: Sequence[Prompt], kept: Kept, advance: Advance) -> list[str]:
    """Return the answers to the prompts of one length; those that are kept are not read again."""
    if not cells:
        return []
    how = reader.revision(cells[0].length)
    keys = [combine(how, repr(prompt)) for prompt in cells]
    missing = [number for number, key in enumerate(keys) if key not in kept.answers]
    advance(len(cells) - len(missing))
    for batch in reader.read([cells[number] for number in missing]):
        kept.add({keys[missing[number]]: answer for number, answer in batch})
        advance(len(batch))
    return [kept.answers[key] for key in keys]
