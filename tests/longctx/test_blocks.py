"""Documents become pieces and rows: nothing is lost or predicted twice, shares are kept, skips reach where they may."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finewise.data.tokenised import Tokenised
from longctx.blocks import Blocks, Pieces, cut, packed, whole
from longctx.mixing import mix
from longctx.pose import positions

LENGTHS = st.lists(st.integers(0, 60), min_size=1, max_size=12)


def tokens_of(lengths: list[int]) -> Tokenised:
    """Documents whose ids are all different: 0, 1, 2, ..."""
    return Tokenised(
        ids=np.arange(sum(lengths), dtype=np.int32),
        offsets=np.cumsum([0, *lengths]),
        whole=np.array(lengths, dtype=np.int32),
    )


@given(LENGTHS, st.integers(2, 20))
def test_each_token_but_the_first_is_predicted_once(lengths: list[int], size: int) -> None:
    pieces = cut(whole(lengths), size)
    assert (pieces.tokens >= 2).all()
    assert (pieces.tokens <= size).all()
    found = sorted(
        (int(document), token)
        for document, start, end in zip(pieces.document, pieces.start, pieces.end, strict=True)
        for token in range(start + 1, end)
    )
    assert found == [(document, token) for document, length in enumerate(lengths) for token in range(1, length)]


@given(LENGTHS, st.integers(2, 20), st.integers(2, 20))
def test_cutting_again_keeps_what_is_predicted(lengths: list[int], size: int, smaller: int) -> None:
    pieces = cut(whole(lengths), size)
    again = cut(pieces, smaller)
    assert again.predicted.sum() == pieces.predicted.sum()
    assert (again.tokens <= smaller).all()


@given(st.lists(st.integers(2, 30), max_size=40))
def test_rows_hold_every_piece_once_and_no_more_than_the_window(sizes: list[int]) -> None:
    rows = packed(np.array(sizes, dtype=np.int64), 30)
    assert sorted(piece for row in rows for piece in row) == list(range(len(sizes)))
    filled = [sum(sizes[piece] for piece in row) for row in rows]
    assert all(0 < tokens <= 30 for tokens in filled)
    # Best fit leaves no two rows that would fit into one, but for rests of a token, which hold nothing.
    assert all(one + other > 29 for place, one in enumerate(filled) for other in filled[place + 1 :])


@given(
    st.lists(st.integers(1, 100), max_size=40),
    st.lists(st.integers(1, 10), max_size=60),
    st.floats(0, 1),
    st.integers(0, 5),
)
def test_the_share_of_short_tokens(long: list[int], short: list[int], share: float, seed: int) -> None:
    far, near = np.array(long, dtype=np.int64), np.array(short, dtype=np.int64)
    found = mix(far, near, share, seed)
    again = mix(far, near, share, seed)
    assert (found.turned == again.turned).all()
    assert (found.left_out == again.left_out).all()
    assert not (found.turned.any() and found.left_out.any())
    as_short = far[found.turned].sum() + near[~found.left_out].sum()
    total = as_short + far[~found.turned].sum()
    largest = max([*long, *short, 0])
    if found.left_out.any() and not long:
        return  # no share but 1 can be had
    assert abs(as_short - share * total) <= largest


def test_another_seed_draws_others() -> None:
    sizes = np.full(64, 10)
    none = np.zeros(0, dtype=np.int64)
    drawn = [tuple(mix(sizes, none, 0.5, seed).turned) for seed in range(4)]
    assert len(set(drawn)) == 4
    assert all(sum(one) == 32 for one in drawn)


@given(st.integers(2, 40), st.integers(0, 200), st.integers(0, 1000))
def test_positions_skip_once_and_reach_no_farther_than_the_target(tokens: int, more: int, seed: int) -> None:
    found = positions(tokens, tokens + more, np.random.default_rng(seed))
    steps = np.diff(found)
    assert found[0] == 0
    assert found[-1] <= tokens + more - 1
    assert (steps >= 1).all()
    assert (steps > 1).sum() <= 1


def test_positions_reach_the_target_evenly() -> None:
    rng = np.random.default_rng(0)
    last = np.array([positions(16, 128, rng)[-1] for _ in range(4000)])
    assert (last.min(), last.max()) == (15, 127)
    assert abs(last.mean() - (15 + 127) / 2) < 2


@given(LENGTHS, st.booleans(), st.integers(0, 3))
def test_rows_give_the_documents_own_tokens(lengths: list[int], skip: bool, epoch: int) -> None:
    tokens = tokens_of(lengths)
    pieces = cut(whole(lengths), 10)
    half = len(pieces) // 2
    near, far = pieces.take(np.arange(half)), pieces.take(np.arange(half, len(pieces)))
    blocks = Blocks.of(tokens, near, far, window=20, original=10, target=80, seed=1, skip=skip)
    seen: list[tuple[int, ...]] = []
    for row in range(len(blocks)):
        parts = blocks.row(row, epoch)
        assert sum(len(ids) for ids, _ in parts) <= 20
        for ids, places in parts:
            assert (np.diff(ids) == 1).all()
            assert places[-1] < 80
            if not skip:
                assert (places == np.arange(len(ids))).all()
            seen.append(tuple(ids.tolist()))
    starts = np.cumsum([0, *lengths])
    assert sorted(seen) == sorted(
        tuple(range(starts[document] + start, starts[document] + end))
        for document, start, end in zip(pieces.document, pieces.start, pieces.end, strict=True)
    )


def test_skips_differ_between_epochs_and_are_the_same_again() -> None:
    blocks = pose_blocks()
    first, second = ([blocks.row(row, epoch)[0][1].tolist() for row in range(len(blocks))] for epoch in (0, 1))
    assert first != second
    assert first == [blocks.row(row, 0)[0][1].tolist() for row in range(len(blocks))]


def test_the_share_that_is_said_counts_skipping_pieces_as_long() -> None:
    assert pose_blocks().short_share == pytest.approx(0)


def pose_blocks() -> Blocks:
    tokens = tokens_of([10] * 8)
    pieces = whole([10] * 8)
    none = Pieces(document=np.zeros(0, int), start=np.zeros(0, int), end=np.zeros(0, int))
    return Blocks.of(tokens, none, pieces, window=10, original=10, target=160, seed=3, skip=True)
