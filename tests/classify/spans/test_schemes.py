"""Tags of every scheme become BIO, and mean the same spans; what breaks a scheme is found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.metrics.entities import chunks
from classify.spans.schemes import check_tag, recognise, to_bio

Spans = list[tuple[str, int]]
SPANS = st.lists(st.tuples(st.sampled_from(["", "LOC", "PER"]), st.integers(1, 3)), min_size=1, max_size=8)


def bio(spans: Spans) -> list[str]:
    return ["O" if not kind else f"{'I' if place else 'B'}-{kind}" for kind, size in spans for place in range(size)]


def bioes(spans: Spans, last: str = "E", single: str = "S") -> list[str]:
    def prefix(place: int, size: int) -> str:
        return single if size == 1 else "B" if place == 0 else last if place == size - 1 else "I"

    return ["O" if not kind else f"{prefix(place, size)}-{kind}" for kind, size in spans for place in range(size)]


def iob1(spans: Spans) -> list[str]:
    tags: list[str] = []
    for kind, size in spans:
        for place in range(size):
            touches = place == 0 and bool(tags) and tags[-1][2:] == kind
            tags.append("O" if not kind else f"{'B' if touches else 'I'}-{kind}")
    return tags


@given(SPANS)
def test_every_scheme_becomes_the_same_bio(spans: Spans) -> None:
    expected = bio(spans)
    assert to_bio(expected, "bio") == (expected, [])
    assert to_bio(iob1(spans), "iob1") == (expected, [])
    assert to_bio(bioes(spans), "bioes") == (expected, [])
    assert to_bio(bioes(spans, "L", "U"), "bioes") == (expected, [])


@given(SPANS)
def test_recognised(spans: Spans) -> None:
    assert recognise([bio(spans)]) == "bio"
    if any(tag[:1] == "I" for tag in iob1(spans)):
        assert recognise([iob1(spans)]) == "iob1"
    if any(tag[:1] in "ES" for tag in bioes(spans) if tag != "O"):
        assert recognise([bioes(spans)]) == "bioes"


@given(st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), max_size=10))
def test_broken_bio_means_what_conlleval_reads(tags: list[str]) -> None:
    made, broken = to_bio(tags, "bio")
    assert chunks(made) == chunks(tags)
    assert to_bio(made, "bio") == (made, [])
    assert (not broken) == (made == tags)


@given(st.lists(st.sampled_from(["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in "XY")]), max_size=10))
def test_broken_bioes_becomes_whole_bio(tags: list[str]) -> None:
    made, _ = to_bio(tags, "bioes")
    assert to_bio(made, "bio") == (made, [])
    assert [tag[2:] for tag in made] == [tag[2:] for tag in tags]


@pytest.mark.parametrize(
    ("tags", "scheme", "broken"),
    [
        (["B-X", "I-Y"], "bio", [1]),
        (["O", "B-X"], "iob1", [1]),
        (["B-X", "O"], "bioes", [1]),
        (["B-X"], "bioes", [0]),
        (["S-X", "I-X", "E-X"], "bioes", [1]),
    ],
)
def test_broken_places(tags: list[str], scheme: str, broken: list[int]) -> None:
    assert to_bio(tags, scheme)[1] == broken


def test_other_tags_are_refused() -> None:
    for tag, what in (("PER", "must be tags such as O, B-PER"), ("B-", "must be tags"), ("E-X", "data.scheme=bioes")):
        with pytest.raises(ValueError, match=what):
            check_tag(tag, "bio")
