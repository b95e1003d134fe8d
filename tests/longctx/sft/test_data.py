"""Rows of a run: split by prompts, audited for leaks, fitted into the window by the rule that was chosen, mixed by length."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from finewise.config import AuditConfig
from finewise.errors import InputError
from longctx.config import InstructionTuning, LongDataConfig
from longctx.sft.data import SftData, load_chats, mixed

Tokenizers = Callable[[str], PreTrainedTokenizerFast]
WINDOW = 200


@pytest.fixture
def load(tmp_path: Path, tokenizer: Tokenizers) -> Callable[..., SftData]:
    """Loads rows of prompt and completion, with settings of objective, data and audit by their names."""

    def write(name: str, rows: list[tuple[str, str]]) -> str:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join(json.dumps({"prompt": one, "completion": other}) for one, other in rows))
        return str(path)

    def load(train: list[tuple[str, str]], held: list[tuple[str, str]] | None = None, **more: Any) -> SftData:
        objective = {key: more.pop(key) for key in list(more) if key in ("packing", "too_long", "short_share")}
        audit = AuditConfig(leakage=more.pop("leakage", "refuse"), near_duplicates=more.pop("near", False))
        files = {"train": write("train", train)}
        if held is not None:
            files |= {"dev": write("dev", held), "test": write("test", [("other " + one, two) for one, two in held])}
        window, later = (more.pop("stage"), True) if "stage" in more else (WINDOW, False)
        return load_chats(
            LongDataConfig(**files, **more),
            InstructionTuning(**objective),
            tokenizer("none"),
            audit,
            50,
            window,
            1,
            later=later,
        )

    return load


def asks(count: int, length: int = 10, name: str = "q") -> list[tuple[str, str]]:
    return [(f"{name}{number:04} ".ljust(length, "x"), f"answer {number}") for number in range(count)]


HELD = asks(12, name="h")


def test_rows_are_split_by_prompts(load: Callable[..., SftData]) -> None:
    data = load([(f"prompt {number // 4}", str(number)) for number in range(200)])
    parts = [set(rows.prompts.tolist()) for rows in (data.train, data.dev, data.test)]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert data.rows == {"train": 160, "dev": 20, "test": 20}
    assert sorted(row for pack in data.packs for row in pack) == list(range(160))
    assert max(int(data.train.lengths[pack].sum()) for pack in data.packs) <= WINDOW


def test_repeated_rows_and_leaks_are_found(load: Callable[..., SftData]) -> None:
    train = [*asks(20), asks(20)[3], (HELD[5][0].upper(), "another answer")]
    with pytest.raises(InputError, match=r"1 of 22 training rows are in the held-out data .* line 22: H0005"):
        load(train, HELD)
    data = load(train, HELD, leakage="drop")
    assert data.rows["train"] == 21
    assert data.report.dropped == 1
    kinds = {finding.kind: finding for finding in data.report.findings}
    assert kinds["duplicate_rows"].count == 1
    assert kinds["duplicate_rows"].examples[0].where.endswith("train.jsonl line 21")
    assert load(train, HELD, leakage="allow").rows["train"] == 22


def test_near_duplicates_are_found(load: Callable[..., SftData]) -> None:
    words = " ".join(f"w{number}" for number in range(60))
    held = [*HELD, (words, "a")]
    data = load([*asks(20), (words + " more", "b")], held, near=True, too_long="cut")
    assert "near_prompt" in {finding.kind for finding in data.report.findings}


def test_an_early_stage_leaves_long_chats_to_a_later_one(load: Callable[..., SftData]) -> None:
    train = [*asks(18), ("y" * 150, "answer " * 3), ("z" * 170, "lost")]
    assert load(train, HELD).rows["train"] == 20
    for too_long in ("refuse", "cut"):
        data = load(train, HELD, too_long=too_long, stage=100)
        assert data.rows["train"] == 18
        assert "2 of 20 train rows (10.0%) are longer than 100 tokens: left to a later stage" in data.notes
    with pytest.raises(InputError, match=r"no train row fits into 12 tokens, the window of an earlier stage; leave"):
        load(train, HELD, stage=12)


def test_long_chats_are_never_cut_silently(load: Callable[..., SftData]) -> None:
    long = [("y" * 190, "answer " * 3), ("z" * 300, "lost")]
    train = [*asks(18), *long]
    message = (
        r"2 of 20 train rows \(10.0%\) are longer than the window of 200 tokens: .*train.jsonl line 19 has 212, .* 305;"
    )
    with pytest.raises(InputError, match=message):
        load(train, HELD)
    dropped = load(train, HELD, too_long="drop")
    assert dropped.rows["train"] == 18
    assert "2 of 20 train rows (10.0%) are longer than 200 tokens: left out" in dropped.notes
    cut = load(train, HELD, too_long="cut")
    assert cut.rows["train"] == 19
    assert cut.counts["tokens"]["train"] | {"cut": 1, "dropped": 1, "tokens_cut": 117} == cut.counts["tokens"]["train"]
    assert "1 of them left out because no word of their answers remains" in cut.notes[0]
    assert int(cut.train.lengths.max()) == WINDOW
    assert cut.facts()["notes"] == list(cut.notes)


def test_short_rows_get_their_share_of_the_tokens(load: Callable[..., SftData]) -> None:
    data = load([*asks(40), *asks(40, 150, "l")], HELD, short_share=0.1)
    assert data.counts["tokens"]["train"]["short_share"] == pytest.approx(0.1, abs=0.01)
    with pytest.raises(InputError, match="needs rows of more than 50 tokens, and there is none"):
        load(asks(40), HELD, short_share=0.5)


@given(st.lists(st.integers(1, 100), min_size=1), st.lists(st.integers(101, 1000), min_size=1), st.floats(0, 1))
def test_mixing_is_as_near_as_whole_rows_allow(short: list[int], long: list[int], share: float) -> None:
    """One side is kept whole, and the share is off by half of a row at most."""
    lengths = np.array(short + long)
    kept = mixed(lengths, 100, share, 0, "chats")
    whole = lengths[kept]
    near, far = whole[whole <= 100].sum(), whole[whole > 100].sum()
    assert near == sum(short) or far == sum(long)
    assert abs((1 - share) * near - share * far) <= 1000 / 2 + 1e-6


def test_unread_columns_are_told(load: Callable[..., SftData], tmp_path: Path, tokenizer: Tokenizers) -> None:
    path = tmp_path / "more.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": a, "completion": b, "source": "x"}) for a, b in asks(100)))
    data = load_chats(
        LongDataConfig(train=str(path)), InstructionTuning(), tokenizer("none"), AuditConfig(), 50, WINDOW, 1
    )
    assert any("columns that are not read: source" in note for note in data.notes)


def test_dev_is_not_split_off_from_test_prompts(load: Callable[..., SftData], tmp_path: Path) -> None:
    rows = asks(100)
    test = tmp_path / "half.jsonl"
    test.write_text("\n".join(json.dumps({"prompt": one, "completion": two}) for one, two in rows[50:]))
    data = load(rows, test=str(test), dev_size=30, leakage="drop")
    assert data.rows == {"train": 20, "dev": 30, "test": 50}
    assert not {*data.dev.prompts.tolist()} & {*data.test.prompts.tolist()}
