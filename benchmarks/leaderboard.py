"""All records below a folder, best first: `python -m benchmarks.leaderboard path=runs format=markdown`."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table

from benchmarks.classified import PER_EXAMPLE_FILE, Classified, load_per_example
from benchmarks.config import LeaderboardConfig
from benchmarks.metrics.classes import METRICS as CLASS_METRICS
from benchmarks.retrieval import PER_QUERY_FILE, Result, load_per_query
from benchmarks.retrieval import compare as compare_queries
from benchmarks.run_settings import differing, settings_of, spelled
from benchmarks.stats.multiple import holm
from benchmarks.table import ALPHA, bracket, higher_is_better, label, markdown, number, probability
from finewise import record
from finewise.console import out, say
from finewise.errors import InputError
from finewise.names import markdown_text, printable
from finewise.record import Comparison, Score
from finewise.settings import entry

_QUERY = """
SELECT *, count(*) OVER same AS runs
FROM (SELECT *, CASE WHEN split_part(system, '@', 1) = 'tuned' THEN path END AS own FROM entries)
WHERE split = $split AND metric = $metric AND ($benchmark IS NULL OR benchmark = $benchmark)
WINDOW same AS (PARTITION BY benchmark, data_revision, system, value, n, own)
-- Every run scores the same baselines again: equal numbers on equal data are one row, the earliest.
QUALIFY row_number() OVER (same ORDER BY date, path) = 1
ORDER BY benchmark, data_revision, $sign * value DESC, system, date, path
"""


@dataclass(slots=True, kw_only=True)
class Row:
    """One system of one run. `difference` and `p` are against the best row, None where that was not tested; p is Holm's.

    `settings` are those that tell it from other rows of its system and experiment.
    """

    system: str
    experiment: str
    value: float
    low: float | None
    high: float | None
    n: int
    date: str
    runs: int
    path: str
    difference: tuple[float, float | None, float | None] | None = None
    p: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Board:
    """The rows that can be compared: one benchmark, one revision of its data, one split, one metric; best first."""

    benchmark: str
    data_revision: str
    split: str
    metric: str
    rows: list[Row] = field(default_factory=list)


@entry("leaderboard", LeaderboardConfig, description="all records under a folder, best first")
def main(config: LeaderboardConfig) -> None:
    """Read the records, rank them, print or write the tables."""
    boards = rank(list(entries(Path(config.path))), config)
    if config.output is None and config.format == "terminal":
        out.print(terminal(boards))
        return
    text = {"terminal": _plain, "markdown": as_markdown, "json": as_json}[config.format](boards)
    if config.output is None:
        print(text)
    else:
        try:
            Path(config.output).write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"output={config.output}: cannot be written ({error.strerror or error})") from None
        say(f"wrote {config.output}")


def entries(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield every score of every record below the folder, with its run. Broken records are named and skipped.

    Raises:
        InputError: There is no folder, or no record in it.
    """
    if not folder.is_dir():
        raise InputError(f"path={folder}: no such folder")
    files = sorted(folder.rglob(record.FILE))
    if not files:
        raise InputError(f"path={folder}: no {record.FILE} below it; finished runs leave one each")
    skipped, old = 0, 0
    for file in files:
        try:
            content = record.read(file)
            scores = [Score(**row) for row in content["scores"]]
        except (InputError, KeyError, TypeError, OSError) as error:
            skipped += 1
            say(f"skipped {error}" if isinstance(error, InputError) else f"skipped {file}: not a record: {error!r}")
            continue
        old += content["schema"] < record.SCHEMA
        run = {
            "experiment": f"{content.get('task', '')}/{content.get('experiment', '')}".strip("/"),
            "date": str(content.get("finished") or content.get("started") or ""),
            "path": str(file.parent),
        }
        for score in scores:
            yield {**asdict(score), **run}
    if old:
        say(
            f"note: {old} of {len(files)} records are of schema 1: without dev scores and without how often test was read"
        )
    if skipped:
        say(f"{skipped} of {len(files)} records were skipped")


def rank(items: Sequence[dict[str, Any]], config: LeaderboardConfig) -> list[Board]:
    """Return the tables that the settings ask for, each best first and tested against its best row.

    Raises:
        InputError: No score is of that benchmark, split and metric.
    """
    import duckdb
    import pyarrow as pa

    boards = []
    if items:
        with duckdb.connect() as database:
            database.register("entries", pa.Table.from_pylist(list(items)))
            sign = 1 if higher_is_better(config.metric) else -1
            asked = {"split": config.split, "metric": config.metric, "benchmark": config.only, "sign": sign}
            found = database.execute(_QUERY, asked)
            names = [column[0] for column in found.description or ()]
            rows = [dict(zip(names, values, strict=True)) for values in found.fetchall()]
        keys = ("benchmark", "data_revision", "split", "metric")
        for key, group in groupby(rows, key=lambda row: tuple(row[name] for name in keys)):
            board = Board(**dict(zip(keys, key, strict=True)))
            board.rows = [
                Row(**{name: row[name] for name in row if name not in (*keys, "own", "clusters")}) for row in group
            ]
            boards.append(board)
    if not boards:
        known = sorted({(item["benchmark"], item["split"], item["metric"]) for item in items})
        there = ", ".join(f"{benchmark} {split} {metric}" for benchmark, split, metric in known) or "none"
        asked_for = " ".join(filter(None, [config.only, config.split, config.metric]))
        raise InputError(f"path={config.path}: no score of {asked_for}; the records hold: {there}")
    results: dict[str, list[Result | Classified]] = {}
    for board in boards:
        _test(board, results)
        _tell_apart(board.rows)
    return boards


def _tell_apart(rows: Sequence[Row]) -> None:
    """Give rows of the same system and experiment the settings in which their runs differ."""
    alike: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        alike.setdefault((row.system, row.experiment), []).append(row)
    for group in alike.values():
        if len(group) > 1:
            for row, settings in zip(group, differing([settings_of(Path(row.path)) for row in group]), strict=True):
                row.settings = settings


def _test(board: Board, results: dict[str, list[Result | Classified]]) -> None:
    """Compare each row with the best one, where both runs kept what they found query by query or row by row."""
    best = _result(board, board.rows[0], results)
    if best is None:
        return
    tested: list[tuple[Row, float]] = []
    for row in board.rows[1:]:
        other = _result(board, row, results)
        if other is None:
            continue
        try:
            found = _compared(other, best, board.metric)
        except InputError:
            continue
        row.difference = (found.difference, found.low, found.high)
        if found.p is not None:
            tested.append((row, found.p))
    for (row, _), p in zip(tested, holm([p for _, p in tested]), strict=True):
        row.p = p


def _compared(a: Result | Classified, b: Result | Classified, metric: str) -> Comparison:
    """Return a minus b.

    Raises:
        InputError: They were scored on different data.
    """
    if isinstance(a, Classified) and isinstance(b, Classified):
        from benchmarks.classification import compare

        return compare(a, b, [metric])[0]
    assert isinstance(a, Result)
    assert isinstance(b, Result)
    only = [replace(result, per_query={metric: result.per_query[metric]}) for result in (a, b)]
    return compare_queries(*only)[0]


def _result(board: Board, row: Row, results: dict[str, list[Result | Classified]]) -> Result | Classified | None:
    """Return what a row's system found, query by query or row by row; None when its run did not keep it."""
    if row.path not in results:
        queries, examples = Path(row.path) / PER_QUERY_FILE, Path(row.path) / PER_EXAMPLE_FILE
        try:
            results[row.path] = [
                *(load_per_query(queries) if queries.exists() else []),
                *(load_per_example(examples) if examples.exists() else []),
            ]
        except InputError as error:
            say(f"not tested: {error}")
            results[row.path] = []
    wanted = (board.benchmark, board.data_revision, board.split, row.system)
    for result in results[row.path]:
        found = (result.benchmark, result.data_revision, result.split, result.system)
        if found == wanted and (isinstance(result, Classified) or board.metric in result.per_query):
            return result
    return None


def _against_best(row: Row, best: Row) -> str:
    """Return in words how a row stands to the best one."""
    if row is best:
        return "best"
    if row.difference is None or row.p is None:
        if row.low is None or row.high is None or best.low is None or best.high is None:
            return "not tested"
        overlap = row.high >= best.low and best.high >= row.low
        return f"not tested; intervals {'overlap' if overlap else 'do not overlap'}"
    if row.p >= ALPHA:
        return f"no difference shown, {probability(row.p)}"
    difference, low, high = row.difference
    return f"{number(difference, sign=True)} {bracket(low, high)}, {probability(row.p)}"


def _header(board: Board) -> list[str]:
    return ["system", "experiment", label(board.metric), "against the best", "runs", "finished"]


def _cells(board: Board) -> Iterable[list[str]]:
    for row, finished in zip(board.rows, _finished(board.rows), strict=True):
        yield [
            row.system,
            " ".join(filter(None, [row.experiment, spelled(row.settings)])),
            f"{number(row.value)} {bracket(row.low, row.high)}".rstrip(),
            _against_best(row, board.rows[0]),
            str(row.runs),
            finished,
        ]


def _finished(rows: Sequence[Row]) -> list[str]:
    """Return when each run finished: the day, and the time where the day does not tell it from another of its kind."""

    def name(row: Row, length: int) -> tuple[str, str, str]:
        return row.system, row.experiment, row.date[:length].replace("T", " ")

    day, minute = (Counter(name(row, length) for row in rows) for length in (10, 16))
    lengths = [10 if day[name(row, 10)] == 1 else 16 if minute[name(row, 16)] == 1 else 19 for row in rows]
    return [name(row, length)[2] for row, length in zip(rows, lengths, strict=True)]


def _title(board: Board) -> str:
    unit = "rows" if board.metric in CLASS_METRICS else "queries"
    return f"{board.benchmark} ({board.split}), {board.rows[0].n} {unit}, data {board.data_revision[:12]}"


def terminal(boards: Sequence[Board]) -> Group:
    """Return the tables for the terminal."""
    tables = []
    for board in boards:
        table = Table(
            title=escape(printable(_title(board))), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        for name in _header(board):
            table.add_column(escape(name), justify="right" if name == "runs" else "left", overflow="fold")
        for cells in _cells(board):
            table.add_row(*(escape(printable(cell)) for cell in cells))
        tables.append(table)
    return Group(*tables)


def as_markdown(boards: Sequence[Board]) -> str:
    """Return the tables in Markdown."""
    return "\n\n".join(
        f"### {markdown_text(_title(board))}\n\n{markdown(_header(board), _cells(board), left=4)}" for board in boards
    )


def as_json(boards: Sequence[Board]) -> str:
    """Return the tables as JSON."""
    return json.dumps([asdict(board) for board in boards], indent=2, ensure_ascii=False)


def _plain(boards: Sequence[Board]) -> str:
    console = Console(width=160, highlight=False, color_system=None)
    with console.capture() as capture:
        console.print(terminal(boards))
    return capture.get().rstrip("\n")


if __name__ == "__main__":
    main()
