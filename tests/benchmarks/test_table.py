"""The table says which system is better, by how much, and how sure that is."""

import pytest
from rich.console import Console

from benchmarks.table import ScoreTable, score_markdown, verdict, verdicts
from finewise.record import Comparison, Score


def score(system, metric, value, benchmark="debian", split="test"):
    return Score(
        benchmark=benchmark, data_revision="r", split=split, system=system, metric=metric, value=value,
        low=value - 0.01, high=value + 0.01, n=2000,
    )  # fmt: skip


def comparison(difference=0.072, p=0.0005, low=0.063, high=0.081, b="untuned", metric="ndcg@10"):
    return Comparison(
        benchmark="debian", metric=metric, a="tuned", b=b, difference=difference, low=low, high=high, p=p, test="t"
    )


SCORES = [score(system, metric, 0.9 - rank / 10) for rank, system in enumerate(["tuned", "untuned", "bm25"])
          for metric in ("map", "ndcg@10")]  # fmt: skip


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (comparison(), "tuned beats untuned on debian by .072 nDCG@10 [.063, .081], p < .001"),
        (
            comparison(-0.012, 0.003, -0.02, -0.004),
            "tuned is worse than untuned on debian by .012 nDCG@10 [.004, .020], p = .003",
        ),
        (
            comparison(0.004, 0.21, -0.002, 0.01),
            "no difference between tuned and untuned could be shown on debian: +.004 nDCG@10 [-.002, .010], p = .210",
        ),
        (
            comparison(0, 1, 0, 0),
            "no difference between tuned and untuned could be shown on debian: .000 nDCG@10 [.000, .000], p = 1.000",
        ),
        (
            comparison(-0.03, 0.003, -0.04, -0.02, metric="ece"),
            "tuned beats untuned on debian by .030 ECE (lower is better) [.020, .040], p = .003",
        ),
        (
            comparison(0.03, 0.003, 0.02, 0.04, metric="log_loss"),
            "tuned is worse than untuned on debian by .030 log loss (lower is better) [.020, .040], p = .003",
        ),
        (
            comparison(0.03, 0.003, 0.02, 0.04, metric="f1_macro"),
            "tuned beats untuned on debian by .030 macro-F1 [.020, .040], p = .003",
        ),
    ],
)
def test_a_verdict_is_one_sentence(item, sentence):
    assert verdict(item) == sentence


def test_verdicts_are_of_the_headline_metric():
    items = [comparison(metric="map"), comparison(b="bm25")]
    assert verdicts(items, "ndcg@10") == ["tuned beats bm25 on debian by .072 nDCG@10 [.063, .081], p < .001"]


def test_the_markdown_table_has_the_headline_first_and_the_differences_beside_their_system():
    text = score_markdown(SCORES, [comparison(), comparison(b="bm25", p=0.031)], "ndcg@10")
    assert text.splitlines() == [
        "| benchmark | system | nDCG@10 | MAP | tuned minus system | p |",
        "| :-- | :-- | --: | --: | --: | --: |",
        "| debian | tuned | .900 [.890, .910] | .900 |  |  |",
        "| debian | untuned | .800 [.790, .810] | .800 | +.072 [.063, .081] | < .001 |",
        "| debian | bm25 | .700 [.690, .710] | .700 | +.072 [.063, .081] | .031 |",
    ]


def test_without_comparisons_there_are_no_empty_columns_and_dev_is_named():
    text = score_markdown([score("bm25", "map", 1.0, split="dev")], [], "map")
    assert text.splitlines()[0] == "| benchmark | system | MAP |"
    assert text.splitlines()[2] == "| debian (dev) | bm25 | 1.000 [.990, 1.010] |"


def test_the_terminal_table_shows_brackets_and_names_as_they_are():
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(ScoreTable([score("runs/[a]/model", "ndcg@10", 0.5)], [], "ndcg@10"))
    assert "runs/[a]/model" in capture.get()
    assert ".500 [.490,.510]" in capture.get()


def test_six_metrics_and_a_comparison_fit_into_80_columns():
    metrics = ["ndcg@10", "mrr@10", "recall@10", "recall@100", "map", "precision@10"]
    rows = [score(system, metric, 0.5) for system in ("tuned", "untuned") for metric in metrics]
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(ScoreTable(rows, [comparison()], "ndcg@10"))
    (line,) = [line for line in capture.get().splitlines() if "untuned" in line]
    assert line.split() == [
        "untuned", ".500", "[.490,.510]", *[".500"] * 5, "+.072", "[.063,.081]", "<.001"
    ]  # fmt: skip


@pytest.mark.parametrize("columns", [80, 100])
def test_no_number_of_a_classifiers_table_is_broken(columns):
    metrics = ["f1_macro", "f1_micro", "f1_weighted", "exact_match", "average_precision", "log_loss", "ece"]
    systems = ["tuned", "linear_probe"]
    rows = [score(system, metric, 0.5) for system in systems for metric in metrics]
    difference = comparison(-0.072, low=-0.081, high=-0.063, b="linear_probe", metric="f1_macro")
    console = Console(width=columns, color_system=None)
    with console.capture() as capture:
        console.print(ScoreTable(rows, [difference], "f1_macro"))
    words = capture.get().split()
    assert [words.count(word) for word in ("[.490,.510]", "-.072", "[-.081,-.063]", ".500")] == [2, 1, 1, 14]
    assert words.count("<.001") == 1


def test_differences_of_several_systems_name_theirs():
    item = Comparison(
        benchmark="debian", metric="map", a="other", b="bm25", difference=0.1, low=0, high=0.2, p=0.01, test="t"
    )
    text = score_markdown(SCORES, [comparison(metric="map"), item], "map")
    assert "| difference | p |" in text
    assert "| other: +.100 [.000, .200] | .010 |" in text
