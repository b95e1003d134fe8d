"""An audit is not done twice, and never mistaken for another."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finewise.config import AuditConfig, DataConfig, ModelConfig
from finewise.data.load import LoadedData, load, prepare
from finewise.data.store import cache_root
from finewise.data.tokens import token_limit
from finewise.errors import InputError

Writer = Callable[..., str]


def audits() -> int:
    return len(list((cache_root() / "audits").iterdir()))


@pytest.fixture
def prepared(jsonl: Writer, pairs: Callable[[int], list[dict[str, Any]]]) -> Callable[..., LoadedData]:
    """Prepares 100 rows, some of them odd; keyword arguments change the settings."""
    rows = pairs(100)
    rows[5]["positive"] = "<p>html</p> of thing 5"
    rows[9]["anchor"] = ""
    name = jsonl(rows)
    limit = token_limit(ModelConfig())
    assert not isinstance(limit, str)

    def make(seed: int = 1, limit: Any = limit, **settings: Any) -> LoadedData:
        return prepare(
            DataConfig(train=name, dev_size=10, test_size=10, split_seed=seed),
            AuditConfig(**settings),
            seed,
            limit=limit,
        )

    return make


def test_the_second_report_is_the_first(prepared: Callable[..., LoadedData]) -> None:
    first, again = prepared(), prepared()
    assert audits() == 1
    assert again.report.summary() == first.report.summary()
    assert {"html", "empty_rows"} <= {finding.kind for finding in again.report.findings}
    assert again.report.truncation
    assert (again.report.leaked == first.report.leaked).all()
    assert again.revision == first.revision


def test_it_is_done_again_when_anything_changes(prepared: Callable[..., LoadedData], jsonl: Writer) -> None:
    prepared()
    changes: list[dict[str, Any]] = [{"seed": 2}, {"examples": 1}, {"near_duplicates": False}, {"leakage": "drop"}]
    changes += [{"limit": None}, {"limit": token_limit(ModelConfig(max_seq_length=8))}]
    changes += [{"limit": token_limit(ModelConfig(query_prompt="query: "))}]
    for count, change in enumerate(changes, 2):
        prepared(**change)
        assert audits() == count
    assert next(cut for cut in prepared(limit=changes[5]["limit"]).report.truncation).limit == 8
    jsonl([json.loads(line) for line in reversed(Path("pairs.jsonl").read_text().splitlines())])
    prepared()
    assert audits() == len(changes) + 2


def test_another_way_of_counting_is_not_kept(prepared: Callable[..., LoadedData]) -> None:
    limit = token_limit(ModelConfig())
    assert not isinstance(limit, str)
    prepared(limit=replace(limit, tokenizer=None))
    assert not (cache_root() / "audits").exists()


def test_a_leak_is_refused_the_second_time_too(jsonl: Writer, pairs: Callable[[int], list[dict[str, Any]]]) -> None:
    rows = pairs(40)
    config = DataConfig(
        train=jsonl(rows, "train.jsonl"), dev=jsonl(rows[:10], "dev.jsonl"), test=jsonl(rows[5:15], "test.jsonl")
    )
    for _ in range(2):
        with pytest.raises(InputError, match=r"15 of 40 training rows are in the held-out data.*train\.jsonl line 1"):
            load(config, AuditConfig(), 0)
        assert len(prepare(config, AuditConfig(leakage="drop"), 0).train) == 25
    assert audits() == 2


def test_the_same_rows_under_another_name_are_told_by_it(
    jsonl: Writer, pairs: Callable[[int], list[dict[str, Any]]]
) -> None:
    rows = [*pairs(40), {"anchor": "", "positive": "lost"}]
    for name in ("one.jsonl", "other.jsonl"):
        data = prepare(DataConfig(train=jsonl(rows, name), dev_size=10, test_size=10), AuditConfig(), 0)
        (finding,) = [finding for finding in data.report.findings if finding.kind == "empty_rows"]
        assert finding.examples[0].where == f"{name} line 41"


def test_a_split_is_drawn_once(prepared: Callable[..., LoadedData]) -> None:
    first, again = prepared(), prepared()
    assert len(list((cache_root() / "splits").iterdir())) == 1
    assert first.train.numbers.tolist() == again.train.numbers.tolist()
    assert prepared(seed=2).train.numbers.tolist() != first.train.numbers.tolist()
