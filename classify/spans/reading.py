"""From a file to texts, words and spans. What is wrong is refused with one line that names the file and the row.

Three forms: a list of words with a list of tags; a text with a list of spans by characters; and CoNLL columns, a word and
its tag a line and an empty line behind each sentence.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from classify.spans.cells import Row, joined, row_of_spans, row_of_tags
from classify.spans.config import TokenDataConfig
from classify.spans.schemes import check_tag, recognise, to_bio
from finewise.data.arrow import ArrowSource
from finewise.data.hub import is_hub
from finewise.data.opening import open_reference
from finewise.data.records import RecordSource, decoded_lines
from finewise.data.sources import builtin, labelled_file, resolve
from finewise.data.table import Kind, Source
from finewise.errors import InputError
from finewise.names import nearest
from finewise.references import file_sha256

CONLL = (".conll", ".bio", ".iob", ".iob2", ".conll.gz", ".bio.gz", ".iob.gz")
DOCUMENT = "-DOCSTART-"
_TAG = re.compile(r"O|[BIESLU]-\S+")


@dataclass(slots=True)
class Read:
    """A file's rows.

    Attributes:
        name: What messages call it.
        unit: What row numbers count.
        content: What pins it: sha256 of the file.
        rows: Those with a word.
        grouped: Whether the rows have groups.
        remarks: What reading left out, repaired or found.
        spare: Columns that play no role.
    """

    name: str
    unit: str
    content: str
    rows: list[Row]
    grouped: bool = False
    remarks: list[str] = field(default_factory=list)
    spare: list[str] = field(default_factory=list)


def is_conll(path: Path) -> bool:
    """Tell by its name whether a file has CoNLL columns."""
    return path.name.lower().endswith(CONLL)


def own_file(reference: str, split: str) -> Path:
    """Return the file of a split: the reference itself, or a folder's SPLIT.conll, SPLIT.jsonl, ...

    Raises:
        InputError: There is none.
    """
    path = resolve(reference)
    if path.is_dir():
        for file in sorted(path.glob(f"{split}.*")):
            if is_conll(file):
                return file
        return labelled_file(reference, split)
    return path


def read(reference: str, config: TokenDataConfig, split: str) -> Read:
    """Read a file, and bring its tags to BIO.

    Args:
        reference: A file, a folder with train, dev and test files, hub:NAME or package:MODULE/PATH.
        config: Which columns, which scheme, what to do with broken tags.
        split: Which file of a folder, or split of a hub data set.

    Raises:
        InputError: Whatever is wrong, in one line.
    """
    path = None if is_hub(reference) else own_file(reference, split)
    if path is not None and is_conll(path):
        found = _conll(path, f"{reference}/{path.name}" if resolve(reference).is_dir() else reference)
    else:
        found = _table(*open_reference(reference, split), config)
        if found.spare and reference not in builtin():
            found.remarks.append(f"{found.name}: columns that play no role: {', '.join(found.spare)}")
    whole = len(found.rows)
    if not whole:
        raise InputError(f"{found.name} has no rows")
    empty = [row.number for row in found.rows if not len(row.words)]
    if empty:
        if len(empty) * 2 > whole:
            raise InputError(
                f"{found.name}: {len(empty)} of {whole} rows have no word (first: {found.unit} {empty[0]}); are these the "
                "right columns? Name them with data.columns, or remove these rows"
            )
        found.rows = [row for row in found.rows if len(row.words)]
        found.remarks.append(
            f"{found.name}: {len(empty)} of {whole} rows without a word were left out ({found.unit} {_some(empty)})"
        )
    _to_bio(found, config)
    return found


def _table(source: Source, content: str, config: TokenDataConfig) -> Read:
    columns = config.columns
    have = source.columns()
    tagged = columns.tokens in have
    if not tagged and columns.text not in have:
        guess = nearest(columns.tokens, have) or nearest(columns.text, have)
        raise InputError(
            f"{source.name} has neither '{columns.tokens}' (words with tags) nor '{columns.text}' (a text with spans)"
            + (f"; did you mean '{guess}'?" if guess else "")
            + f" It has: {', '.join(have)}; name them with data.columns"
        )
    first, second = (columns.tokens, columns.tags) if tagged else (columns.text, columns.spans)
    key = "tags" if tagged else "spans"
    if second not in have:
        guess = nearest(second, have)
        hint = f"; did you mean '{guess}'?" if guess else "."
        raise InputError(
            f"{source.name} has '{first}' and no column '{second}'{hint} It has: {', '.join(have)}; name it with "
            f"data.columns.{key}"
        )
    if columns.group is not None and columns.group not in have:
        raise InputError(
            f"{source.name} has no column '{columns.group}' (data.columns.group); it has: {', '.join(have)}"
        )
    own = source.class_names(second) if tagged and isinstance(source, ArrowSource) else None
    if own and config.names and config.names != own:
        raise InputError(
            f"{source.name} names the classes of '{second}' itself ({', '.join(own)}), and data.names has others "
            f"({', '.join(config.names)}); leave data.names out"
        )
    names = own or config.names
    wanted: dict[str, Kind] = dict.fromkeys([first, second, *([columns.group] if columns.group else [])], "cell")
    made = Read(source.name, source.unit, content, [], columns.group is not None)
    stripped = 0
    for batch, numbers in source.batches(wanted):
        cells = {column: batch[column].to_pylist() for column in wanted}
        for place, number in enumerate(numbers.tolist()):
            one, other = (json.loads(cells[column][place] or "null") for column in (first, second))
            try:
                if tagged:
                    row = row_of_tags(number, one, other, columns, names)
                else:
                    row, cut = row_of_spans(number, one, other, columns)
                    stripped += cut
            except ValueError as error:
                raise InputError(f"{source.name}: {source.unit} {number}: {error}") from None
            if columns.group is not None:
                row.group = cells[columns.group][place]
            made.rows.append(row)
    if isinstance(source, RecordSource):
        made.remarks += source.remarks()
    made.spare = [column for column in source.columns() if column not in wanted]
    if stripped:
        made.remarks.append(
            f"{source.name}: {stripped} spans began or ended with white space, which was left out of them"
        )
    return made


def _conll(path: Path, name: str) -> Read:
    """Read CoNLL columns: the word first, the tag last; documents, where they are marked, are the groups."""
    made = Read(name, "line", file_sha256(path), [])
    tokens: list[str] = []
    tags: list[str] = []
    start, documents = 1, 0

    def end() -> Iterator[Row]:
        if tokens:
            text, words = joined(tokens)
            yield Row(start, text, words, list(tags), group=f"{name} {documents}")
            tokens.clear()
            tags.clear()

    width = 0
    for number, line in enumerate(decoded_lines(path, name), 1):
        line = line.rstrip("\r\n")
        if not line.strip():
            made.rows.extend(end())
            continue
        if line.startswith(DOCUMENT):
            made.rows.extend(end())
            documents += 1
            continue
        if not tokens and line.startswith("# ") and not _TAG.fullmatch(line.split()[-1]):
            continue  # a comment; where the last column is a tag, a sentence begins with this sign
        cells = [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()
        if len(cells) < 2 or not cells[0] or not cells[-1]:
            raise InputError(
                f"{name}: line {number} must be a word and its tag, separated by a tab or blanks; got {line!r}"
            )
        width = width or len(cells)
        if len(cells) != width:
            raise InputError(
                f"{name}: line {number} has {len(cells)} columns, the lines before have {width}; separate columns with tabs"
            )
        if not tokens:
            start = number
        tokens.append(cells[0])
        tags.append(cells[-1])
    made.rows.extend(end())
    made.grouped = documents > 1
    if made.grouped:
        made.remarks.append(f"{name}: {documents} documents ({DOCUMENT}); a document's sentences stay in one split")
    return made


def _to_bio(found: Read, config: TokenDataConfig) -> None:
    """Bring all tags to BIO, in place.

    Raises:
        InputError: A tag is of no scheme, or breaks it and data.malformed=refuse.
    """
    rows = [row for row in found.rows if row.tags is not None]
    if not rows:
        return
    scheme = recognise(row.tags or [] for row in rows) if config.scheme == "auto" else config.scheme
    broken: list[tuple[Row, int, str]] = []
    for row in rows:
        assert row.tags is not None
        try:
            for tag in row.tags:
                check_tag(tag, scheme)
        except ValueError as error:
            raise InputError(f"{found.name}: {found.unit} {row.number}: the tags {error}") from None
        made, places = to_bio(row.tags, scheme)
        if places:
            place = places[0]
            before = row.tags[place - 1] if place else "nothing"
            broken.append((row, len(places), f"{row.tags[place]} after {before}"))
        row.tags = made
    if scheme != "bio":
        found.remarks.append(f"{found.name}: tags read as {scheme.upper()} and brought to BIO")
    if broken:
        row, _, what = broken[0]
        many = sum(count for _, count, _ in broken)
        where = f"{found.unit} {row.number}: {what}"
        if config.malformed == "refuse":
            raise InputError(
                f"{found.name}: {many} tags in {len(broken)} rows break the scheme {scheme.upper()} ({where}); correct them, "
                "or set data.malformed=repair to begin a new span there"
            )
        found.remarks.append(
            f"{found.name}: {many} tags in {len(broken)} rows break the scheme {scheme.upper()} ({where}); a new span begins "
            "there, as conlleval reads it (data.malformed=refuse stops instead)"
        )


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:3])) + (", ..." if len(numbers) > 3 else "")
