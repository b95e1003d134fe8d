"""Scores by length: ascending lengths, the greatest with its interval, within 80 columns, in the terminal and in cards."""

import pytest
from rich.console import Console

from benchmarks.length_table import length_markdown, length_table, longest
from benchmarks.paper import card
from benchmarks.table import verdict
from finewise.record import Comparison, Score

LENGTHS = [1024, 2048, 4096, 8192, 16384]
SYSTEMS = ["tuned", "untuned", "yarn, adapted", "chunk and pool"]


def score(system: str, length: int, metric: str = "exact", value: float = 0.5) -> Score:
    return Score(
        benchmark="needle niah_multikey_1", data_revision="r", split="test", system=system, metric=f"{metric}@{length}",
        value=value, low=value - 0.01, high=value + 0.01, n=100,
    )  # fmt: skip


def minus(system: str, length: int, metric: str = "exact", difference: float = 0.072) -> Comparison:
    return Comparison(
        benchmark="needle niah_multikey_1", metric=f"{metric}@{length}", a="tuned", b=system, difference=difference,
        low=difference - 0.01, high=difference + 0.01, p=0.0005, test="t",
    )  # fmt: skip


def scores(metric: str = "exact", value: float = 0.5) -> list[Score]:
    # As text, 1024 would stand before 2048, and 16384 behind 1024.
    return [score(system, length, metric, value) for system in SYSTEMS for length in sorted(LENGTHS, key=str)]


def test_a_column_per_length_the_last_with_its_interval() -> None:
    compared = [minus("untuned", length) for length in LENGTHS]
    lines = length_markdown([*scores()[:10]], compared).splitlines()
    assert lines == [
        "| needle niah_multikey_1: exact match at ... tokens | 1,024 | 2,048 | 4,096 | 8,192 | 16,384 | tuned minus it | p |",
        "| :-- | --: | --: | --: | --: | --: | --: | --: |",
        "| tuned | .500 | .500 | .500 | .500 | .500 [.490, .510] |  |  |",
        "| untuned | .500 | .500 | .500 | .500 | .500 [.490, .510] | +.072 [.062, .082] | < .001 |",
    ]


def test_a_system_that_did_not_read_a_length_has_a_gap_there() -> None:
    (_, _, _, line) = length_markdown([*scores()[:5], score("untuned", 1024)], []).splitlines()
    assert line == "| untuned | .500 |  |  |  |  |"


@pytest.mark.parametrize(("metric", "value"), [("exact", 0.5), ("substring_recall", 1.0), ("perplexity", 12.345)])
def test_five_lengths_fit_into_80_columns(metric: str, value: float) -> None:
    compared = [minus(system, 16384, metric, -value / 3) for system in SYSTEMS[1:]]
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(length_table(scores(metric, value), compared))
    shown = capture.get()
    for system in SYSTEMS:
        assert any(line.strip().startswith(system) for line in shown.splitlines()), "a name was broken"
    assert all(f"{length:,}" in shown for length in LENGTHS)
    assert shown.count("]") == 8, "an interval was broken"
    assert all(line.count("[") == line.count("]") for line in shown.splitlines())
    assert shown.count("< .001") == 3
    assert ("lower is better" in shown) == (metric == "perplexity")


def test_a_verdict_says_at_which_length() -> None:
    assert verdict(minus("untuned", 16384)) == (
        "tuned beats untuned on needle niah_multikey_1 by .072 exact match at 16,384 tokens [.062, .082], p < .001"
    )
    assert "tuned is worse than untuned" in verdict(minus("untuned", 1024, "perplexity"))


def test_the_card_s_headline_is_the_greatest_length() -> None:
    assert longest(scores()) == "exact@16384"
    text = card({}, "title", "usage", scores(), [minus("untuned", length) for length in LENGTHS], [])
    assert text.count("tuned beats untuned") == 1
    assert "by .072 exact match at 16,384 tokens" in text
    assert "| 8,192 | 16,384 |" in text
