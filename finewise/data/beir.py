"""Folders in the layout of BEIR: queries, corpus, and qrels/SPLIT.tsv."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from finewise.console import progress
from finewise.data.arrow import TextColumn
from finewise.data.formats import EXTENSIONS, open_source
from finewise.data.keys import ColumnDigest, combine
from finewise.data.pairs import Pairs, Reader, store_pairs
from finewise.data.records import DelimitedSource
from finewise.data.retrieval import RetrievalSet
from finewise.data.store import entry
from finewise.data.table import Batch, Source
from finewise.errors import InputError
from finewise.names import unknown
from finewise.references import file_sha256

VERSION = 2
QRELS = {"query-id": "label", "corpus-id": "label", "score": "number"}


def table_file(folder: Path, stem: str) -> Path | None:
    """Return the file of this stem and a known extension, such as corpus.parquet.

    Raises:
        InputError: There are two.
    """
    found = [folder / (stem + kind) for kind in EXTENSIONS if (folder / (stem + kind)).is_file()]
    if len(found) > 1:
        raise InputError(f"{folder} has both {found[0].name} and {found[1].name}; remove one")
    return found[0] if found else None


def splits(folder: Path) -> list[str]:
    """Return the splits that have judgements."""
    return sorted(path.stem for path in (folder / "qrels").glob("*.tsv"))


def is_beir(folder: Path) -> bool:
    """Return whether a folder has queries and judgements (its corpus may be elsewhere)."""
    return folder.is_dir() and table_file(folder, "queries") is not None and bool(splits(folder))


def check_beir(folder: Path, name: str) -> None:
    """Raise unless the folder has queries and judgements."""
    lacking = [what for what in ("queries", "corpus") if table_file(folder, what) is None]
    if not splits(folder):
        lacking.append("qrels/SPLIT.tsv")
    if [what for what in lacking if what != "corpus"]:
        files = sorted(path.name for path in folder.iterdir())[:6]
        raise InputError(
            f"{name} is a folder without {', '.join(lacking)}, so it is no BEIR folder (queries.jsonl, corpus.jsonl, "
            f"qrels/SPLIT.tsv); it has: {', '.join(files) or 'nothing'}. To read one file, name the file"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Ids and texts of a queries or corpus file, memory-mapped."""

    ids: TextColumn
    texts: TextColumn
    digest: str
    content: str


def read_texts(path: Path, name: str, *, empty: bool) -> Texts:
    """Read a file with _id, text and perhaps title (put before the text, as BEIR does).

    Args:
        path: The file.
        name: What messages call it.
        empty: Whether empty texts are accepted.

    Raises:
        InputError: A column is missing, an id is there twice, or a text is empty.
    """
    content = file_sha256(path)
    folder, about = entry(
        combine("texts", VERSION, content, path.suffix, empty),
        lambda part: _convert(part, open_source(path, name), name, empty),
    )
    path = folder / "texts.arrow"
    return Texts(
        ids=TextColumn.of(path, "id"), texts=TextColumn.of(path, "text"), digest=about["digest"], content=content
    )


def _convert(folder: Path, source: Source, name: str, empty: bool) -> dict[str, Any]:
    columns = source.columns()
    identifier = "_id" if "_id" in columns else "id"
    for needed in (identifier, "text"):
        if needed not in columns:
            raise InputError(
                f"{name} has no column '{'_id' if needed == 'id' else needed}'; it has: {', '.join(columns)}"
            )
    titled = "title" in columns or getattr(source, "ragged", False)
    wanted: Any = {identifier: "label", "text": "text"} | ({"title": "optional"} if titled else {})
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    ids, texts = ColumnDigest(), ColumnDigest()
    all_ids, all_numbers = [], []
    with (
        pa.OSFile(str(folder / "texts.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, schema) as writer,
        progress(f"read {name}", source.rows) as advance,
    ):
        for batch, numbers in source.batches(wanted):
            text = pc.fill_null(batch["text"], "")
            if titled:
                title = pc.fill_null(batch["title"], "")
                text = pc.utf8_trim_whitespace(pc.binary_join_element_wise(title, text, " "))
            if not empty:
                blank = np.flatnonzero(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(text)), 0))
                if len(blank):
                    raise InputError(f"{name}: {source.unit} {numbers[blank[0]]} has an empty text; remove it")
            if batch[identifier].null_count:
                missing = np.flatnonzero(pc.is_null(batch[identifier]))[0]
                raise InputError(f"{name}: {source.unit} {numbers[missing]} has no {identifier}")
            writer.write_batch(pa.record_batch([batch[identifier], text], schema=schema))
            ids.update(batch[identifier])
            texts.update(text)
            all_ids.append(batch[identifier])
            all_numbers.append(numbers)
            advance(len(numbers))
    column = pa.chunked_array(all_ids, pa.string())
    if pc.count_distinct(column).as_py() != len(column):
        counts = column.value_counts()
        twice = counts.filter(pc.greater(counts.field("counts"), 1))[0]["values"]
        at = np.flatnonzero(pc.equal(column, twice))[:2]
        first, second = np.concatenate(all_numbers)[at]
        raise InputError(
            f"{name}: the id '{twice}' is there twice ({source.unit}s {first} and {second}); ids must be unique"
        )
    return {"digest": combine(ids.hexdigest(), texts.hexdigest())}


def read_qrels(folder: Path, split: str, name: str) -> Iterator[Batch]:
    """Yield the judgements of a split: query-id, corpus-id, score.

    Raises:
        InputError: The split has no file, or its header or a row is wrong.
    """
    path = folder / "qrels" / f"{split}.tsv"
    if not path.is_file():
        raise InputError(f"{name}: {unknown('split', split, splits(folder))} (the files in {folder / 'qrels'})")
    source = DelimitedSource(path, f"{name}/qrels/{split}.tsv", "\t", quoting=False)
    if missing := [column for column in QRELS if column not in source.columns()]:
        raise InputError(
            f"{source.name} has no column '{missing[0]}'; its first line must be: query-id, corpus-id, score "
            "(separated by tabs)"
        )
    return source.batches({"query-id": "label", "corpus-id": "label", "score": "number"})


def read_beir(folder: Path, split: str, name: str, reference: str, corpus: Path | None) -> RetrievalSet:
    """Read one split of a BEIR folder.

    Queries are those that the split's judgements name, and those that no judgement of any split names (evaluation
    reports them).

    Args:
        folder: The folder.
        split: Whose qrels.
        name: What records call the set.
        reference: What messages call the folder.
        corpus: File or folder that holds the corpus, if it is elsewhere.

    Raises:
        InputError: A part is missing, or a judgement names a query or document that is not there.
    """
    query_file = table_file(folder, "queries")
    if query_file is None:
        check_beir(folder, reference)
        raise AssertionError
    judgements = list(read_qrels(folder, split, reference))
    queries = read_texts(query_file, f"{reference}/{query_file.name}", empty=False)
    documents = read_texts(*_corpus_file(folder, reference, corpus), empty=True)
    for column, texts, what in (("query-id", queries, "query"), ("corpus-id", documents, "document")):
        for batch, numbers in judgements:
            known = np.asarray(pc.is_in(batch[column], value_set=texts.ids.column))
            if not known.all():
                at = int(np.flatnonzero(~known)[0])
                raise InputError(
                    f"{reference}/qrels/{split}.tsv: line {numbers[at]} names the {what} '{batch[column][at]}', "
                    "which is not "
                    f"there; add it or remove its judgements"
                )
    qrels: dict[str, dict[str, int]] = {}
    for batch, numbers in judgements:
        columns = [batch[column].to_pylist() for column in QRELS]
        for query, document, grade, number in zip(*columns, numbers, strict=True):
            if grade != int(grade):
                raise InputError(
                    f"{reference}/qrels/{split}.tsv: line {number}: the score must be a whole number; got {grade}"
                )
            if qrels.setdefault(query, {}).setdefault(document, int(grade)) != int(grade):
                raise InputError(
                    f"{reference}/qrels/{split}.tsv: line {number} contradicts an earlier score of '{query}' and "
                    f"'{document}'"
                )
    others: set[str] = set()
    for other in splits(folder):
        if other != split:
            for batch, _ in read_qrels(folder, other, reference):
                others.update(pc.unique(batch["query-id"]).to_pylist())
    kept = [
        (key, text) for key, text in zip(queries.ids, queries.texts, strict=True) if key in qrels or key not in others
    ]
    query_ids, query_texts = tuple(key for key, _ in kept), tuple(text for _, text in kept)
    return retrieval_set(
        name=name,
        split=split,
        query_ids=query_ids,
        queries=query_texts,
        corpus_ids=documents.ids,
        corpus=documents.texts,
        qrels=qrels,
        corpus_digest=documents.digest,
    )


def _corpus_file(folder: Path, reference: str, corpus: Path | None) -> tuple[Path, str]:
    if corpus is not None and corpus.is_file():
        return corpus, str(corpus)
    place = corpus or folder
    found = table_file(place, "corpus")
    if found is None:
        raise InputError(f"{reference}: no corpus file (corpus.jsonl, corpus.parquet, ...) in {place}")
    return found, f"{reference}/{found.name}" if corpus is None else str(found)


def retrieval_set(
    *,
    name: str,
    split: str,
    query_ids: Sequence[str],
    queries: Sequence[str],
    corpus_ids: Sequence[str],
    corpus: Sequence[str],
    qrels: dict[str, dict[str, int]],
    corpus_digest: str,
    clusters: Sequence[int] | None = None,
    groups: frozenset[int] | None = None,
) -> RetrievalSet:
    """Put a retrieval set together and compute its revision."""
    from finewise.data.keys import digest_texts

    judgements = (
        f"{query}\t{document}\t{grade}" for query in sorted(qrels) for document, grade in sorted(qrels[query].items())
    )
    revision = combine(
        "retrieval", digest_texts(query_ids), digest_texts(queries), corpus_digest, digest_texts(judgements)
    )
    return RetrievalSet(
        name=name,
        split=split,
        query_ids=query_ids,
        queries=queries,
        corpus_ids=corpus_ids,
        corpus=corpus,
        qrels=qrels,
        revision=revision,
        clusters=clusters,
        groups=groups,
    )


class _Join(Reader):
    """Judgements joined with their texts: one pair per relevant document."""

    def __init__(self, folder: Path, split: str, name: str, queries: Texts, documents: Texts) -> None:
        self._source = (folder, split, name)
        self._texts = {"query-id": queries, "corpus-id": documents}
        self._grades: Counter[str] = Counter()

    def batches(self) -> Iterator[Batch]:
        folder, split, name = self._source
        for batch, numbers in read_qrels(folder, split, name):
            relevant = np.asarray(batch["score"]) > 0
            self._grades["not relevant"] += int((~relevant).sum())
            columns = {}
            for column, role in (("query-id", "anchor"), ("corpus-id", "positive")):
                texts = self._texts[column]
                places = pc.index_in(batch[column], value_set=texts.ids.column)
                if places.null_count:
                    at = int(np.flatnonzero(pc.is_null(places))[0])
                    raise InputError(
                        f"{name}/qrels/{split}.tsv: line {numbers[at]} names '{batch[column][at]}', which is not "
                        "in the "
                        f"{'queries' if role == 'anchor' else 'corpus'}; add it or remove its judgements"
                    )
                columns[role] = texts.texts.take(np.asarray(places, dtype=np.int64)[relevant])
            yield columns, numbers[relevant]

    def remarks(self) -> list[str]:
        count = self._grades["not relevant"]
        return [f"{count} judgements of grade 0 in the training qrels are not pairs and were left out"] if count else []


def read_beir_pairs(folder: Path, split: str, reference: str) -> Pairs:
    """Read the pairs (query, relevant document) that qrels/SPLIT.tsv names.

    Raises:
        InputError: A part is missing, or a judgement names a query or document that is not there.
    """
    check_beir(folder, reference)
    query_file = table_file(folder, "queries")
    assert query_file is not None
    queries = read_texts(query_file, f"{reference}/{query_file.name}", empty=False)
    documents = read_texts(*_corpus_file(folder, reference, None), empty=True)
    qrels = folder / "qrels" / f"{split}.tsv"
    if not qrels.is_file():
        raise InputError(f"{reference}: {unknown('split', split, splits(folder))} (the files in {folder / 'qrels'})")
    return store_pairs(
        combine(queries.content, documents.content, file_sha256(qrels)),
        {"anchor": "query", "positive": "document"},
        f"{reference}/qrels/{split}.tsv",
        "line",
        None,
        _Join(folder, split, reference, queries, documents),
    )
