"""All ways to a classifier on the built-in sets, one ordinary run after the other, and one table of their records.

`python -m classify.ways_table --write` makes the table of docs/classify.md. A run whose record is there is not repeated.
What stands behind the options goes to every run, such as `model=e5-small run.device=cuda`.
"""

import argparse
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.table import bracket, label, markdown, number, probability
from classify.config import BASELINES, METHODS
from finewise import record
from finewise.console import out, say
from finewise.data.sources import resolve
from finewise.errors import InputError
from finewise.names import unknown
from finewise.run import MODEL

DOCS = Path(__file__).resolve().parents[1] / "docs" / "classify.md"
BEGIN, END = "<!-- ways: begin -->", "<!-- ways: end -->"
"""The table stands between these lines, and nothing else does."""

SETS = ("debian-sections", "debian-tags", "spam")
TEACHER = "lp_ft"


@dataclass(frozen=True, slots=True)
class Way:
    """How a method is run.

    Attributes:
        experiment: Its file in conf/exp, if it has one.
        settings: Further ones.
        taught: Whether it learns from the finished model of TEACHER.
    """

    experiment: str | None = None
    settings: tuple[str, ...] = ()
    taught: bool = False


WAYS: dict[str, Way] = {
    "knn": Way("classify-knn"),
    "linear_probe": Way("classify-probe"),
    "zero_shot": Way("classify-zeroshot"),
    "full": Way("classify-full"),
    "lp_ft": Way("classify-lpft"),
    "stack": Way("classify-lpft", ("method=stack",)),
    "stack_probe": Way("classify-probe", ("method=stack_probe",)),
    "auto": Way(settings=("model.max_seq_length=128",)),
    "lora": Way("classify-lora"),
    "few_shot": Way("classify-fewshot", ("model.max_seq_length=128", "method.draws=5")),
    "distil": Way("classify-distil", taught=True),
    "distil_static": Way(settings=("model.max_seq_length=128", "optim.learning_rate=1e-3"), taught=True),
}
"""A row of the table each, in the order in which they are run: what is quick and fills the caches comes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run: a way on a set.

    Attributes:
        data: The set.
        way: The method.
        folder: Of the run.
        arguments: Of `python -m classify.train`.
    """

    data: str
    way: str
    folder: Path
    arguments: tuple[str, ...] = field(repr=False)


def plan(
    folder: Path, sets: Sequence[str], ways: Sequence[str], *, rows: int, epochs: float, more: Sequence[str] = ()
) -> list[Cell]:
    """Return the runs.

    Args:
        folder: Each gets a folder FOLDER/SET/WAY.
        sets: Names of data sets.
        ways: Some of WAYS.
        rows: Train on so many rows at most; dev gets a quarter of it.
        epochs: Of the ways that train weights.
        more: Further settings of every run.
    """
    cells = []
    for data in sets:
        for name in sorted(ways, key=list(WAYS).index):
            way = WAYS[name]
            where = folder / data / name
            arguments = [
                f"+exp={way.experiment}" if way.experiment else f"method={name}",
                f"data={data}",
                f"data.max_train_rows={rows}",
                f"data.max_dev_rows={max(rows // 4, 100)}",
                "audit.label_errors=false",
                *way.settings,
                *([f"method.teacher={folder / data / TEACHER / MODEL}"] if way.taught else []),
                *([f"optim.epochs={epochs:g}", "run.keep_checkpoints=1"] if METHODS[name].trains else []),
                *more,
                f"run.dir={where}",
            ]
            cells.append(Cell(data=data, way=name, folder=where, arguments=tuple(arguments)))
    return cells


def finished(cell: Cell) -> dict[str, Any] | None:
    """Return the record of a run; None if there is none yet.

    Raises:
        InputError: It is the record of other settings.
    """
    path = cell.folder / record.FILE
    if not path.exists():
        return None
    found = record.read(path)
    if not found["command"].endswith(shlex.join([*cell.arguments, "resume=auto"])):
        raise InputError(f"{cell.folder} holds a run with other settings; remove it, or choose another --folder")
    return found


def run(cell: Cell) -> bool:
    """Run a cell, or finish what was begun; tell whether it came to its end."""
    words = ["-m", "classify.train", *cell.arguments, "resume=auto"]
    say(f"{cell.data}, {cell.way}: python {shlex.join(words)}")
    done = subprocess.run([sys.executable, *words], check=False).returncode == 0
    if done:  # three times the weights, which nobody will go on from
        shutil.rmtree(cell.folder / "checkpoints", ignore_errors=True)
    return done


def table(records: Mapping[tuple[str, str], dict[str, Any]]) -> str:
    """Return the table in Markdown, and under it when, from what and on what it was made.

    Args:
        records: (set, way) -> its record.
    """
    rows = []
    for data in dict.fromkeys(data for data, _ in records):
        mine = {way: found for (name, way), found in records.items() if name == data}
        first = next(iter(mine.values()))
        for baseline in (name for name in BASELINES if name not in mine):
            rows.append(
                [data, baseline, *_scores(first, baseline), _seconds(first["cost"]["baseline_seconds"][baseline]), ""]
            )
        for way, found in mine.items():
            seconds = found["cost"]["seconds"]
            rows.append(
                [data, way, *_scores(found, "tuned"), _seconds(seconds["train"]), _seconds(sum(seconds.values()))]
            )
    header = ["data", "way", label("f1_macro"), "minus tfidf_lr", "accuracy or AP", "training", "whole run"]
    return markdown(header, rows, left=2) + "\n\n" + _origin(list(records.values()))


def _scores(found: Mapping[str, Any], system: str) -> list[str]:
    """Return three cells: macro-F1 with its interval, its difference to tfidf_lr, accuracy or else average precision."""
    mine = {row["metric"]: row for row in found["scores"] if row["system"] == system and row["split"] != "dev"}
    headline = mine["f1_macro"]
    second = mine.get("accuracy") or mine["average_precision"]
    difference = ""
    for row in found["comparisons"]:
        if system == "tuned" and (row["b"], row["metric"]) == ("tfidf_lr", "f1_macro"):
            p = probability(row.get("p_adjusted", row["p"]))
            difference = f"{number(row['difference'], sign=True)} {bracket(row['low'], row['high'])}, {p}"
    return [
        f"{number(headline['value'])} {bracket(headline['low'], headline['high'])}",
        difference,
        number(second["value"]),
    ]


def _seconds(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds < 10 else f"{seconds:,.0f} s"


def _origin(records: Sequence[Mapping[str, Any]]) -> str:
    """Say when, with which source, on which device and with how many rows the records were made."""
    days = sorted({str(found["finished"])[:10] for found in records})
    commits = sorted({_commit(found["git"]) for found in records})
    devices = sorted({f"{found['device']['name']}, {found['device']['threads']} threads" for found in records})
    sizes = {found["data"]["name"]: found["data"]["rows"] for found in records}
    read = "; ".join(f"{name} {rows['train']:,} / {rows['dev']:,} / {rows['test']:,}" for name, rows in sizes.items())
    made = ", ".join([" to ".join(dict.fromkeys((days[0], days[-1]))), *commits, *devices])
    return (
        f"Rows (train / dev / test): {read}. 95% intervals. Embeddings of the untuned encoder are computed in the first run of "
        f"a set and read from the cache by the others; a student's seconds are without its teacher's ({TEACHER}). {made}."
    )


def _commit(git: Mapping[str, Any] | None) -> str:
    return f"commit {git['commit'][:7]}{' with changes' if git['dirty'] else ''}" if git else "an installed package"


def write(text: str, path: Path) -> None:
    """Put the table between the two marker lines of a file.

    Raises:
        InputError: The file has no such lines.
    """
    content = path.read_text(encoding="utf-8") if path.is_file() else ""
    before, begin, rest = content.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{path} has no lines {BEGIN} and {END}; add them where the table belongs")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def _choose(key: str, given: str, known: Sequence[str]) -> list[str]:
    names = given.split(",")
    for name in names:
        if name not in known:
            raise InputError(f"{key}: {unknown('name', name, known)}")
    return names


def _is_there(data: str) -> bool:
    try:
        resolve(data)
    except InputError as error:
        say(f"note: {data} is left out: {error}")
        return False
    return True


def make(options: argparse.Namespace) -> bool:
    """Run what is not there yet, print the table and write it; tell whether all runs came to their end.

    Raises:
        InputError: A name is unknown, or a folder holds something else.
    """
    sets = _choose("--sets", options.sets, SETS)
    ways = _choose("--ways", options.ways, list(WAYS))
    cells = plan(
        options.folder,
        [data for data in sets if _is_there(data)],
        ways,
        rows=options.rows,
        epochs=options.epochs,
        more=options.settings,
    )
    failed = [cell for cell in cells if finished(cell) is None and not run(cell)]
    records = {(cell.data, cell.way): found for cell in cells if (found := finished(cell)) is not None}
    if records:
        text = table(records)
        out.print(text, markup=False, soft_wrap=True)
        if options.write:
            write(text, options.write)
    for cell in failed:
        say(f"error: {cell.data}, {cell.way} did not come to its end; see above")
    return not failed


def main(given: Sequence[str] | None = None) -> int:
    """Read the command line; the exit status is 1 when a run failed, 2 for a mistake in what was given."""
    parser = argparse.ArgumentParser(
        prog="python -m classify.ways_table", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=4000, help="train on so many rows at most (default 4000)")
    parser.add_argument("--epochs", type=float, default=2.0, help="of the ways that train weights (default 2)")
    parser.add_argument(
        "--sets", default=",".join(SETS), help="data sets (default %(default)s, as far as they are there)"
    )
    parser.add_argument("--ways", default=",".join(WAYS), help="methods (default %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("runs/ways"), help="of the runs (default runs/ways)")
    parser.add_argument(
        "--write", type=Path, nargs="?", const=DOCS, metavar="FILE", help="also write it into FILE (docs/classify.md)"
    )
    parser.add_argument("settings", nargs="*", help="further settings of every run")
    try:
        return 0 if make(parser.parse_args(given)) else 1
    except InputError as error:
        say(f"error: {error}")
        return 2


if __name__ == "__main__":
    sys.exit(main())
