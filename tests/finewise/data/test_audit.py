"""The audit finds what is wrong with the rows, says where, and refuses leaks."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.topk import queries_in_corpus
from finewise.config import AuditConfig, ColumnsConfig, DataConfig, ModelConfig
from finewise.data.audit import audit
from finewise.data.load import LoadedData, load, prepare
from finewise.data.near import matches, sketch
from finewise.data.report import AuditReport, Finding
from finewise.data.sources import read_pairs, read_retrieval
from finewise.data.splits import to_retrieval
from finewise.data.tokens import TokenLimit, token_limit
from finewise.errors import InputError

Writer = Callable[..., str]
Maker = Callable[[int], list[dict[str, Any]]]
Rows = list[tuple[str, str]]


def looked(jsonl: Writer, rows: list[dict[str, Any]], **settings: Any) -> dict[str, Finding]:
    report = audit(read_pairs(jsonl(rows), ColumnsConfig()), None, None, AuditConfig(**settings))
    return {finding.kind: finding for finding in report.findings}


def loaded(jsonl: Writer, train: Rows, test: Rows, dev: Rows | None = None, **settings: Any) -> LoadedData:
    names = {}
    for name, rows in (
        ("train", train),
        ("test", test),
        ("dev", dev or [("dev one", "text one"), ("dev two", "text two")]),
    ):
        names[name] = jsonl([{"anchor": a, "positive": p} for a, p in rows], f"{name}.jsonl")
    return prepare(DataConfig(**names), AuditConfig(**settings), seed=0)


def kinds(report: AuditReport) -> dict[tuple[str, str], int]:
    return {(finding.kind, finding.severity): finding.count for finding in report.findings}


CLEAN: Rows = [(f"clean anchor {n}", f"clean positive text {n}") for n in range(5)]


def test_clean_rows_have_no_findings(jsonl: Writer, pairs: Maker) -> None:
    assert looked(jsonl, pairs(50), near_duplicates=False) == {}


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("a text with \ufffd in it", "replacement_characters", "\ufffd"),
        ("the cafÃ© at the corner", "mojibake", "cafÃ©"),
        ("it â€™s broken", "mojibake", "â€™"),
        ("bell \x07 and all", "control_characters", "\\x07"),
        ("x" * 500 + " some <br/> break", "html", "<br/>"),
        ("fish &amp; chips", "html", "&amp;"),
        ("ok", "short", "ok"),
        ("word " * 30_000, "long", "word"),
    ],
)
def test_a_suspicious_text_is_found_and_shown(jsonl: Writer, pairs: Maker, text: str, kind: str, shown: str) -> None:
    rows = pairs(20)
    rows[7]["positive"] = text
    finding = looked(jsonl, rows)[kind]
    assert (finding.count, finding.of, finding.split) == (1, 20, "train")
    assert finding.examples[0].where == "pairs.jsonl line 8"
    assert shown in finding.examples[0].text
    assert len(finding.examples[0].text) < 100


@pytest.mark.parametrize(
    "text", ["Ärger, Öl, Übung — straße", "CAFÉ… « voilà »", "a < b and c > d", "AT&T; x &c.", "日本語の文"]
)
def test_sound_texts_are_left_alone(jsonl: Writer, pairs: Maker, text: str) -> None:
    rows = pairs(20)
    rows[7]["positive"] = text
    assert looked(jsonl, rows, near_duplicates=False) == {}


@pytest.mark.parametrize(
    "value", ["{n}", "user-{n}", "550e8400-e29b-41d4-a716-4466554400{n:02}", "https://example.org/{n}"]
)
def test_a_column_of_ids_is_told(jsonl: Writer, pairs: Maker, value: str) -> None:
    rows = [row | {"anchor": value.format(n=n)} for n, row in enumerate(pairs(30))]
    assert "anchor" in looked(jsonl, rows)["ids"].message
    rows = [row | ({"anchor": value.format(n=n)} if n < 3 else {}) for n, row in enumerate(pairs(30))]
    assert "ids" not in looked(jsonl, rows)


def test_repeated_and_contradicting_rows(jsonl: Writer) -> None:
    rows = [
        {"anchor": "First thing", "positive": "is described here", "negative": "something else", "score": 1},
        {"anchor": "first  THING", "positive": "is described here", "negative": "IS DESCRIBED HERE", "score": 0.5},
        {"anchor": "first thing", "positive": "has another text", "negative": "something else", "score": 1},
        {"anchor": "second thing", "positive": "is described here", "negative": "something else", "score": 1},
        {"anchor": "the same", "positive": "The Same", "negative": "something else", "score": 1},
    ]
    found = looked(jsonl, rows)
    assert found["duplicate_pairs"].count == 1
    assert found["duplicate_pairs"].examples[0].where == "pairs.jsonl line 2"
    assert found["shared_anchors"].count == 3
    assert "1 anchors have several positives" in found["shared_anchors"].message
    assert found["shared_positives"].count == 3
    assert found["anchor_is_positive"].examples[0].where == "pairs.jsonl line 5"
    assert found["negative_is_positive"].count == 1
    assert found["contradicting_scores"].count == 1


def test_labels_in_place_of_texts_are_told(jsonl: Writer, pairs: Maker) -> None:
    rows = [row | {"positive": "sports" if n % 2 else "politics"} for n, row in enumerate(pairs(300))]
    assert "only 2 different positives in 300 rows" in looked(jsonl, rows)["few_positives"].message


def test_near_duplicates_are_found_and_others_are_not(jsonl: Writer, pairs: Maker) -> None:
    text = "the quick brown fox jumps over the lazy dog while a curious cat watches from the old garden wall tonight"
    rows = [row | {"positive": " ".join(f"w{n}x{i}" for i in range(20))} for n, row in enumerate(pairs(30))]
    rows[3]["positive"] = text
    rows[9]["positive"] = text.replace(" dog ", " dog, ").capitalize() + "!"
    found = looked(jsonl, rows)["near_duplicate_positives"]
    assert found.count == 1
    assert found.examples[0].where == "pairs.jsonl line 10"
    assert "≈ pairs.jsonl line 4" in found.examples[0].text
    assert "near_duplicate_positives" not in looked(jsonl, rows, near_duplicates=False)


def test_the_estimate_agrees_with_the_exact_jaccard_similarity() -> None:
    words = [f"w{n}" for n in range(200)]
    changed = {0.97: 2, 0.6: 20}  # 3-grams lost per changed word: 3
    for true, count in changed.items():
        other = list(words)
        for place in range(5, 5 + 9 * count, 9):
            other[place] = f"new{place}"
        same = len(
            {*zip(words, words[1:], words[2:], strict=False)} & {*zip(other, other[1:], other[2:], strict=False)}
        )
        exact = same / (2 * 198 - same)
        estimate = (sketch([" ".join(words)]).digests == sketch([" ".join(other)]).digests).mean()
        assert abs(exact - estimate) < 0.12
        assert (matches(sketch([" ".join(other)]), sketch([" ".join(words)]), 0.8)[0] == 0) == (exact > 0.8)
        assert (exact > 0.8) == (true > 0.8)
    assert matches(sketch(["", "", "a b", "A, b!"]), None, 0.9).tolist() == [-1, -1, -1, 2]


def test_an_anchor_that_is_a_held_out_query_refuses(jsonl: Writer) -> None:
    data = loaded(
        jsonl, [*CLEAN, ("What  IS it?", "some text")], [("what is it?", "held text"), ("other", "other text")]
    )
    assert kinds(data.report) == {("leaked_query", "refuse"): 1}
    with pytest.raises(InputError) as caught:
        data.report.check()
    message = str(caught.value)
    assert "1 of 6 training rows are in the held-out data" in message
    assert "train.jsonl line 6: What IS it? = test query q1" in message
    assert "audit.leakage=drop" in message
    assert "audit.leakage=allow" in message


def test_a_document_may_be_relevant_to_a_training_query_and_to_a_held_out_one(jsonl: Writer) -> None:
    data = loaded(jsonl, [*CLEAN, ("mine", "HELD text")], [("query", "held text"), ("other", "other text")])
    assert kinds(data.report) == {("shared_document", "warn"): 1}


def test_a_text_in_the_other_role_is_a_warning(jsonl: Writer) -> None:
    train = [*CLEAN, ("mine", "Query"), ("held TEXT", "something else")]
    data = loaded(jsonl, train, [("query", "held text"), ("other", "other text")])
    assert kinds(data.report) == {("positive_is_query", "warn"): 1, ("anchor_is_answer", "warn"): 1}


def test_twins_that_differ_in_unicode_form_leak(jsonl: Writer) -> None:
    test = [("Caf\u00e9 in Paris?", "held text"), ("other", "other text")]
    data = loaded(jsonl, [*CLEAN, ("cafe\u0301 in Paris?", "mine")], test)
    assert kinds(data.report) == {("leaked_query", "refuse"): 1}


def test_a_pair_that_is_held_out_the_other_way_round_refuses(jsonl: Writer) -> None:
    data = loaded(jsonl, [*CLEAN, ("held text", "query")], [("query", "held text"), ("other", "other text")])
    assert ("leaked_pair", "refuse") in kinds(data.report)


def test_a_leak_into_dev_counts_too(jsonl: Writer) -> None:
    data = loaded(
        jsonl, [*CLEAN, ("query", "mine")], [("a b", "c d"), ("e f", "g h")], [("query", "x y"), ("q", "z w")]
    )
    assert data.report.refusals[0].message.startswith("anchors equal a dev query")


def test_a_positive_that_is_only_searched_among_is_a_note(jsonl: Writer, own_folder: Any) -> None:
    folder = own_folder / "set"
    (folder / "qrels").mkdir(parents=True)
    for name, rows in (("queries", ["q one", "q two"]), ("corpus", ["d one", "d two", "a distractor"])):
        lines = [json.dumps({"_id": str(n), "text": text}) for n, text in enumerate(rows)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n0\t0\t1\n1\t1\t1\n1\t2\t0\n")
    train, dev = [*CLEAN, ("mine", "A Distractor")], [("dev one", "text one"), ("dev two", "text two")]
    names = [
        jsonl([{"anchor": a, "positive": p} for a, p in rows], f"{name}.jsonl")
        for name, rows in (("train", train), ("dev", dev))
    ]
    data = load(DataConfig(train=names[0], dev=names[1], test="set"), AuditConfig(), seed=0)
    assert kinds(data.report) == {("corpus_overlap", "note"): 1}


def test_dropping_removes_the_leaked_rows_and_says_so(jsonl: Writer) -> None:
    train = [*CLEAN, ("query", "mine"), ("held text", "query")]
    test = [("query", "held text"), ("other", "other text")]
    data = loaded(jsonl, train, test, leakage="drop")
    data.report.check()
    assert len(data.train) == data.rows["train"] == 5
    assert data.report.dropped == data.report.summary()["dropped_rows"] == 2
    allowed = loaded(jsonl, train, test, leakage="allow")
    allowed.report.check()
    assert len(allowed.train) == 7
    assert {("leaked_query", "warn"), ("leaked_pair", "warn")} <= {*kinds(allowed.report)}
    with pytest.raises(InputError, match=r"would leave 0 of 2 training rows"):
        loaded(jsonl, train[-2:], test, leakage="drop")


def test_near_duplicates_across_the_splits_warn_and_are_dropped_on_request(jsonl: Writer) -> None:
    long = "the quick brown fox jumps over the lazy dog while a curious cat watches from the old garden wall tonight"
    train, test = [*CLEAN, ("mine", long + "!")], [("query", long), ("other", "other text")]
    data = loaded(jsonl, train, test)
    assert kinds(data.report) == {("near_document", "warn"): 1}
    data.report.check()
    assert "≈ test document d1 'the quick" in data.report.findings[0].examples[0].text
    assert len(loaded(jsonl, train, test, leakage="drop").train) == 5


def test_dev_queries_that_are_test_queries_are_told(jsonl: Writer) -> None:
    data = loaded(jsonl, CLEAN, [("query", "a b"), ("x", "c d")], [("Query", "e f"), ("y", "g h")])
    assert ("dev_is_test", "warn") in kinds(data.report)


def test_what_reading_left_out_is_told(jsonl: Writer, pairs: Maker) -> None:
    rows = [row | {"id": n} for n, row in enumerate(pairs(20))]
    rows[4]["anchor"] = ""
    found = looked(jsonl, rows)
    assert (found["empty_rows"].count, found["empty_rows"].of) == (1, 20)
    assert found["empty_rows"].examples[0].where == "pairs.jsonl line 5"
    assert "id" in found["unused_columns"].message


def count_words(texts: Sequence[str]) -> NDArray[np.int64]:
    return np.array([len(text.split()) for text in texts])


def test_the_ledger_counts_what_will_be_cut(jsonl: Writer) -> None:
    rows = [{"anchor": f"a{n}", "positive": "w " * n, "negative": "n"} for n in range(1, 11)]
    limit = TokenLimit(count=count_words, max_seq_length=8, query_prompt="query: x ", document_prompt="")
    train = read_pairs(jsonl(rows), ColumnsConfig())
    anchor, positive, _ = audit(train, None, None, AuditConfig(), limit=limit).truncation
    assert (anchor.column, anchor.over, anchor.longest) == ("anchor", 0, 3)
    assert (positive.over, positive.share, positive.tokens, positive.tokens_cut, positive.longest) == (
        2,
        0.2,
        55,
        3,
        10,
    )
    sampled = audit(train, None, None, AuditConfig(max_rows=4), limit=limit).truncation[1]
    assert (sampled.texts, sampled.of) == (4, 10)


def test_the_ledger_uses_the_models_own_tokenizer_and_limit(jsonl: Writer, pairs: Maker) -> None:
    limit = token_limit(ModelConfig())
    assert isinstance(limit, TokenLimit)
    assert limit.max_seq_length == 256
    assert limit.count(["hello world", "word " * 1000]).tolist() == [4, 1002]
    assert token_limit(ModelConfig(max_seq_length=32)).max_seq_length == 32  # type: ignore[union-attr]
    data = load(DataConfig(train=jsonl(pairs(200))), AuditConfig(), 0, limit=limit)
    assert {(cut.split, cut.column) for cut in data.report.truncation} == {
        ("train", "anchor"), ("train", "positive"), ("dev", "queries"), ("test", "queries"), ("dev+test", "corpus")
    }  # fmt: skip


def test_a_model_that_is_not_here_leaves_a_remark(jsonl: Writer, pairs: Maker, tmp_path: Any, monkeypatch: Any) -> None:
    limit = token_limit(ModelConfig(name="someone/model-that-is-not-downloaded"))
    assert isinstance(limit, str)
    assert "not downloaded" in limit
    report = audit(read_pairs(jsonl(pairs(5)), ColumnsConfig()), None, None, AuditConfig(), limit=limit)
    assert report.remarks == (limit,)
    assert report.truncation == ()


def test_the_report_is_plain_json_and_shows_markup_as_it_is(jsonl: Writer, pairs: Maker) -> None:
    rows = pairs(20)
    rows[3]["positive"] = "[bold]x[/bold] <p>y</p>"
    report = audit(read_pairs(jsonl(rows), ColumnsConfig()), None, None, AuditConfig())
    assert json.loads(json.dumps(report.summary())) == report.summary()
    screen = io.StringIO()
    Console(width=200, file=screen).print(report, report.brief())
    text = screen.getvalue()
    assert "python -m finewise.audit with the same data" in text
    assert "[bold]x[/bold] <p>y</p>" in text
    assert "train 20 rows" in text


# loading as a whole


def test_loading_is_the_same_every_time_and_splits_share_one_corpus(jsonl: Writer, pairs: Maker) -> None:
    train = jsonl(pairs(500))
    data, again, other = (load(DataConfig(train=train, split_seed=n), AuditConfig(), seed=0) for n in (1, 1, 2))
    assert data.revision == again.revision != other.revision
    assert load(DataConfig(train=train, split_seed=1), AuditConfig(), seed=5).revision == data.revision
    assert data.rows == {"train": 400, "dev": 50, "test": 50}
    assert data.dev is not None
    assert data.test is not None
    assert set(data.dev.corpus) == set(data.test.corpus)
    assert len(data.dev.corpus) == 100
    assert not set(data.dev.corpus) & set(data.train.rows["positive"])


def test_loading_cuts_train_and_dev_to_size_but_never_test(jsonl: Writer, pairs: Maker) -> None:
    config = DataConfig(train=jsonl(pairs(500)), max_train_rows=30, max_dev_queries=5, max_dev_corpus=20)
    data = load(config, AuditConfig(), seed=1)
    assert data.dev is not None
    assert data.rows == {"train": 30, "dev": 5, "test": 50}
    assert len(data.dev.corpus) == 20
    assert data.report.rows["train"] == 400


def test_a_named_test_file_stands_alone_and_dev_is_split_off(jsonl: Writer, pairs: Maker) -> None:
    rows = pairs(300)
    train, test = jsonl(rows[:250], "train.jsonl"), jsonl(rows[250:], "test.jsonl")
    data = load(DataConfig(train=train, test=test), AuditConfig(), seed=1)
    assert data.rows == {"train": 225, "dev": 25, "test": 50}
    assert data.test is not None
    assert len(data.test.corpus) == 50


def test_dev_is_not_split_off_from_test_texts(jsonl: Writer, pairs: Maker) -> None:
    rows = pairs(300)
    train, test = jsonl(rows[:250], "train.jsonl"), jsonl(rows[150:], "test.jsonl")
    data = load(DataConfig(train=train, test=test, dev_size=80), AuditConfig(leakage="drop"), seed=1)
    assert data.dev is not None
    assert not {row["anchor"] for row in rows[150:]} & set(data.dev.queries)
    assert len(data.dev.queries) == 80
    assert len(data.train) == 70


def test_a_text_stays_in_one_split_whatever_its_column(jsonl: Writer) -> None:
    chain = [{"anchor": f"text {n}", "positive": f"text {n + 1}"} for n in range(400) if n % 5 < 3]
    data = load(DataConfig(train=jsonl(chain), dev_size=20, test_size=20), AuditConfig(), seed=1)
    assert data.dev is not None
    assert data.test is not None
    train = {*data.train.rows["anchor"], *data.train.rows["positive"]}
    assert not train & {*data.test.queries, *data.test.corpus, *data.dev.queries, *data.dev.corpus}
    assert not {*data.dev.queries} & {*data.test.queries}


def test_a_query_that_is_a_document_too_is_not_searched_for_itself(jsonl: Writer) -> None:
    chain = [{"anchor": "a", "positive": "b"}, {"anchor": "b", "positive": "c"}, {"anchor": "d", "positive": "e"}]
    test = read_pairs(jsonl(chain), ColumnsConfig(), split="test")
    task = to_retrieval(test, "x", "test")
    own = queries_in_corpus(task)
    assert [task.corpus[place] if place >= 0 else None for place in own] == [None, "b", None]


def test_queries_of_one_group_are_a_cluster(jsonl: Writer) -> None:
    rows = [{"anchor": f"q{n}", "positive": f"d{n}", "customer": "ab"[n % 2]} for n in range(4)]
    pairs = read_pairs(jsonl(rows), ColumnsConfig(group="customer"), split="test")
    clusters = to_retrieval(pairs, "x", "test").clusters
    assert clusters is not None
    assert clusters[0] == clusters[2] != clusters[1] == clusters[3]


def test_a_query_of_several_groups_joins_them(jsonl: Writer) -> None:
    rows = [("q0", "a"), ("q0", "b"), ("q1", "a"), ("q2", "b"), ("q3", "c"), ("q4", None), ("q5", None)]
    content = [{"anchor": q, "positive": f"d{n}", "customer": group} for n, (q, group) in enumerate(rows)]
    pairs = read_pairs(jsonl(content), ColumnsConfig(group="customer"), split="test")
    task = to_retrieval(pairs, "x", "test")
    assert task.queries == ("q0", "q1", "q2", "q3", "q4", "q5")
    assert task.clusters is not None
    assert task.clusters[0] == task.clusters[1] == task.clusters[2]
    assert len({*task.clusters}) == 4


def test_groups_are_kept_apart_from_a_held_out_file(jsonl: Writer) -> None:
    def rows(word: str, groups: list[str]) -> list[dict[str, str]]:
        return [
            {"anchor": f"{word} question {n}", "positive": f"{word} answer {n}", "customer": group}
            for n, group in enumerate(groups)
        ]

    train = jsonl(rows("train", [f"c{n // 2}" for n in range(100)]))
    test = jsonl(rows("test", [f"C{n}" for n in range(10)]), "test.jsonl")
    columns = ColumnsConfig(group="customer")
    config = DataConfig(train=train, test=test, dev_size=20, columns=columns)
    data = prepare(config, AuditConfig(near_duplicates=False), seed=0)
    (leak,) = data.report.refusals
    assert (leak.kind, leak.count) == ("leaked_group", 20)
    assert data.dev is not None
    assert data.test is not None
    assert data.dev.groups is not None
    assert data.test.groups is not None
    assert not data.dev.groups & data.test.groups
    dropped = load(config, AuditConfig(near_duplicates=False, leakage="drop"), seed=0)
    assert len(dropped.train) == 100 - 20 - 20


def test_a_hard_negative_that_a_held_out_query_looks_for_is_told(jsonl: Writer) -> None:
    train = [{"anchor": f"q{n}", "positive": f"text {n}", "negative": f"other {n}"} for n in range(20)]
    train[4]["negative"] = "HELD text"
    test = jsonl([{"anchor": "mine", "positive": "held text"}, {"anchor": "x", "positive": "y"}], "test.jsonl")
    config = DataConfig(train=jsonl(train), dev_size=2, test=test)
    report = prepare(config, AuditConfig(near_duplicates=False), seed=0).report
    (found,) = [finding for finding in report.findings if finding.kind == "negative_is_answer"]
    assert (found.severity, found.count) == ("warn", 1)
    assert "pushes it away" in found.message


def test_a_beir_folder_brings_its_own_splits() -> None:
    data = prepare(DataConfig(train="debian"), AuditConfig(near_duplicates=False), seed=1)
    assert data.rows == {"train": 24_000, "dev": 2000, "test": 2000}


def test_anchors_without_a_relevant_text_are_told(jsonl: Writer, pairs: Maker) -> None:
    train = jsonl(pairs(50))
    test = jsonl([{"anchor": f"q{n}", "positive": f"t{n}", "score": n / 10} for n in range(10)], "test.jsonl")
    data = load(DataConfig(train=train, dev_size=5, test=test), AuditConfig(), seed=0)
    assert data.rows["test"] == 5
    assert "5 anchors of test have no text with a score" in data.report.remarks[0]


def test_queries_that_stand_unjudged_in_their_own_corpus_are_counted(own_folder: Path) -> None:
    folder = own_folder / "set"
    (folder / "qrels").mkdir(parents=True)
    documents = {"d1": "an answer", "d2": "Cafe\u0301 where?", "q2": "second", "d4": "third", "d5": "fourth"}
    queries = {"q1": "caf\u00e9 where?", "q2": "second", "q3": "third", "q4": "fourth", "q5": "fourth"}
    for name, content in (("corpus", documents), ("queries", queries)):
        lines = [json.dumps({"_id": key, "text": text}) for key, text in content.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    judged = ["q1\td1\t1", "q2\td1\t1", "q3\td1\t1", "q3\td4\t0", "q4\td5\t1"]  # d4 is judged, and q5 is no query
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]), encoding="utf-8")
    test = read_retrieval(str(folder), split="test", name="x")
    train = read_pairs(write_pairs(own_folder), ColumnsConfig())
    found = {one.kind: one for one in audit(train, None, test, AuditConfig(near_duplicates=False)).findings}
    assert (found["unjudged_query_in_corpus"].severity, found["unjudged_query_in_corpus"].count) == ("warn", 1)
    assert found["unjudged_query_in_corpus"].examples[0].where == "test query q1"
    assert (found["query_in_corpus"].severity, found["query_in_corpus"].count) == ("note", 1)


def write_pairs(folder: Path) -> str:
    (folder / "train.jsonl").write_text(
        "".join(json.dumps({"anchor": a, "positive": p}) + "\n" for a, p in CLEAN), encoding="utf-8"
    )
    return "train.jsonl"
