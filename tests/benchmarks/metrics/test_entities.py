"""Entities are counted as conlleval and nervaluate count them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nervaluate import Evaluator

from benchmarks.metrics.entities import (
    Entity,
    check_metric,
    chunks,
    count,
    evaluated,
    gold_types,
    measured,
    too_rare,
    weighted,
)

TYPES = ("LOC", "ORG", "PER")
TAGS = st.sampled_from(["O", *(f"{prefix}-{kind}" for prefix in "BI" for kind in TYPES)])
TEXTS = st.lists(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=12), min_size=1, max_size=8)


def entities(tags: list[str]) -> list[Entity]:
    return [(TYPES.index(kind), start, end) for kind, start, end in chunks(tags)]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([], []),
        (["O", "O"], []),
        (["B-PER", "I-PER"], [("PER", 0, 2)]),
        (["B-PER", "B-PER"], [("PER", 0, 1), ("PER", 1, 2)]),
        # What conlleval makes of an I- that continues nothing: it begins an entity.
        (["I-PER", "O", "I-LOC"], [("PER", 0, 1), ("LOC", 2, 3)]),
        (["B-PER", "I-LOC", "I-LOC"], [("PER", 0, 1), ("LOC", 1, 3)]),
        (["B-PER", "O", "I-PER"], [("PER", 0, 1), ("PER", 2, 3)]),
        (["B-a-b", "I-a-b"], [("a-b", 0, 2)]),
    ],
)
def test_chunks(tags: list[str], expected: list[tuple[str, int, int]]) -> None:
    assert chunks(tags) == expected


@settings(deadline=None, max_examples=60)
@given(TEXTS)
def test_strict_scores_agree_with_nervaluate(texts: list[list[tuple[str, str]]]) -> None:
    gold = [[one for one, _ in text] for text in texts]
    said = [[other for _, other in text] for text in texts]
    found = Evaluator(gold, said, tags=list(TYPES), loader="list").evaluate()
    sums = count([entities(tags) for tags in gold], [entities(tags) for tags in said], len(TYPES)).sum(axis=0)
    whole, ours = found["overall"]["strict"], measured(sums.sum(axis=0))
    assert float(ours.precision) == pytest.approx(whole.precision)
    assert float(ours.recall) == pytest.approx(whole.recall)
    assert float(np.nan_to_num(ours.f1)) == pytest.approx(whole.f1)
    each = measured(sums)
    for place, kind in enumerate(TYPES):
        if kind in found["entities"]:
            theirs = found["entities"][kind]["strict"]
            assert each.precision[place] == pytest.approx(theirs.precision)
            assert each.recall[place] == pytest.approx(theirs.recall)
            assert each.f1[place] == pytest.approx(theirs.f1)
        else:
            assert np.isnan(each.f1[place])
    present = [kind for place, kind in enumerate(TYPES) if sums[place, 2]]
    known = [found["entities"][kind]["strict"].f1 for kind in present]
    (macro,) = evaluated(sums, ["entity_f1_macro"], gold_types(sums[None]))
    assert macro == pytest.approx(np.mean(known) if known else 0.0)


def test_right_type_and_both_ends() -> None:
    gold: list[list[Entity]] = [[(0, 0, 4), (1, 5, 9)]]
    said: list[list[Entity]] = [[(0, 0, 4), (0, 5, 9), (1, 5, 8)]]
    sums = count(gold, said, 2).sum(axis=0)
    assert sums.tolist() == [[1, 2, 1], [0, 1, 1]]
    precision, recall, micro, macro = evaluated(
        sums, ["entity_precision", "entity_recall", "entity_f1", "entity_f1_macro"], np.array([True, True])
    )
    assert (precision, recall, micro) == pytest.approx((1 / 3, 1 / 2, 2 / 5))
    assert macro == pytest.approx((2 / 3 + 0) / 2)


def test_the_mean_is_over_the_types_of_the_gold_labels_for_every_system() -> None:
    right, wrong = count([[(0, 0, 1)]], [[(0, 0, 1)]], 3), count([[(0, 0, 1)]], [[(0, 0, 1), (2, 4, 5)]], 3)
    for counts in (right, wrong):
        assert gold_types(counts).tolist() == [True, False, False]
        assert evaluated(counts.sum(axis=0), ["entity_f1_macro"], gold_types(counts)).tolist() == [1.0]
    nothing = np.zeros((3, 3))
    assert not evaluated(nothing, ["entity_f1", "entity_f1_macro"], np.zeros(3, bool)).any()


@given(st.lists(st.integers(0, 3), min_size=3, max_size=3))
def test_a_weight_is_a_number_of_copies(copies: list[int]) -> None:
    gold: list[list[Entity]] = [[(0, 0, 1)], [(1, 0, 2), (0, 3, 4)], []]
    said: list[list[Entity]] = [[(0, 0, 1)], [(1, 0, 1)], [(0, 0, 1)]]
    counts = count(gold, said, 2)
    again = counts[np.repeat(np.arange(3), copies)].sum(axis=0)
    sums = weighted(counts, np.array(copies, dtype=float)[:, None])
    assert sums.shape == (1, 2, 3)
    assert (sums[0] == again).all()


def test_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="entity_f1"):
        check_metric("entity_f")


def conlleval(tags: list[str]) -> list[tuple[str, int, int]]:
    """Chunks by the rules of the script conlleval (endOfChunk, startOfChunk), tag by tag."""
    found, start = [], None
    before, kind_before = "O", ""
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        end = (before in "BI" and prefix in "BO") or (before != "O" and kind_before != kind)
        begin = prefix == "B" or (before == "O" and prefix == "I") or (prefix != "O" and kind_before != kind)
        if start is not None and end:
            found.append((kind_before, start, place))
            start = None
        if begin:
            start = place
        before, kind_before = prefix, kind
    return found


@given(st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), max_size=12))
def test_chunks_are_those_of_conlleval_for_every_order_of_tags(tags):
    assert chunks(tags) == conlleval(tags)


def test_iob1_and_odd_beginnings():
    assert chunks(["I-X", "I-X", "B-X", "O", "I-Y", "I-X"]) == [("X", 0, 2), ("X", 2, 3), ("Y", 4, 5), ("X", 5, 6)]


def test_a_mean_over_types_with_few_entities_of_one_has_no_interval() -> None:
    texts: list[list[Entity]] = [[(0, 0, 1), (1, 2, 3)]] * 9
    names = ["entity_f1", "entity_f1_macro"]
    assert too_rare(count(texts, texts, 3), names) == [False, True]
    assert too_rare(count([*texts, texts[0]], [*texts, []], 3), names) == [False, False]
