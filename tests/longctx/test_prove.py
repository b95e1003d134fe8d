"""What a study shows: scores of the subject first, how far each system reads, what the stretch cost at the trained window."""

from typing import Any

import numpy as np
import pytest

from benchmarks.by_length import ByLength
from finewise.config import SelectionConfig
from longctx.config import LongContextExperiment, LongDataConfig
from longctx.prove import prove
from longctx.rope_config import StretchConfig
from longctx.study import Found


def result(system: str, near: float, far: float, metric: str = "exact", benchmark: str = "needle tiny") -> ByLength:
    count = 60
    values = np.concatenate([np.arange(count) < near * count, np.arange(count) < far * count]).astype(float)
    return ByLength(
        system=system, benchmark=benchmark, split="test", data_revision="r", metric=metric,
        ids=tuple(str(number % count) for number in range(2 * count)), lengths=np.repeat([64, 256], count),
        depths=np.full(2 * count, np.nan), groups=np.zeros(2 * count, np.int64), values=values, weights=np.ones(2 * count),
    )  # fmt: skip


def found(*results: ByLength) -> Found:
    return Found(
        results=list(results), outcome=None, best=0.0, before=0.0, test_reads=1, facts={"model": {"original": 64}}
    )


def experiment(**more: Any) -> LongContextExperiment:
    return LongContextExperiment(
        data=LongDataConfig(train="x"),
        stretch=StretchConfig(factor=4),
        selection=SelectionConfig(metric="needle"),
        compare=[],
        **more,
    )


def test_the_subject_comes_first_and_is_compared_with_all_others() -> None:
    proof = prove(found(result("untuned", 1, 0), result("yarn", 0.5, 0.5), result("tuned", 1, 1)), experiment())
    assert [score.system for score in proof.scores[::2]] == ["tuned", "untuned", "yarn"]
    assert {(row.a, row.b) for row in proof.comparisons} == {("tuned", "untuned"), ("tuned", "yarn")}
    assert proof.headlines == {"needle tiny": "exact@256"}
    assert proof.effective["needle tiny"]["tuned"] == {"ruler": 256, "nolima": 256}
    assert proof.effective["needle tiny"]["untuned"]["ruler"] == 64
    assert proof.effective["needle tiny"]["yarn"]["ruler"] is None


def test_what_the_stretch_cost_is_told_at_the_trained_window() -> None:
    proof = prove(found(result("untuned", 1, 0), result("yarn", 0.5, 0.5), result("tuned", 0.5, 1)), experiment())
    (sentence,) = proof.words
    assert "exact match at 64 tokens .500, difference to untuned -.500" in sentence
    assert sentence.endswith("changed")
    same = prove(found(result("untuned", 1, 0), result("yarn", 0.5, 0.5), result("tuned", 1, 1)), experiment())
    assert same.words[0].endswith("no change shown")


@pytest.mark.parametrize("metric", ["perplexity", "ndcg@10"])
def test_only_shares_of_right_answers_have_an_effective_length(metric: str) -> None:
    results = [result(system, 1, 1, metric, "texts") for system in ("untuned", "yarn", "tuned")]
    assert prove(found(*results), experiment()).effective == {}


def test_untrained_the_method_itself_is_the_subject() -> None:
    proof = prove(found(result("untuned", 1, 0), result("yarn", 1, 1)), experiment(adapt=False))
    assert {row.a for row in proof.comparisons} == {"yarn"}
