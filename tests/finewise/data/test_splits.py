"""Splitting keeps together what belongs together; held-out pairs become retrieval sets."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finewise.config import AuditConfig, ColumnsConfig, DataConfig
from finewise.data.keys import normalise
from finewise.data.load import load
from finewise.data.sources import Pairs, read_pairs
from finewise.data.splits import components, split, subset, to_retrieval
from finewise.errors import InputError

Writer = Callable[..., str]
Maker = Callable[[int], list[dict[str, Any]]]


def read(name: str, **columns: str) -> Pairs:
    return read_pairs(name, ColumnsConfig(**columns))


def texts(pairs: Pairs | None, column: str) -> set[str]:
    assert pairs is not None
    return {normalise(row[column]) for row in pairs.rows}


def test_five_hundred_pairs_split_into_400_50_50(jsonl: Writer, pairs: Maker) -> None:
    parts = split(read(jsonl(pairs(500))), 0.1, 0.1, seed=1)
    assert parts.dev is not None
    assert parts.test is not None
    assert [len(part) for part in (parts.train, parts.dev, parts.test)] == [400, 50, 50]
    numbers = np.concatenate([part.numbers for part in (parts.train, parts.dev, parts.test)])
    assert sorted(numbers) == list(range(1, 501))


def test_a_share_takes_2000_rows_at_most_and_a_count_what_it_says(jsonl: Writer, pairs: Maker) -> None:
    whole = read(jsonl(pairs(24_000)))
    parts = split(whole, 0.1, 3000, seed=1)
    assert (len(parts.dev or []), len(parts.test or [])) == (2000, 3000)


def test_only_what_is_asked_for_is_split_off(jsonl: Writer, pairs: Maker) -> None:
    parts = split(read(jsonl(pairs(100))), None, 7, seed=0)
    assert parts.dev is None
    assert (len(parts.test or []), len(parts.train)) == (7, 93)


def test_the_split_follows_the_seed_and_the_content_not_the_order(jsonl: Writer, pairs: Maker) -> None:
    rows = pairs(200)
    first = split(read(jsonl(rows)), 20, 20, seed=3)
    again = split(read(jsonl(rows)), 20, 20, seed=3)
    turned = split(read(jsonl(rows[::-1], "turned.jsonl")), 20, 20, seed=3)
    other = split(read(jsonl(rows)), 20, 20, seed=4)
    assert first.train.revision == again.train.revision
    assert texts(first.test, "anchor") == texts(turned.test, "anchor")
    assert texts(first.test, "anchor") != texts(other.test, "anchor")


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 40)), min_size=60, max_size=120),
    seed=st.integers(0, 9),
)
def test_no_anchor_positive_group_or_pair_is_in_two_parts(
    jsonl: Writer, rows: list[tuple[int, int, int]], seed: int
) -> None:
    content = [
        {
            "anchor": f"Anchor  {a}" if a % 2 else f"anchor {a}",
            "positive": f"positive {p}",
            "group": None if g < 20 else g,
        }
        for a, p, g in rows
    ] + [{"anchor": f"lonely {n}", "positive": f"lonely text {n}", "group": None} for n in range(60)]
    content += [{"anchor": row["positive"], "positive": row["anchor"].upper(), "group": None} for row in content[:3]]
    whole = read(jsonl(content), group="group")
    parts = split(whole, 15, 15, seed)
    held = [parts.train, parts.dev, parts.test]
    for number, part in enumerate(held):
        assert part is not None
        for other in held[:number]:
            assert other is not None
            for column in ("anchor", "positive"):
                assert not texts(part, column) & texts(other, column)
            assert not {row["group"] for row in part.rows} & {row["group"] for row in other.rows} - {None}
            mine = {frozenset((normalise(row["anchor"]), normalise(row["positive"]))) for row in part.rows}
            theirs = {frozenset((normalise(row["anchor"]), normalise(row["positive"]))) for row in other.rows}
            assert not mine & theirs


def test_components_follow_chains(jsonl: Writer) -> None:
    rows = [("a", "x"), ("b", "x"), ("b", "y"), ("c", "z"), ("z", "C ")]
    labels = components(read(jsonl([{"anchor": a, "positive": p} for a, p in rows])))
    assert labels.tolist()[:3] == [labels[0]] * 3
    assert labels[3] == labels[4] != labels[0]


def test_one_text_that_holds_all_rows_together_is_named(jsonl: Writer, pairs: Maker) -> None:
    rows = pairs(100)
    for row in rows[:97]:
        row["positive"] = "N/A"
    with pytest.raises(
        InputError, match=r"cannot be split off.*97 of 100 rows hang together.*positive 'N/A' \(pairs.jsonl line 1\)"
    ):
        split(read(jsonl(rows)), 0.1, 0.1, seed=0)
    for number, row in enumerate(rows):
        row |= {"positive": f"text {number}", "customer": "ACME" if number < 90 else str(number)}
    with pytest.raises(InputError, match=r"90 of them share the group 'ACME'.*data.columns.group"):
        split(read(jsonl(rows), group="customer"), 0.1, 0.1, seed=0)


def test_too_few_rows_name_the_setting(jsonl: Writer, pairs: Maker) -> None:
    whole = read(jsonl(pairs(57)))
    with pytest.raises(
        InputError, match=r"57 rows, so data.test_size=0.1 holds out 6 and .*data.test_size=10 data.dev_size=10"
    ):
        split(whole, 0.1, 0.1, seed=0)
    with pytest.raises(InputError, match="would take 56 of 57 rows"):
        split(whole, 28, 28, seed=0)
    with pytest.raises(InputError, match=r"whole number of rows; got 2.5"):
        split(whole, 2.5, 2, seed=0)
    assert len(split(whole, 1, 1, seed=0).train) == 55


def test_held_out_pairs_become_unique_queries_and_documents(jsonl: Writer) -> None:
    rows = [("a", "x"), ("b", "y"), ("A ", "z"), ("b", " Y"), ("b", "x")]
    found = to_retrieval(
        read(jsonl([{"anchor": a, "positive": p} for a, p in rows])), "mine", "test", distractors=["Z", "w"]
    )
    assert found.queries == ("a", "b")
    assert found.corpus == ("x", "y", "z", "w")
    named = {
        found.queries[found.query_ids.index(query)]: {found.corpus[found.corpus_ids.index(key)] for key in grades}
        for query, grades in found.qrels.items()
    }
    assert named == {"a": {"x", "z"}, "b": {"x", "y"}}
    assert len(set(found.corpus_ids)) == 4


def test_scores_decide_what_is_relevant(jsonl: Writer) -> None:
    rows = [("a", "x", 0.9), ("a", "y", 0.2), ("b", "x", 0.1), ("c", "y", 0.5)]
    name = jsonl([{"anchor": a, "positive": p, "score": s} for a, p, s in rows])
    found = to_retrieval(read(name), "mine", "dev", relevant_score=0.5)
    assert found.queries == ("a", "c")
    assert list(found.qrels.values()) == [{"d1": 1, "d2": 0}, {"d2": 1}]
    with pytest.raises(InputError, match=r"no pair is relevant: the scores of dev in pairs.jsonl go from 0.1 to 0.9"):
        to_retrieval(read(name), "mine", "dev", relevant_score=1)
    with pytest.raises(InputError, match=r"data.relevant_score=0.05 does not fit"):
        to_retrieval(read(name), "mine", "dev", relevant_score=0.05)
    wide = jsonl([{"anchor": a, "positive": p, "score": 5 * s} for a, p, s in rows], "wide.jsonl")
    with pytest.raises(InputError, match=r"go from 0.5 to 4.5; set data.relevant_score on that scale, such as 3.5"):
        to_retrieval(read(wide), "mine", "dev", relevant_score=0.6)


def test_whole_scores_of_a_scale_are_told_with_counts(jsonl: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("a", "x", 0), ("a", "y", 1), ("b", "x", 1), ("c", "y", 5)]
    to_retrieval(read(jsonl([{"anchor": a, "positive": p, "score": s} for a, p, s in rows])), "mine", "dev")
    told = " ".join("".join(capsys.readouterr()).split())
    assert "score (rows): 0 (1), 1 (2), 5 (1); from data.relevant_score=0.5 on (3 of 4 rows) they count" in told


def test_a_subset_keeps_the_relevant_documents_of_its_queries(jsonl: Writer, pairs: Maker) -> None:
    whole = to_retrieval(read(jsonl(pairs(200))), "mine", "dev")
    assert subset(whole, None, 500, seed=0) is whole
    small = subset(whole, 20, 50, seed=0)
    assert (len(small.queries), len(small.corpus)) == (20, 50)
    place = dict(zip(small.corpus_ids, small.corpus, strict=True))
    for query, text in zip(small.query_ids, small.queries, strict=True):
        (document,) = small.qrels[query]
        number = text.removeprefix("what is thing number ").rstrip("?")
        assert place[document].startswith(f"thing {number} ")
    revisions = {
        whole.revision,
        small.revision,
        subset(whole, 20, 50, seed=1).revision,
        subset(whole, 20, None, seed=0).revision,
    }
    assert len(revisions) == 4
    assert subset(whole, 20, 50, seed=0).revision == small.revision
    with pytest.raises(InputError, match=r"max_dev_corpus=10 is below the 20 relevant documents"):
        subset(whole, 20, 10, seed=0)


def ring(count: int) -> list[dict[str, Any]]:
    """Scored pairs in which each anchor has a candidate of its own and the next anchor's."""
    return [
        {"anchor": f"question {n}", "positive": f"answer {(n + step) % count}", "score": 1.0 - step}
        for n in range(count)
        for step in (0, 1)
    ]


def test_pairs_that_reuse_candidates_in_a_ring_are_split_by_anchor(jsonl: Writer) -> None:
    whole = read(jsonl(ring(200)))
    with pytest.raises(InputError, match=r"400 of 400 rows hang together.*set data\.split_by=anchor"):
        split(whole, 0.1, 0.1, seed=1)
    parts = split(whole, 0.1, 0.1, seed=1, by="anchor")
    held = [parts.train, parts.dev, parts.test]
    assert [len(part or []) for part in held] == [320, 40, 40]
    for number, part in enumerate(held):
        for other in held[:number]:
            assert not texts(part, "anchor") & texts(other, "anchor")
    data = load(DataConfig(train="pairs.jsonl", split_by="anchor"), AuditConfig(near_duplicates=False), seed=0)
    assert data.rows == {"train": 320, "dev": 20, "test": 20}
    shared = {finding.split: finding for finding in data.report.findings if finding.kind == "shared_document"}
    assert shared["train"].severity == "warn"
    assert not data.report.refusals


def test_by_anchor_a_pair_stays_with_its_reverse_and_groups_stay_whole(jsonl: Writer) -> None:
    rows = [("a", "x", 1), ("X", "A", 2), ("b", "x", 3), ("c", "y", 3), ("d", "y", 4)]
    content = [{"anchor": a, "positive": p, "customer": g} for a, p, g in rows]
    labels = components(read(jsonl(content), group="customer"), "anchor").tolist()
    assert labels[0] == labels[1] != labels[2] == labels[3] != labels[4]
    assert labels[4] != labels[0]


def test_a_test_file_with_all_the_texts_of_train_is_named_as_the_cause(jsonl: Writer, pairs: Maker) -> None:
    train, test = jsonl(pairs(100)), jsonl(pairs(98), "test.jsonl")
    with pytest.raises(InputError, match=r"dev cannot be split off: 98 of 100 rows are linked to texts of the other"):
        load(DataConfig(train=train, test=test), AuditConfig(leakage="drop"), seed=0)


def test_what_too_few_rows_are_advised_works(jsonl: Writer, pairs: Maker) -> None:
    with pytest.raises(InputError, match=r"5 rows, too few to split dev off; give data\.dev a file of its own$"):
        split(read(jsonl(pairs(5))), 0.1, None, seed=0)
    whole = read(jsonl(pairs(40)))
    with pytest.raises(
        InputError, match=r"set data\.test_size=10 data\.dev_size=10, or give data\.test and data\.dev files"
    ):
        split(whole, 0.1, 0.1, seed=0)
    assert len(split(whole, 10, 10, seed=0).train) == 20
